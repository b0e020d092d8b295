use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A whole message with its bytes.
type Sample = (Kind, Vec<u8>);

fn with(head: &[u8], body: usize) -> Vec<u8> {
    let mut message = head.to_vec();
    // A body that looks like messages of its own.
    message.extend(
        [KEY_EVENT, 1, 0, 0, 0, 0, 0xff, 0x0d]
            .iter()
            .cycle()
            .take(body),
    );
    message
}

fn encodings(list: &[i32]) -> Vec<u8> {
    let [high, low] = u16::try_from(list.len()).unwrap().to_be_bytes();
    let mut message = vec![SET_ENCODINGS, 0, high, low];
    message.extend(list.iter().flat_map(|encoding| encoding.to_be_bytes()));
    message
}

fn clipboard_message(flags: u32, body: u16) -> Vec<u8> {
    let mut head = vec![CLIENT_CUT_TEXT, 0, 0, 0];
    head.extend((-4 - i32::from(body)).to_be_bytes());
    head.extend(flags.to_be_bytes());
    with(&head, usize::from(body))
}

/// One of every kind; bit 7 of the pointer's buttons is left out, which depends on what came before.
fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        Just((Kind::SetPixelFormat, with(&[SET_PIXEL_FORMAT], 19))),
        vec(-1000..100_i32, 0..40)
            .prop_filter("announces no extended buttons", |list| !list
                .contains(&-316))
            .prop_map(|list| (Kind::SetEncodings, encodings(&list))),
        Just((
            Kind::FramebufferUpdateRequest,
            with(&[FRAMEBUFFER_UPDATE_REQUEST], 9)
        )),
        Just((Kind::KeyEvent, with(&[KEY_EVENT], 7))),
        any::<u8>().prop_map(|buttons| (Kind::PointerEvent, with(&[POINTER_EVENT, buttons], 4))),
        any::<u16>().prop_map(|len| {
            let [high, low] = len.to_be_bytes();
            (
                Kind::ClientCutText,
                with(&[CLIENT_CUT_TEXT, 0, 0, 0, 0, 0, high, low], len.into()),
            )
        }),
        (24..28_u32, 0..500_u16).prop_map(|(action, body)| {
            let kind = if action == 27 {
                Kind::ClipboardOffer
            } else {
                Kind::ClipboardInquiry
            };
            (kind, clipboard_message(1 << action | 1, body))
        }),
        (0..500_u16).prop_map(|body| (Kind::ClipboardOffer, clipboard_message(1 << 28 | 1, body))),
        Just((
            Kind::EnableContinuousUpdates,
            with(&[ENABLE_CONTINUOUS_UPDATES], 9)
        )),
        (0..=FENCE_MAX_LEN).prop_map(|len| {
            let head = [CLIENT_FENCE, 0, 0, 0, 0, 0, 0, 1, len];
            (Kind::ClientFence, with(&head, len.into()))
        }),
        Just((Kind::Xvp, with(&[XVP, 0, 1, 2], 0))),
        any::<u8>().prop_map(|screens| {
            let head = [SET_DESKTOP_SIZE, 0, 4, 0, 3, 0, screens, 0];
            (Kind::SetDesktopSize, with(&head, 16 * usize::from(screens)))
        }),
        (any::<bool>(), 0..2000_u16).prop_map(|(big, len)| {
            let (first, len_bytes) = if big {
                (GII_BIG_ENDIAN | 1, len.to_be_bytes())
            } else {
                (1, len.to_le_bytes())
            };
            (
                Kind::Gii,
                with(&[GII, first, len_bytes[0], len_bytes[1]], len.into()),
            )
        }),
        Just((
            Kind::QemuKeyEvent,
            with(&[QEMU, QEMU_EXTENDED_KEY_EVENT], 10)
        )),
        Just((Kind::QemuAudio, with(&[QEMU, QEMU_AUDIO, 0, 1], 0))),
        Just((Kind::QemuAudio, with(&[QEMU, QEMU_AUDIO, 0, 2], 6))),
    ]
}

