use proptest::collection::vec;
use proptest::prelude::*;

use rfb::client::AREA_MAX;

use super::*;
use crate::desktop::rights::Clipboard;
use crate::gateway::screen::Screens;

const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 0x61];
const POINTER: [u8; 6] = [5, 1, 0, 1, 0, 2];
const REQUEST: [u8; 10] = [3, 1, 0, 0, 0, 0, 0, 64, 0, 48];
const CUT_TEXT: [u8; 11] = [6, 0, 0, 0, 0, 0, 0, 3, 4, 1, 0];
const FENCE: [u8; 11] = [248, 0, 0, 0, 0, 0, 0, 1, 2, 5, 5];
const CLIPBOARD_REQUEST: [u8; 12] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 2, 0, 0, 1];
const CLIPBOARD_NOTIFY: [u8; 12] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 8, 0, 0, 1];
/// `SetEncodings` with ExtendedDesktopSize (-308), and with Raw only.
const TAKES_SIZES: [u8; 8] = [2, 0, 0, 1, 0xff, 0xff, 0xfe, 0xcc];
const TAKES_NO_SIZES: [u8; 8] = [2, 0, 0, 1, 0, 0, 0, 0];
const SET_DESKTOP_SIZE: [u8; 24] = [
    251, 0, 4, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0, 0, 0, 0,
];

/// Messages, how much of each has to be known to judge it, and whether one who only looks on may send it.
const SAMPLES: [(&[u8], usize, bool); 15] = [
    (&[0; 20], 20, true),
    (&[2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5], 4, true),
    (&REQUEST, 10, true),
    (&KEY, 8, false),
    (&POINTER, 6, false),
    (&CUT_TEXT, 8, false),
    (&CLIPBOARD_REQUEST, 12, true),
    (&CLIPBOARD_NOTIFY, 12, false),
    (&[150, 1, 0, 0, 0, 0, 0, 64, 0, 48], 10, true),
    (&FENCE, 9, true),
    (&[250, 0, 1, 2], 4, false),
    (&[253, 0x81, 0, 4, 4, 1, 0, 0], 4, false),
    (&[255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0x1e], 12, false),
    (&[255, 1, 0, 0], 4, false),
    (&[255, 1, 0, 2, 1, 2, 0, 0, 172, 68], 10, false),
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
    filter_of(&endpoint(Protocol::Rfb, Presence::Viewer), rights)
}

/// Of a client that takes sizes of the screen.
fn sized_filter(rights: Rights) -> Filter {
    let mut filter = filter(rights);
    pass(&mut filter, &TAKES_SIZES).unwrap();
    filter
}

fn filter_of(endpoint: &Endpoint, rights: Rights) -> Filter {
    let standing = Arc::new(Standing::new(rights));
    let seat = Screens::default().sit(&"wall".parse().unwrap(), Arc::clone(&standing));
    Filter::new(endpoint, standing, seat, Arc::default(), AREA_MAX)
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
    let sifted = filter.apply(&mut buffer, payload);
    match sifted.ending {
        None => Ok(buffer[sifted.passed].to_vec()),
        Some(ending) => Err(ending),
    }
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
            allowed || free[at + head - 1]
        });
        prop_assert_eq!(passed, expected);
    }
}

#[test]
fn what_has_begun_to_pass_passes_to_its_end() {
    let mut filter = filter(CONTROL);
    assert_eq!(pass(&mut filter, &CUT_TEXT[..9]).unwrap(), CUT_TEXT[..9]);
    filter.standing.set(VIEW);
    let rest = [&CUT_TEXT[9..], &KEY, &REQUEST].concat();
    assert_eq!(
        pass(&mut filter, &rest).unwrap(),
        [&CUT_TEXT[9..], &REQUEST].concat()
    );
}

/// Symbols that the desktop's keyboard does not have, in a burst between other messages: what has to wait is what follows.
#[tokio::test(start_paused = true)]
async fn a_burst_of_symbols_passes_in_order_and_in_parts() {
    let mut filter = filter(CONTROL);
    let mut sent = Vec::new();
    for symbol in 0..200_u32 {
        let keysym = (0x0100_4e00 + symbol).to_be_bytes();
        for down in [1, 0] {
            sent.extend([&[4, down, 0, 0][..], &keysym, &POINTER].concat());
        }
    }
    let mut buffer = vec![0xee; rfb::messages::HEAD_MAX_LEN];
    buffer.extend_from_slice(&sent);
    let (mut passed, mut waits) = (Vec::new(), 0);
    let mut rest = rfb::messages::HEAD_MAX_LEN..buffer.len();
    loop {
        let sifted = filter.apply(&mut buffer, rest);
        passed.extend_from_slice(&buffer[sifted.passed]);
        let Some((later, until)) = sifted.later else {
            break;
        };
        assert!(until > Instant::now());
        tokio::time::sleep_until(until).await;
        waits += 1;
        rest = later;
    }
    assert_eq!(passed, sent);
    assert_eq!(waits, 100);
}

