//! Whatever a client sends, in whatever pieces: no panic, and the verdict does not depend on the pieces.
//! The same as a property test on stable: `any_bytes_get_the_same_verdict_in_any_cut`.

#![no_main]

use libfuzzer_sys::fuzz_target;

use self::frame::{Close, Decoder, FrameError};

// The module by itself, so that the fuzzer does not build the whole service around it.
#[expect(dead_code, reason = "only the decoder is fuzzed")]
#[rustfmt::skip]
#[path = "../../crates/cosage/src/gateway/frame.rs"]
mod frame;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = decode(bytes, bytes.len());
    let cut = decode(bytes, usize::from(piece) + 1);
    assert_eq!(whole.1, cut.1);
    if whole.1.is_ok() {
        assert_eq!(whole.0, cut.0);
    }
});

fn decode(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<Option<Close>, FrameError>) {
    let mut decoder = Decoder::default();
    let mut payload = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        let mut buffer = piece.to_vec();
        match decoder.decode(&mut buffer, 0..piece.len()) {
            Ok(decoded) => {
                payload.extend_from_slice(&buffer[decoded.payload]);
                if decoded.close.is_some() {
                    return (payload, Ok(decoded.close));
                }
            }
            Err(error) => return (payload, Err(error)),
        }
    }
    (payload, Ok(None))
}
