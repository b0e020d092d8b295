use futures_util::{SinkExt, StreamExt};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_websockets::{ClientBuilder, Message};

use super::*;

/// Everything a decoder says about an input, however it was cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    payload: Vec<u8>,
    pongs: Vec<Vec<u8>>,
    close: Option<Close>,
    error: Option<FrameError>,
}

/// Decodes `input` in pieces of these lengths, over and over.
fn decode(input: &[u8], pieces: &[usize]) -> Seen {
    let mut decoder = Decoder::default();
    let mut seen = Seen::default();
    let mut rest = input;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let len = pieces
            .next()
            .map_or(rest.len(), |len| (*len).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(len);
        rest = after;
        // Something before and after it, which must stay as it is.
        let mut buffer = [b"before", piece, b"after"].concat();
        let input = 6..6 + len;
        match decoder.decode(&mut buffer, input.clone()) {
            Ok(decoded) => {
                assert!(decoded.payload.is_empty() || input.start <= decoded.payload.start);
                assert!(decoded.payload.end <= input.end);
                seen.payload.extend_from_slice(&buffer[decoded.payload]);
                seen.close = decoded.close;
            }
            Err(error) => seen.error = Some(error),
        }
        assert!(buffer.starts_with(b"before") && buffer.ends_with(b"after"));
        if let Some(pong) = decoder.take_pong() {
            seen.pongs.push(pong.bytes()[2..].to_vec());
        }
        if seen.close.is_some() || seen.error.is_some() {
            break;
        }
    }
    seen
}

