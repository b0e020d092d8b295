//! What a viewer wants of its pictures, so that it can be said to another server in its place.

use std::mem;

use rfb::messages::{Kind, Part};
use rfb::updates::PIXEL_FORMAT_LEN;

/// A `SetPixelFormat` (RFC 6143, 7.5.1) with its padding.
const SET_PIXEL_FORMAT_LEN: usize = 20;

/// An `EnableContinuousUpdates` (rfbproto).
const ENABLE_CONTINUOUS_UPDATES_LEN: usize = 10;

/// The longest message that is kept in mind, in bytes: in `SetEncodings` (RFC 6143, 7.5.2) viewers name some twenty encodings,
/// and in `SetDesktopSize` (rfbproto) one screen.
const KEPT_MAX_LEN: usize = 1024;

/// What one viewer said so far.
#[derive(Default)]
pub(super) struct Wishes {
    /// The message that is being read, if it is one to keep.
    gathered: Vec<u8>,
    gathering: Option<Kind>,
    /// `SetEncodings` as it came last; empty until then.
    encodings: Vec<u8>,
    /// `SetDesktopSize` as it came last, until it is answered; empty otherwise.
    resize: Vec<u8>,
    /// Whether it wants pictures without asking for each (rfbproto, `EnableContinuousUpdates`).
    continuous: bool,
    /// A pixel format that nobody has asked for yet, and whether a picture was asked for before it.
    format: Option<([u8; PIXEL_FORMAT_LEN], bool)>,
    asked: bool,
}

impl Wishes {
    /// Takes a part of what the viewer sends, as [`rfb::messages::Messages`] tells it.
    pub(super) fn note(&mut self, part: Part, bytes: &[u8]) {
        match part {
            Part::Beginning => {
                self.gathering = None;
                self.gathered.extend_from_slice(bytes);
                return;
            }
            Part::Head(
                kind @ (Kind::SetPixelFormat
                | Kind::SetEncodings
                | Kind::SetDesktopSize
                | Kind::EnableContinuousUpdates),
            ) => {
                self.gathering = Some(kind);
            }
            Part::Head(kind) => {
                self.asked |= kind == Kind::FramebufferUpdateRequest;
                self.gathering = None;
                self.gathered.clear();
                return;
            }
            Part::Body if self.gathering.is_none() => return,
            Part::Body => {}
        }
        self.gathered.extend_from_slice(bytes);
        self.look();
    }

    /// Whether the message is whole, or too long to be kept.
    fn look(&mut self) {
        match (self.gathering, self.gathered.as_slice()) {
            (Some(Kind::SetPixelFormat), [_, _, _, _, format @ ..])
                if self.gathered.len() == SET_PIXEL_FORMAT_LEN =>
            {
                self.format = format.try_into().ok().map(|format| (format, self.asked));
                self.gathered.clear();
            }
            (Some(Kind::SetEncodings), [_, _, high, low, ..]) => {
                let len = 4 + 4 * usize::from(u16::from_be_bytes([*high, *low]));
                if len > KEPT_MAX_LEN {
                    self.encodings = Vec::new();
                    self.gathered = Vec::new();
                    self.gathering = None;
                } else if self.gathered.len() == len {
                    self.encodings = mem::take(&mut self.gathered);
                }
            }
            (Some(Kind::SetDesktopSize), [_, _, _, _, _, _, screens, ..]) => {
                let len = 8 + 16 * usize::from(*screens);
                if len > KEPT_MAX_LEN {
                    self.gathered = Vec::new();
                    self.gathering = None;
                } else if self.gathered.len() == len {
                    self.resize = mem::take(&mut self.gathered);
                }
            }
            (Some(Kind::EnableContinuousUpdates), [_, enables, ..])
                if self.gathered.len() == ENABLE_CONTINUOUS_UPDATES_LEN =>
            {
                self.continuous = *enables != 0;
                self.gathered.clear();
            }
            _ => {}
        }
    }

    /// The last `SetEncodings`, a whole message; `None` while there was none, or one that is too long.
    pub(super) fn encodings(&self) -> Option<&[u8]> {
        (!self.encodings.is_empty()).then_some(&self.encodings)
    }

