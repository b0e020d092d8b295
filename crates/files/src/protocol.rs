//! What is asked and answered. Both ends are of one build, so it has no versions.
//!
//! Everything is a frame: one byte that says what it is, the length of what follows (32 bits, big
//! endian), and that. [`Request`]s are answered one after the other, with one [`Answer`]; where
//! that one opens a transfer, [`DATA`] frames follow and an [`END`].
//!
//! More than 500 lines because both directions of each message stand side by side.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

mod expected;

pub use self::expected::Expected;

/// The longest a frame may be, in bytes, its head not counted.
pub const FRAME_MAX: usize = 256 * 1024;

/// The length of a frame's head, in bytes.
pub const HEAD_LEN: usize = 5;

/// A frame with a part of a file.
pub const DATA: u8 = b'd';

/// The frame after the last part. Its body is empty; after entries it is the [`Mark`] of the last one where more follow.
pub const END: u8 = b'e';

/// The frame with which the program begins, once it can be asked. Its body is empty.
pub const HELLO: u8 = b'h';

/// A path inside the home: parts with '/' between them, none of them empty, '.' or '..'; empty is
/// the home itself. Bytes, because names of files are.
pub type Path = Vec<u8>;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether anybody is there: [`Answer::Done`].
    Ping,
    /// What is at the path: [`Answer::File`] or [`Answer::Directory`]. It stays open for the next request.
    Open(Path),
    /// Bytes of the file that the request before this one opened: [`DATA`] without an answer before it.
    Read {
        /// How many bytes of the file are left out at its beginning.
        offset: u64,
        /// How many bytes; no more than the file had when it was opened.
        len: u64,
    },
    /// Entries of the directory that the request before this one opened, in the order of [`Mark`]s, as
    /// [`Entry::write`] makes them, each in one frame with others: [`DATA`] without an answer before it.
    List {
        /// Only what comes after it; `None` begins with the first.
        after: Option<Mark>,
        /// How many at most. The program's memory grows with it.
        limit: u32,
    },
    /// A directory or a file as a tar stream: [`Answer::Archive`].
    Archive(Path),
    /// A file that is sent after [`Answer::Ready`]; [`Answer::Created`] or [`Answer::Replaced`]
    /// follows its end. Parents are made.
    Write {
        /// Where.
        path: Path,
        /// How many bytes will come, where that is known.
        size: Option<u64>,
        /// What its time of modification shall be; `None` is now.
        modified: Option<Time>,
        /// What has to be there when the file is put in place; `None` is whatever it is.
        expected: Option<Expected>,
    },
    /// A directory with its parents: [`Answer::Created`], or [`Answer::Replaced`] where it is there.
    MakeDirectory {
        /// Where.
        path: Path,
        /// What has to be there.
        expected: Option<Expected>,
    },
    /// A file, a link, or a directory with all in it, is deleted: [`Answer::Done`].
    Remove {
        /// What.
        path: Path,
        /// What has to be there.
        expected: Option<Expected>,
    },
    /// How much of its disk the whole home takes: [`Answer::DiskUse`].
    Measure,
}

/// A place in the list of a directory: directories come first, then everything goes by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whether it is a directory's.
    pub is_directory: bool,
    /// The name there.
    pub name: Vec<u8>,
}

/// What changes whenever a file's contents do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The number of its inode: an upload that replaces a file makes another one.
    pub inode: u64,
    /// When its contents or its inode last changed, which no program can set.
    pub changed: Time,
}

/// A moment: seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds after them, less than 1,000,000,000.
    pub nanoseconds: u32,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done, and there is nothing to say.
    Done,
    /// It was made.
    Created,
    /// It was there, and is replaced.
    Replaced,
    /// The parts may come.
    Ready,
    /// A file.
    File {
        /// How many bytes it has.
        size: u64,
        /// When it was last modified.
        modified: Time,
        /// What tells it from other contents at the same path.
        version: Version,
    },
    /// A directory.
    Directory {
        /// How many bytes the home's file system has left for an ordinary user.
        free: u64,
    },
    /// A tar stream follows.
    Archive,
    /// How much of its disk the home takes, in bytes.
    DiskUse(u64),
    /// It could not be done.
    Failed(Failure),
}

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes, of a file.
    pub size: u64,
    /// When it was last modified.
    pub modified: Time,
    /// Its name: any bytes but NUL and '/'.
    pub name: Vec<u8>,
}