#[test]
fn a_key_passes_as_a_whole_or_not_at_all() {
    let mut filter = filter(CONTROL);
    assert_eq!(pass(&mut filter, &KEY[..7]).unwrap(), b"");
    assert_eq!(pass(&mut filter, &KEY[7..]).unwrap(), KEY);
    assert_eq!(pass(&mut filter, &KEY[..7]).unwrap(), b"");
    filter.standing.set(VIEW);
    assert_eq!(pass(&mut filter, &KEY[7..]).unwrap(), b"");
}

const KEY_UP: [u8; 8] = [4, 0, 0, 0, 0, 0, 0, 0x61];
const POINTER_UP: [u8; 6] = [5, 0, 0, 1, 0, 2];

#[test]
fn who_loses_control_has_let_go_of_everything_between_two_messages() {
    let mut filter = filter(CONTROL);
    pass(&mut filter, &[&KEY[..], &POINTER].concat()).unwrap();
    assert_eq!(filter.speak().unwrap(), b"");
    filter.standing.set(VIEW);
    // The beginning of a message that is held back is none that the server has.
    pass(&mut filter, &REQUEST[..4]).unwrap();
    assert_eq!(filter.speak().unwrap(), [&KEY_UP[..], &POINTER_UP].concat());
    assert_eq!(filter.speak().unwrap(), b"");
    assert_eq!(filter.let_go(), b"");
}

#[test]
fn who_loses_control_in_the_middle_of_a_message_has_let_go_behind_it_and_owes_that_until_then() {
    let mut filter = filter(CONTROL);
    pass(&mut filter, &[&KEY[..], &CUT_TEXT[..9]].concat()).unwrap();
    assert_eq!(filter.let_go(), b"");
    assert!(!filter.owes_release());
    filter.standing.set(VIEW);
    assert_eq!(filter.speak().unwrap(), b"");
    assert!(filter.owes_release());
    assert_eq!(pass(&mut filter, &CUT_TEXT[9..]).unwrap(), CUT_TEXT[9..]);
    assert_eq!(filter.speak().unwrap(), KEY_UP);
    assert!(!filter.owes_release());
}

/// Letting go is a message as any other one, also in front of what is no RFB.
#[test]
fn what_came_before_what_is_no_rfb_goes_on() {
    let mut filter = filter(CONTROL);
    pass(&mut filter, &KEY).unwrap();
    let mut buffer = [0xee; rfb::messages::HEAD_MAX_LEN].to_vec();
    buffer.extend([&KEY_UP[..], &[7], &KEY].concat());
    let payload = rfb::messages::HEAD_MAX_LEN..buffer.len();
    let Sifted { passed, ending, .. } = filter.apply(&mut buffer, payload);
    assert_eq!(buffer[passed], KEY_UP);
    assert!(matches!(ending, Some(Ending::ViewerRefused(_))));
    assert_eq!(filter.let_go(), b"");
}

#[test]
fn who_leaves_has_let_go_of_everything() {
    let mut filter = filter(CONTROL);
    pass(&mut filter, &[&KEY[..], &POINTER, &KEY[..5]].concat()).unwrap();
    assert_eq!(filter.let_go(), [&KEY_UP[..], &POINTER_UP].concat());
    assert_eq!(filter.let_go(), b"");
}

#[test]
fn what_was_held_down_on_a_server_that_is_gone_is_no_more() {
    let mut filter = filter(CONTROL);
    pass(&mut filter, &KEY).unwrap();
    filter.server_is_gone();
    // What comes before there is another one goes nowhere.
    pass(&mut filter, &[&POINTER[..], &REQUEST[..4]].concat()).unwrap();
    filter.turn();
    assert_eq!(filter.let_go(), b"");
    // Nor is the message that was meant for it.
    let rest = [&REQUEST[4..], &KEY].concat();
    assert_eq!(pass(&mut filter, &rest).unwrap(), KEY);
}

#[test]
fn a_size_is_asked_for_as_a_whole_message_unless_it_is_refused() {
    let mut large = SET_DESKTOP_SIZE;
    large[2] = 0x40;
    large[4] = 0x40;
    let none = [251, 0, 4, 0, 3, 0, 0, 0];
    for (message, rights, refused) in [
        (&SET_DESKTOP_SIZE[..], CONTROL, None),
        (&SET_DESKTOP_SIZE, VIEW, Some(ResizeStatus::Prohibited)),
        (&large, CONTROL, Some(ResizeStatus::Prohibited)),
        (&none, CONTROL, Some(ResizeStatus::InvalidLayout)),
    ] {
        for len in [1, 7, 8, 100] {
            let mut filter = sized_filter(rights);
            let mut passed = Vec::new();
            for piece in [message, &REQUEST].concat().chunks(len) {
                passed.extend(pass(&mut filter, piece).unwrap());
            }
            assert_eq!(passed, REQUEST);
            let said = filter.speak().unwrap();
            assert_eq!(said, if refused.is_none() { message } else { &[] });
            assert_eq!(filter.speak().unwrap(), b"");
            assert_eq!(filter.take_refused(), refused);
            assert_eq!(filter.take_refused(), None);
        }
    }
}

