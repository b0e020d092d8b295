//! Whatever an instance sends as its sound, in whatever pieces: no panic, and the parts do not depend on the pieces.
//! The same as a property test on stable: `however_a_stream_is_cut_its_parts_are_the_same`.

#![no_main]

use libfuzzer_sys::fuzz_target;

use self::webm::{Part, Splitter, WebmError};

// The module by itself, so that the fuzzer does not build the whole service around it.
#[path = "../../crates/cosage/src/gateway/audio/webm.rs"]
mod webm;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = split(bytes, bytes.len());
    let cut = split(bytes, usize::from(piece) + 1);
    assert_eq!(whole, cut);
});

fn split(bytes: &[u8], piece: usize) -> (Vec<Part>, Option<WebmError>) {
    let mut splitter = Splitter::default();
    let mut parts = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        splitter.buffer().extend_from_slice(piece);
        loop {
            match splitter.next_part() {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => break,
                Err(error) => return (parts, Some(error)),
            }
        }
    }
    (parts, None)
}