/// What an entry is. Links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A socket, a FIFO, a device.
    Other,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing is there.
    #[error("there is no such file or directory in the home")]
    NotFound,
    /// A symbolic link on the way leads out of the home.
    #[error("a symbolic link leads out of the home")]
    OutsideHome,
    /// The home's owner has no right to it.
    #[error("the home's owner has no right to it")]
    NotPermitted,
    /// A directory is where a file is wanted.
    #[error("it is a directory")]
    IsDirectory,
    /// Something else is where a directory is wanted.
    #[error("it is not a directory")]
    NotDirectory,
    /// Neither a file nor a directory.
    #[error("it is neither a file nor a directory")]
    NotFile,
    /// The disk is full, or the owner's share of it.
    #[error("the disk of the home has too little space left")]
    NoSpace,
    /// A name is longer than the file system takes.
    #[error("the name is longer than the file system takes")]
    NameTooLong,
    /// Nothing was [expected](Expected) there.
    #[error(
        "something with this name is there already; choose another name, or replace it without a condition"
    )]
    Exists,
    /// Something else was [expected](Expected) there.
    #[error(
        "what is there is not what the condition names; fetch it again, then repeat the change"
    )]
    Changed,
    /// What the operating system said.
    #[error("the operating system refused: {0}")]
    System(String),
}

impl Request {
    /// Writes it as a frame.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let (kind, body) = match self {
            Self::Ping => (b'P', Vec::new()),
            Self::Measure => (b'S', Vec::new()),
            Self::Open(path) => (b'O', path.clone()),
            Self::Read { offset, len } => {
                (b'R', [offset.to_be_bytes(), len.to_be_bytes()].concat())
            }
            Self::List { after, limit } => {
                let mut body = limit.to_be_bytes().to_vec();
                if let Some(after) = after {
                    after.write(&mut body);
                }
                (b'L', body)
            }
            Self::Archive(path) => (b'A', path.clone()),
            Self::MakeDirectory { path, expected } => (b'M', change(path, *expected)),
            Self::Remove { path, expected } => (b'D', change(path, *expected)),
            Self::Write {
                path,
                size,
                modified,
                expected,
            } => {
                let mut body = Vec::new();
                put_option(&mut body, size.is_some(), &size.unwrap_or(0).to_be_bytes());
                put_option(
                    &mut body,
                    modified.is_some(),
                    &modified.unwrap_or_default().to_bytes(),
                );
                body.extend(change(path, *expected));
                (b'W', body)
            }
        };
        write_frame(output, kind, &body)
    }

    /// Reads it from a frame.
    pub fn parse(kind: u8, body: &[u8]) -> Option<Self> {
        Some(match kind {
            b'P' => Self::Ping,
            b'S' => Self::Measure,
            b'O' => Self::Open(body.to_vec()),
            b'R' => {
                let (offset, len) = body.split_first_chunk()?;
                Self::Read {
                    offset: u64::from_be_bytes(*offset),
                    len: u64::from_be_bytes(len.try_into().ok()?),
                }
            }
            b'L' => {
                let (limit, after) = body.split_first_chunk()?;
                Self::List {
                    after: match after {
                        [] => None,
                        after => Some(Mark::parse(after)?),
                    },
                    limit: u32::from_be_bytes(*limit),
                }
            }
            b'A' => Self::Archive(body.to_vec()),
            b'M' => {
                let (expected, path) = Expected::take(body)?;
                let path = path.to_vec();
                Self::MakeDirectory { path, expected }
            }
            b'D' => {
                let (expected, path) = Expected::take(body)?;
                let path = path.to_vec();
                Self::Remove { path, expected }
            }
            b'W' => {
                let (size, rest) = take_option::<8>(body)?;
                let (modified, rest) = take_option::<12>(rest)?;
                let (expected, path) = Expected::take(rest)?;
                Self::Write {
                    path: path.to_vec(),
                    size: size.map(u64::from_be_bytes),
                    modified: modified.map(Time::from_bytes),
                    expected,
                }
            }
            _ => return None,
        })
    }
}

