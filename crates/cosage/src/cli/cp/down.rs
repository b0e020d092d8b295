//! From a home to this machine.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use reqwest::{Method, Response};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{HomePath, Kind, address, kind, read_request, send};
use crate::cli::client::{Client, broken};
use crate::cli::failure::Failure;
use crate::cli::file::{NewFile, shown, unwritable};
use crate::cli::output::write;
use crate::cli::progress::Progress;
use crate::desktop::Uid;

/// Copies a file or a directory.
pub(super) async fn copy(
    client: &Client,
    uid: &Uid,
    path: &HomePath,
    to: &Path,
) -> Result<(), Failure> {
    let response = get(client, uid, path).await?;
    let to = destination(to, path.name().unwrap_or(uid.as_str().as_ref()))?;
    match kind(&response) {
        Kind::File => save(response, path, &to).await,
        Kind::Directory => unpack(archive(client, uid, path).await?, path, &to).await,
    }
}

/// Writes a file to standard output; a directory as a tar archive.
pub(super) async fn print(client: &Client, uid: &Uid, path: &HomePath) -> Result<(), Failure> {
    let mut response = get(client, uid, path).await?;
    if kind(&response) == Kind::Directory {
        response = archive(client, uid, path).await?;
    }
    let progress = Progress::bytes(path.to_string(), response.content_length());
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        write(&piece)?;
        progress.advance(piece.len());
    }
    Ok(())
}

async fn get(client: &Client, uid: &Uid, path: &HomePath) -> Result<Response, Failure> {
    send(client, uid, path, read_request(client, uid, path)).await
}

async fn archive(client: &Client, uid: &Uid, path: &HomePath) -> Result<Response, Failure> {
    let request = client
        .request(Method::GET, address(uid, path))
        .query(&[("archive", "tar")]);
    send(client, uid, path, request).await
}

/// The path that the copy gets.
fn destination(to: &Path, name: &OsStr) -> Result<PathBuf, Failure> {
    if to.is_dir() {
        return Ok(to.join(name));
    }
    if to.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Failure::Usage(format!(
            "there is no directory {}; make it first",
            shown(to)
        )));
    }
    Ok(to.to_owned())
}

async fn save(mut response: Response, path: &HomePath, to: &Path) -> Result<(), Failure> {
    if to.is_dir() {
        return Err(Failure::Usage(format!(
            "{} is a directory; remove it, or choose another name",
            shown(to)
        )));
    }
    let progress = Progress::bytes(path.to_string(), response.content_length());
    let mut file = NewFile::create(to)?;
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        file.write(&piece)?;
        progress.advance(piece.len());
    }
    file.finish()
}

async fn unpack(response: Response, path: &HomePath, to: &Path) -> Result<(), Failure> {
    if to.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already; remove it, or choose another name",
            shown(to)
        )));
    }
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Complete before it has its name, and gone with everything in it when it does not get there.
    let unpacked = tempfile::Builder::new()
        .prefix(".cosage-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(|error| unwritable(to, &error))?;
    let progress = Progress::bytes(path.to_string(), None);
    let mut received = 0;
    let pieces = response.bytes_stream().map_err(io::Error::other);
    let pieces = pieces.inspect_ok(move |piece| {
        received += piece.len() as u64;
        progress.say(crate::cli::output::bytes(received));
    });
    let reader = SyncIoBridge::new(StreamReader::new(pieces));
    let directory = unpacked.path().to_owned();
    let unpacking = tokio::task::spawn_blocking(move || {
        // The archive is what a desktop made: this crate lets no entry lead out of the directory.
        let mut archive = tar::Archive::new(reader);
        archive.unpack(directory)?;
        // A stream that was cut between two entries looks like one that ended.
        io::copy(&mut archive.into_inner(), &mut io::sink())
    });
    unpacking
        .await
        .map_err(|error| Failure::Failed(error.to_string()))?
        .map_err(|error| Failure::Failed(format!("{path} could not be copied: {error}")))?;
    // An archive has the directory itself in it, and nothing beside it.
    let mut inside = std::fs::read_dir(unpacked.path()).map_err(|error| unwritable(to, &error))?;
    match (inside.next(), inside.next()) {
        (Some(Ok(directory)), None) => {
            std::fs::rename(directory.path(), to).map_err(|error| unwritable(to, &error))
        }
        _ => Err(Failure::Failed(format!(
            "{path} could not be copied: the archive is not that of one directory"
        ))),
    }
}
