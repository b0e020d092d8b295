//! By what a receiver knows that something comes from this service.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret starts with, so that it is known for what it is.
const PREFIX: &str = "whsec_";

/// How many bytes a secret has, as the specification allows it.
const LENGTHS: RangeInclusive<usize> = 24..=64;

/// Signs with one or several secrets: a receiver needs one of them, so that each can be replaced by and by, and
/// receivers that do not trust each other can have their own. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Signer(Vec<Hmac<Sha256>>);

/// Why a text is no secret. It does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// It does not start as it should.
    #[error("does not start with {PREFIX}")]
    Prefix,
    /// What follows is not what it should be.
    #[error("is not base64 after {PREFIX}")]
    Base64,
    /// It is too easy to guess, or longer than receivers take.
    #[error("has {bytes} bytes, and must have {} to {}", LENGTHS.start(), LENGTHS.end())]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// There is none at all.
    #[error("is missing")]
    Missing,
}

impl Signer {
    /// Signs with each of these secrets: `whsec_` and, in base64 with its padding, 24 to 64 bytes.
    ///
    /// # Errors
    /// The number of the first wrong one, from 1, and what is wrong with it.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Self, (usize, BadSecret)> {
        let keys: Vec<_> = (1..)
            .zip(secrets)
            .map(|(number, secret)| key(secret).map_err(|wrong| (number, wrong)))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err((1, BadSecret::Missing));
        }
        Ok(Self(keys))
    }

    /// The header `webhook-signature` of what is posted at a time in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            let signature = key
                .clone()
                .chain_update(format!("{id}.{timestamp}."))
                .chain_update(body)
                .finalize();
            format!("v1,{}", STANDARD.encode(signature.into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn key(secret: &str) -> Result<Hmac<Sha256>, BadSecret> {
    let encoded = secret.strip_prefix(PREFIX).ok_or(BadSecret::Prefix)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| BadSecret::Base64)?;
    let wrong = BadSecret::Length { bytes: bytes.len() };
    if !LENGTHS.contains(&bytes.len()) {
        return Err(wrong);
    }
    // HMAC takes a key of any length.
    Hmac::new_from_slice(&bytes).map_err(|_| wrong)
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signer(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Id, time, body, secret and signature as the specification's own libraries are tested with
    /// (`libraries/javascript/src/webhook.test.ts`, "sign function works").
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_signature_is_the_specifications() {
        let signer = Signer::new([SECRET]).unwrap();
        assert_eq!(signer.sign(ID, TIMESTAMP, BODY), SIGNATURE);
        assert!(!format!("{signer:?}").contains("MfKQ9r8"));
    }

    #[test]
    fn each_secret_signs() {
        let other = format!("{PREFIX}{}", STANDARD.encode([7; 64]));
        let alone = Signer::new([other.as_str()]).unwrap();
        let signer = Signer::new([other.as_str(), SECRET]).unwrap();
        assert_eq!(
            signer.sign(ID, TIMESTAMP, BODY),
            format!("{} {SIGNATURE}", alone.sign(ID, TIMESTAMP, BODY))
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let of = |length: usize| format!("{PREFIX}{}", STANDARD.encode(vec![1; length]));
        for (secret, wrong) in [
            ("", BadSecret::Prefix),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", BadSecret::Prefix),
            ("whsec_", BadSecret::Length { bytes: 0 }),
            ("whsec_not base64", BadSecret::Base64),
            // Without its padding, which receivers insist on.
            (
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAA",
                BadSecret::Base64,
            ),
            (&of(23), BadSecret::Length { bytes: 23 }),
            (&of(65), BadSecret::Length { bytes: 65 }),
        ] {
            assert_eq!(Signer::new([secret]).err(), Some((1, wrong)), "{secret}");
        }
        assert_eq!(
            Signer::new([SECRET, "x"]).err(),
            Some((2, BadSecret::Prefix))
        );
        assert_eq!(Signer::new([]).err(), Some((1, BadSecret::Missing)));
        for length in LENGTHS {
            assert!(Signer::new([of(length).as_str()]).is_ok(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn another_id_time_or_body_has_another_signature(
            one in ("[a-z0-9-]{1,40}", 0..i64::MAX, any::<Vec<u8>>()),
            other in ("[a-z0-9-]{1,40}", 0..i64::MAX, any::<Vec<u8>>()),
        ) {
            let signer = Signer::new([SECRET]).unwrap();
            let sign = |(id, timestamp, body): &(String, i64, Vec<u8>)| signer.sign(id, *timestamp, body);
            prop_assert_eq!(sign(&one) == sign(&other), one == other);
        }
    }
}
