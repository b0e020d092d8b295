//! What is done to the files of a home. Every path is resolved by the kernel beneath its directory.

use std::collections::BinaryHeap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Stat, flock, fstat,
    fstatvfs, mkdirat, openat, openat2, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::protocol::{Answer, Entry, EntryKind, Expected, Failure, Mark, Time, Version};

/// How often a path is resolved again that somebody moves meanwhile, as `openat2(2)` asks for.
const RESOLUTIONS: usize = 64;

/// How deep a tree may be that is deleted, archived or measured: each level holds two files open, and there
/// are 1024 of them by default.
pub(crate) const DEPTH_MAX: usize = 200;

/// How often a directory is emptied before it is given up.
const REMOVALS: usize = 16;

/// How often the lock of a home is tried for, and the pause in between. The programs of the service hold it for no longer
/// than a few system calls; an application that locks its own home is not waited for.
const LOCK_ATTEMPTS: usize = 1000;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

const NEW_DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// A directory, and all that is beneath it.
pub struct Home {
    pub(crate) root: OwnedFd,
}

/// Keeps other programs of the service from changing the same home, until it is dropped.
pub(crate) struct Lock<'a>(&'a OwnedFd);

/// What is at a path that is to be read.
pub(crate) enum Found {
    File(File, Stat),
    Directory(OwnedFd),
}

