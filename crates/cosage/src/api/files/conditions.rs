//! What of a file a client wants, whether it has it already, and what its changes depend on (RFC 9110, 13 and 14).

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

use crate::engine::home::{Expected, Failure, Time, Version};

/// Dates as HTTP has them.
static PRINTER: DateTimePrinter = DateTimePrinter::new();
static PARSER: DateTimeParser = DateTimeParser::new();

/// What tells a file's contents from others.
pub(super) struct Validators {
    version: Version,
    tag: String,
    /// To the second, as HTTP has it; `None` of what is beyond its dates.
    modified: Option<Timestamp>,
}

/// What is sent of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Nothing: the client has it.
    Unchanged,
    /// Nothing: the client wants another one than there is.
    Changed,
    /// Nothing: it has none of the bytes that are wanted.
    Beyond,
}

impl Validators {
    pub(super) fn new(version: Version, modified: Time) -> Self {
        let Version { inode, changed } = version;
        Self {
            version,
            tag: format!(
                "\"{inode:x}-{:x}-{:x}\"",
                changed.seconds, changed.nanoseconds
            ),
            modified: Timestamp::from_second(modified.seconds).ok(),
        }
    }

    /// Adds them to an answer.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        let date = self.modified.as_ref();
        let date = date.and_then(|date| PRINTER.timestamp_to_rfc9110_string(date).ok());
        if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
            headers.insert(header::LAST_MODIFIED, date);
        }
    }

    /// What `request` wants of a file of `size` bytes, in the order of RFC 9110, 13.2.2.
    pub(super) fn wanted(&self, method: &Method, request: &HeaderMap, size: u64) -> Wanted {
        if request.contains_key(header::IF_MATCH) {
            if !has_star(request, header::IF_MATCH) && !self.is_named(request) {
                return Wanted::Changed;
            }
        } else if self.is_after(request, header::IF_UNMODIFIED_SINCE) == Some(true) {
            return Wanted::Changed;
        }
        if request.contains_key(header::IF_NONE_MATCH) {
            if has_star(request, header::IF_NONE_MATCH) || self.is_excluded(request) {
                return Wanted::Unchanged;
            }
        } else if self.is_after(request, header::IF_MODIFIED_SINCE) == Some(false) {
            return Wanted::Unchanged;
        }
        // Ranges are for GET (14.2). A date in `If-Range` would have to be a strong validator, and within its second a
        // file can change.
        let is_same = request
            .get(header::IF_RANGE)
            .is_none_or(|tag| tag == self.tag.as_str());
        let mut ranges = request.get_all(header::RANGE).iter();
        match (ranges.next(), ranges.next()) {
            (Some(range), None) if is_same && method == Method::GET => range
                .to_str()
                .map_or(Wanted::Whole, |range| part(range, size)),
            _ => Wanted::Whole,
        }
    }
}

impl Validators {
    /// Whether `If-Match` has its tag. A weak one is of no use there: the bytes have to be the same (13.1.1).
    fn is_named(&self, request: &HeaderMap) -> bool {
        tags(request, header::IF_MATCH).any(|tag| tag == self.tag)
    }

    /// Whether `If-None-Match` has its tag, which may be weak (13.1.2).
    fn is_excluded(&self, request: &HeaderMap) -> bool {
        tags(request, header::IF_NONE_MATCH).any(|tag| tag.trim_start_matches("W/") == self.tag)
    }

    /// Whether it was modified after the date of a header, where both are known.
    fn is_after(&self, request: &HeaderMap, name: header::HeaderName) -> Option<bool> {
        Some(self.modified? > date(request.get(name)?)?)
    }
}

/// What is done at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A file is put.
    File,
    /// A directory is made.
    Directory,
    /// What is there is deleted.
    Removal,
}

/// What is at the path of a change.
pub(super) enum There {
    Nothing,
    File(Validators),
    Directory,
    /// Something that is neither, such as a socket.
    Other,
}

/// Whether a change depends on what is there.
pub(super) fn is_conditional(request: &HeaderMap) -> bool {
    let conditions = [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_UNMODIFIED_SINCE,
    ];
    conditions.iter().any(|name| request.contains_key(name))
}

