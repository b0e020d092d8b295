//! What is answered, sent while it is read: neither a file nor a long list is ever all in memory.

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::{self, try_unfold};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::home::{Download, Entries, Entry, EntryKind, HomeError, HomePath, Mark, Time};
use crate::segment::encode;

/// A directory of a home.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct DirectoryBody {
    /// Where it is; empty is the home itself.
    path: String,
    /// How many bytes its disk has left.
    free: u64,
    /// How many bytes a file may have that is put here.
    upload_max: u64,
    /// What is in it: directories first, then by name.
    entries: Vec<EntryBody>,
    /// Where there are more entries: what `after` has to be for the next ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What is in a directory.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct EntryBody {
    /// Its name; what is not UTF-8 in it shows as U+FFFD.
    name: String,
    /// Its name as it has to stand in a URL, where `name` does not have all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded_name: Option<String>,
    /// What it is.
    r#type: EntryWord,
    /// Its size in bytes; 0 of what is not a file.
    size: u64,
    /// When it was last modified; absent when that is beyond what a date can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    modified: Option<Timestamp>,
}

/// What an entry is. Links are not followed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum EntryWord {
    Directory,
    File,
    Link,
    Other,
}

impl From<Entry> for EntryBody {
    fn from(entry: Entry) -> Self {
        let modified = timestamp(entry.modified);
        let (name, encoded_name) = match String::from_utf8(entry.name) {
            Ok(name) => (name, None),
            Err(error) => {
                let name = error.as_bytes();
                (
                    String::from_utf8_lossy(name).into_owned(),
                    Some(encode(name)),
                )
            }
        };
        Self {
            name,
            encoded_name,
            r#type: match entry.kind {
                EntryKind::Directory => EntryWord::Directory,
                EntryKind::File => EntryWord::File,
                EntryKind::Link => EntryWord::Link,
                EntryKind::Other => EntryWord::Other,
            },
            size: entry.size,
            modified,
        }
    }
}

fn timestamp(time: Time) -> Option<Timestamp> {
    let nanoseconds = i32::try_from(time.nanoseconds).ok()?;
    Timestamp::new(time.seconds, nanoseconds).ok()
}

/// Bytes as they come. Where they end too early, the connection does, so that nobody takes a part for all.
pub(super) fn of_parts(parts: Download) -> Body {
    Body::from_stream(try_unfold(parts, |mut parts| async {
        let part = parts.next().await?;
        Ok::<_, HomeError>(part.map(|part| (part, parts)))
    }))
}

/// Where in a list of entries its text is.
enum Stage {
    Head(Vec<u8>),
    First,
    Later,
    End,
}

/// A [`DirectoryBody`], as its entries come.
pub(super) fn of_entries(path: &HomePath, free: u64, upload_max: u64, entries: Entries) -> Body {
    let empty = DirectoryBody {
        path: path.to_string(),
        free,
        upload_max,
        entries: Vec::new(),
        next: None,
    };
    let mut head = serde_json::to_vec(&empty).unwrap_or_default();
    // Without the end of the list and of the object, which come last.
    head.truncate(head.len().saturating_sub(2));
    let state = (Stage::Head(head), entries);
    Body::from_stream(try_unfold(state, |(stage, mut entries)| async move {
        let is_first = match stage {
            Stage::Head(head) => return Ok(Some((Bytes::from(head), (Stage::First, entries)))),
            Stage::First => true,
            Stage::Later => false,
            Stage::End => return Ok(None),
        };
        let Some(batch) = entries.next().await? else {
            let end = match entries.last() {
                Some(last) => format!("],\"next\":\"{}\"}}", mark_text(last)),
                None => "]}".to_owned(),
            };
            return Ok(Some((Bytes::from(end), (Stage::End, entries))));
        };
        let text = entries_text(batch, is_first);
        Ok::<_, HomeError>(Some((text.into(), (Stage::Later, entries))))
    }))
}

/// A mark as a text that stands in a URL as it is.
fn mark_text(mark: &Mark) -> String {
    let mut bytes = Vec::new();
    mark.write(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`mark_text`] has written.
pub(super) fn parse_mark(text: &str) -> Option<Mark> {
    Mark::parse(&URL_SAFE_NO_PAD.decode(text).ok()?)
}

/// What the answer to HEAD has instead of a body whose length is not known, or is announced.
pub(super) fn unsent() -> Body {
    Body::from_stream(stream::empty::<Result<Bytes, HomeError>>())
}

fn entries_text(batch: Vec<Entry>, is_first: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for (index, entry) in batch.into_iter().enumerate() {
        if index > 0 || !is_first {
            text.push(b',');
        }
        // Writing texts and numbers to memory cannot fail.
        let _ = serde_json::to_writer(&mut text, &EntryBody::from(entry));
    }
    text
}
