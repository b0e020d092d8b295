use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::desktop::rights::Clipboard;

const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 0x61];
const POINTER: [u8; 6] = [5, 1, 0, 1, 0, 2];
const REQUEST: [u8; 10] = [3, 1, 0, 0, 0, 0, 0, 64, 0, 48];
const CUT_TEXT: [u8; 11] = [6, 0, 0, 0, 0, 0, 0, 3, 4, 1, 0];
const FENCE: [u8; 11] = [248, 0, 0, 0, 0, 0, 0, 1, 2, 5, 5];
const CLIPBOARD_REQUEST: [u8; 12] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 2, 0, 0, 1];
const CLIPBOARD_NOTIFY: [u8; 12] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 8, 0, 0, 1];
const SET_DESKTOP_SIZE: [u8; 24] = [
    251, 0, 4, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0, 0, 0, 0,
];

/// Messages, how much of each has to be known to judge it, and whether one who only looks on may send it.
const SAMPLES: [(&[u8], usize, bool); 16] = [
    (&[0; 20], 1, true),
    (&[2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5], 4, true),
    (&REQUEST, 1, true),
    (&KEY, 1, false),
    (&POINTER, 2, false),
    (&CUT_TEXT, 8, false),
    (&CLIPBOARD_REQUEST, 12, true),
    (&CLIPBOARD_NOTIFY, 12, false),
    (&[150, 1, 0, 0, 0, 0, 0, 64, 0, 48], 1, true),
    (&FENCE, 9, true),
    (&[250, 0, 1, 2], 1, false),
    (&SET_DESKTOP_SIZE, 8, false),
    (&[253, 0x81, 0, 4, 4, 1, 0, 0], 4, false),
    (&[255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0x1e], 2, false),
    (&[255, 1, 0, 0], 4, false),
    (&[255, 1, 0, 2, 1, 2, 0, 0, 172, 68], 4, false),
];

fn endpoint(protocol: Protocol, presence: Presence) -> Endpoint {
    Endpoint {
        address: "127.0.0.1:5900".parse().unwrap(),
        protocol,
        path: String::new(),
        presence,
    }
}

fn filter(rights: Rights) -> Filter {
    let endpoint = endpoint(Protocol::Rfb, Presence::Viewer);
    Filter::new(&endpoint, Arc::new(Standing::new(rights)))
}

const VIEW: Rights = Rights {
    role: Role::View,
    clipboard: Clipboard::Out,
};
const CONTROL: Rights = Rights {
    role: Role::Control,
    clipboard: Clipboard::Both,
};

/// What passes of one piece.
fn pass(filter: &mut Filter, piece: &[u8]) -> Result<Vec<u8>, Ending> {
    let mut buffer = vec![0xee; rfb::messages::HEAD_MAX_LEN];
    buffer.extend_from_slice(piece);
    let payload = rfb::messages::HEAD_MAX_LEN..buffer.len();
    let passed = filter.apply(&mut buffer, payload)?;
    Ok(buffer[passed].to_vec())
}

fn pieces<'a>(mut rest: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at((*lengths.next()?).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn stream(indices: &[usize], may_pass: impl Fn(usize, bool, usize) -> bool) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut at = 0;
    for index in indices {
        let (message, head, allowed) = SAMPLES[*index];
        if may_pass(at, allowed, head) {
            stream.extend_from_slice(message);
        }
        at += message.len();
    }
    stream
}

proptest! {
    #[test]
    fn exactly_what_is_allowed_passes_in_whatever_pieces_it_comes(
        indices in vec(0..SAMPLES.len(), 0..40),
        lengths in vec(1..30_usize, 1..8),
    ) {
        let sent = stream(&indices, |_, _, _| true);
        let allowed = stream(&indices, |_, allowed, _| allowed);
        for (rights, expected) in [(VIEW, &allowed), (CONTROL, &sent)] {
            let mut filter = filter(rights);
            let mut passed = Vec::new();
            for piece in pieces(&sent, &lengths) {
                passed.extend(pass(&mut filter, piece).unwrap());
            }
            prop_assert_eq!(&passed, expected);
        }
    }

    /// Whatever the moments at which the rights change: whole messages pass, in order, and of those that are forbidden
    /// only what had begun to pass.
    #[test]
    fn a_switch_never_leaves_half_a_message(
        indices in vec(0..SAMPLES.len(), 0..40),
        steps in vec((1..30_usize, any::<bool>()), 1..12),
    ) {
        let sent = stream(&indices, |_, _, _| true);
        let mut filter = filter(CONTROL);
        let mut passed = Vec::new();
        // For each byte, whether it came while everything was allowed.
        let mut free = Vec::new();
        let (mut rest, mut steps) = (&sent[..], steps.iter().cycle());
        while !rest.is_empty() {
            let (len, control) = steps.next().unwrap();
            let (piece, after) = rest.split_at((*len).min(rest.len()));
            filter.standing.set(if *control { CONTROL } else { VIEW });
            passed.extend(pass(&mut filter, piece).unwrap());
            free.resize(free.len() + piece.len(), *control);
            rest = after;
        }
        let expected = stream(&indices, |at, allowed, head| {
            allowed || free[at..at + head].contains(&true)
        });
        prop_assert_eq!(passed, expected);
    }
}