impl Answer {
    /// Writes it as a frame.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Done => write_frame(output, b'o', &[]),
            Self::Created => write_frame(output, b'c', &[]),
            Self::Replaced => write_frame(output, b'r', &[]),
            Self::Ready => write_frame(output, b'y', &[]),
            Self::Archive => write_frame(output, b'a', &[]),
            Self::DiskUse(bytes) => write_frame(output, b'u', &bytes.to_be_bytes()),
            Self::Directory { free } => write_frame(output, b'l', &free.to_be_bytes()),
            Self::File {
                size,
                modified,
                version,
            } => {
                let mut body = size.to_be_bytes().to_vec();
                body.extend_from_slice(&modified.to_bytes());
                body.extend_from_slice(&version.inode.to_be_bytes());
                body.extend_from_slice(&version.changed.to_bytes());
                write_frame(output, b'f', &body)
            }
            Self::Failed(failure) => write_frame(output, b'x', &failure.to_bytes()),
        }
    }

    /// Reads it from a frame.
    pub fn parse(kind: u8, body: &[u8]) -> Option<Self> {
        Some(match kind {
            b'o' => Self::Done,
            b'c' => Self::Created,
            b'r' => Self::Replaced,
            b'y' => Self::Ready,
            b'a' => Self::Archive,
            b'u' => Self::DiskUse(u64::from_be_bytes(body.try_into().ok()?)),
            b'l' => Self::Directory {
                free: u64::from_be_bytes(body.try_into().ok()?),
            },
            b'f' => {
                let (size, rest) = body.split_first_chunk()?;
                let (modified, rest) = rest.split_first_chunk()?;
                let (inode, changed) = rest.split_first_chunk()?;
                Self::File {
                    size: u64::from_be_bytes(*size),
                    modified: Time::from_bytes(*modified),
                    version: Version {
                        inode: u64::from_be_bytes(*inode),
                        changed: Time::from_bytes(changed.try_into().ok()?),
                    },
                }
            }
            b'x' => Self::Failed(Failure::from_bytes(body)?),
            _ => return None,
        })
    }
}

impl Entry {
    /// The longest an entry can be, in bytes: its name is at most 255 (`NAME_MAX`).
    pub const LEN_MAX: usize = 1 + 8 + 12 + 2 + 255;

    /// Appends it to a frame's body.
    pub fn write(&self, body: &mut Vec<u8>) {
        body.push(match self.kind {
            EntryKind::Directory => b'd',
            EntryKind::File => b'f',
            EntryKind::Link => b'l',
            EntryKind::Other => b'o',
        });
        body.extend_from_slice(&self.size.to_be_bytes());
        body.extend_from_slice(&self.modified.to_bytes());
        let name = self.name.get(..255).unwrap_or(&self.name);
        // At most 255.
        body.extend_from_slice(&(name.len() as u16).to_be_bytes());
        body.extend_from_slice(name);
    }

    /// Takes the first one from a frame's body; the rest is what follows it.
    pub fn parse(body: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = body.split_first()?;
        let kind = match kind {
            b'd' => EntryKind::Directory,
            b'f' => EntryKind::File,
            b'l' => EntryKind::Link,
            b'o' => EntryKind::Other,
            _ => return None,
        };
        let (size, rest) = rest.split_first_chunk()?;
        let (modified, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        let entry = Self {
            kind,
            size: u64::from_be_bytes(*size),
            modified: Time::from_bytes(*modified),
            name: name.to_vec(),
        };
        Some((entry, rest))
    }
}

impl Mark {
    /// What marks are ordered by.
    pub(crate) fn key(&self) -> (bool, &[u8]) {
        (!self.is_directory, &self.name)
    }

    /// Appends it to a frame's body, which it ends.
    pub fn write(&self, body: &mut Vec<u8>) {
        body.push(if self.is_directory { b'd' } else { b'f' });
        body.extend_from_slice(&self.name);
    }

    /// Reads it from the rest of a frame's body.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (kind, name) = body.split_first()?;
        let is_directory = match kind {
            b'd' => true,
            b'f' => false,
            _ => return None,
        };
        (!name.is_empty()).then(|| Self {
            is_directory,
            name: name.to_vec(),
        })
    }
}