/// What has to be there still at the moment of the change, in the order of RFC 9110, 13.2.2.
///
/// # Errors
/// A condition is not met already.
pub(super) fn expected(
    change: Change,
    request: &HeaderMap,
    there: &There,
) -> Result<Option<Expected>, Failure> {
    let file = match (change, there) {
        // These fail in any case, and conditions do not count then (13.2.1).
        (Change::File, There::Directory)
        | (Change::Directory, There::File(_) | There::Other)
        | (Change::Removal, There::Nothing) => return Ok(None),
        (_, There::File(file)) => Some(file),
        (_, There::Nothing | There::Directory | There::Other) => None,
    };
    let is_there = !matches!(there, There::Nothing);
    let this_one = file.map(|file| Expected::Version(file.version));
    let mut expected = None;
    if request.contains_key(header::IF_MATCH) {
        if has_star(request, header::IF_MATCH) {
            expected = Some(Expected::Present);
        } else if file.is_some_and(|file| file.is_named(request)) {
            expected = this_one;
        }
        if expected.is_none() || !is_there {
            return Err(Failure::Changed);
        }
    } else if let Some(is_after) =
        file.and_then(|file| file.is_after(request, header::IF_UNMODIFIED_SINCE))
    {
        if is_after {
            return Err(Failure::Changed);
        }
        expected = this_one;
    }
    if has_star(request, header::IF_NONE_MATCH) {
        if is_there {
            return Err(Failure::Exists);
        }
        expected = Some(Expected::Absent);
    } else if request.contains_key(header::IF_NONE_MATCH) {
        if file.is_some_and(|file| file.is_excluded(request)) {
            return Err(Failure::Changed);
        }
        expected = expected.or(this_one);
    }
    Ok(expected)
}

/// Whether a list of tags stands for any.
fn has_star(request: &HeaderMap, name: header::HeaderName) -> bool {
    tags(request, name).any(|tag| tag == "*")
}

/// The entity tags of a list (RFC 9110, 8.8.3). Ours has no comma in it, so a list need not be parsed to find it.
fn tags(request: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = request.get_all(name).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',').map(str::trim))
}

fn date(value: &HeaderValue) -> Option<Timestamp> {
    PARSER.parse_timestamp(value.to_str().ok()?).ok()
}

