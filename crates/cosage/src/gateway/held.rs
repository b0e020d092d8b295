//! What a viewer holds down on its desktop, so that the gateway can let go of it in the viewer's stead. A VNC server has
//! one keyboard and one pointer for all its viewers: what one of them leaves pressed is pressed for everybody.

use rfb::messages::Kind;

/// How many keys one viewer may hold down at a time; more than there are fingers, and a bound for what is remembered.
const KEYS_MAX: usize = 32;

/// The keys and buttons that one viewer holds down.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In the order in which they were pressed.
    keys: Vec<Key>,
    /// Whether any button is pressed.
    pressed: bool,
    /// Where the pointer was last: x and y as they are on the wire.
    position: [u8; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    keysym: [u8; 4],
    /// Its place on the keyboard, where it came in QEMU's message.
    keycode: Option<[u8; 4]>,
}

impl Key {
    /// The message that lets go of it (RFC 6143, 7.5.4; rfbproto, QEMU Extended Key Event).
    fn release(self, out: &mut Vec<u8>) {
        out.extend(match self.keycode {
            None => [4, 0, 0, 0],
            Some(_) => [255, 0, 0, 0],
        });
        out.extend(self.keysym);
        out.extend(self.keycode.iter().flatten());
    }
}

impl Held {
    /// Takes note of a whole message that is about to pass; whether it may: a key beyond [`KEYS_MAX`] may not.
    pub(super) fn note(&mut self, kind: Kind, message: &[u8]) -> bool {
        match (kind, message) {
            (Kind::KeyEvent, [_, down, _, _, a, b, c, d]) => {
                let keysym = [*a, *b, *c, *d];
                let key = Key {
                    keysym,
                    keycode: None,
                };
                self.key(*down != 0, key, |held| held.keysym == keysym)
            }
            (Kind::QemuKeyEvent, [_, _, high, low, a, b, c, d, code @ ..]) => {
                let keycode = code.try_into().ok();
                let key = Key {
                    keysym: [*a, *b, *c, *d],
                    keycode,
                };
                let down = [*high, *low] != [0, 0];
                self.key(down, key, |held| held.keycode == keycode)
            }
            (
                Kind::PointerEvent | Kind::ExtendedPointerEvent,
                [_, buttons, a, b, c, d, more @ ..],
            ) => {
                // Of an extended message, the highest bit only says that there is a seventh byte.
                let buttons = if more.is_empty() {
                    *buttons
                } else {
                    *buttons & 0x7f
                };
                self.pressed = buttons != 0 || more.iter().any(|buttons| *buttons != 0);
                self.position = [*a, *b, *c, *d];
                true
            }
            _ => true,
        }
    }

    fn key(&mut self, down: bool, key: Key, same: impl Fn(&Key) -> bool) -> bool {
        if !down {
            self.keys.retain(|held| !same(held));
            return true;
        }
        if self.keys.contains(&key) {
            return true;
        }
        let room = self.keys.len() < KEYS_MAX;
        if room {
            self.keys.push(key);
        }
        room
    }

    /// Whether nothing is held down.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.pressed
    }

    /// Nothing is held down any more, because what it was held down on is gone.
    pub(super) fn forget(&mut self) {
        self.keys.clear();
        self.pressed = false;
    }

    /// Appends the messages that let go of everything: the keys, the last one first, and then the buttons, where the
    /// pointer is.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        while let Some(key) = self.keys.pop() {
            key.release(out);
        }
        if std::mem::take(&mut self.pressed) {
            // PointerEvent (RFC 6143, 7.5.5); without its highest bit it is never an extended one.
            out.extend([5, 0]);
            out.extend(self.position);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key(down: bool, keysym: u8) -> Vec<u8> {
        vec![4, down.into(), 0, 0, 0, 0, 0xff, keysym]
    }

    fn qemu(down: bool, keysym: u8, code: u8) -> Vec<u8> {
        vec![255, 0, 0, down.into(), 0, 0, 0xff, keysym, 0, 0, 0, code]
    }

    fn pointer(buttons: u8, x: u8) -> Vec<u8> {
        vec![5, buttons, 0, x, 0, 9]
    }

    fn released(held: &mut Held) -> Vec<u8> {
        let mut out = Vec::new();
        held.release(&mut out);
        assert!(held.is_empty());
        out
    }

    #[test]
    fn what_is_pressed_is_released_the_last_key_first_and_the_buttons_where_the_pointer_is() {
        let mut held = Held::default();
        for (kind, message) in [
            (Kind::KeyEvent, key(true, 0xe3)),
            (Kind::QemuKeyEvent, qemu(true, 0xe1, 42)),
            (Kind::KeyEvent, key(true, 0xe3)),
            (Kind::PointerEvent, pointer(1, 5)),
            (Kind::PointerEvent, pointer(1, 7)),
        ] {
            assert!(held.note(kind, &message));
        }
        let expected = [qemu(false, 0xe1, 42), key(false, 0xe3), pointer(0, 7)].concat();
        assert_eq!(released(&mut held), expected);
        assert_eq!(released(&mut held), b"");
    }

    #[test]
    fn a_key_is_let_go_by_its_place_whatever_letter_it_gives_then() {
        let mut held = Held::default();
        held.note(Kind::QemuKeyEvent, &qemu(true, b'A', 30));
        held.note(Kind::QemuKeyEvent, &qemu(false, b'a', 30));
        assert!(held.is_empty());
    }

    #[test]
    fn a_button_beyond_the_eighth_is_held_as_well() {
        let mut held = Held::default();
        held.note(Kind::ExtendedPointerEvent, &[5, 0x80, 0, 1, 0, 9, 1]);
        assert!(!held.is_empty());
        assert_eq!(released(&mut held), pointer(0, 1));
        held.note(Kind::ExtendedPointerEvent, &[5, 0x80, 0, 1, 0, 9, 0]);
        assert!(held.is_empty());
    }

    proptest! {
        /// However many keys are pressed: those that passed are released, each once, and they are not many.
        #[test]
        fn exactly_what_passed_is_released(
            events in vec((any::<bool>(), any::<bool>(), 0..80_u8), 0..300),
        ) {
            let mut held = Held::default();
            let mut down: Vec<Vec<u8>> = Vec::new();
            for (with_code, pressed, number) in events {
                // Ranges of their own: one key does not change its kind.
                let (kind, press, release) = if with_code {
                    (Kind::QemuKeyEvent, qemu(true, 1, number), qemu(false, 1, number))
                } else {
                    (Kind::KeyEvent, key(true, 100 + number), key(false, 100 + number))
                };
                if !pressed {
                    held.note(kind, &release);
                    down.retain(|held| *held != release);
                } else if held.note(kind, &press) {
                    down.retain(|held| *held != release);
                    down.push(release);
                }
                prop_assert!(down.len() <= KEYS_MAX);
            }
            let mut out = released(&mut held);
            let mut count = 0;
            while !out.is_empty() {
                let len = if out[0] == 255 { 12 } else { 8 };
                let message: Vec<u8> = out.drain(..len).collect();
                prop_assert!(down.contains(&message));
                count += 1;
            }
            prop_assert_eq!(count, down.len());
        }
    }
}