/// A frame as a client sends it, with the length in the shortest form.
fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.put_u8(MASKED | len as u8),
        len @ ..65_536 => {
            frame.put_u8(MASKED | 126);
            frame.put_u16(len as u16);
        }
        len => {
            frame.put_u8(MASKED | 127);
            frame.put_u64(len as u64);
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

#[derive(Clone, Debug)]
struct Fragment {
    payload: Vec<u8>,
    mask: [u8; 4],
    /// A control frame behind it: a ping or a pong.
    control: Option<(bool, Vec<u8>)>,
}

fn fragments() -> impl Strategy<Value = Vec<Vec<Fragment>>> {
    let payload = prop_oneof![vec(any::<u8>(), 0..300), vec(any::<u8>(), 65_530..65_545)];
    let control = proptest::option::of((any::<bool>(), vec(any::<u8>(), 0..=CONTROL_MAX_LEN)));
    let fragment =
        (payload, any::<[u8; 4]>(), control).prop_map(|(payload, mask, control)| Fragment {
            payload,
            mask,
            control,
        });
    vec(vec(fragment, 1..4), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_cut_of_any_messages_gives_their_payload(
        messages in fragments(),
        pieces in vec(1_usize..5_000, 1..8),
        close in proptest::option::of(3000_u16..5000),
    ) {
        let mut input = Vec::new();
        let mut expected = Seen::default();
        for message in &messages {
            for (index, fragment) in message.iter().enumerate() {
                let opcode = if index == 0 { BINARY } else { CONTINUATION };
                let fin = if index + 1 == message.len() { FIN } else { 0 };
                input.extend(masked(fin | opcode, &fragment.payload, fragment.mask));
                expected.payload.extend_from_slice(&fragment.payload);
                if let Some((ping, payload)) = &fragment.control {
                    let opcode = if *ping { PING } else { PONG };
                    input.extend(masked(FIN | opcode, payload, fragment.mask));
                }
            }
        }
        if let Some(code) = close {
            input.extend(masked(FIN | CLOSE, &code.to_be_bytes(), [1, 2, 3, 4]));
            expected.close = Some(Close { code: Some(code) });
            input.extend_from_slice(b"whatever comes behind");
        }
        let seen = decode(&input, &pieces);
        prop_assert_eq!(&seen.payload, &expected.payload);
        prop_assert_eq!(seen.close, expected.close);
        prop_assert_eq!(seen.error, None);
        // Of several pings in one piece only the latest is answered; byte by byte there is one at a time.
        let pings: Vec<Vec<u8>> = messages
            .iter()
            .flatten()
            .filter_map(|fragment| fragment.control.clone())
            .filter_map(|(ping, payload)| ping.then_some(payload))
            .collect();
        prop_assert!(seen.pongs.iter().all(|pong| pings.contains(pong)));
        prop_assert_eq!(seen.pongs.last(), pings.last());
        prop_assert_eq!(decode(&input, &[1]).pongs, pings);
    }

    /// Whatever comes: no panic, and the same verdict however it is cut.
    #[test]
    fn any_bytes_get_the_same_verdict_in_any_cut(
        mut input in vec(any::<u8>(), 0..400),
        likely in any::<bool>(),
        pieces in vec(1_usize..50, 1..8),
    ) {
        if likely && input.len() > 2 {
            // Past the first checks, which random bytes seldom are.
            input[0] = FIN | BINARY;
            input[1] = MASKED | (input[1] & 0x1f);
        }
        let whole = decode(&input, &[usize::MAX]);
        let cut = decode(&input, &pieces);
        prop_assert_eq!(&whole.close, &cut.close);
        prop_assert_eq!(&whole.error, &cut.error);
        if whole.error.is_none() {
            prop_assert_eq!(&whole.payload, &cut.payload);
        }
    }

    /// Boundaries are found wherever they are, and only there.
    #[test]
    fn a_tracker_knows_where_frames_end(
        lens in vec(prop_oneof![0_usize..300, 65_530_usize..65_545], 1..6),
        pieces in vec(1_usize..5_000, 1..8),
    ) {
        let mut input = Vec::new();
        let mut ends = Vec::new();
        for len in &lens {
            let mut buffer = vec![0; SERVER_HEADER_MAX_LEN + len];
            let payload = SERVER_HEADER_MAX_LEN..buffer.len();
            let frame = frame_in_place(&mut buffer, payload);
            input.extend_from_slice(&buffer[frame]);
            ends.push(input.len());
        }
        input.extend_from_slice(ControlFrame::close(Some(1000), "end").bytes());
        ends.push(input.len());

        let mut tracker = Tracker::default();
        let mut at = 0;
        for end in &ends {
            prop_assert!(!tracker.closed());
            at += tracker.advance_to_boundary(&input[at..]);
            prop_assert_eq!(at, *end);
            prop_assert!(tracker.at_boundary());
        }
        prop_assert!(tracker.closed());

        let mut tracker = Tracker::default();
        let mut at = 0;
        for piece in pieces.iter().cycle() {
            let piece = &input[at..(at + piece).min(input.len())];
            tracker.advance(piece);
            at += piece.len();
            prop_assert_eq!(tracker.at_boundary(), ends.contains(&at));
            prop_assert_eq!(tracker.closed(), at == input.len());
            if at == input.len() {
                break;
            }
        }
    }
}

#[test]
fn each_breach_has_its_error() {
    let mask = [9, 8, 7, 6];
    let close = |payload: &[u8]| masked(FIN | CLOSE, payload, mask);
    for (input, error) in [
        (vec![0x82, 0x01, 0x00], FrameError::Unmasked),
        (masked(0xc2, b"x", mask), FrameError::ReservedBits),
        (masked(0xa2, b"x", mask), FrameError::ReservedBits),
        (masked(0x92, b"x", mask), FrameError::ReservedBits),
        (masked(0x83, b"x", mask), FrameError::ReservedOpcode),
        (masked(0x8f, b"x", mask), FrameError::ReservedOpcode),
        (
            vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0],
            FrameError::MalformedLength,
        ),
        (
            vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
            FrameError::MalformedLength,
        ),
        (
            vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            FrameError::MalformedLength,
        ),
        (masked(0x89, &[0; 126], mask), FrameError::MalformedControl),
        (masked(0x09, b"x", mask), FrameError::MalformedControl),
        (masked(0x80, b"x", mask), FrameError::UnexpectedFragment),
        (
            [masked(0x02, b"x", mask), masked(0x82, b"y", mask)].concat(),
            FrameError::UnexpectedFragment,
        ),
        (masked(0x81, b"x", mask), FrameError::Text),
        (masked(0x81, b"", mask), FrameError::Text),
        (close(b"x"), FrameError::MalformedClose),
        (close(&999_u16.to_be_bytes()), FrameError::MalformedClose),
        (close(&1004_u16.to_be_bytes()), FrameError::MalformedClose),
        (close(&1005_u16.to_be_bytes()), FrameError::MalformedClose),
        (close(&1006_u16.to_be_bytes()), FrameError::MalformedClose),
        (close(&1015_u16.to_be_bytes()), FrameError::MalformedClose),
        (close(&2999_u16.to_be_bytes()), FrameError::MalformedClose),
        (close(&5000_u16.to_be_bytes()), FrameError::MalformedClose),
        (close(b"\x03\xe8\xff"), FrameError::InvalidText),
    ] {
        let seen = decode(&input, &[1]);
        assert_eq!(seen.error, Some(error), "{input:x?}");
    }
}

#[test]
fn a_frame_of_any_length_may_begin() {
    let mut decoder = Decoder::default();
    let mut input = vec![
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    input.extend_from_slice(b"payload");
    let len = input.len();
    let decoded = decoder.decode(&mut input, 0..len).unwrap();
    assert_eq!(&input[decoded.payload], b"payload");
}

#[test]
fn a_close_frame_may_be_empty() {
    let seen = decode(&masked(FIN | CLOSE, b"", [1; 4]), &[1]);
    assert_eq!(seen.close, Some(Close { code: None }));
    assert_eq!(ControlFrame::close(None, "ignored").bytes(), b"\x88\x00");
}

#[test]
fn a_reason_that_is_too_long_is_cut_at_a_character() {
    let frame = ControlFrame::close(Some(1000), &"€".repeat(100));
    let payload = &frame.bytes()[2..];
    assert!(payload.len() <= CONTROL_MAX_LEN);
    assert_eq!(std::str::from_utf8(&payload[2..]).unwrap(), "€".repeat(41));
}

/// An independent implementation as the client, in both directions.
#[tokio::test]
async fn another_implementation_understands_and_is_understood() {
    let lens = [0, 1, 125, 126, 1000, 65_535, 65_536, 200_000];
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut client = ClientBuilder::new().take_over(near);

    let mut expected = Vec::new();
    let sending = async {
        for (index, len) in lens.iter().enumerate() {
            let payload = vec![index as u8; *len];
            client.send(Message::binary(payload.clone())).await.unwrap();
            client.send(Message::ping(&b"ping"[..])).await.unwrap();
            expected.extend(payload);
        }
        client.send(Message::close(None, "")).await.unwrap();
    };
    let receiving = async {
        let mut decoder = Decoder::default();
        let mut received = Vec::new();
        let mut buffer = vec![0; 10_007];
        loop {
            let len = far.read(&mut buffer).await.unwrap();
            let decoded = decoder.decode(&mut buffer, 0..len).unwrap();
            received.extend_from_slice(&buffer[decoded.payload]);
            if let Some(close) = decoded.close {
                assert_eq!(decoder.take_pong().unwrap().bytes(), b"\x8a\x04ping");
                return (received, close);
            }
        }
    };
    let ((), (received, close)) = tokio::join!(sending, receiving);
    assert_eq!(close, Close { code: None });
    assert!(received == expected);

    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut client = ClientBuilder::new().take_over(near);
    for (index, len) in lens.iter().enumerate() {
        let mut buffer = vec![index as u8; SERVER_HEADER_MAX_LEN + len];
        let payload = SERVER_HEADER_MAX_LEN..buffer.len();
        let frame = frame_in_place(&mut buffer, payload);
        far.write_all(&buffer[frame]).await.unwrap();
        far.write_all(ControlFrame::ping().bytes()).await.unwrap();
    }
    far.write_all(ControlFrame::close(Some(1012), "again").bytes())
        .await
        .unwrap();
    let mut messages = Vec::new();
    while let Some(message) = client.next().await {
        messages.push(message.unwrap());
    }
    let binary: Vec<_> = messages
        .iter()
        .filter(|message| message.is_binary())
        .collect();
    assert_eq!(binary.len(), lens.len());
    for (index, (message, len)) in binary.iter().zip(lens).enumerate() {
        assert!(message.as_payload()[..] == vec![index as u8; len]);
    }
    let (code, reason) = messages.last().unwrap().as_close().unwrap();
    assert_eq!((u16::from(code), reason), (1012, "again"));
}