/// The messages of a stream that is fed in pieces, and what went wrong.
fn follow<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<(Kind, usize)>, Option<MessageError>) {
    let mut messages = Messages::default();
    let mut told: Vec<(Kind, usize)> = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let held = messages.beginning().len();
            match messages.advance(rest) {
                Ok((len, part)) => {
                    assert!(len > 0);
                    rest = &rest[len..];
                    match part {
                        Part::Beginning => assert!(rest.is_empty()),
                        Part::Head(kind) => told.push((kind, held + len)),
                        Part::Body => told.last_mut().unwrap().1 += len,
                    }
                }
                Err(error) => return (told, Some(error)),
            }
        }
    }
    if !messages.at_boundary() {
        told.push((Kind::Xvp, usize::MAX));
    }
    (told, None)
}

fn cut<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let len = (*lengths.next()?).min(rest.len());
        let (piece, after) = rest.split_at(len);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #[test]
    fn messages_are_told_whatever_pieces_they_come_in(
        samples in vec(sample(), 0..20),
        lengths in vec(1..40_usize, 1..10),
    ) {
        let stream: Vec<u8> = samples.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let expected: Vec<_> = samples.iter().map(|(kind, bytes)| (*kind, bytes.len())).collect();
        prop_assert_eq!(follow(cut(&stream, &[stream.len().max(1)])), (expected.clone(), None));
        prop_assert_eq!(follow(cut(&stream, &lengths)), (expected.clone(), None));
        prop_assert_eq!(follow(cut(&stream, &[1])), (expected, None));
    }

    #[test]
    fn any_bytes_get_the_same_verdict_in_any_cut(
        bytes in vec(prop_oneof![any::<u8>(), 0..7_u8, 248..=255_u8], 0..500),
        lengths in vec(1..40_usize, 1..10),
    ) {
        prop_assert_eq!(follow(cut(&bytes, &[bytes.len().max(1)])), follow(cut(&bytes, &lengths)));
    }
}

/// rfbproto: the seventh byte is there when the client has announced it and the highest bit of the mask is set.
#[test]
fn a_seventh_byte_of_the_pointer_has_to_be_announced() {
    let pressed = [POINTER_EVENT, 0x80, 0, 1, 0, 2];
    let plain = [POINTER_EVENT, 1, 0, 1, 0, 2];
    let mut stream = Vec::new();
    stream.extend(pressed);
    stream.extend(encodings(&[7, -316, 0]));
    stream.extend(pressed);
    stream.push(1);
    stream.extend(plain);
    stream.extend(encodings(&[7]));
    stream.extend(pressed);
    let expected = [
        (Kind::PointerEvent, 6),
        (Kind::SetEncodings, 16),
        (Kind::ExtendedPointerEvent, 7),
        (Kind::PointerEvent, 6),
        (Kind::SetEncodings, 8),
        (Kind::PointerEvent, 6),
    ];
    for len in [1, 2, 3, 5, 100] {
        assert_eq!(follow(cut(&stream, &[len])), (expected.to_vec(), None));
    }
}

#[test]
fn what_cannot_be_understood_is_an_error_that_says_so() {
    for (bytes, error) in [
        (&[1][..], MessageError::UnknownType(1)),
        (&[7], MessageError::UnknownType(7)),
        (&[252], MessageError::UnknownType(252)),
        (&[QEMU, 2], MessageError::UnknownQemuType(2)),
        (&[QEMU, 1, 1, 0], MessageError::UnknownAudioOperation(256)),
        (
            &[CLIENT_FENCE, 0, 0, 0, 0, 0, 0, 0, 65],
            MessageError::FenceTooLong(65),
        ),
        (
            &[CLIENT_CUT_TEXT, 0, 0, 0, 255, 255, 255, 253],
            MessageError::ClipboardTooShort(3),
        ),
    ] {
        assert_eq!(follow(cut(bytes, &[1])).1, Some(error));
        assert!(error.to_string().starts_with("the viewer sent "));
    }
}