impl Ord for Mark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Time {
    fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (seconds, nanoseconds) = bytes.split_at_mut(8);
        seconds.copy_from_slice(&self.seconds.to_be_bytes());
        nanoseconds.copy_from_slice(&self.nanoseconds.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        Self {
            seconds: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            nanoseconds: u32::from_be_bytes(rest),
        }
    }
}

impl Failure {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::NotFound => vec![1],
            Self::OutsideHome => vec![2],
            Self::NotPermitted => vec![3],
            Self::IsDirectory => vec![4],
            Self::NotDirectory => vec![5],
            Self::NotFile => vec![6],
            Self::NoSpace => vec![7],
            Self::NameTooLong => vec![8],
            Self::Exists => vec![9],
            Self::Changed => vec![10],
            Self::System(text) => [&[0], text.as_bytes()].concat(),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (code, text) = bytes.split_first()?;
        Some(match code {
            0 => Self::System(String::from_utf8_lossy(text).into_owned()),
            1 => Self::NotFound,
            2 => Self::OutsideHome,
            3 => Self::NotPermitted,
            4 => Self::IsDirectory,
            5 => Self::NotDirectory,
            6 => Self::NotFile,
            7 => Self::NoSpace,
            8 => Self::NameTooLong,
            9 => Self::Exists,
            10 => Self::Changed,
            _ => return None,
        })
    }
}

/// Writes a frame; `body` has at most [`FRAME_MAX`] bytes.
pub fn write_frame(output: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    output.write_all(&head(kind, body.len()))?;
    output.write_all(body)?;
    output.flush()
}

/// The head of a frame whose body has `len` bytes, at most [`FRAME_MAX`].
pub fn head(kind: u8, len: usize) -> [u8; HEAD_LEN] {
    let [a, b, c, d] = (len as u32).to_be_bytes();
    [kind, a, b, c, d]
}

/// What a frame is, and how many bytes its body has; `None` when they are too many.
pub fn parse_head(head: [u8; HEAD_LEN]) -> Option<(u8, usize)> {
    let [kind, len @ ..] = head;
    let len = u32::from_be_bytes(len) as usize;
    (len <= FRAME_MAX).then_some((kind, len))
}

