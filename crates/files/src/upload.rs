//! A file on its way into a home: without a name until it is whole, and then put in place in one step.

use std::collections::hash_map::RandomState;
use std::ffi::CString;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, fchmod, fstat,
    futimens, linkat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::home::{Home, c_string, check_name, failure, from_io, split, version};
use crate::protocol::{Answer, Expected, Failure, Time};

const NEW_FILE: Mode = Mode::from_raw_mode(0o644);

/// How often it is looked whether a file system's clock has gone on, and the pause in between. A tick is 10 ms at most.
const TICK_ATTEMPTS: usize = 50;
const TICK_PAUSE: Duration = Duration::from_millis(1);

/// A file that is being uploaded, and has no name that anybody would look for.
pub(crate) struct Upload<'a> {
    home: &'a Home,
    path: Vec<u8>,
    file: File,
    /// Its name in the home where the file system has no files without one.
    name: Option<CString>,
}

impl Home {
    /// Begins an upload. All that can be wrong before the first byte is found out here, and nothing
    /// is changed.
    pub(crate) fn upload(&self, path: &[u8], size: Option<u64>) -> Result<Upload<'_>, Failure> {
        let (parent, name) = split(path).ok_or(Failure::IsDirectory)?;
        match self.parent(parent)? {
            Some(parent) => drop(self.replaceable(parent.as_fd(), name, path)?),
            None => check_name(name)?,
        }
        if let Some(size) = size
            && size > self.free()?
        {
            return Err(Failure::NoSpace);
        }
        let (file, name) = self.nameless()?;
        Ok(Upload {
            home: self,
            path: path.to_vec(),
            file,
            name,
        })
    }

    /// What is in the way of a file that is to be put at `path`, of which `name` in `parent` is
    /// the end: nothing, or something that may be replaced.
    fn replaceable(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<Stat>, Failure> {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failure(error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Err(Failure::IsDirectory),
            // The link itself would be replaced, which harms nobody. But whoever sends a file to
            // one that leads out wants something that is not to be had, and is told so.
            FileType::Symlink => match self.open(path, OFlags::PATH) {
                Err(Errno::XDEV) => Err(Failure::OutsideHome),
                _ => Ok(Some(stat)),
            },
            _ => Ok(Some(stat)),
        }
    }

    /// A file in the home that nobody sees, and that is gone with this program; or one with a name
    /// where the file system has none such.
    fn nameless(&self) -> Result<(File, Option<CString>), Failure> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(&self.root, c".", flags | OFlags::TMPFILE, NEW_FILE) {
            Ok(file) => return Ok((file.into(), None)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(failure(error)),
        }
        self.named().map(|(file, name)| (file, Some(name)))
    }

    fn named(&self) -> Result<(File, CString), Failure> {
        let name = fresh_name();
        let flags =
            OFlags::WRONLY | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(&self.root, &name, flags, NEW_FILE).map_err(failure)?;
        Ok((file.into(), name))
    }
}

impl Upload<'_> {
    /// The next part.
    pub(crate) fn write(&mut self, part: &[u8]) -> Result<(), Failure> {
        self.file.write_all(part).map_err(from_io)
    }

    /// Puts the file where it belongs, in one step: whoever looks sees the old one or this one.
    pub(crate) fn finish(
        mut self,
        modified: Option<Time>,
        expected: Option<Expected>,
    ) -> Result<Answer, Failure> {
        let (parent, name) = split(&self.path).ok_or(Failure::IsDirectory)?;
        let _lock = self.home.lock();
        // Before any directory is made for it.
        self.home.check(&self.path, expected)?;
        let parent = self.home.directories(parent)?;
        let old = self.home.replaceable(parent.as_fd(), name, &self.path)?;
        let mode = match &old {
            Some(old) if FileType::from_raw_mode(old.st_mode) == FileType::RegularFile => {
                Mode::from_raw_mode(old.st_mode & 0o777)
            }
            _ => NEW_FILE,
        };
        fchmod(&self.file, mode).map_err(failure)?;
        if let Some(old) = &old {
            self.outdate(old, mode)?;
        }
        if let Some(time) = modified {
            set_modified(&self.file, time)?;
        }
        let name = c_string(name)?;
        let root = self.home.root.as_fd();
        let may_replace = expected != Some(Expected::Absent);
        if let Some(given) = &self.name {
            let flags = if may_replace {
                RenameFlags::empty()
            } else {
                RenameFlags::NOREPLACE
            };
            renameat_with(root, given, &parent, &name, flags).map_err(exists_or_failure)?;
            self.name = None;
        } else {
            match self.link(parent.as_fd(), &name) {
                Ok(()) => {}
                // A link replaces nothing, a new name does.
                Err(Errno::EXIST) if may_replace => {
                    let fresh = fresh_name();
                    self.link(root, &fresh).map_err(failure)?;
                    if let Err(error) = renameat(root, &fresh, &parent, &name) {
                        let _ = unlinkat(root, &fresh, AtFlags::empty());
                        return Err(failure(error));
                    }
                }
                Err(error) => return Err(exists_or_failure(error)),
            }
        }
        Ok(match old {
            Some(_) => Answer::Replaced,
            None => Answer::Created,
        })
    }

    /// Waits until the file has another time of change than the one that it replaces, so that no two versions of a path are
    /// the same: file systems count in ticks of a few milliseconds, and use the numbers of inodes again.
    fn outdate(&self, old: &Stat, mode: Mode) -> Result<(), Failure> {
        for _ in 0..TICK_ATTEMPTS {
            let stat = fstat(&self.file).map_err(failure)?;
            if version(&stat).changed != version(old).changed {
                break;
            }
            sleep(TICK_PAUSE);
            fchmod(&self.file, mode).map_err(failure)?;
        }
        Ok(())
    }

    /// Gives a file without a name one, by the way that open(2) shows for who has no capabilities.
    fn link(&self, directory: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
        let itself = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(
            rustix::fs::CWD,
            itself,
            directory,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = unlinkat(&self.home.root, name, AtFlags::empty());
        }
    }
}

/// An application may have made it after it was looked for.
fn exists_or_failure(error: Errno) -> Failure {
    match error {
        Errno::EXIST => Failure::Exists,
        error => failure(error),
    }
}

fn set_modified(file: &File, time: Time) -> Result<(), Failure> {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    futimens(file, &times).map_err(failure)
}

/// A name that nobody has guessed.
fn fresh_name() -> CString {
    let random = RandomState::new().build_hasher().finish();
    CString::new(format!(".cosage-upload-{random:016x}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// File systems of other machines often have no files without a name.
    #[test]
    fn an_upload_with_a_name_is_put_in_place_or_goes_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(File::open(directory.path()).unwrap().into());
        let upload = |text: &str| {
            let (file, name) = home.named().unwrap();
            let mut upload = Upload {
                home: &home,
                path: b"d/file".to_vec(),
                file,
                name: Some(name),
            };
            upload.write(text.as_bytes()).unwrap();
            upload
        };
        drop(upload("given up"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        for (text, answer) in [("one", Answer::Created), ("two", Answer::Replaced)] {
            assert_eq!(upload(text).finish(None, None), Ok(answer));
            let file = directory.path().join("d/file");
            assert_eq!(std::fs::read_to_string(file).unwrap(), text);
        }
        let refused = upload("three").finish(None, Some(Expected::Absent));
        assert_eq!(refused, Err(Failure::Exists));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