#[test]
fn what_has_begun_to_pass_passes_to_its_end() {
    let mut filter = filter(CONTROL);
    assert_eq!(pass(&mut filter, &KEY[..3]).unwrap(), KEY[..3]);
    filter.standing.set(VIEW);
    let rest = [&KEY[3..], &KEY, &REQUEST].concat();
    assert_eq!(
        pass(&mut filter, &rest).unwrap(),
        [&KEY[3..], &REQUEST].concat()
    );
}

#[test]
fn what_was_kept_out_is_kept_out_to_its_end() {
    let mut filter = filter(VIEW);
    assert_eq!(pass(&mut filter, &CUT_TEXT[..9]).unwrap(), b"");
    filter.standing.set(CONTROL);
    let rest = [&CUT_TEXT[9..], &KEY].concat();
    assert_eq!(pass(&mut filter, &rest).unwrap(), KEY);
}

/// The type alone does not tell what a message does to the clipboard.
#[test]
fn a_head_in_pieces_is_held_back_until_it_is_judged() {
    let mut filter = filter(VIEW);
    for byte in &CLIPBOARD_REQUEST[..11] {
        assert_eq!(pass(&mut filter, &[*byte]).unwrap(), b"");
    }
    let rest = [&CLIPBOARD_REQUEST[11..], &REQUEST].concat();
    assert_eq!(
        pass(&mut filter, &rest).unwrap(),
        [&CLIPBOARD_REQUEST[..], &REQUEST].concat()
    );
}

#[test]
fn a_clipboard_that_goes_out_only_takes_nothing_in() {
    let mut filter = filter(Rights {
        role: Role::Control,
        clipboard: Clipboard::Out,
    });
    let stream = [&CUT_TEXT[..], &CLIPBOARD_NOTIFY, &KEY, &CLIPBOARD_REQUEST].concat();
    assert_eq!(
        pass(&mut filter, &stream).unwrap(),
        [&KEY[..], &CLIPBOARD_REQUEST].concat()
    );
}

/// A server that has not agreed to the seventh byte takes it for the next message's type, and would go on out of step.
#[test]
fn who_has_sent_what_may_be_out_of_step_cannot_be_held() {
    let announce = [2, 0, 0, 1, 0xff, 0xff, 0xfe, 0xc4];
    let extended = [5, 0x80, 0, 1, 0, 2, 1];
    let mut filter = filter(VIEW);
    assert_eq!(pass(&mut filter, &announce).unwrap(), announce);
    assert_eq!(pass(&mut filter, &extended).unwrap(), b"");
    filter.standing.set(CONTROL);
    assert_eq!(pass(&mut filter, &extended).unwrap(), extended);
    filter.standing.set(VIEW);
    assert!(matches!(
        pass(&mut filter, &REQUEST),
        Err(Ending::CannotHold)
    ));
}

#[test]
fn what_is_no_rfb_ends_the_connection() {
    for rights in [VIEW, CONTROL] {
        let refused = pass(&mut filter(rights), &[REQUEST.as_slice(), &[7]].concat());
        let Err(Ending::ViewerRefused(reason)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(
            reason,
            "the viewer sent an RFB message of the unknown type 7"
        );
    }
}

#[test]
fn what_cannot_be_understood_is_kept_out_as_a_whole() {
    let of = |protocol, presence, rights| {
        Filter::new(
            &endpoint(protocol, presence),
            Arc::new(Standing::new(rights)),
        )
    };
    for presence in [Presence::Viewer, Presence::Listener] {
        let mut opaque = of(Protocol::Tcp, presence, VIEW);
        assert_eq!(pass(&mut opaque, b"anything").unwrap(), b"");
        opaque.standing.set(CONTROL);
        assert_eq!(pass(&mut opaque, b"anything").unwrap(), b"anything");
    }
    // Also of one who may not paste.
    let controls = Rights {
        role: Role::Control,
        clipboard: Clipboard::Out,
    };
    let mut display = of(Protocol::Display, Presence::Listener, VIEW);
    assert_eq!(pass(&mut display, b"scale 2\n").unwrap(), b"");
    display.standing.set(controls);
    assert_eq!(pass(&mut display, b"scale 2\n").unwrap(), b"scale 2\n");
    let mut frames = of(Protocol::Websocket, Presence::Viewer, CONTROL);
    assert_eq!(pass(&mut frames, b"anything").unwrap(), b"anything");
    frames.standing.set(VIEW);
    assert!(matches!(
        pass(&mut frames, b"anything"),
        Err(Ending::CannotHold)
    ));
    let mut listening = of(Protocol::Websocket, Presence::Listener, VIEW);
    assert_eq!(pass(&mut listening, b"anything").unwrap(), b"anything");
}
