//! VNC Authentication (RFC 6143, 7.2.2): DES with the password as the key.

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};

/// The length of challenge and response in bytes.
pub const CHALLENGE_LEN: usize = 16;

/// The bytes of a password that count; what follows them is ignored.
pub const PASSWORD_MAX_LEN: usize = 8;

/// The answer to a server's challenge.
///
/// The key is the password, cut or zero-filled to 8 bytes, with the bits of every byte in
/// reverse order: RFC 6143 does not say so, but its errata and all implementations do.
pub fn respond(challenge: &[u8; CHALLENGE_LEN], password: &str) -> [u8; CHALLENGE_LEN] {
    let mut key = [0; PASSWORD_MAX_LEN];
    for (key, byte) in key.iter_mut().zip(password.bytes()) {
        *key = byte.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut response = *challenge;
    let (blocks, _) = response.as_chunks_mut::<8>();
    for block in blocks {
        cipher.encrypt_block(block.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vector of DES with the key 0123456789ABCDEF and the plain text
    /// "Now is t". DES ignores the lowest bit of each byte of a key, which is the highest of the
    /// password's, so that the password is ASCII.
    #[test]
    fn the_response_is_des_with_reversed_key_bytes() {
        let key = 0x0123_4567_89AB_CDEF_u64.to_be_bytes();
        let password = key.map(|byte| byte.reverse_bits() & 0x7f);
        let response = respond(b"Now is tNow is t", std::str::from_utf8(&password).unwrap());
        let cipher_text = 0x3FA4_0E8A_984D_4815_u64.to_be_bytes();
        assert_eq!(response, [cipher_text, cipher_text].concat()[..]);
    }

    #[test]
    fn only_eight_bytes_of_a_password_count() {
        let challenge = *b"0123456789abcdef";
        assert_eq!(
            respond(&challenge, "12345678"),
            respond(&challenge, "123456789")
        );
        assert_ne!(
            respond(&challenge, "1234567"),
            respond(&challenge, "12345678")
        );
    }
}
