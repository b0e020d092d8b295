//! Whatever a server sends after its handshake, in whatever pieces: no panic, it is passed on as it is, and where another
//! server could go on does not depend on the pieces. The same as property tests on stable: `the_pieces_do_not_matter` and
//! `any_bytes_are_passed_on_as_they_are`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rfb::updates::Updates;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = follow(bytes, bytes.len());
    let cut = follow(bytes, usize::from(piece) + 1);
    assert_eq!(whole, cut);
});

/// What is known after the last piece.
fn follow(bytes: &[u8], piece: usize) -> (bool, (u16, u16)) {
    let mut updates = Updates::default();
    for rest in bytes.chunks(piece.max(1)) {
        let mut passed = rest.to_vec();
        updates.advance(&mut passed);
        assert_eq!(passed, rest);
    }
    (updates.can_be_succeeded(), updates.size())
}
