//! The files of a desktop's home, as an engine gives access to them: one conversation with the
//! program of the crate `files`, whatever carries it.

mod link;
mod path;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use files::protocol::{Answer, DATA, END, Request};
pub use files::protocol::{Entry, EntryKind, Expected, Failure, Mark, Time, Version};
use tokio::time::timeout;

pub use self::link::Link;
pub use self::path::{HomePath, HomePathError};
use super::error::EngineError;

/// How long the first answer may take that costs no more than a look.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to go through a directory with all in it.
const TREE_LIMIT: Duration = Duration::from_secs(600);

/// Why something could not be done with the files of a home.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// There is no home.
    #[error("the desktop has no home: its app keeps no files, or it has not run yet")]
    NoHome,
    /// The files say no.
    #[error(transparent)]
    Files(#[from] Failure),
    /// It was ended in the middle: the desktop was forgotten, or the engine went.
    #[error(
        "the transfer was ended: the desktop was forgotten, or the container engine was restarted"
    )]
    Ended,
    /// The engine says no, or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Access to the files of one home, for one request.
pub struct HomeAccess {
    link: Link,
    keep: Keep,
    expected: Option<Expected>,
}

/// Takes back a link that can be asked again.
type Keep = Box<dyn FnOnce(Link) + Send>;

/// What is at a path.
pub enum Content {
    /// A file.
    File(FileContent),
    /// A directory.
    Directory(DirectoryContent),
}

/// A file that was opened: whatever happens to its name meanwhile, what is read is this one.
pub struct FileContent {
    home: HomeAccess,
    /// How many bytes it has.
    pub size: u64,
    /// When it was last modified.
    pub modified: Time,
    /// What tells its contents from others.
    pub version: Version,
}

/// A directory that was opened.
pub struct DirectoryContent {
    home: HomeAccess,
    /// How many bytes its file system has left.
    pub free: u64,
}

/// Bytes on their way out of a home.
pub struct Download {
    /// `None` after the end.
    home: Option<HomeAccess>,
    /// How much of the current frame is to come.
    left: usize,
    /// How much of all is to come, where that is known.
    total: Option<u64>,
}

/// A page of a directory on its way.
pub struct Entries {
    /// `None` after the end.
    home: Option<HomeAccess>,
    last: Option<Mark>,
}

/// A file on its way into a home. Dropping it leaves what was there before.
pub struct Upload {
    home: HomeAccess,
}

/// What became of a path that was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing was there.
    Created,
    /// What was there is replaced, or was a directory already.
    Replaced,
}

impl HomeAccess {
    /// Access over `link`, which goes to `keep` if it can be asked again after the request.
    pub fn new(link: Link, keep: impl FnOnce(Link) + Send + 'static) -> Self {
        Self {
            link,
            keep: Box::new(keep),
            expected: None,
        }
    }

    /// The same, for a change that is made only where this is there at the moment of the change: otherwise it fails with
    /// [`Failure::Exists`] or [`Failure::Changed`].
    #[must_use]
    pub fn expecting(self, expected: Option<Expected>) -> Self {
        Self { expected, ..self }
    }

    /// What is at `path`. Nothing of it is read yet.
    ///
    /// # Errors
    /// See [`HomeError`]; the same for all calls here.
    pub async fn open(self, path: &HomePath) -> Result<Content, HomeError> {
        match self.ask(Request::Open(path.to_bytes())).await? {
            (
                home,
                Answer::File {
                    size,
                    modified,
                    version,
                },
            ) => Ok(Content::File(FileContent {
                home,
                size,
                modified,
                version,
            })),
            (home, Answer::Directory { free }) => {
                Ok(Content::Directory(DirectoryContent { home, free }))
            }
            _ => Err(HomeError::Ended),
        }
    }

    /// What is at `path` as a tar stream, links as links. What cannot be read ends it with an error.
    pub async fn archive(self, path: &HomePath) -> Result<Download, HomeError> {
        match self.ask(Request::Archive(path.to_bytes())).await? {
            (home, Answer::Archive) => Ok(Download::new(home, None)),
            _ => Err(HomeError::Ended),
        }
    }

    /// Begins to write a file, of `size` bytes where that is known. What is at `path` stays until
    /// [`Upload::finish`]. A file that is replaced keeps its mode. `modified` is now by default.
    pub async fn write(
        self,
        path: &HomePath,
        size: Option<u64>,
        modified: Option<Time>,
    ) -> Result<Upload, HomeError> {
        let request = Request::Write {
            path: path.to_bytes(),
            size,
            modified,
            expected: self.expected,
        };
        match self.ask(request).await? {
            (home, Answer::Ready) => Ok(Upload { home }),
            _ => Err(HomeError::Ended),
        }
    }

    /// Makes a directory with its parents.
    pub async fn make_directory(self, path: &HomePath) -> Result<Written, HomeError> {
        let request = Request::MakeDirectory {
            path: path.to_bytes(),
            expected: self.expected,
        };
        let (home, answer) = self.ask(request).await?;
        home.written(answer)
    }

    /// Deletes a file, a link, or a directory with all in it.
    pub async fn remove(mut self, path: &HomePath) -> Result<(), HomeError> {
        let request = Request::Remove {
            path: path.to_bytes(),
            expected: self.expected,
        };
        self.link.send(&request).await?;
        match self.answer(TREE_LIMIT).await? {
            (home, Answer::Done) => {
                home.finish();
                Ok(())
            }
            _ => Err(HomeError::Ended),
        }
    }

