//! Whatever a viewer sends after its handshake, in whatever pieces: no panic, and the verdict does not depend on the
//! pieces. The same as a property test on stable: `any_bytes_get_the_same_verdict_in_any_cut`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rfb::messages::{Kind, MessageError, Messages, Part};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = follow(bytes, bytes.len());
    let cut = follow(bytes, usize::from(piece) + 1);
    assert_eq!(whole, cut);
});

/// Each message's kind and how much of it came; then what was wrong.
fn follow(bytes: &[u8], piece: usize) -> (Vec<(Kind, usize)>, Option<MessageError>) {
    let mut messages = Messages::default();
    let mut told: Vec<(Kind, usize)> = Vec::new();
    for mut rest in bytes.chunks(piece.max(1)) {
        while !rest.is_empty() {
            let held = messages.beginning().len();
            match messages.advance(rest) {
                Ok((len, part)) => {
                    rest = &rest[len..];
                    match part {
                        Part::Beginning => {}
                        Part::Head(kind) => told.push((kind, held + len)),
                        Part::Body => told.last_mut().expect("a body follows a head").1 += len,
                    }
                }
                Err(error) => return (told, Some(error)),
            }
        }
    }
    (told, None)
}
