//! `cosage cp`: files between this machine and the home of a desktop, whether it runs or sleeps.

mod down;
mod up;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;

use super::client::{CallError, Client, Target, broken, read};
use super::failure::Failure;
use super::file::{STANDARD, shown};
use super::foreign::plain;
use super::output::bytes;
use crate::desktop::Uid;

/// `cosage cp`.
#[derive(Debug, Args)]
pub struct Cp {
    /// What is copied: a file or a directory, UID:PATH in the home of a desktop, or - for standard
    /// input.
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// Where it goes: a path, UID:PATH, or - for standard output. Into a directory that is there,
    /// or whose name ends in '/', it goes under its own name.
    #[arg(value_name = "DESTINATION")]
    destination: OsString,
    #[command(flatten)]
    target: Target,
}

/// One end of a copy.
#[derive(Debug, PartialEq)]
enum Place {
    /// Standard input or output.
    Standard,
    /// On this machine.
    Here(PathBuf),
    /// In the home of a desktop.
    There(Uid, HomePath),
}

/// A path in a home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HomePath {
    /// Its names, none of which is empty, `.` or `..`; any other bytes are names on Linux.
    parts: Vec<Vec<u8>>,
    /// Whether it was written as a directory's.
    directory: bool,
}

/// Where a copy goes, for somebody who has only the path as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
}

impl Cp {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let source = parse(&self.source)?;
        let destination = parse(&self.destination)?;
        let client = self.target.client()?;
        match (source, destination) {
            (Place::There(uid, path), Place::Here(to)) => {
                down::copy(&client, &uid, &path, &to).await
            }
            (Place::There(uid, path), Place::Standard) => {
                down::print(&client, &uid, &path).await
            }
            (Place::Here(from), Place::There(uid, path)) => {
                up::copy(&client, &from, &uid, path).await
            }
            (Place::Standard, Place::There(uid, path)) => {
                up::copy_standard_input(&client, &uid, &path).await
            }
            (Place::There(..), Place::There(..)) => Err(Failure::Usage(
                "one of the two places has to be on this machine; go by way of a file".to_owned(),
            )),
            (Place::Here(_) | Place::Standard, Place::Here(_) | Place::Standard) => {
                Err(Failure::Usage(
                    "one of the two places has to be in a desktop's home; it is written as UID:PATH, such as wall:notes.txt"
                        .to_owned(),
                ))
            }
        }
    }
}

/// Reads a place: what stands before the first ':' is a desktop's name, unless it cannot be one.
/// Write ./a:b for a file of this machine.
fn parse(text: &OsStr) -> Result<Place, Failure> {
    if text == STANDARD {
        return Ok(Place::Standard);
    }
    let mut parts = text.as_bytes().splitn(2, |byte| *byte == b':');
    let uid = parts.next().and_then(|uid| str::from_utf8(uid).ok());
    match (uid.and_then(|uid| uid.parse().ok()), parts.next()) {
        (Some(uid), Some(path)) => Ok(Place::There(uid, HomePath::parse(path)?)),
        _ => Ok(Place::Here(PathBuf::from(text))),
    }
}

impl HomePath {
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        let parts: Vec<Vec<u8>> = text
            .split(|byte| *byte == b'/')
            .filter(|part| !matches!(*part, b"" | b"."))
            .map(<[u8]>::to_vec)
            .collect();
        if parts.iter().any(|part| part == b"..") {
            return Err(Failure::Usage(format!(
                "'{}' has '..' in it; a path in a home starts at the home and leads down",
                plain(&String::from_utf8_lossy(text))
            )));
        }
        Ok(Self {
            directory: parts.is_empty() || text.ends_with(b"/"),
            parts,
        })
    }

    /// The last part; the home itself has none.
    fn name(&self) -> Option<&OsStr> {
        self.parts.last().map(|name| OsStr::from_bytes(name))
    }

    /// What is called `name` in this directory.
    fn join(&self, name: &OsStr) -> Self {
        let mut parts = self.parts.clone();
        parts.push(name.as_bytes().to_owned());
        Self {
            parts,
            directory: false,
        }
    }
}

impl std::fmt::Display for HomePath {
    /// For people: on one line, and what is not UTF-8 as U+FFFD.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.parts.join(&b'/');
        formatter.write_str(&plain(&String::from_utf8_lossy(&path)))
    }
}

/// The parts of a path's address in the API.
fn address<'a>(uid: &'a Uid, path: &'a HomePath) -> impl Iterator<Item = &'a [u8]> {
    // The home itself is the empty part behind the slash.
    let home = path.parts.is_empty().then_some(&b""[..]);
    ["api", "vm", uid.as_str(), "files"]
        .into_iter()
        .map(str::as_bytes)
        .chain(path.parts.iter().map(Vec::as_slice))
        .chain(home)
}