impl Home {
    /// The home whose directory this is; it has to be open for reading.
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Opens what is at `path`, beneath the home in any case.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let mut attempts = 0;
        loop {
            match openat2(
                &self.root,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
            ) {
                Err(Errno::AGAIN | Errno::INTR) if attempts < RESOLUTIONS => attempts += 1,
                outcome => return outcome,
            }
        }
    }

    /// What is at `path`.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Found, Failure> {
        // A FIFO without a writer must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let found = self.open(path, flags).map_err(|error| match error {
            Errno::NXIO => Failure::NotFile,
            Errno::NOTDIR => Failure::NotFound,
            error => failure(error),
        })?;
        let stat = fstat(&found).map_err(failure)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Found::File(found.into(), stat)),
            FileType::Directory => Ok(Found::Directory(found)),
            _ => Err(Failure::NotFile),
        }
    }

    /// How many bytes are left for an ordinary user.
    pub(crate) fn free(&self) -> Result<u64, Failure> {
        let space = fstatvfs(&self.root).map_err(failure)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Makes a change that depends on what is there one with the look at it. `None` where the lock cannot be had: the file
    /// system has none, or an application holds it.
    pub(crate) fn lock(&self) -> Option<Lock<'_>> {
        for _ in 0..LOCK_ATTEMPTS {
            match flock(&self.root, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(Lock(&self.root)),
                Err(Errno::AGAIN) => sleep(LOCK_PAUSE),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Whether what is expected at `path` is there.
    pub(crate) fn check(&self, path: &[u8], expected: Option<Expected>) -> Result<(), Failure> {
        let Some(expected) = expected else {
            return Ok(());
        };
        let itself = self.open(path, OFlags::PATH | OFlags::NOFOLLOW);
        let is_there = match itself {
            Ok(_) => true,
            // Beneath a file there is nothing.
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            Err(error) => return Err(failure(error)),
        };
        match expected {
            Expected::Absent if is_there => Err(Failure::Exists),
            Expected::Absent => Ok(()),
            Expected::Present if is_there => Ok(()),
            Expected::Version(expected) if is_there => match self.find(path) {
                Ok(Found::File(_, stat)) if version(&stat) == expected => Ok(()),
                _ => Err(Failure::Changed),
            },
            Expected::Present | Expected::Version(_) => Err(Failure::Changed),
        }
    }

    /// A directory that is there, or `None` where it, or a directory above it, is missing.
    pub(crate) fn parent(&self, path: &[u8]) -> Result<Option<OwnedFd>, Failure> {
        for end in prefixes(path) {
            match self.open(&path[..end], OFlags::PATH | OFlags::DIRECTORY) {
                Ok(directory) if end == path.len() => return Ok(Some(directory)),
                Ok(_) => {}
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(None)
    }

    /// Makes a directory with its parents; whether it was not there.
    pub(crate) fn make_directory(
        &self,
        path: &[u8],
        expected: Option<Expected>,
    ) -> Result<Answer, Failure> {
        let _lock = self.lock();
        self.check(path, expected)?;
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(Answer::Replaced),
            Err(Errno::NOENT) => self.directories(path).map(|_| Answer::Created),
            Err(error) => Err(failure(error)),
        }
    }

    /// A directory, made with its parents where they are missing.
    pub(crate) fn directories(&self, path: &[u8]) -> Result<OwnedFd, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut above = self.open(b"", flags).map_err(failure)?;
        for end in prefixes(path).filter(|end| *end > 0) {
            let part = &path[..end];
            let found = match self.open(part, flags) {
                Err(Errno::NOENT) => {
                    let (_, name) = split(part).ok_or(Failure::IsDirectory)?;
                    match mkdirat(&above, name, NEW_DIRECTORY) {
                        // A link that leads nowhere is there as well, and fails below.
                        Ok(()) | Err(Errno::EXIST) => self.open(part, flags),
                        Err(error) => Err(error),
                    }
                }
                found => found,
            };
            above = found.map_err(failure)?;
        }
        Ok(above)
    }

    /// Deletes a file, a link, or a directory with all in it.
    pub(crate) fn remove(&self, path: &[u8], expected: Option<Expected>) -> Result<(), Failure> {
        // The home itself goes with its desktop only.
        let (parent, name) = split(path).ok_or(Failure::NotPermitted)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let parent = self.open(parent, flags).map_err(|error| match error {
            Errno::NOTDIR => Failure::NotFound,
            error => failure(error),
        })?;
        let name = c_string(name)?;
        let lock = self.lock();
        self.check(path, expected)?;
        statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failure)?;
        match unlinkat(&parent, &name, AtFlags::empty()) {
            // Its removal may take long, and a directory has no version that it could depend on.
            Err(Errno::ISDIR) => drop(lock),
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failure(error)),
        }
        remove_tree(parent.as_fd(), &name, 0)
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// The first `limit` entries of a directory after a mark, and the mark of the last one where there are more. However
/// many are in the directory, no more are in memory; so each page costs a look at every name.
pub(crate) fn page(
    directory: &OwnedFd,
    after: Option<&Mark>,
    limit: usize,
) -> Result<(Vec<Entry>, Option<Mark>), Failure> {
    // Of all that come after the mark, the first ones, and one more: the last on top.
    let mut first = BinaryHeap::new();
    for found in Dir::read_from(directory).map_err(failure)? {
        let found = found.map_err(failure)?;
        let name = found.file_name();
        if is_dots(name) {
            continue;
        }
        let is_directory = match found.file_type() {
            FileType::Unknown => match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(failure(error)),
            },
            kind => kind == FileType::Directory,
        };
        let key = (!is_directory, name.to_bytes());
        let is_before = after.is_some_and(|after| key <= after.key());
        let is_behind =
            first.len() > limit && first.peek().is_some_and(|last: &Mark| key >= last.key());
        if is_before || is_behind {
            continue;
        }
        first.push(Mark {
            is_directory,
            name: name.to_bytes().to_vec(),
        });
        if first.len() > limit + 1 {
            first.pop();
        }
    }
    let is_whole = first.len() <= limit;
    if !is_whole {
        first.pop();
    }
    let marks = first.into_sorted_vec();
    let mut entries = Vec::with_capacity(marks.len());
    for mark in &marks {
        // It may have gone meanwhile.
        if let Some(entry) = entry(directory, &mark.name)? {
            entries.push(entry);
        }
    }
    Ok((entries, marks.last().filter(|_| !is_whole).cloned()))
}

fn entry(directory: &OwnedFd, name: &[u8]) -> Result<Option<Entry>, Failure> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failure(error)),
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Directory,
        FileType::RegularFile => EntryKind::File,
        FileType::Symlink => EntryKind::Link,
        _ => EntryKind::Other,
    };
    Ok(Some(Entry {
        kind,
        size: match kind {
            EntryKind::File => u64::try_from(stat.st_size).unwrap_or_default(),
            _ => 0,
        },
        modified: modified(&stat),
        name: name.to_vec(),
    }))
}