/// The most negative length has no positive counterpart in 32 bits with a sign.
#[test]
fn the_longest_clipboard_message_is_followed() {
    let mut messages = Messages::default();
    let head = [CLIENT_CUT_TEXT, 0, 0, 0, 0x80, 0, 0, 0, 0x10, 0, 0, 1];
    assert_eq!(
        messages.advance(&head),
        Ok((12, Part::Head(Kind::ClipboardOffer)))
    );
    assert_eq!(messages.remaining, (1 << 31) - 4);
}

/// As many capabilities as there are, and only one action beside them.
#[test]
fn what_a_clipboard_message_does_is_told_by_its_flags() {
    for (flags, kind) in [
        (0x1f00_0001, Kind::ClipboardInquiry),
        (1 << 25 | 1, Kind::ClipboardInquiry),
        (1 << 26, Kind::ClipboardInquiry),
        (1 << 27 | 1, Kind::ClipboardOffer),
        (1 << 28 | 1, Kind::ClipboardOffer),
        (1 << 28 | 1 << 25, Kind::ClipboardOffer),
        (1, Kind::ClipboardOffer),
    ] {
        assert_eq!(clipboard(flags), kind, "{flags:#x}");
    }
}

/// Recorded from noVNC itself, which is what almost all viewers are.
#[test]
fn all_that_novnc_sends_is_told() {
    let recorded = include_str!("novnc-1.7.0.txt");
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for line in recorded.lines().filter(|line| !line.starts_with('#')) {
        let (name, digits) = line.split_once(' ').unwrap();
        let message: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        let kind = match name {
            "pixelFormat" => Kind::SetPixelFormat,
            "clientEncodings" => Kind::SetEncodings,
            "fbUpdateRequest" => Kind::FramebufferUpdateRequest,
            "keyEvent" => Kind::KeyEvent,
            "QEMUExtendedKeyEvent" => Kind::QemuKeyEvent,
            "pointerEvent" => Kind::PointerEvent,
            "extendedPointerEvent" => Kind::ExtendedPointerEvent,
            "clientCutText" => Kind::ClientCutText,
            "extendedClipboardCaps" | "extendedClipboardRequest" => Kind::ClipboardInquiry,
            "extendedClipboardNotify" | "extendedClipboardProvide" => Kind::ClipboardOffer,
            "setDesktopSize" => Kind::SetDesktopSize,
            "clientFence" => Kind::ClientFence,
            "enableContinuousUpdates" => Kind::EnableContinuousUpdates,
            "xvpOp" => Kind::Xvp,
            other => panic!("{other} is new"),
        };
        expected.push((kind, message.len()));
        stream.extend(message);
    }
    assert_eq!(expected.len(), 16);
    assert_eq!(follow(cut(&stream, &[7])), (expected, None));
}

/// Whoever judges messages sees all of those that press and let go.
#[test]
fn a_message_of_a_fixed_length_is_told_when_it_is_whole() {
    for message in [
        with(&[SET_PIXEL_FORMAT], 19),
        with(&[FRAMEBUFFER_UPDATE_REQUEST], 9),
        with(&[KEY_EVENT], 7),
        with(&[POINTER_EVENT, 1], 4),
        with(&[ENABLE_CONTINUOUS_UPDATES], 9),
        with(&[XVP, 0, 1, 2], 0),
        with(&[QEMU, QEMU_EXTENDED_KEY_EVENT], 10),
        with(&[QEMU, QEMU_AUDIO, 0, 1], 0),
        with(&[QEMU, QEMU_AUDIO, 0, 2], 6),
    ] {
        let mut messages = Messages::default();
        let (last, rest) = message.split_last().unwrap();
        let told = messages.advance(rest).unwrap();
        assert_eq!(told, (rest.len(), Part::Beginning));
        assert_eq!(messages.beginning(), rest);
        assert!(matches!(messages.advance(&[*last]), Ok((1, Part::Head(_)))));
        assert!(messages.at_boundary());
    }
}
