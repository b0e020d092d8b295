use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// 32 bits, of which 24 are used, blue lowest.
const FORMAT: [u8; PIXEL_FORMAT_LEN] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

fn init(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = [width.to_be_bytes(), height.to_be_bytes()].concat();
    bytes.extend(FORMAT);
    bytes.extend([0, 0, 0, 4]);
    bytes.extend(b"tiny");
    bytes
}

fn rectangle(x: u16, y: u16, width: u16, height: u16, encoding: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [x, y, width, height]
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect();
    bytes.extend(encoding.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn update(rectangles: &[Vec<u8>]) -> Vec<u8> {
    let [high, low] = u16::try_from(rectangles.len()).unwrap().to_be_bytes();
    let mut bytes = vec![FRAMEBUFFER_UPDATE, 0, high, low];
    bytes.extend(rectangles.concat());
    bytes
}

/// What looks like messages of its own, if it is not passed over.
fn body(len: usize) -> Vec<u8> {
    [0, 0, 0, 9, 2, 3, 0xff, 1]
        .iter()
        .copied()
        .cycle()
        .take(len)
        .collect()
}

fn tight(control: &[u8], data: usize) -> Vec<u8> {
    [control, &body(data)].concat()
}

/// One rectangle of each kind that is followed, 20 by 10 pixels where it is a picture.
fn rectangles() -> impl Strategy<Value = Vec<u8>> {
    let of = |encoding, body: Vec<u8>| rectangle(3, 4, 20, 10, encoding, &body);
    prop_oneof![
        Just(of(RAW, body(800))),
        Just(of(COPY_RECT, body(4))),
        Just(of(CURSOR, body(800 + 30))),
        Just(of(X_CURSOR, body(6 + 60))),
        Just(rectangle(0, 0, 0, 0, X_CURSOR, &[])),
        Just(of(VMWARE_CURSOR, [vec![0, 0], body(1600)].concat())),
        Just(of(VMWARE_CURSOR, [vec![1, 0], body(800)].concat())),
        Just(of(QEMU_EXTENDED_KEY_EVENT, vec![])),
        Just(of(EXTENDED_MOUSE_BUTTONS, vec![])),
        Just(of(QEMU_LED_STATE, body(1))),
        Just(of(VMWARE_LED_STATE, body(4))),
        Just(of(DESKTOP_NAME, [vec![0, 0, 0, 9], body(9)].concat())),
        Just(of(
            EXTENDED_DESKTOP_SIZE,
            [vec![2, 0, 0, 0], body(32)].concat()
        )),
        // A fill, a JPEG picture with one, two and three bytes of length, PNG.
        Just(of(TIGHT, tight(&[0x80], 3))),
        Just(of(TIGHT, tight(&[0x90, 0x7f], 127))),
        Just(of(TIGHT, tight(&[0x90, 0x80, 0x01], 128))),
        Just(of(TIGHT, tight(&[0x90, 0xff, 0xff, 0x03], 65_535))),
        Just(of(TIGHT_PNG, tight(&[0xa0, 5], 5))),
        // Basic compression: without a filter, with the copy filter, with a gradient.
        Just(of(TIGHT, tight(&[0x00, 100], 100))),
        Just(of(TIGHT, tight(&[0x50, 0x00, 100], 100))),
        Just(of(TIGHT, tight(&[0x60, 0x02, 100], 100))),
        // Palettes of two colours, which take three bytes a row, and of four.
        Just(of(
            TIGHT,
            [vec![0x40, 0x01, 1], body(6), vec![30], body(30)].concat()
        )),
        Just(of(
            TIGHT,
            [vec![0x70, 0x01, 3], body(12), vec![90], body(90)].concat()
        )),
        // Too little to be compressed.
        Just(rectangle(0, 0, 3, 1, TIGHT, &tight(&[0x00], 9))),
        Just(rectangle(
            0,
            0,
            8,
            1,
            TIGHT,
            &[vec![0x40, 0x01, 1], body(6), body(1)].concat()
        )),
    ]
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(rectangles(), 0..4).prop_map(|rectangles| update(&rectangles)),
        vec(rectangles(), 0..4).prop_map(|rectangles| {
            let mut bytes = vec![FRAMEBUFFER_UPDATE, 0, 0xff, 0xff];
            bytes.extend(rectangles.concat());
            bytes.extend(rectangle(0, 0, 0, 0, LAST_RECT, &[]));
            bytes
        }),
        Just([vec![SET_COLOUR_MAP_ENTRIES, 0, 0, 0, 0, 2], body(12)].concat()),
        Just(vec![BELL]),
        Just(vec![END_OF_CONTINUOUS_UPDATES]),
        Just([vec![SERVER_CUT_TEXT, 0, 0, 0, 0, 0, 0, 5], body(5)].concat()),
        Just(
            [
                vec![SERVER_CUT_TEXT, 0, 0, 0, 0xff, 0xff, 0xff, 0xfb],
                body(5)
            ]
            .concat()
        ),
        Just([vec![SERVER_FENCE, 0, 0, 0, 0x80, 0, 0, 1, 7], body(7)].concat()),
        Just(vec![XVP, 0, 1, 1]),
    ]
}

/// At which places a stream could be succeeded, when it comes in these pieces.
fn ends(stream: &[u8], pieces: &[usize]) -> Vec<usize> {
    let mut updates = Updates::default();
    let (mut at, mut found) = (0, Vec::new());
    for piece in pieces.iter().cycle() {
        let end = (at + piece).min(stream.len());
        let mut bytes = stream[at..end].to_vec();
        assert_eq!(updates.advance(&mut bytes), bytes.len());
        assert_eq!(bytes, stream[at..end], "it is passed on as it is");
        at = end;
        if updates.can_be_succeeded() {
            found.push(at);
        }
        if at == stream.len() {
            return found;
        }
    }
    found
}

proptest! {
    #[test]
    fn another_server_can_go_on_between_messages_and_nowhere_else(messages in vec(messages(), 0..6)) {
        let mut stream = init(640, 480);
        let mut expected = vec![stream.len()];
        for message in messages {
            stream.extend(message);
            expected.push(stream.len());
        }
        prop_assert_eq!(ends(&stream, &[1]), expected);
    }

    #[test]
    fn the_pieces_do_not_matter(messages in vec(messages(), 0..6), pieces in vec(1..2000_usize, 1..8)) {
        let mut stream = init(640, 480);
        stream.extend(messages.concat());
        let one_by_one = ends(&stream, &[1]);
        let expected = ends(&stream, &pieces);
        prop_assert!(expected.iter().all(|end| one_by_one.contains(end)));
        prop_assert_eq!(expected.last(), Some(&stream.len()));
    }

    #[test]
    fn any_bytes_are_passed_on_as_they_are(stream in vec(any::<u8>(), 1..4000), pieces in vec(1..300_usize, 1..8)) {
        ends(&stream, &pieces);
    }
}

fn after(stream: &[Vec<u8>]) -> Updates {
    let mut updates = Updates::default();
    updates.advance(&mut stream.concat());
    updates
}

#[test]
fn pictures_of_which_only_the_same_server_knows_the_rest_cannot_be_succeeded() {
    for encoding in [ZLIB, ZRLE] {
        let picture = rectangle(0, 0, 20, 10, encoding, &[0, 0, 0, 2, 1, 2]);
        assert!(!after(&[init(640, 480), update(&[picture])]).can_be_succeeded());
    }
}

#[test]
fn what_is_not_known_is_lost_for_good() {
    let hextile = rectangle(0, 0, 16, 16, 5, &[0]);
    for unknown in [update(&[hextile]), vec![77]] {
        let mut updates = after(&[init(640, 480), unknown]);
        updates.advance(&mut [BELL]);
        assert!(!updates.can_be_succeeded());
    }
}

#[test]
fn the_size_is_what_the_viewer_was_told_last() {
    assert_eq!(after(&[init(640, 480)]).size(), (640, 480));
    let sized = |x, y, encoding, body: &[u8]| update(&[rectangle(x, y, 800, 600, encoding, body)]);
    let size = |message| after(&[init(640, 480), message]).size();
    assert_eq!(size(sized(0, 0, DESKTOP_SIZE, &[])), (800, 600));
    let screens = [0; 4];
    assert_eq!(
        size(sized(1, 0, EXTENDED_DESKTOP_SIZE, &screens)),
        (800, 600)
    );
    assert_eq!(
        size(sized(2, 0, EXTENDED_DESKTOP_SIZE, &screens)),
        (800, 600)
    );
    // Refused: the size is the one that it had.
    assert_eq!(
        size(sized(1, 3, EXTENDED_DESKTOP_SIZE, &screens)),
        (640, 480)
    );
}

#[test]
fn the_layout_and_the_answer_to_a_resize_are_what_the_server_said_last() {
    let layout = |screens: &[u8]| {
        let mut list = vec![u8::try_from(screens.len()).unwrap(), 0, 0, 0];
        for screen in screens {
            list.extend([*screen; 16]);
        }
        list
    };
    let said = |x, y, screens: &[u8]| {
        update(&[rectangle(
            x,
            y,
            800,
            600,
            EXTENDED_DESKTOP_SIZE,
            &layout(screens),
        )])
    };
    let mut updates = after(&[init(640, 480), said(0, 0, &[1, 2])]);
    assert_eq!(updates.layout(), [[1; 16], [2; 16]].concat());
    assert_eq!(updates.take_resize_answer(), None);
    for (message, answer, screen) in [
        (said(1, 0, &[3]), Some(0), 3),
        (said(1, 1, &[4]), Some(1), 3),
        (said(2, 0, &[5]), None, 5),
    ] {
        for byte in message {
            updates.advance(&mut [byte]);
        }
        assert_eq!(updates.take_resize_answer(), answer);
        assert_eq!(updates.layout(), [screen; 16]);
        assert!(updates.at_boundary());
    }
}

/// A server, and what its viewer makes of it: zlib streams as in Tight, of which the viewer's go on.
struct Server([flate2::Compress; 4]);

impl Server {
    fn new() -> Self {
        Self([(); 4].map(|()| flate2::Compress::new(flate2::Compression::default(), true)))
    }

    /// A rectangle of 20 by 10 pixels on one of the streams, which is flushed after it, as servers do.
    fn picture(&mut self, stream: usize, pixels: &[u8]) -> Vec<u8> {
        let mut data = Vec::with_capacity(2 * pixels.len() + 100);
        self.0[stream]
            .compress_vec(pixels, &mut data, flate2::FlushCompress::Sync)
            .unwrap();
        let mut body = vec![u8::try_from(stream).unwrap() << 4];
        let len = data.len();
        match len {
            0..128 => body.push(len as u8),
            128..16_384 => body.extend([len as u8 & 0x7f | 0x80, (len >> 7) as u8]),
            _ => body.extend([
                len as u8 & 0x7f | 0x80,
                (len >> 7) as u8 & 0x7f | 0x80,
                (len >> 14) as u8,
            ]),
        }
        body.extend(data);
        update(&[rectangle(0, 0, 20, 10, TIGHT, &body)])
    }
}

/// Reads what [`Server::picture`] makes, as a viewer does.
fn see(streams: &mut [flate2::Decompress; 4], mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut pictures = Vec::new();
    while !bytes.is_empty() {
        let stream = usize::from(bytes[16] >> 4);
        let (mut len, mut at) = (0, 17);
        for shift in [0, 7, 14] {
            let byte = bytes[at];
            at += 1;
            let bits = if shift == 14 { 0xff } else { 0x7f };
            len |= usize::from(byte & bits) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut pixels = Vec::with_capacity(600);
        streams[stream]
            .decompress_vec(
                &bytes[at..at + len],
                &mut pixels,
                flate2::FlushDecompress::Sync,
            )
            .unwrap();
        pictures.push(pixels);
        bytes = &bytes[at + len..];
    }
    pictures
}

fn pixels() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // Nearly nothing, and what cannot be made smaller: with one byte of length and with two.
        any::<u8>().prop_map(|value| vec![value; 600]),
        vec(any::<u8>(), 600),
        (0..40_usize)
            .prop_flat_map(|noise| (vec(any::<u8>(), noise * 4), Just(noise)))
            .prop_map(|(noise, _)| { [noise.clone(), vec![7; 600 - noise.len()]].concat() }),
    ]
}

