//! Where in a home.

use std::fmt;

use percent_encoding::percent_decode_str;

/// The longest path, in bytes: `PATH_MAX` of Linux without the NUL at its end.
const PATH_MAX: usize = 4095;

/// The longest name, in bytes: `NAME_MAX` of Linux.
const NAME_MAX: usize = 255;

/// A path inside a home: names with '/' between them; without any it is the home itself.
///
/// No name is empty, '.' or '..', or has a NUL or '/' in it, so that nothing in a path can lead
/// upwards; links are the business of whoever opens it. Names are bytes, as on Linux.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HomePath(Vec<u8>);

/// Why a text is no path inside a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomePathError {
    /// Two '/' in a row, or one at the beginning.
    #[error("a path in a home is made of names with one '/' between them; here one name is empty")]
    EmptyName,
    /// '.' or '..'.
    #[error("a path in a home has no '.' and no '..'; write the names that are meant")]
    Dots,
    /// NUL, or a '/' inside a name.
    #[error("a name in a home has no NUL and no '/' (%00, %2F) in it")]
    Character,
    /// Longer than Linux takes.
    #[error("a path in a home has at most 4095 bytes, each of its names at most 255")]
    TooLong,
}

impl HomePath {
    /// From the part of a URL after `…/files/`, percent-encoded as it came. One '/' at its end
    /// does not count.
    ///
    /// # Errors
    /// See [`HomePathError`].
    pub fn from_url(text: &str) -> Result<Self, HomePathError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let names = text
            .split('/')
            .map(|name| percent_decode_str(name).collect());
        Self::from_names(names)
    }

    /// From names.
    ///
    /// # Errors
    /// See [`HomePathError`].
    pub fn from_names(names: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, HomePathError> {
        let mut path = Vec::new();
        for name in names {
            match name.as_slice() {
                b"" => return Err(HomePathError::EmptyName),
                b"." | b".." => return Err(HomePathError::Dots),
                name if name.contains(&0) || name.contains(&b'/') => {
                    return Err(HomePathError::Character);
                }
                name if name.len() > NAME_MAX => return Err(HomePathError::TooLong),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        if path.len() > PATH_MAX {
            return Err(HomePathError::TooLong);
        }
        Ok(Self(path))
    }

    /// The last name; `None` of the home itself.
    pub fn name(&self) -> Option<&[u8]> {
        let name = self.0.rsplit(|byte| *byte == b'/').next();
        name.filter(|name| !name.is_empty())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.clone()
    }
}

impl fmt::Display for HomePath {
    /// For people: what is not UTF-8 shows as U+FFFD.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_names_with_one_slash_between_them() {
        let of = |text: &str| HomePath::from_url(text).map(|path| path.to_string());
        assert_eq!(of(""), Ok(String::new()));
        assert_eq!(of("a/b%20c/"), Ok("a/b c".to_owned()));
        assert_eq!(of("a%0Ab/-x/…"), Ok("a\nb/-x/…".to_owned()));
        assert_eq!(of("..."), Ok("...".to_owned()));
        for (text, error) in [
            ("a//b", HomePathError::EmptyName),
            ("/", HomePathError::EmptyName),
            ("/a", HomePathError::EmptyName),
            ("//", HomePathError::EmptyName),
            ("a/../b", HomePathError::Dots),
            ("%2e%2E", HomePathError::Dots),
            ("./a", HomePathError::Dots),
            ("a%00", HomePathError::Character),
            ("..%2F..%2Fetc", HomePathError::Character),
        ] {
            assert_eq!(of(text), Err(error), "{text}");
        }
        assert_eq!(of(&"x".repeat(256)), Err(HomePathError::TooLong));
        assert_eq!(
            of(&"x/".repeat(2048)),
            Ok("x/".repeat(2048)[..4095].to_owned())
        );
        assert_eq!(of(&"x/".repeat(2049)), Err(HomePathError::TooLong));
        assert_eq!(HomePath::from_url("a/b").unwrap().name(), Some(&b"b"[..]));
        assert_eq!(HomePath::default().name(), None);
    }

    proptest! {
        #[test]
        fn any_names_survive_the_way_through_a_url(
            names in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5)
        ) {
            let url: Vec<String> = names
                .iter()
                .map(|name| percent_encode(name, NON_ALPHANUMERIC).to_string())
                .collect();
            prop_assert_eq!(
                HomePath::from_url(&url.join("/")),
                HomePath::from_names(names)
            );
        }

        #[test]
        fn nothing_that_is_accepted_leads_upwards(text in "\\PC{0,60}|[./%2eEfF0]{0,20}") {
            if let Ok(path) = HomePath::from_url(&text) {
                for name in path.0.split(|byte| *byte == b'/') {
                    prop_assert!(path.0.is_empty() || !name.is_empty());
                    prop_assert!(name != b"." && name != b".." && !name.contains(&0));
                }
            }
        }
    }
}
