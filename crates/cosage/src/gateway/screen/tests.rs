use std::task::Context;

use futures_util::task::{ArcWake, waker};
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::desktop::rights::Rights;

const MAX: u32 = 3840 * 2160;

fn screen(id: u8, [x, y, width, height]: [u16; 4]) -> [u8; 16] {
    let mut screen = [0; 16];
    screen[3] = id;
    for (at, value) in [(4, x), (6, y), (8, width), (10, height)] {
        screen[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    screen
}

fn request(size: Size, screens: &[[u8; 16]]) -> Vec<u8> {
    rfb::client::set_desktop_size(size, screens.as_flattened())
}

#[test]
fn only_layouts_within_their_screen_and_sizes_within_the_bound_pass() {
    let one = |width, height| request((width, height), &[screen(0, [0, 0, width, height])]);
    for (message, verdict) in [
        (one(1280, 720), Ok(())),
        (one(3840, 2160), Ok(())),
        // As many pixels in another shape.
        (one(2160, 3840), Ok(())),
        (one(3841, 2160), Err(ResizeStatus::Prohibited)),
        (one(16384, 16384), Err(ResizeStatus::Prohibited)),
        (one(u16::MAX, u16::MAX), Err(ResizeStatus::Prohibited)),
        // Few pixels, and no X server has such a width.
        (one(16385, 1), Err(ResizeStatus::Prohibited)),
        (one(0, 720), Err(ResizeStatus::InvalidLayout)),
        (request((800, 600), &[]), Err(ResizeStatus::InvalidLayout)),
        (
            request((800, 600), &[screen(0, [0, 0, 801, 600])]),
            Err(ResizeStatus::InvalidLayout),
        ),
        (
            request((800, 600), &[screen(0, [u16::MAX, 0, 2, 600])]),
            Err(ResizeStatus::InvalidLayout),
        ),
        (
            request((800, 600), &[screen(0, [0, 0, 800, 0])]),
            Err(ResizeStatus::InvalidLayout),
        ),
        (
            request(
                (800, 600),
                &[screen(1, [0, 0, 400, 600]), screen(1, [400, 0, 400, 600])],
            ),
            Err(ResizeStatus::InvalidLayout),
        ),
        (
            request(
                (800, 600),
                &[screen(1, [0, 0, 400, 600]), screen(2, [400, 0, 400, 600])],
            ),
            Ok(()),
        ),
        // One shows what the other one shows.
        (
            request(
                (800, 600),
                &[screen(1, [0, 0, 800, 600]), screen(2, [0, 0, 800, 600])],
            ),
            Ok(()),
        ),
        (
            request(
                (5120, 2160),
                &[
                    screen(1, [0, 0, 2560, 2160]),
                    screen(2, [2560, 0, 2560, 2160]),
                ],
            ),
            Err(ResizeStatus::Prohibited),
        ),
    ] {
        assert_eq!(check(&message, MAX), verdict, "{message:?}");
    }
}

struct Wakes(AtomicUsize);

impl ArcWake for Wakes {
    fn wake_by_ref(wakes: &Arc<Self>) {
        wakes.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A viewer at a screen, and how often it was woken.
struct Viewer {
    seat: Seat,
    standing: Arc<Standing>,
    wakes: Arc<Wakes>,
}

impl Viewer {
    fn come(screens: &Screens) -> Self {
        let standing = Arc::new(Standing::default());
        let seat = screens.sit(&"wall".parse().unwrap(), Arc::clone(&standing));
        seat.resizes();
        let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
        let waker = waker(Arc::clone(&wakes));
        standing.register(Context::from_waker(&waker).waker());
        Self {
            seat,
            standing,
            wakes,
        }
    }

    fn set(&self, role: Role) {
        self.standing.set(Rights::of(role));
        self.seat.reconsider();
    }
}

#[test]
fn the_size_of_the_last_one_to_ask_counts_and_the_one_before_comes_back() {
    let screens = Screens::default();
    let [first, second, third] = [(); 3].map(|()| Viewer::come(&screens));
    first.seat.asked();
    second.seat.asked();
    third.seat.asked();
    first.seat.asked();
    // In this order now: second, third, first. What is not in force changes nothing.
    drop(second);
    assert!(!first.seat.take_due() && !third.seat.take_due());
    drop(first);
    assert_eq!(third.wakes.0.load(Ordering::SeqCst), 1);
    assert!(third.seat.take_due());
    assert!(!third.seat.take_due(), "once only");
}

#[test]
fn who_may_only_watch_has_no_size() {
    let screens = Screens::default();
    let [large, small] = [(); 2].map(|()| Viewer::come(&screens));
    large.seat.asked();
    small.seat.asked();
    small.set(Role::View);
    assert!(large.seat.take_due());
    small.set(Role::Control);
    assert!(small.seat.take_due());
    // Nobody is left who may: it stays as it is.
    large.set(Role::View);
    small.set(Role::View);
    assert!(!large.seat.take_due() && !small.seat.take_due());
    large.set(Role::Control);
    assert!(large.seat.take_due());
}

/// noVNC does not ask for the size that the screen has already.
#[test]
fn the_size_that_a_viewer_found_comes_back_when_nobody_is_left_who_asked() {
    let screens = Screens::default();
    let staying = Viewer::come(&screens);
    let passing = Viewer::come(&screens);
    drop(Viewer::come(&screens));
    assert!(!staying.seat.take_due(), "nobody has asked for any size");
    passing.seat.asked();
    drop(passing);
    assert!(staying.seat.take_due());
}

#[tokio::test(start_paused = true)]
async fn a_size_that_did_not_last_is_not_given_to_a_next_server() {
    let screens = Screens::default();
    let Viewer { seat, .. } = Viewer::come(&screens);
    assert_eq!(seat.carried(), None);
    seat.note_size((1280, 720));
    seat.note_size((7680, 4320));
    assert_eq!(seat.carried(), Some((1280, 720)));
    assert_eq!(seat.carried_area(), ALWAYS_CARRIED);
    // The time without a server is none that the desktop lived.
    tokio::time::advance(PROBATION).await;
    seat.note_size((1280, 720));
    assert_eq!(seat.carried_area(), ALWAYS_CARRIED);
    // A smaller one cannot be what ended it.
    seat.note_size((640, 480));
    assert_eq!(seat.carried(), Some((640, 480)));
    seat.note_size((3840, 2160));
    tokio::time::advance(PROBATION).await;
    assert_eq!(seat.carried(), Some((3840, 2160)));
    seat.note_size((2160, 3840));
    assert_eq!(seat.carried(), Some((2160, 3840)));
}
