//! The sizes of desktops' screens: which one a viewer may ask for, whose counts, and which one a next server is given.
//!
//! A screen has one size for all its viewers. It is the one that was asked for last, of those who are connected and may
//! control; when they leave, or lose control, the size of whoever asked before them comes back, and in the end the size
//! that the screen had before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rfb::client::{DIMENSION_MAX, ResizeStatus};
use tokio::time::Instant;

use super::registry::Registry;
use crate::desktop::Uid;
use crate::desktop::rights::{Role, Standing};

/// How long a desktop has to live with a size until that counts as one that it can carry.
const PROBATION: Duration = Duration::from_secs(30);

/// A screen of this area is carried by every desktop: 1920 by 1080 pixels, and as many as the least memory that the
/// catalog allows has room for.
const ALWAYS_CARRIED: u32 = 1 << 21;

/// Width and height in pixels.
pub(super) type Size = (u16, u16);

/// The screens of the desktops that viewers are connected to.
#[derive(Clone, Default)]
pub(super) struct Screens(Registry<Uid, Screen>);

/// The screen of one desktop, over all its runs.
#[derive(Default)]
pub(super) struct Screen(Mutex<Sizes>);

#[derive(Default)]
struct Sizes {
    seats: Vec<Entry>,
    last: u64,
    /// Whose size the screen has; `None` while none was asked for.
    in_force: Option<u64>,
    size: Option<Lasting>,
}

struct Entry {
    id: u64,
    standing: Arc<Standing>,
    due: Arc<AtomicBool>,
    /// Whether it asked for a size. Those that did stand behind the others, the last one to ask at the end.
    asked: bool,
    /// Whether it can be asked for a size in its stead.
    resizes: bool,
}

/// What sizes the screen had.
struct Lasting {
    current: Size,
    since: Instant,
    /// The last size, and the largest area, that the desktop is known to carry.
    carried: Size,
    carried_area: u32,
}

/// One viewer's place at a screen, until it is dropped.
pub(super) struct Seat {
    screen: Arc<Screen>,
    id: u64,
    due: Arc<AtomicBool>,
}

/// Pixels of a size.
pub(super) fn area((width, height): Size) -> u32 {
    u32::from(width) * u32::from(height)
}

/// Whether a whole `SetDesktopSize` (rfbproto) may be passed on where screens may have `area_max` pixels.
///
/// # Errors
/// The status with which it is answered.
pub(super) fn check(message: &[u8], area_max: u32) -> Result<(), ResizeStatus> {
    let [_, _, a, b, c, d, _, _, screens @ ..] = message else {
        return Err(ResizeStatus::InvalidLayout);
    };
    let (width, height) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
    if area((width, height)) > area_max || width.max(height) > DIMENSION_MAX {
        return Err(ResizeStatus::Prohibited);
    }
    let (screens, rest) = screens.as_chunks::<16>();
    let inside = |screen: &[u8; 16]| {
        let at = |index: usize| u32::from(u16::from_be_bytes([screen[index], screen[index + 1]]));
        let [x, y, w, h] = [at(4), at(6), at(8), at(10)];
        w > 0 && h > 0 && x + w <= u32::from(width) && y + h <= u32::from(height)
    };
    let unique = |(index, screen): (usize, &[u8; 16])| {
        screens[..index]
            .iter()
            .all(|other| other[..4] != screen[..4])
    };
    let valid = !screens.is_empty()
        && rest.is_empty()
        && screens.iter().all(inside)
        && screens.iter().enumerate().all(unique);
    if valid {
        Ok(())
    } else {
        Err(ResizeStatus::InvalidLayout)
    }
}