/// What [`walk`] comes by, in the order in which it does: a directory before what is in it.
pub(crate) enum Step<'a> {
    Directory(&'a Stat),
    File(File, &'a Stat),
    Link(CString, &'a Stat),
}

/// Goes through a directory and all beneath it. What is neither file, directory nor link is left
/// out, and no link is followed. `path` is what the steps' paths begin with.
pub(crate) fn walk(
    directory: BorrowedFd<'_>,
    path: &mut Vec<u8>,
    depth: usize,
    step: &mut impl FnMut(&[u8], Step<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    step(path, Step::Directory(&fstat(directory)?))?;
    let len = path.len();
    // One name at a time: a directory may have more of them than fit into memory.
    for found in Dir::read_from(directory)? {
        let found = found?;
        let name = found.file_name();
        if is_dots(name) {
            continue;
        }
        path.push(b'/');
        path.extend_from_slice(name.to_bytes());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(directory, name, flags, Mode::empty()) {
            Ok(found) => {
                let stat = fstat(&found)?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => step(path, Step::File(found.into(), &stat))?,
                    FileType::Directory => walk(found.as_fd(), path, depth + 1, step)?,
                    _ => {}
                }
            }
            // A link.
            Err(Errno::LOOP) => {
                let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                match readlinkat(directory, name, Vec::new()) {
                    Ok(target) => step(path, Step::Link(target, &stat))?,
                    Err(Errno::NOENT | Errno::INVAL) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // It went meanwhile, or is a socket.
            Err(Errno::NOENT | Errno::NXIO) => {}
            Err(error) => return Err(error.into()),
        }
        path.truncate(len);
    }
    Ok(())
}

fn remove_tree(parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Failure> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(failure(error)),
    }
    if depth > DEPTH_MAX {
        return Err(from_io(too_deep()));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty()).map_err(failure)?;
    // Again where something is left: files may be added meanwhile, and a file system may leave out names while others
    // are deleted.
    for _ in 0..REMOVALS {
        for found in Dir::read_from(&directory).map_err(failure)? {
            let found = found.map_err(failure)?;
            if !is_dots(found.file_name()) {
                remove_tree(directory.as_fd(), found.file_name(), depth + 1)?;
            }
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    Err(Failure::System(
        "files are added to a directory as fast as they are deleted; stop what adds them"
            .to_owned(),
    ))
}

/// The directory itself, or the one above.
pub(crate) fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}

/// When a file was last modified.
pub(crate) fn modified(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_mtime,
        nanoseconds: stat.st_mtime_nsec as u32,
    }
}

/// What tells a file's contents from others.
pub(crate) fn version(stat: &Stat) -> Version {
    Version {
        inode: stat.st_ino,
        changed: Time {
            seconds: stat.st_ctime,
            nanoseconds: stat.st_ctime_nsec as u32,
        },
    }
}

/// The directory and the name in it; `None` for the home itself.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

/// Where the parts of a path end: of `a/b/c` at 1, 3 and 5; of the home itself at 0.
fn prefixes(path: &[u8]) -> impl Iterator<Item = usize> {
    let slashes = path.iter().enumerate();
    slashes
        .filter(|(_, byte)| **byte == b'/')
        .map(|(index, _)| index)
        .chain([path.len()])
}

pub(crate) fn c_string(name: &[u8]) -> Result<CString, Failure> {
    CString::new(name).map_err(|_| Failure::NotFound)
}

pub(crate) fn check_name(name: &[u8]) -> Result<(), Failure> {
    // `NAME_MAX` of every file system that Linux has; smaller limits are told at the end.
    if name.len() > 255 {
        return Err(Failure::NameTooLong);
    }
    Ok(())
}

pub(crate) fn too_deep() -> io::Error {
    io::Error::other(format!("directories are nested more than {DEPTH_MAX} deep"))
}

pub(crate) fn from_io(error: io::Error) -> Failure {
    match error.raw_os_error() {
        Some(number) => failure(Errno::from_raw_os_error(number)),
        None => Failure::System(error.to_string()),
    }
}

pub(crate) fn failure(error: Errno) -> Failure {
    match error {
        // A part of the way that is a file has nothing beneath it.
        Errno::NOENT | Errno::LOOP => Failure::NotFound,
        Errno::NOTDIR => Failure::NotDirectory,
        Errno::XDEV => Failure::OutsideHome,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Failure::NotPermitted,
        Errno::ISDIR => Failure::IsDirectory,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Failure::NoSpace,
        Errno::NAMETOOLONG => Failure::NameTooLong,
        Errno::NOSYS => Failure::System(
            "openat2 is missing; files need Linux 5.6 and Docker Engine 20.10 or newer".to_owned(),
        ),
        error => Failure::System(error.to_string()),
    }
}

/// A path as the tar format's library takes it.
pub(crate) fn as_path(path: &[u8]) -> &std::path::Path {
    std::path::Path::new(OsStr::from_bytes(path))
}
