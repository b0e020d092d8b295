//! Segments of a URL's path, which may be any bytes: names of files are.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use reqwest::Url;

/// What RFC 3986, 2.3, leaves as it is everywhere, and RFC 8187 in a file's name.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A name as it stands in a URL.
pub fn encode(name: &[u8]) -> String {
    percent_encode(name, ENCODED).to_string()
}

/// The address of what is below `base`. A `/` at the end of `base` does not count.
///
/// `Url::path_segments_mut` would not do: it removes tabs and line feeds from a segment, so that one file's address
/// becomes another's (WHATWG URL, 4.4). No segment is `.` or `..`, which no URL can have as a name.
pub fn below<S: AsRef<[u8]>>(base: &Url, segments: impl IntoIterator<Item = S>) -> Url {
    let mut path = base.path().to_owned();
    if path.ends_with('/') {
        path.pop();
    }
    for segment in segments {
        path.push('/');
        path.push_str(&encode(segment.as_ref()));
    }
    let mut url = base.clone();
    url.set_path(&path);
    url
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::home::HomePath;

    #[test]
    fn segments_are_below_the_base_whatever_it_ends_with() {
        let below = |base: &str, segments: &[&str]| {
            super::below(&base.parse().unwrap(), segments).to_string()
        };
        for (base, expected) in [
            ("http://h:1", "http://h:1/a%20b/x%2Fy"),
            ("https://h/desk/", "https://h/desk/a%20b/x%2Fy"),
            ("https://h/desk", "https://h/desk/a%20b/x%2Fy"),
            ("https://h/100%25", "https://h/100%25/a%20b/x%2Fy"),
        ] {
            assert_eq!(below(base, &["a b", "x/y"]), expected);
        }
        assert_eq!(below("http://h", &[]), "http://h/");
        assert_eq!(below("http://h", &["files", ""]), "http://h/files/");
        assert_eq!(
            below("http://h", &["rep\tort\r\n", "%2e", "?#\\"]),
            "http://h/rep%09ort%0D%0A/%252e/%3F%23%5C"
        );
    }

    proptest! {
        /// Every name that Linux allows reaches the service as it is.
        #[test]
        fn names_of_files_survive_the_way_through_a_url(
            names in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 1..=255),
                    "[\\t\\n\\r%?#\\\\ .;:&+~-]{1,12}".prop_map(String::into_bytes),
                    "\\PC{1,60}".prop_map(String::into_bytes),
                ],
                0..5,
            )
        ) {
            let path = HomePath::from_names(names.clone());
            prop_assume!(path.is_ok());
            let base = "http://h/base".parse::<Url>().unwrap();
            let mut url = below(&base, &names);
            // As it is sent: nothing may be changed by whoever parses it.
            url = url.as_str().parse().unwrap();
            let sent = url.path().strip_prefix("/base").unwrap();
            prop_assert_eq!(HomePath::from_url(sent.trim_start_matches('/')), path);
            prop_assert_eq!((url.query(), url.fragment()), (None, None));
        }
    }
}