/// The size that a whole `SetDesktopSize` asks for.
pub(super) fn asked_size(message: &[u8]) -> Size {
    match message {
        [_, _, a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        _ => (0, 0),
    }
}

impl Screens {
    /// A place at the desktop's screen for a viewer that may do what `standing` says.
    pub(super) fn sit(&self, uid: &Uid, standing: Arc<Standing>) -> Seat {
        let screen = self.0.at(uid, Screen::default);
        let due = Arc::new(AtomicBool::new(false));
        let mut state = screen.lock();
        state.last += 1;
        let id = state.last;
        let first_asked = state.seats.iter().position(|entry| entry.asked);
        let place = first_asked.unwrap_or(state.seats.len());
        state.seats.insert(
            place,
            Entry {
                id,
                standing,
                due: Arc::clone(&due),
                asked: false,
                resizes: false,
            },
        );
        drop(state);
        Seat { screen, id, due }
    }
}

impl Screen {
    // What is changed under it is changed in one step, so that a poisoned lock is sound.
    fn lock(&self) -> MutexGuard<'_, Sizes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sizes {
    /// Whose size counts.
    fn first(&self) -> Option<&Entry> {
        let controls = |entry: &&Entry| entry.standing.rights().role == Role::Control;
        let asked = |entry: &&Entry| entry.asked && controls(entry);
        self.seats.iter().rev().find(asked).or_else(|| {
            self.seats
                .iter()
                .find(|entry| entry.resizes && controls(entry))
        })
    }

    /// Has the relay of whoever's size counts now ask for it, unless the screen has it.
    fn reconsider(&mut self) {
        if self.in_force.is_none() {
            return;
        }
        let Some(first) = self.first() else {
            return;
        };
        let id = first.id;
        if self.in_force != Some(id) {
            first.due.store(true, Ordering::Release);
            first.standing.wake();
            self.in_force = Some(id);
        }
    }
}

impl Seat {
    /// The viewer was given the size that it asked for.
    pub(super) fn asked(&self) {
        let mut state = self.screen.lock();
        if let Some(at) = state.seats.iter().position(|entry| entry.id == self.id) {
            let mut entry = state.seats.remove(at);
            entry.asked = true;
            state.seats.push(entry);
        }
        state.in_force = Some(self.id);
    }

    /// There is a size that can be asked for in the viewer's stead.
    pub(super) fn resizes(&self) {
        let mut state = self.screen.lock();
        if let Some(entry) = state.seats.iter_mut().find(|entry| entry.id == self.id) {
            entry.resizes = true;
        }
    }

    /// The viewer may do something else than before.
    pub(super) fn reconsider(&self) {
        self.screen.lock().reconsider();
    }

    /// Whether the viewer's size is to be asked for in its stead, once.
    pub(super) fn take_due(&self) -> bool {
        self.due.load(Ordering::Acquire) && self.due.swap(false, Ordering::AcqRel)
    }

    /// The screen has this size now.
    pub(super) fn note_size(&self, size: Size) {
        let mut state = self.screen.lock();
        let now = Instant::now();
        match &mut state.size {
            // Whatever it was when the first viewer came has been carried.
            None => {
                state.size = Some(Lasting {
                    current: size,
                    since: now,
                    carried: size,
                    carried_area: area(size).max(ALWAYS_CARRIED),
                });
            }
            Some(lasting) => lasting.note(size, now),
        }
    }

    /// The size that a next server is given: the last one that this desktop has lived with, which is the current one
    /// unless that may have been what ended it.
    pub(super) fn carried(&self) -> Option<Size> {
        let mut state = self.screen.lock();
        let lasting = state.size.as_mut()?;
        let now = Instant::now();
        lasting.settle(now);
        // The time until the next server is there is none in which the desktop lived with the size that may have ended it.
        if lasting.current != lasting.carried {
            lasting.current = lasting.carried;
            lasting.since = now;
        }
        Some(lasting.carried)
    }

    /// The largest area that this desktop is known to carry, in pixels.
    pub(super) fn carried_area(&self) -> u32 {
        let mut state = self.screen.lock();
        let Some(lasting) = &mut state.size else {
            return ALWAYS_CARRIED;
        };
        lasting.settle(Instant::now());
        lasting.carried_area
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.screen.lock();
        state.seats.retain(|entry| entry.id != self.id);
        state.reconsider();
    }
}

impl Lasting {
    fn note(&mut self, size: Size, now: Instant) {
        if size != self.current {
            self.settle(now);
            self.current = size;
            self.since = now;
        }
    }

    fn settle(&mut self, now: Instant) {
        let area = area(self.current);
        if area <= self.carried_area || now.duration_since(self.since) >= PROBATION {
            self.carried = self.current;
            self.carried_area = self.carried_area.max(area);
        }
    }
}

#[cfg(test)]
mod tests;