proptest! {
    #[test]
    fn a_viewer_sees_the_pictures_of_one_server_after_another(
        servers in vec(vec((0..4_usize, pixels()), 0..6), 1..4),
        pieces in vec(1..700_usize, 1..5),
    ) {
        let mut updates = Updates::default();
        updates.advance(&mut init(640, 480));
        let mut streams = [(); 4].map(|()| flate2::Decompress::new(true));
        let mut pieces = pieces.iter().cycle();
        for pictures in servers {
            let mut server = Server::new();
            for (stream, pixels) in pictures {
                let bytes = server.picture(stream, &pixels);
                let (mut rest, mut passed) = (bytes.as_slice(), Vec::new());
                while !rest.is_empty() {
                    let (piece, more) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
                    let mut piece = piece.to_vec();
                    let len = updates.advance(&mut piece);
                    passed.extend(&piece[..len]);
                    rest = more;
                }
                prop_assert_eq!(see(&mut streams, &passed), [pixels]);
                prop_assert!(updates.can_be_succeeded());
            }
            updates.succeed();
        }
    }
}

#[test]
fn a_stream_that_the_server_resets_begins_with_its_head() {
    let mut updates = after(&[init(640, 480), Server::new().picture(1, &[1; 600])]);
    updates.succeed();
    let mut bytes = Server::new().picture(1, &[2; 600]);
    bytes[16] |= 1 << 1;
    let as_it_was = bytes.clone();
    assert_eq!(updates.advance(&mut bytes), bytes.len());
    assert_eq!(bytes, as_it_was);
}

#[test]
fn a_new_format_of_pixels_counts_when_nothing_was_asked_for_yet() {
    let mut format = FORMAT;
    format[..2].copy_from_slice(&[16, 16]);
    let picture = update(&[rectangle(0, 0, 20, 10, RAW, &body(400))]);
    let mut updates = after(&[init(640, 480)]);
    updates.set_pixel_format(format, false);
    updates.advance(&mut picture.clone());
    assert!(updates.can_be_succeeded());
    updates.set_pixel_format(format, true);
    assert!(updates.can_be_succeeded());
    updates.set_pixel_format(FORMAT, true);
    assert!(!updates.can_be_succeeded());
}