    /// How much of its disk the home takes, in bytes: all blocks of its files and directories. A file with several names
    /// counts once.
    pub async fn disk_use(mut self) -> Result<u64, HomeError> {
        self.link.send(&Request::Measure).await?;
        match self.answer(TREE_LIMIT).await? {
            (home, Answer::DiskUse(bytes)) => {
                home.finish();
                Ok(bytes)
            }
            _ => Err(HomeError::Ended),
        }
    }

    async fn ask(mut self, request: Request) -> Result<(Self, Answer), HomeError> {
        self.link.send(&request).await?;
        self.answer(ANSWER_LIMIT).await
    }

    async fn answer(mut self, limit: Duration) -> Result<(Self, Answer), HomeError> {
        let late = || EngineError::Unavailable("its files were not reached in time".to_owned());
        match timeout(limit, self.link.answer())
            .await
            .map_err(|_| late())??
        {
            Answer::Failed(failure) => {
                self.finish();
                Err(failure.into())
            }
            answer => Ok((self, answer)),
        }
    }

    fn written(self, answer: Answer) -> Result<Written, HomeError> {
        let written = match answer {
            Answer::Created => Written::Created,
            Answer::Replaced => Written::Replaced,
            _ => return Err(HomeError::Ended),
        };
        self.finish();
        Ok(written)
    }

    /// The request is through, and nothing of it is on its way any more.
    fn finish(self) {
        (self.keep)(self.link);
    }
}

impl Content {
    /// Nothing of it is wanted.
    pub fn close(self) {
        match self {
            Self::File(file) => file.home.finish(),
            Self::Directory(directory) => directory.home.finish(),
        }
    }
}

impl FileContent {
    /// These of its bytes, of which the last is in the file.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub async fn read(mut self, range: Range<u64>) -> Result<Download, HomeError> {
        let len = range.end.saturating_sub(range.start);
        let request = Request::Read {
            offset: range.start,
            len,
        };
        self.home.link.send(&request).await?;
        let mut parts = Download::new(self.home, Some(len));
        parts.finish_last().await?;
        Ok(parts)
    }
}

impl DirectoryContent {
    /// The first `limit` entries after `after`: directories first, then by name. What is made or deleted between two
    /// pages moves nothing else from one into another.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub async fn list(mut self, after: Option<Mark>, limit: u32) -> Result<Entries, HomeError> {
        self.home.link.send(&Request::List { after, limit }).await?;
        Ok(Entries {
            home: Some(self.home),
            last: None,
        })
    }
}

impl Download {
    fn new(home: HomeAccess, total: Option<u64>) -> Self {
        Self {
            home: Some(home),
            left: 0,
            total,
        }
    }

    /// The next bytes; `None` after the last. An error says that they are not all.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HomeError> {
        while self.left == 0 {
            let Some(home) = &mut self.home else {
                return Ok(None);
            };
            match home.link.head().await? {
                (DATA, len) => self.left = len,
                (END, 0) => self.finish(),
                _ => return Err(HomeError::Ended),
            }
        }
        let Some(home) = &mut self.home else {
            return Ok(None);
        };
        let bytes = home.link.at_most(self.left).await?;
        self.left -= bytes.len();
        if let Some(total) = &mut self.total {
            *total = total.saturating_sub(bytes.len() as u64);
            self.finish_last().await?;
        }
        Ok(Some(bytes))
    }

    /// Takes the end together with the last bytes: whoever knows how many there are does not ask
    /// whether there are more.
    async fn finish_last(&mut self) -> Result<(), HomeError> {
        if let (Some(0), Some(home)) = (self.total, &mut self.home) {
            match home.link.head().await? {
                (END, 0) => self.finish(),
                _ => return Err(HomeError::Ended),
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let Some(home) = self.home.take() {
            home.finish();
        }
    }
}

impl Entries {
    /// The next entries; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, HomeError> {
        let Some(home) = &mut self.home else {
            return Ok(None);
        };
        let (kind, len) = home.link.head().await?;
        let body = home.link.exactly(len).await?;
        match kind {
            DATA => {
                let mut rest = &body[..];
                let mut entries = Vec::new();
                while !rest.is_empty() {
                    let (entry, after) = Entry::parse(rest).ok_or(HomeError::Ended)?;
                    entries.push(entry);
                    rest = after;
                }
                Ok(Some(entries))
            }
            END => {
                self.last = Mark::parse(&body);
                if let Some(home) = self.home.take() {
                    home.finish();
                }
                Ok(None)
            }
            _ => Err(HomeError::Ended),
        }
    }

    /// After the last entry: what the next page comes after, where there is one.
    pub fn last(&self) -> Option<&Mark> {
        self.last.as_ref()
    }
}

impl Upload {
    /// Sends a part. Returns when it is on its way, so whoever sends is as slow as the disk.
    ///
    /// # Errors
    /// See [`HomeError`], above all [`Failure::NoSpace`]: the upload is over then, and nothing of
    /// it is left.
    pub async fn send(&mut self, part: &Bytes) -> Result<(), HomeError> {
        self.home.link.send_data(part).await
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// As above.
    pub async fn finish(mut self) -> Result<Written, HomeError> {
        self.home.link.send_end().await?;
        let (home, answer) = self.home.answer(ANSWER_LIMIT).await?;
        home.written(answer)
    }
}
