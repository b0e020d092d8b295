//! Symbols that a desktop's keyboard does not have: no faster than applications learn of them.
//!
//! A VNC server assigns a free keycode to such a symbol. With none left, it reassigns the one that was assigned first, and
//! applications that have not read the map by then get another symbol. Nothing in RFB says when they have read it, so
//! viewers whose symbols may cost others their keycodes are read more slowly.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rfb::messages::Kind;
use tokio::time::Instant;

use super::registry::Registry;
use crate::desktop::Uid;

/// How many symbols a server certainly has free keycodes for; the images' keyboard leaves 124.
const FREE: usize = 100;

/// A symbol that was assigned so recently keeps its keycode while as many others again are assigned.
const RECENT: usize = 60;

/// How long applications have to read the map, after each symbol that may take a keycode from another one.
const PAUSE: Duration = Duration::from_millis(40);

/// The keyboards of the desktops that viewers are connected to.
#[derive(Clone, Default)]
pub(super) struct Keyboards(Registry<Uid, Keyboard>);

/// What is typed on one desktop by all its viewers.
#[derive(Default)]
pub(super) struct Keyboard(Mutex<Typed>);

#[derive(Default)]
struct Typed {
    /// How many symbols were assigned, as far as is known.
    assigned: usize,
    /// The last ones of them, oldest first.
    recent: VecDeque<u32>,
    /// When applications have read the map.
    read_at: Option<Instant>,
}

impl Keyboards {
    /// The keyboard of a desktop.
    pub(super) fn of(&self, uid: &Uid) -> Arc<Keyboard> {
        self.0.at(uid, Keyboard::default)
    }
}

impl Keyboard {
    /// Takes note of a whole message that passes. Returns when what follows may pass, where that has to wait.
    pub(super) fn note(&self, kind: Kind, message: &[u8]) -> Option<Instant> {
        let keysym = pressed(kind, message).filter(|keysym| !is_on_keyboard(*keysym))?;
        let mut state = self.lock();
        if state.recent.contains(&keysym) {
            return None;
        }
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(keysym);
        state.assigned += 1;
        if state.assigned <= FREE {
            return None;
        }
        let now = Instant::now();
        let read_at = state.read_at.map_or(now, |at| at.max(now)) + PAUSE;
        state.read_at = Some(read_at);
        Some(read_at)
    }

    /// Another server has the desktop's keyboard, and all its keycodes are free.
    pub(super) fn reset(&self) {
        *self.lock() = Typed::default();
    }

    // Each change of it is sound.
    fn lock(&self) -> MutexGuard<'_, Typed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The symbol of a key that is pressed (RFC 6143, 7.5.4; rfbproto, QEMU Extended Key Event).
fn pressed(kind: Kind, message: &[u8]) -> Option<u32> {
    let keysym = match (kind, message) {
        (Kind::KeyEvent, [_, down, _, _, keysym @ ..]) if *down != 0 => keysym.first_chunk(),
        (Kind::QemuKeyEvent, [_, _, high, low, keysym @ ..]) if [*high, *low] != [0, 0] => {
            keysym.first_chunk()
        }
        _ => None,
    };
    keysym.map(|keysym| u32::from_be_bytes(*keysym))
}

/// Whether the images' keyboard has the symbol: ASCII, and the keys that make no character (X11's keysymdef.h).
fn is_on_keyboard(keysym: u32) -> bool {
    matches!(keysym, 0x20..=0x7e | 0xff00..=0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keyboard: &Keyboard, keysym: u32) -> Option<Duration> {
        let message = [&[4, 1, 0, 0][..], &keysym.to_be_bytes()].concat();
        let at = keyboard.note(Kind::KeyEvent, &message);
        at.map(|at| at - Instant::now())
    }

    fn symbol(number: usize) -> u32 {
        0x0100_4e00 + u32::try_from(number).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn symbols_wait_once_free_keycodes_may_be_used_up() {
        let keyboard = Keyboard::default();
        for number in 0..FREE {
            assert_eq!(press(&keyboard, symbol(number)), None, "{number}");
        }
        assert_eq!(press(&keyboard, symbol(FREE)), Some(PAUSE));
        // Of another viewer, at the same moment.
        assert_eq!(press(&keyboard, symbol(FREE + 1)), Some(PAUSE * 2));
        tokio::time::advance(PAUSE * 10).await;
        assert_eq!(press(&keyboard, symbol(FREE + 2)), Some(PAUSE));
        // Those that have their keycodes for long, and those that may have lost it.
        assert_eq!(press(&keyboard, symbol(FREE)), None);
        assert_eq!(press(&keyboard, symbol(FREE + 2 - RECENT)), Some(PAUSE * 2));
        keyboard.reset();
        assert_eq!(press(&keyboard, symbol(FREE)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_keyboard_has_never_waits() {
        let keyboard = Keyboard::default();
        for number in 0..=FREE {
            press(&keyboard, symbol(number));
        }
        for keysym in [0x20, 0x61, 0x7e, 0xff0d, 0xffe1, 0xffff] {
            assert_eq!(press(&keyboard, keysym), None, "{keysym:x}");
        }
        let release = [&[4, 0, 0, 0][..], &symbol(500).to_be_bytes()].concat();
        assert_eq!(keyboard.note(Kind::KeyEvent, &release), None);
        assert_eq!(keyboard.note(Kind::PointerEvent, &[5, 1, 0, 1, 0, 2]), None);
        let [a, b, c, d] = symbol(500).to_be_bytes();
        let qemu = [255, 0, 0, 1, a, b, c, d, 0, 0, 0, 0x1e];
        assert!(keyboard.note(Kind::QemuKeyEvent, &qemu).is_some());
    }
}