async fn send(
    client: &Client,
    uid: &Uid,
    path: &HomePath,
    request: RequestBuilder,
) -> Result<Response, Failure> {
    match client.send(request).await {
        Ok(response) => Ok(response),
        Err(CallError::Refused(refusal)) if refusal.code == "no_such_file" => Err(
            Failure::Unknown(format!("there is no '{path}' in the home of '{uid}'")),
        ),
        Err(error) => Err(client.suggest(error, uid).await),
    }
}

/// Asks for a file, or for as little of a directory's listing as there is.
fn read_request(client: &Client, uid: &Uid, path: &HomePath) -> RequestBuilder {
    client
        .request(Method::GET, address(uid, path))
        .query(&[("limit", "1")])
}

/// What is at a path; `None` where nothing is.
async fn look(client: &Client, uid: &Uid, path: &HomePath) -> Result<Option<Kind>, Failure> {
    match client.send(read_request(client, uid, path)).await {
        // A file's contents, which began to come, are not read.
        Ok(response) => Ok(Some(kind(&response))),
        Err(CallError::Refused(refusal)) if refusal.code == "no_such_file" => Ok(None),
        Err(error) => Err(client.suggest(error, uid).await),
    }
}

/// What fits, as every listing of a directory says.
#[derive(Debug, Deserialize)]
struct Room {
    /// How many bytes the disk has left.
    free: u64,
    /// How many bytes a file may have.
    upload_max: u64,
}

impl Room {
    /// Asks how much there is in a home.
    async fn of(client: &Client, uid: &Uid) -> Result<Self, Failure> {
        let home = HomePath::default();
        let request = read_request(client, uid, &home);
        let listing = send(client, uid, &home, request).await?;
        let text = listing
            .text()
            .await
            .map_err(|error| Failure::from(broken(error)))?;
        read(&serde_json::from_str(&text).unwrap_or_default())
    }

    /// Whether the files that are to be sent fit. The service looks again at each; but one that it
    /// refuses while it is being sent could end with nothing but a broken connection.
    fn check<'a>(&self, files: impl Iterator<Item = (&'a Path, u64)>) -> Result<(), Failure> {
        let mut whole = 0_u64;
        for (path, size) in files {
            if size > self.upload_max {
                return Err(Failure::Usage(format!(
                    "{} has {}, and a file may have {} at most (COSAGE_UPLOAD_MAX)",
                    shown(path),
                    bytes(size),
                    bytes(self.upload_max)
                )));
            }
            whole = whole.saturating_add(size);
        }
        if whole > self.free {
            return Err(Failure::Failed(format!(
                "{} do not fit: the disk of the home has {} left",
                bytes(whole),
                bytes(self.free)
            )));
        }
        Ok(())
    }
}

/// A directory is answered as its listing, and a file never as JSON.
fn kind(response: &Response) -> Kind {
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if json { Kind::Directory } else { Kind::File }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_known_before_it_is_sent() {
        let room = Room {
            free: 100,
            upload_max: 60,
        };
        let check = |sizes: &[u64]| room.check(sizes.iter().map(|size| (Path::new("x"), *size)));
        assert!(check(&[]).is_ok() && check(&[60, 40]).is_ok());
        assert!(matches!(check(&[61]), Err(Failure::Usage(_))));
        assert!(matches!(check(&[60, 41]), Err(Failure::Failed(_))));
        assert!(matches!(check(&[60, u64::MAX]), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_place_is_a_desktops_where_a_name_stands_before_the_colon() {
        let there = |uid: &str, parts: &[&str], directory| {
            Place::There(
                uid.parse().unwrap(),
                HomePath {
                    parts: parts
                        .iter()
                        .map(|part| part.as_bytes().to_owned())
                        .collect(),
                    directory,
                },
            )
        };
        for (text, place) in [
            ("wall:a.txt", there("wall", &["a.txt"], false)),
            ("wall:/a//./b/", there("wall", &["a", "b"], true)),
            ("wall:", there("wall", &[], true)),
            ("wall:.", there("wall", &[], true)),
            ("wall:a:b", there("wall", &["a:b"], false)),
            ("a.txt", Place::Here("a.txt".into())),
            ("./wall:a", Place::Here("./wall:a".into())),
            ("/wall:a", Place::Here("/wall:a".into())),
            ("-", Place::Standard),
            ("wall:-", there("wall", &["-"], false)),
            ("wall:x\ty\n", there("wall", &["x\ty\n"], false)),
        ] {
            assert_eq!(parse(text.as_ref()).unwrap(), place, "{text}");
        }
        let latin = OsStr::from_bytes(b"wall:caf\xe9");
        let Place::There(_, path) = parse(latin).unwrap() else {
            panic!("{latin:?} is in the home of 'wall'");
        };
        assert_eq!(path.parts, [b"caf\xe9"]);
        assert_eq!(path.to_string(), "caf\u{fffd}");
        let latin = OsStr::from_bytes(b"caf\xe9:x");
        assert_eq!(parse(latin).unwrap(), Place::Here(latin.into()));
        for wrong in ["wall:..", "wall:a/../b"] {
            assert!(
                matches!(parse(wrong.as_ref()), Err(Failure::Usage(_))),
                "{wrong}"
            );
        }
    }
}