    /// Whether it named this encoding.
    pub(super) fn takes(&self, encoding: i32) -> bool {
        let (encodings, _) = self.encodings.get(4..).unwrap_or_default().as_chunks::<4>();
        encodings.contains(&encoding.to_be_bytes())
    }

    /// A `SetDesktopSize` that nobody has answered, a whole message.
    pub(super) fn resize(&self) -> &[u8] {
        &self.resize
    }

    /// The server has answered it.
    pub(super) fn resize_was_answered(&mut self) {
        self.resize = Vec::new();
    }

    /// Whether it wants pictures without asking for each.
    pub(super) fn continuous(&self) -> bool {
        self.continuous
    }

    /// A pixel format that was set since this was asked last, and whether a picture had been asked for before it.
    pub(super) fn take_format(&mut self) -> Option<([u8; PIXEL_FORMAT_LEN], bool)> {
        self.format.take()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rfb::messages::Messages;

    use super::*;

    fn told(bytes: &[u8], piece: usize) -> Wishes {
        let mut messages = Messages::default();
        let mut wishes = Wishes::default();
        for mut rest in bytes.chunks(piece) {
            while !rest.is_empty() {
                let (len, part) = messages.advance(rest).unwrap();
                wishes.note(part, &rest[..len]);
                rest = &rest[len..];
            }
        }
        wishes
    }

    fn set_encodings(encodings: &[i32]) -> Vec<u8> {
        let [high, low] = u16::try_from(encodings.len()).unwrap().to_be_bytes();
        let mut message = vec![2, 0, high, low];
        message.extend(encodings.iter().flat_map(|encoding| encoding.to_be_bytes()));
        message
    }

    const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0xff, 0x0d];
    const REQUEST: [u8; 10] = [3, 0, 0, 0, 0, 0, 2, 0, 1, 0];

    fn set_pixel_format(first: u8) -> Vec<u8> {
        let mut message = vec![0; SET_PIXEL_FORMAT_LEN];
        message[4] = first;
        message
    }

    proptest! {
        #[test]
        fn the_last_word_counts_in_whatever_pieces_it_came(
            piece in 1..40_usize,
            first in prop::collection::vec(-300..300_i32, 0..30),
            last in prop::collection::vec(-300..300_i32, 0..30),
        ) {
            let stream = [
                set_encodings(&first), KEY.to_vec(), set_pixel_format(16), KEY.to_vec(),
                set_encodings(&last), set_pixel_format(32), KEY.to_vec(),
            ].concat();
            let mut wishes = told(&stream, piece);
            prop_assert_eq!(wishes.encodings().unwrap(), set_encodings(&last));
            prop_assert!(last.iter().all(|encoding| wishes.takes(*encoding)));
            prop_assert!(!wishes.takes(1000));
            let (format, asked) = wishes.take_format().unwrap();
            prop_assert_eq!((format[0], asked), (32, false));
            prop_assert!(wishes.take_format().is_none());
        }
    }

    #[test]
    fn a_format_after_a_request_is_told_from_one_before() {
        let stream = [REQUEST.to_vec(), set_pixel_format(16)].concat();
        assert!(told(&stream, 7).take_format().unwrap().1);
    }

    #[test]
    fn a_size_is_wished_for_until_it_is_answered() {
        let mut resize = vec![251, 0, 3, 0, 2, 0, 1, 0];
        resize.extend([7; 16]);
        for piece in 1..30 {
            let mut wishes = told(&[&resize[..], &KEY].concat(), piece);
            assert_eq!(wishes.resize(), resize);
            wishes.resize_was_answered();
            assert!(wishes.resize().is_empty());
        }
    }

    #[test]
    fn the_last_word_on_continuous_updates_counts() {
        let enable = |on| [150, on, 0, 0, 0, 0, 2, 0, 1, 0];
        for piece in 1..25 {
            assert!(told(&[enable(0), enable(1)].concat(), piece).continuous());
            assert!(!told(&[enable(1), enable(0)].concat(), piece).continuous());
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_not_kept() {
        let stream = [set_encodings(&[1]), set_encodings(&[0; 300]), KEY.to_vec()].concat();
        assert_eq!(told(&stream, 50).encodings(), None);
        let stream = [stream, set_encodings(&[7])].concat();
        assert!(told(&stream, 50).takes(7));
    }
}