/// What a `Range` (14.2) stands for. One that is malformed, of another unit, or of several parts is ignored, as each
/// server may.
fn part(range: &str, size: u64) -> Wanted {
    let range = range.trim();
    let Some((unit, range)) = range.split_once('=') else {
        return Wanted::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Wanted::Whole;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    match (number(first), number(last)) {
        // The last so many; of a file without any, all is none.
        (None, Some(0)) if first.is_empty() => Wanted::Beyond,
        (None, Some(_)) if first.is_empty() && size == 0 => Wanted::Whole,
        (None, Some(len)) if first.is_empty() => Wanted::Part(size.saturating_sub(len)..size),
        (Some(first), Some(last)) if first > last => Wanted::Whole,
        (Some(first), last) if last.is_some() || range.ends_with('-') => {
            if first >= size {
                return Wanted::Beyond;
            }
            let end = last.map_or(size, |last| last.saturating_add(1).min(size));
            Wanted::Part(first..end)
        }
        _ => Wanted::Whole,
    }
}

/// Digits; a number that is too large is the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"2a-1-5\"";
    const DATE: &str = "Sat, 03 Feb 2001 04:05:06 GMT";

    fn validators() -> Validators {
        let changed = Time {
            seconds: 1,
            nanoseconds: 5,
        };
        let modified = Time {
            seconds: 981_173_106,
            nanoseconds: 500_000_000,
        };
        Validators::new(Version { inode: 42, changed }, modified)
    }

    fn wanted(method: Method, headers: &[(&'static str, &str)]) -> Wanted {
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            request.append(*name, HeaderValue::from_str(value).unwrap());
        }
        validators().wanted(&method, &request, 10)
    }

    #[test]
    fn a_range_is_one_part_of_the_file_or_ignored() {
        for (range, expected) in [
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=0-", Wanted::Part(0..10)),
            ("bytes=3-3", Wanted::Part(3..4)),
            ("Bytes=3-99999999999999999999999", Wanted::Part(3..10)),
            ("bytes=9-", Wanted::Part(9..10)),
            ("bytes=-1", Wanted::Part(9..10)),
            ("bytes=-10", Wanted::Part(0..10)),
            ("bytes=-11", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=99999999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=4-3", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=1--2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1-b", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(
                wanted(Method::GET, &[("range", range)]),
                expected,
                "{range}"
            );
        }
        assert_eq!(part("bytes=-5", 0), Wanted::Whole);
        assert_eq!(part("bytes=0-", 0), Wanted::Beyond);
        let twice = [("range", "bytes=0-1"), ("range", "bytes=2-3")];
        assert_eq!(wanted(Method::GET, &twice), Wanted::Whole);
        let head = wanted(Method::HEAD, &[("range", "bytes=0-1")]);
        assert_eq!(head, Wanted::Whole);
    }

    #[test]
    fn what_a_client_has_decides_what_it_gets() {
        let weak = format!("W/{TAG}");
        let list = format!("\"x\", {weak}");
        let later = "Sat, 03 Feb 2001 04:05:07 GMT";
        let earlier = "Sat, 03 Feb 2001 04:05:05 GMT";
        let part = Wanted::Part(0..2);
        for (name, value, expected) in [
            ("if-none-match", TAG, Wanted::Unchanged),
            ("if-none-match", &list, Wanted::Unchanged),
            ("if-none-match", "*", Wanted::Unchanged),
            ("if-none-match", "\"x\"", part.clone()),
            ("if-modified-since", DATE, Wanted::Unchanged),
            ("if-modified-since", later, Wanted::Unchanged),
            ("if-modified-since", earlier, part.clone()),
            ("if-modified-since", "yesterday", part.clone()),
            ("if-match", TAG, part.clone()),
            ("if-match", "*", part.clone()),
            ("if-match", &weak, Wanted::Changed),
            ("if-match", "\"x\"", Wanted::Changed),
            ("if-unmodified-since", DATE, part.clone()),
            ("if-unmodified-since", earlier, Wanted::Changed),
            ("if-unmodified-since", "yesterday", part.clone()),
            ("if-range", TAG, part.clone()),
            ("if-range", &weak, Wanted::Whole),
            ("if-range", "\"x\"", Wanted::Whole),
            ("if-range", DATE, Wanted::Whole),
        ] {
            let headers = [("range", "bytes=0-1"), (name, value)];
            assert_eq!(wanted(Method::GET, &headers), expected, "{name}: {value}");
        }
        // Where there is a tag, a date does not count.
        let both = [("if-none-match", "\"x\""), ("if-modified-since", later)];
        assert_eq!(wanted(Method::GET, &both), Wanted::Whole);
        let both = [("if-match", TAG), ("if-unmodified-since", earlier)];
        assert_eq!(wanted(Method::GET, &both), Wanted::Whole);
    }

    #[test]
    fn what_is_there_decides_what_a_change_expects() {
        let this_one = Some(Expected::Version(validators().version));
        let (changed, exists) = (Err(Failure::Changed), Err(Failure::Exists));
        let weak = format!("W/{TAG}");
        let list = format!("\"x\", {TAG}");
        let earlier = "Sat, 03 Feb 2001 04:05:05 GMT";
        let (present, absent) = (Ok(Some(Expected::Present)), Ok(Some(Expected::Absent)));
        // For a file, something else, and nothing.
        for (name, value, on_file, on_other, on_nothing) in [
            ("if-match", "*", &present, &present, &changed),
            ("if-match", TAG, &Ok(this_one), &changed, &changed),
            ("if-match", &list, &Ok(this_one), &changed, &changed),
            ("if-match", &weak, &changed, &changed, &changed),
            ("if-match", "\"x\"", &changed, &changed, &changed),
            ("if-match", "", &changed, &changed, &changed),
            ("if-none-match", "*", &exists, &exists, &absent),
            ("if-none-match", TAG, &changed, &Ok(None), &Ok(None)),
            ("if-none-match", &weak, &changed, &Ok(None), &Ok(None)),
            (
                "if-none-match",
                "\"x\"",
                &Ok(this_one),
                &Ok(None),
                &Ok(None),
            ),
            (
                "if-unmodified-since",
                DATE,
                &Ok(this_one),
                &Ok(None),
                &Ok(None),
            ),
            (
                "if-unmodified-since",
                earlier,
                &changed,
                &Ok(None),
                &Ok(None),
            ),
            (
                "if-unmodified-since",
                "yesterday",
                &Ok(None),
                &Ok(None),
                &Ok(None),
            ),
            ("if-modified-since", DATE, &Ok(None), &Ok(None), &Ok(None)),
        ] {
            let mut request = HeaderMap::new();
            request.append(name, HeaderValue::from_str(value).unwrap());
            assert_eq!(is_conditional(&request), name != "if-modified-since");
            let file = || There::File(validators());
            let fails = &Ok(None);
            for (change, there, outcome) in [
                (Change::File, file(), on_file),
                (Change::File, There::Other, on_other),
                (Change::File, There::Directory, fails),
                (Change::File, There::Nothing, on_nothing),
                (Change::Directory, file(), fails),
                (Change::Directory, There::Other, fails),
                (Change::Directory, There::Directory, on_other),
                (Change::Directory, There::Nothing, on_nothing),
                (Change::Removal, file(), on_file),
                (Change::Removal, There::Other, on_other),
                (Change::Removal, There::Directory, on_other),
                (Change::Removal, There::Nothing, fails),
            ] {
                let expected = expected(change, &request, &there);
                assert_eq!(&expected, outcome, "{change:?}, {name}: {value}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_file(range in "bytes=[0-9]{0,22}-[0-9]{0,22}|\\PC{0,20}", size in any::<u64>()) {
            if let Wanted::Part(range) = part(&range, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
