//! Homes of simulated desktops: directories, and the program for files in a thread.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use async_trait::async_trait;
use futures_util::StreamExt;
use rustix::fs::{Mode, OFlags, open};
use tokio::sync::broadcast;
use tokio_util::io::ReaderStream;

use crate::desktop::Uid;
use crate::engine::home::{HomeAccess, HomeError, Link};
use crate::engine::{EngineError, Homes};

/// The homes, which cost no memory: each is a directory of the desktop's name.
pub(super) struct Directories {
    above: PathBuf,
    /// Whose home was deleted: what is being done to its files ends.
    deleted: broadcast::Sender<Uid>,
}

impl Directories {
    pub(super) fn new(above: PathBuf) -> Self {
        Self {
            above,
            deleted: broadcast::Sender::new(64),
        }
    }

    pub(super) fn create(&self, uid: &Uid) -> Result<(), EngineError> {
        std::fs::create_dir_all(self.above.join(uid.as_str())).map_err(failed)
    }

    pub(super) fn of(&self, uid: &Uid) -> Option<PathBuf> {
        let directory = self.above.join(uid.as_str());
        directory.is_dir().then_some(directory)
    }

    /// A way to the program, which greets first.
    fn link(&self, uid: &Uid) -> Result<Link, HomeError> {
        let mut deleted = self.deleted.subscribe();
        let directory = self.of(uid).ok_or(HomeError::NoHome)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(directory, flags, Mode::empty()).map_err(|_| HomeError::NoHome)?;
        let home = files::Home::new(directory);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        std::thread::spawn(move || {
            // An error says that nobody asks any more.
            let _ = files::serve(&home, &theirs, &theirs);
        });
        ours.set_nonblocking(true).map_err(failed)?;
        let ours = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        let (input, output) = ours.into_split();
        let uid = uid.clone();
        // Whoever misses a deletion takes it for one of this home.
        let ended = async move { while deleted.recv().await.is_ok_and(|other| other != uid) {} };
        let input = ReaderStream::with_capacity(input, 64 * 1024).take_until(Box::pin(ended));
        Ok(Link::new(input.boxed(), output, ()))
    }
}

#[async_trait]
impl Homes for Directories {
    async fn open(&self, uid: &Uid) -> Result<HomeAccess, HomeError> {
        let mut link = self.link(uid)?;
        link.hello().await?;
        Ok(HomeAccess::new(link, drop))
    }

    async fn list(&self) -> Result<Vec<Uid>, EngineError> {
        let entries = match std::fs::read_dir(&self.above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        Ok(names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect())
    }

    async fn delete(&self, uid: &Uid) -> Result<(), EngineError> {
        // Under another name first, so that nothing finds half of it. No desktop's name begins so.
        let leaving = self.above.join(format!(".{}", uuid::Uuid::new_v4()));
        match std::fs::rename(self.above.join(uid.as_str()), &leaving) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        // An error says that nothing is being done to any home.
        let _ = self.deleted.send(uid.clone());
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(leaving));
        removed
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(failed)
    }
}

fn failed(error: io::Error) -> EngineError {
    EngineError::OutOfResources(error.to_string())
}
