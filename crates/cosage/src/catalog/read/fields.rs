//! Typed access to a table's keys that remembers which keys there could be.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problems;
use crate::text::{self, Malformed, did_you_mean, nearest};

/// Where something stands in the text, in bytes.
pub(super) type Span = Range<usize>;

/// A value and where it stands.
pub(super) type At<T> = (T, Span);

/// A table that is being read. Every key that is asked for is a key that is allowed; what is left
/// at [`Fields::finish`] is an error.
pub(super) struct Fields<'a, 'i> {
    path: String,
    table: &'a DeTable<'i>,
    span: Span,
    asked: BTreeSet<&'static str>,
}

impl<'a, 'i> Fields<'a, 'i> {
    /// `path` is what messages call the table, and `span` where they point when a key is missing.
    pub(super) fn new(path: impl Into<String>, table: &'a DeTable<'i>, span: Span) -> Self {
        Self {
            path: path.into(),
            table,
            span,
            asked: BTreeSet::new(),
        }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reports every key that was never asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(name) {
                continue;
            }
            let allowed: Vec<&str> = self.asked.iter().copied().collect();
            let meant = did_you_mean(nearest(name, allowed.iter().copied()));
            problems.add(
                key.span(),
                format!(
                    "{} has no key '{}'{meant}; its keys are: {}",
                    self.path,
                    text::excerpt(name),
                    allowed.join(", ")
                ),
            );
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.insert(key);
        self.table.get(key)
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<&'a str>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.as_ref(), value.span())),
            _ => self.wrong(key, value.span(), "a text in quotes", problems),
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str, problems: &mut Problems) -> bool {
        let Some(value) = self.value(key) else {
            return false;
        };
        match value.get_ref() {
            DeValue::Boolean(boolean) => *boolean,
            _ => self
                .wrong(key, value.span(), "true or false", problems)
                .unwrap_or(false),
        }
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<i64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let expected = match (*range.start(), *range.end()) {
                    (i64::MIN, i64::MAX) => "a whole number".to_owned(),
                    (start, end) => format!("a whole number from {start} to {end}"),
                };
                self.wrong(key, value.span(), &expected, problems)
            }
        }
    }

    pub(super) fn list(&mut self, key: &'static str, problems: &mut Problems) -> Vec<At<&'a str>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            return self
                .wrong(
                    key,
                    value.span(),
                    "a list of texts, such as [\"one\", \"two\"]",
                    problems,
                )
                .unwrap_or_default();
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            if let DeValue::String(text) = item.get_ref() {
                texts.push((text.as_ref(), item.span()));
            } else {
                problems.add(
                    item.span(),
                    format!("{}.{key}: every item must be a text in quotes", self.path),
                );
            }
        }
        texts
    }

    pub(super) fn table(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<&'a DeTable<'i>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some((table, value.span())),
            _ => self.wrong(key, value.span(), "a table", problems),
        }
    }

    /// A text that must be one of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let (given, span) = self.text(key, problems)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == given)
            .map(|(_, meaning)| *meaning);
        if found.is_none() {
            let names: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            let meant = did_you_mean(nearest(given, words.iter().map(|(word, _)| *word)));
            problems.add(
                span,
                format!(
                    "{}.{key} cannot be \"{}\"{meant}; it is one of {}",
                    self.path,
                    text::excerpt(given),
                    names.join(", ")
                ),
            );
        }
        found
    }

    /// A text that one of the readers of [`crate::text`] understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: fn(&str) -> Result<T, Malformed>,
        problems: &mut Problems,
    ) -> Option<At<T>> {
        let (given, span) = self.text(key, problems)?;
        match parse(given) {
            Ok(parsed) => Some((parsed, span)),
            Err(malformed) => {
                problems.add(span, format!("{}.{key}: {malformed}", self.path));
                None
            }
        }
    }

    /// A timer that must not be shorter than `least`.
    pub(super) fn timer(
        &mut self,
        key: &'static str,
        least: Duration,
        problems: &mut Problems,
    ) -> Option<Option<Duration>> {
        let (timer, span) = self.parsed(key, text::parse_timer, problems)?;
        if timer.is_some_and(|timer| timer < least) {
            let least = text::format_duration(least);
            problems.add(
                span,
                format!(
                    "{}.{key} must be \"{least}\" or more, or \"never\"",
                    self.path
                ),
            );
        }
        Some(timer)
    }

    fn wrong<T>(
        &self,
        key: &str,
        span: Span,
        expected: &str,
        problems: &mut Problems,
    ) -> Option<T> {
        problems.add(span, format!("{}.{key} must be {expected}", self.path));
        None
    }
}

/// Whether an app or a stream can be named so.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
