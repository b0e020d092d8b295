//! The secret by which an instance shows that a callback comes from itself.

use std::fmt;

use rand::distr::{Alphanumeric, SampleString};
use subtle::ConstantTimeEq;

/// The variable that carries the address to call back to, with the secret in it, into the container; and the secret out
/// of it again on adoption. It is no label because those show in `docker ps`.
pub const CALLBACK_VARIABLE: &str = "CALLBACK_URL";

/// Between the address and the secret.
const SEPARATOR: &str = "?secret=";

/// How many letters and digits a secret has: about 190 bits.
const LENGTH: usize = 32;

/// The secret of one instance. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackSecret(String);

impl CallbackSecret {
    /// A new secret.
    pub fn random() -> Self {
        Self(Alphanumeric.sample_string(&mut rand::rng(), LENGTH))
    }

    /// An address that carries the secret.
    pub fn within(&self, address: &str) -> String {
        format!("{address}{SEPARATOR}{}", self.0)
    }

    /// The secret that an instance got with its variables, `NAME` and value; `None` when it got none.
    pub fn among<'a>(mut variables: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let (_, address) = variables.find(|(name, _)| *name == CALLBACK_VARIABLE)?;
        let (_, secret) = address.split_once(SEPARATOR)?;
        (!secret.is_empty()).then(|| Self(secret.to_owned()))
    }

    /// Whether this is the secret. How long that takes tells nothing about it.
    pub fn is(&self, offered: &str) -> bool {
        self.0.as_bytes().ct_eq(offered.as_bytes()).into()
    }
}

impl fmt::Debug for CallbackSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CallbackSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_back_from_the_address_it_was_put_into() {
        let secret = CallbackSecret::random();
        let address = secret.within("http://host/api/vm/cb/desk");
        let variables = [("HOME", "/?secret=x"), (CALLBACK_VARIABLE, &address)];
        assert_eq!(
            CallbackSecret::among(variables.into_iter()),
            Some(secret.clone())
        );
        let (_, text) = address.split_once('=').unwrap();
        assert!(secret.is(text));
        assert!(!secret.is(""));
        assert!(!secret.is(&text[1..]));
        assert!(!CallbackSecret::random().is(text));
        for address in ["http://host/api/vm/cb/desk", "http://host/?secret="] {
            let variables = [(CALLBACK_VARIABLE, address)];
            assert_eq!(CallbackSecret::among(variables.into_iter()), None);
        }
        assert!(!format!("{secret:?}").contains(text));
    }
}
