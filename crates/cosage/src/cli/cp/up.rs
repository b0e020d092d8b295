//! From this machine to a home.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{HomePath, Kind, Room, address, look, send};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::file::{shown, unreadable};
use crate::cli::progress::Progress;
use crate::desktop::Uid;

/// How much is read from a file at a time, in bytes.
const CHUNK: usize = 256 * 1024;

/// What is to be made in a home.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    from: PathBuf,
    to: HomePath,
    kind: Kind,
    bytes: u64,
    /// When a file was last modified.
    modified: Option<Timestamp>,
}

/// Copies a file or a directory.
pub(super) async fn copy(
    client: &Client,
    from: &Path,
    uid: &Uid,
    to: HomePath,
) -> Result<(), Failure> {
    let metadata = std::fs::metadata(from).map_err(|error| unreadable(from, &error))?;
    let name = own_name(from)?;
    let there = if to.parts.is_empty() {
        Some(Kind::Directory)
    } else {
        look(client, uid, &to).await?
    };
    let to = match there {
        Some(Kind::Directory) => to.join(&name),
        _ if to.directory => to.join(&name),
        Some(Kind::File) if metadata.is_dir() => {
            return Err(Failure::Usage(format!(
                "'{to}' is a file, and a directory cannot take its place; remove it, or choose another name"
            )));
        }
        _ => to,
    };
    let mut items = Vec::new();
    let mut left_out = Vec::new();
    collect(from, to, &metadata, &mut items, &mut left_out)?;
    let sizes = items.iter().map(|item| (item.from.as_path(), item.bytes));
    Room::of(client, uid).await?.check(sizes)?;
    let total = items.iter().map(|item| item.bytes).sum();
    let progress = Arc::new(Progress::bytes(shown(Path::new(&name)), Some(total)));
    for item in items {
        put(client, uid, item, &progress).await?;
    }
    if left_out.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "all was copied but what is neither a file nor a directory: {}",
        left_out.join(", ")
    )))
}

/// Copies what comes in on standard input, until its end.
pub(super) async fn copy_standard_input(
    client: &Client,
    uid: &Uid,
    to: &HomePath,
) -> Result<(), Failure> {
    if to.directory {
        return Err(Failure::Usage(format!(
            "'{to}' is a directory, and standard input has no name of its own; name the file"
        )));
    }
    let progress = Arc::new(Progress::bytes(to.to_string(), None));
    let input = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Failure::Failed(format!("standard input cannot be read: {error}")))?;
    let body = counted(File::from_std(input.into()), &progress);
    let request = client
        .request(Method::PUT, address(uid, to))
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(body);
    send(client, uid, to, request).await.map(drop)
}

async fn put(
    client: &Client,
    uid: &Uid,
    item: Item,
    progress: &Arc<Progress>,
) -> Result<(), Failure> {
    let request = match item.kind {
        Kind::Directory => {
            let parts = address(uid, &item.to).chain([&b""[..]]);
            client
                .request(Method::PUT, parts)
                .query(&[("directory", "true")])
        }
        Kind::File => {
            let file = File::open(&item.from)
                .await
                .map_err(|error| unreadable(&item.from, &error))?;
            // As long as it was when it was looked at: one that grows meanwhile is cut there, and
            // one that shrinks is an error, not a file with a wrong end.
            let file = tokio::io::AsyncReadExt::take(file, item.bytes);
            client
                .request(Method::PUT, address(uid, &item.to))
                .query(
                    &item
                        .modified
                        .map(|at| ("modified", at.to_string()))
                        .as_slice(),
                )
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, item.bytes)
                .body(counted(file, progress))
        }
    };
    send(client, uid, &item.to, request).await.map(drop)
}

fn counted(reader: impl AsyncRead + Send + 'static, progress: &Arc<Progress>) -> Body {
    let progress = Arc::clone(progress);
    let pieces = ReaderStream::with_capacity(reader, CHUNK);
    Body::wrap_stream(pieces.inspect_ok(move |piece| progress.advance(piece.len())))
}

/// Everything below a path, each directory before what is in it, in the order of names.
fn collect(
    from: &Path,
    to: HomePath,
    metadata: &Metadata,
    items: &mut Vec<Item>,
    left_out: &mut Vec<String>,
) -> Result<(), Failure> {
    if metadata.is_file() {
        items.push(Item {
            from: from.to_owned(),
            to,
            kind: Kind::File,
            bytes: metadata.len(),
            modified: metadata.modified().ok().and_then(|at| at.try_into().ok()),
        });
        return Ok(());
    }
    if !metadata.is_dir() {
        left_out.push(shown(from));
        return Ok(());
    }
    let mut inside: Vec<PathBuf> = std::fs::read_dir(from)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| unreadable(from, &error))?;
    inside.sort_unstable();
    items.push(Item {
        from: from.to_owned(),
        to: to.clone(),
        kind: Kind::Directory,
        bytes: 0,
        modified: None,
    });
    for path in inside {
        // A link could lead around in a circle, or to what nobody meant to copy.
        let metadata =
            std::fs::symlink_metadata(&path).map_err(|error| unreadable(&path, &error))?;
        let name = own_name(&path)?;
        collect(&path, to.join(&name), &metadata, items, left_out)?;
    }
    Ok(())
}

/// The last name of a path.
fn own_name(path: &Path) -> Result<OsString, Failure> {
    // '.' and '..' have no name of their own, but the directory they mean has.
    let whole = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path
            .canonicalize()
            .map_err(|error: io::Error| unreadable(path, &error))?,
    };
    let name = whole.file_name().map(OsStr::to_owned);
    name.ok_or_else(|| {
        Failure::Usage(format!(
            "{} has no name that its copy could have; copy what is in it",
            shown(path)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_made_from_the_top_and_links_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("tree");
        std::fs::create_dir_all(root.join("b/empty")).unwrap();
        std::fs::write(root.join("b/c"), "four").unwrap();
        std::fs::write(root.join("a"), "1").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
        let (mut items, mut left_out) = (Vec::new(), Vec::new());
        let metadata = std::fs::metadata(&root).unwrap();
        let to = HomePath::parse(b"x").unwrap();
        collect(&root, to, &metadata, &mut items, &mut left_out).unwrap();
        let made: Vec<_> = items
            .iter()
            .map(|item| (item.to.to_string(), item.kind, item.bytes))
            .collect();
        let expected = [
            ("x", Kind::Directory, 0),
            ("x/a", Kind::File, 1),
            ("x/b", Kind::Directory, 0),
            ("x/b/c", Kind::File, 4),
            ("x/b/empty", Kind::Directory, 0),
        ];
        assert_eq!(
            made,
            expected.map(|(to, kind, bytes)| (to.to_owned(), kind, bytes))
        );
        assert_eq!(left_out, [root.join("link").display().to_string()]);
    }

    #[test]
    fn the_name_of_a_directory_that_is_written_with_dots_is_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        assert_eq!(own_name(&inside.join(".")).unwrap(), "inside");
        assert_eq!(own_name(&inside).unwrap(), "inside");
        assert!(own_name(Path::new("/")).is_err());
    }
}
