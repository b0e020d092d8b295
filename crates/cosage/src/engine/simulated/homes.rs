//! Homes of the fake engine: directories that go with it, and the program for files in a thread.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use files::Home as Directory;
use futures_util::StreamExt;
use rustix::fs::{Mode, OFlags, open};
use tempfile::TempDir;
use tokio_util::io::ReaderStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::EngineError;
use super::super::home::Link;

/// A home.
pub(super) struct FakeHome {
    /// Made when somebody looks at its files, which few tests do.
    directory: Option<TempDir>,
    /// When the home goes, so does what is being done to its files.
    ended: CancellationToken,
    _end: DropGuard,
}

impl FakeHome {
    pub(super) fn new() -> Self {
        let ended = CancellationToken::new();
        Self {
            directory: None,
            _end: ended.clone().drop_guard(),
            ended,
        }
    }

    pub(super) fn path(&mut self) -> io::Result<&Path> {
        if self.directory.is_none() {
            self.directory = Some(tempfile::Builder::new().prefix("cosage-home-").tempdir()?);
        }
        let directory = self.directory.as_ref();
        directory
            .map(TempDir::path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A way to the program, which greets first.
    pub(super) fn link(&mut self) -> Result<Link, EngineError> {
        let failed = |error: io::Error| EngineError::OutOfResources(error.to_string());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = self
            .path()
            .and_then(|path| Ok(open(path, flags, Mode::empty())?));
        let directory = Directory::new(directory.map_err(failed)?);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        std::thread::spawn(move || {
            // An error says that nobody asks any more.
            let _ = files::serve(&directory, &theirs, &theirs);
        });
        ours.set_nonblocking(true).map_err(failed)?;
        let ours = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        let (input, output) = ours.into_split();
        let input = ReaderStream::with_capacity(input, 64 * 1024)
            .take_until(self.ended.clone().cancelled_owned());
        Ok(Link::new(input.boxed(), output, ()))
    }
}
