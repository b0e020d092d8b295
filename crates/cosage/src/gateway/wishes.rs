//! What a viewer wants of its pictures and of the screen, so that it can be said in its place.

use std::mem;

use rfb::client;
use rfb::messages::{Kind, Part};
use rfb::updates::PIXEL_FORMAT_LEN;

use super::screen::{self, Size};

/// A `SetPixelFormat` (RFC 6143, 7.5.1) with its padding.
const SET_PIXEL_FORMAT_LEN: usize = 20;

/// An `EnableContinuousUpdates` (rfbproto).
const ENABLE_CONTINUOUS_UPDATES_LEN: usize = 10;

/// The longest message that is kept in mind, in bytes: a `SetDesktopSize` (rfbproto) with as many screens as it can name. In
/// `SetEncodings` (RFC 6143, 7.5.2) viewers name some twenty encodings.
const KEPT_MAX_LEN: usize = 8 + 16 * 255;

/// What one viewer said so far.
#[derive(Default)]
pub(super) struct Wishes {
    /// The message that is being read, if it is one to keep.
    gathered: Vec<u8>,
    gathering: Option<Kind>,
    /// `SetEncodings` as it came last; empty until then.
    encodings: Vec<u8>,
    /// `SetDesktopSize` as it came last, until it is taken to be judged; empty otherwise.
    request: Vec<u8>,
    /// The one that is passed on, until the server answers it; empty otherwise.
    unanswered: Vec<u8>,
    /// The one by which the viewer got its size last, or one for the size that it found; empty while there is neither.
    size: Vec<u8>,
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
                if self.gathered.len() == len {
                    self.request = mem::take(&mut self.gathered);
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

    /// Whether it can be told that the screen has another size.
    pub(super) fn takes_sizes(&self) -> bool {
        self.takes(client::EXTENDED_DESKTOP_SIZE) || self.takes(client::DESKTOP_SIZE)
    }

    /// A whole `SetDesktopSize` that nobody has judged yet.
    pub(super) fn take_request(&mut self) -> Option<Vec<u8>> {
        Some(mem::take(&mut self.request)).filter(|message| !message.is_empty())
    }

    /// This `SetDesktopSize` is passed on.
    pub(super) fn pass_resize(&mut self, message: Vec<u8>) {
        self.unanswered = message;
    }

    /// The one that is passed on, or was, and is not answered yet; empty where there is none.
    pub(super) fn unanswered(&self) -> &[u8] {
        &self.unanswered
    }

    /// The server has answered the last one; whether it gave the viewer the size that it asked for.
    pub(super) fn resize_was_answered(&mut self, status: u16) -> bool {
        let message = mem::take(&mut self.unanswered);
        let granted = status == 0 && !message.is_empty();
        if granted {
            self.size = message;
        }
        granted
    }

    /// The server that could have answered is gone; whether one is unanswered.
    pub(super) fn give_up_resize(&mut self) -> bool {
        !mem::take(&mut self.unanswered).is_empty()
    }

    /// The screen has this size, with a layout as in `SetDesktopSize`: it is the viewer's until it asks for another one.
    /// Whether it had none before.
    pub(super) fn found_size(&mut self, size: Size, layout: &[u8]) -> bool {
        let first = self.size.is_empty() && !layout.is_empty();
        if first {
            self.size = client::set_desktop_size(size, layout);
        }
        first
    }

    /// The `SetDesktopSize` for the viewer's size, a whole message; empty while there is none.
    pub(super) fn size(&self) -> &[u8] {
        &self.size
    }

    /// Forgets the viewer's size where it has more pixels than this.
    pub(super) fn forget_size_above(&mut self, area_max: u32) {
        if screen::area(screen::asked_size(&self.size)) > area_max {
            self.size = Vec::new();
        }
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
    fn a_size_is_the_viewers_once_the_server_has_given_it() {
        for (screens, status) in [(0, 0), (1, 0), (1, 3), (255, 0)] {
            let mut resize = vec![251, 0, 3, 0, 2, 0, screens, 0];
            resize.extend([7; 16].repeat(screens.into()));
            for piece in 1..30 {
                let mut wishes = told(&[&resize[..], &KEY].concat(), piece);
                let request = wishes.take_request().unwrap();
                assert_eq!(request, resize);
                assert!(wishes.take_request().is_none());
                wishes.pass_resize(request);
                assert!(wishes.size().is_empty());
                assert_eq!(wishes.resize_was_answered(status), status == 0);
                assert!(!wishes.resize_was_answered(0), "answered already");
                assert_eq!(wishes.size() == resize, status == 0);
            }
        }
    }

    #[test]
    fn a_viewer_that_never_asked_has_the_size_that_it_found_first() {
        let mut wishes = Wishes::default();
        assert!(!wishes.found_size((640, 480), &[]));
        assert!(wishes.found_size((640, 480), &[7; 16]));
        assert!(!wishes.found_size((800, 600), &[7; 16]));
        assert_eq!(screen::asked_size(wishes.size()), (640, 480));
        wishes.forget_size_above(640 * 480);
        assert!(!wishes.size().is_empty());
        wishes.forget_size_above(640 * 480 - 1);
        assert!(wishes.size().is_empty());
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
        let stream = [set_encodings(&[1]), set_encodings(&[0; 1100]), KEY.to_vec()].concat();
        assert_eq!(told(&stream, 50).encodings(), None);
        let stream = [stream, set_encodings(&[7])].concat();
        assert!(told(&stream, 50).takes(7));
    }
}