#[test]
fn a_size_that_nobody_answered_is_refused_when_the_server_is_gone() {
    let mut filter = sized_filter(CONTROL);
    filter.note_size((640, 480), &[7; 16]);
    pass(&mut filter, &SET_DESKTOP_SIZE).unwrap();
    assert_eq!(filter.speak().unwrap(), SET_DESKTOP_SIZE);
    assert_eq!(filter.server_is_gone(), Some((640, 480)));
    assert_eq!(filter.take_refused(), Some(ResizeStatus::OutOfResources));
    filter.turn();
    assert_eq!(filter.speak().unwrap(), b"");
}

#[test]
fn a_size_is_not_asked_for_by_who_cannot_be_told_of_it() {
    let mut silent = filter(CONTROL);
    pass(&mut silent, &SET_DESKTOP_SIZE).unwrap();
    assert_eq!(silent.speak().unwrap(), b"");
    assert_eq!(silent.take_refused(), None);

    // Nor by who could when it asked.
    let mut changed = sized_filter(CONTROL);
    pass(
        &mut changed,
        &[&SET_DESKTOP_SIZE[..], &TAKES_NO_SIZES].concat(),
    )
    .unwrap();
    assert_eq!(changed.speak().unwrap(), b"");
}

#[test]
fn a_size_that_waited_until_control_was_lost_is_refused() {
    let mut filter = sized_filter(CONTROL);
    pass(
        &mut filter,
        &[&SET_DESKTOP_SIZE[..], &CUT_TEXT[..9]].concat(),
    )
    .unwrap();
    assert_eq!(filter.speak().unwrap(), b"");
    filter.standing.set(VIEW);
    pass(&mut filter, &CUT_TEXT[9..]).unwrap();
    assert_eq!(filter.speak().unwrap(), b"");
    assert_eq!(filter.take_refused(), Some(ResizeStatus::Prohibited));
}

#[test]
fn a_size_that_was_given_and_did_not_last_is_nobodys_any_more() {
    let mut filter = sized_filter(CONTROL);
    let mut large = SET_DESKTOP_SIZE;
    (large[2], large[4]) = (0x0f, 0x08);
    filter.note_size((640, 480), &[7; 16]);
    pass(&mut filter, &large).unwrap();
    assert_eq!(filter.speak().unwrap(), large);
    filter.resize_was_answered(0);
    assert_eq!(filter.wishes().size(), large);
    filter.note_size((0x0f00, 0x0800), &[7; 16]);
    assert_eq!(filter.server_is_gone(), Some((640, 480)));
    assert!(filter.wishes().size().is_empty());
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
    let of = |protocol, presence, rights| filter_of(&endpoint(protocol, presence), rights);
    for protocol in [Protocol::Tcp, Protocol::Websocket] {
        let mut opaque = of(protocol, Presence::Viewer, CONTROL);
        assert_eq!(pass(&mut opaque, b"anything").unwrap(), b"anything");
        assert_eq!(opaque.speak().unwrap(), b"");
        opaque.standing.set(VIEW);
        assert!(matches!(
            pass(&mut opaque, b"anything"),
            Err(Ending::CannotHold)
        ));
        // It goes at once, and with it what it holds down.
        assert!(matches!(opaque.speak(), Err(Ending::CannotHold)));
    }
    // Also of one who may not paste.
    let controls = Rights {
        role: Role::Control,
        clipboard: Clipboard::Out,
    };
    let mut beside = of(Protocol::Tcp, Presence::Listener, VIEW);
    assert_eq!(pass(&mut beside, b"anything").unwrap(), b"");
    assert_eq!(beside.speak().unwrap(), b"");
    beside.standing.set(controls);
    assert_eq!(pass(&mut beside, b"anything").unwrap(), b"anything");
    // What was said would stay in force.
    let mut display = of(Protocol::Display, Presence::Listener, controls);
    assert_eq!(pass(&mut display, b"scale 2\n").unwrap(), b"scale 2\n");
    assert_eq!(display.speak().unwrap(), b"");
    display.standing.set(VIEW);
    assert!(matches!(
        pass(&mut display, b"scale 3\n"),
        Err(Ending::CannotHold)
    ));
    assert!(matches!(display.speak(), Err(Ending::CannotHold)));
    let mut listening = of(Protocol::Websocket, Presence::Listener, VIEW);
    assert_eq!(pass(&mut listening, b"anything").unwrap(), b"anything");
    assert_eq!(listening.speak().unwrap(), b"");
}