/// Reads a frame into `body`, replacing what is there; `None` where the input ends before it.
pub fn read_frame(input: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Option<u8>> {
    let mut head = [0; HEAD_LEN];
    match input.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (kind, len) =
        parse_head(head).ok_or_else(|| io::Error::other("a frame is longer than any may be"))?;
    body.resize(len, 0);
    input.read_exact(body)?;
    Ok(Some(kind))
}

/// The body of a request that changes what is at a path, as far as all of them have it.
fn change(path: &[u8], expected: Option<Expected>) -> Vec<u8> {
    let mut body = Vec::new();
    Expected::put(expected, &mut body);
    body.extend_from_slice(path);
    body
}

fn put_option(body: &mut Vec<u8>, there: bool, value: &[u8]) {
    body.push(u8::from(there));
    body.extend_from_slice(value);
}

fn take_option<const N: usize>(body: &[u8]) -> Option<(Option<[u8; N]>, &[u8])> {
    let (there, rest) = body.split_first()?;
    let (value, rest) = rest.split_first_chunk::<N>()?;
    Some(((*there == 1).then_some(*value), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times() -> impl Strategy<Value = Time> {
        (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanoseconds)| Time {
            seconds,
            nanoseconds,
        })
    }

    fn paths() -> impl Strategy<Value = Path> {
        prop::collection::vec(any::<u8>(), 0..100)
    }

    fn marks() -> impl Strategy<Value = Mark> {
        let names = prop::collection::vec(any::<u8>(), 1..=255);
        (any::<bool>(), names).prop_map(|(is_directory, name)| Mark { is_directory, name })
    }

    fn expectations() -> impl Strategy<Value = Option<Expected>> {
        let versions = (any::<u64>(), times())
            .prop_map(|(inode, changed)| Expected::Version(Version { inode, changed }));
        prop::option::of(prop_oneof![
            Just(Expected::Absent),
            Just(Expected::Present),
            versions
        ])
    }

    fn requests() -> impl Strategy<Value = Request> {
        prop_oneof![
            Just(Request::Ping),
            Just(Request::Measure),
            paths().prop_map(Request::Open),
            any::<(u64, u64)>().prop_map(|(offset, len)| Request::Read { offset, len }),
            (prop::option::of(marks()), any::<u32>())
                .prop_map(|(after, limit)| Request::List { after, limit }),
            paths().prop_map(Request::Archive),
            (paths(), expectations())
                .prop_map(|(path, expected)| Request::MakeDirectory { path, expected }),
            (paths(), expectations())
                .prop_map(|(path, expected)| Request::Remove { path, expected }),
            (
                paths(),
                any::<Option<u64>>(),
                prop::option::of(times()),
                expectations()
            )
                .prop_map(|(path, size, modified, expected)| Request::Write {
                    path,
                    size,
                    modified,
                    expected
                }),
        ]
    }

    fn failures() -> impl Strategy<Value = Failure> {
        prop_oneof![
            Just(Failure::NotFound),
            Just(Failure::OutsideHome),
            Just(Failure::NotPermitted),
            Just(Failure::IsDirectory),
            Just(Failure::NotDirectory),
            Just(Failure::NotFile),
            Just(Failure::NoSpace),
            Just(Failure::NameTooLong),
            Just(Failure::Exists),
            Just(Failure::Changed),
            ".*".prop_map(Failure::System),
        ]
    }

    fn answers() -> impl Strategy<Value = Answer> {
        prop_oneof![
            Just(Answer::Done),
            Just(Answer::Created),
            Just(Answer::Replaced),
            Just(Answer::Ready),
            Just(Answer::Archive),
            any::<u64>().prop_map(Answer::DiskUse),
            any::<u64>().prop_map(|free| Answer::Directory { free }),
            (any::<u64>(), times(), any::<u64>(), times()).prop_map(
                |(size, modified, inode, changed)| Answer::File {
                    size,
                    modified,
                    version: Version { inode, changed },
                }
            ),
            failures().prop_map(Answer::Failed),
        ]
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let kinds = prop::sample::select(vec![
            EntryKind::Directory,
            EntryKind::File,
            EntryKind::Link,
            EntryKind::Other,
        ]);
        let names = prop::collection::vec(any::<u8>(), 1..=255);
        (kinds, any::<u64>(), times(), names).prop_map(|(kind, size, modified, name)| Entry {
            kind,
            size,
            modified,
            name,
        })
    }

    proptest! {
        #[test]
        fn requests_are_read_as_they_were_written(request in requests()) {
            let (mut frame, mut body) = (Vec::new(), Vec::new());
            request.write(&mut frame)?;
            let kind = read_frame(&mut &frame[..], &mut body)?;
            prop_assert_eq!(kind.and_then(|kind| Request::parse(kind, &body)), Some(request));
        }

        #[test]
        fn answers_are_read_as_they_were_written(answer in answers()) {
            let (mut frame, mut body) = (Vec::new(), Vec::new());
            answer.write(&mut frame)?;
            let kind = read_frame(&mut &frame[..], &mut body)?;
            prop_assert_eq!(kind.and_then(|kind| Answer::parse(kind, &body)), Some(answer));
        }

        #[test]
        fn entries_are_read_as_they_were_written(
            entries in prop::collection::vec(entries(), 0..10)
        ) {
            let mut body = Vec::new();
            for entry in &entries {
                let before = body.len();
                entry.write(&mut body);
                prop_assert!(body.len() - before <= Entry::LEN_MAX);
            }
            let mut rest = &body[..];
            for entry in entries {
                let (read, after) = Entry::parse(rest).unwrap();
                prop_assert_eq!(read, entry);
                rest = after;
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn anything_is_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..600)
        ) {
            let mut body = Vec::new();
            if let Ok(Some(kind)) = read_frame(&mut &bytes[..], &mut body) {
                let _ = (Request::parse(kind, &body), Answer::parse(kind, &body));
            }
            if let Some((kind, body)) = bytes.split_first() {
                let _ = (Request::parse(*kind, body), Answer::parse(*kind, body));
            }
            let _ = (Entry::parse(&bytes), Mark::parse(&bytes));
        }
    }
}
