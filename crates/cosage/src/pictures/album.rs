//! The last picture of each desktop, one file each: `pictures/<uid>.jpg` in the data directory.

use std::fs::{self, DirBuilder, DirEntry, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::desktop::Uid;

/// The album's directory in the data directory.
const DIRECTORY: &str = "pictures";

const SUFFIX: &str = ".jpg";

/// Why there can be no album.
#[derive(Debug, thiserror::Error)]
#[error("pictures of desktops cannot be kept in {}: {reason}", .directory.display())]
pub struct AlbumError {
    directory: PathBuf,
    reason: io::Error,
}

/// A file that is no picture is the rest of a write that a crash interrupted, once it is so old.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// The last pictures. All of it blocks, for as long as a small file takes.
#[derive(Debug)]
pub struct Album {
    directory: PathBuf,
}

impl Album {
    /// Opens the album of a data directory, and makes its directory (mode 0700) where there is none.
    ///
    /// # Errors
    /// When the directory cannot be made or read; the message names it.
    pub fn open(data_directory: &Path) -> Result<Self, AlbumError> {
        let directory = data_directory.join(DIRECTORY);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .and_then(|()| fs::read_dir(&directory).map(drop));
        match made {
            Ok(()) => Ok(Self { directory }),
            Err(reason) => Err(AlbumError { directory, reason }),
        }
    }

    /// When the picture of this desktop was taken.
    pub fn kept(&self, uid: &Uid) -> Option<Timestamp> {
        let file = fs::metadata(self.path(uid)).ok()?;
        taken_at(&file).ok()
    }

    /// The desktops of which there is a picture, in no order. What a crash has left of a write is deleted.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn uids(&self) -> io::Result<impl Iterator<Item = Uid>> {
        let entries = fs::read_dir(&self.directory)?;
        Ok(entries.flatten().filter_map(|entry| {
            let uid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_suffix(SUFFIX))
                .and_then(|name| name.parse().ok());
            if uid.is_none() && is_abandoned(&entry) {
                // The next time, if not now.
                let _ = fs::remove_file(entry.path());
            }
            uid
        }))
    }

    /// Keeps a picture (mode 0600) in place of the one before: whoever reads gets either of them whole, also after a
    /// power cut. Answers the time it goes by from now on.
    pub(super) fn keep(&self, uid: &Uid, jpeg: &[u8]) -> io::Result<Timestamp> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(jpeg)?;
        file.as_file().sync_data()?;
        // The file's own time, which is still the same for the next service.
        let at = taken_at(&file.as_file().metadata()?)?;
        file.persist(self.path(uid))?;
        Ok(at)
    }

    /// The picture of a desktop and when it was taken.
    pub(super) fn read(&self, uid: &Uid) -> io::Result<Option<(Vec<u8>, Timestamp)>> {
        let mut file = match File::open(self.path(uid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let at = taken_at(&file.metadata()?)?;
        let mut jpeg = Vec::new();
        file.read_to_end(&mut jpeg)?;
        Ok(Some((jpeg, at)))
    }

    /// Deletes the picture of a desktop, if there is one.
    pub(super) fn forget(&self, uid: &Uid) {
        match fs::remove_file(self.path(uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%uid, %error, "the picture of a forgotten desktop could not be deleted");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// A uid is safe as the name of a file.
    fn path(&self, uid: &Uid) -> PathBuf {
        self.directory.join(format!("{uid}{SUFFIX}"))
    }
}

fn is_abandoned(entry: &DirEntry) -> bool {
    let modified = entry.metadata().and_then(|file| file.modified());
    modified
        .ok()
        .and_then(|at| at.elapsed().ok())
        .is_some_and(|age| age > ABANDONED)
}

fn taken_at(file: &fs::Metadata) -> io::Result<Timestamp> {
    Timestamp::try_from(file.modified()?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_picture_is_there_until_it_is_forgotten_also_for_the_next_service() {
        let data = tempfile::tempdir().unwrap();
        let uid: Uid = "a.b".parse().unwrap();
        let album = Album::open(data.path()).unwrap();
        assert_eq!(album.kept(&uid), None);
        assert!(album.read(&uid).unwrap().is_none());
        album.keep(&uid, b"old").unwrap();
        let at = album.keep(&uid, b"new").unwrap();
        assert_eq!(album.read(&uid).unwrap(), Some((b"new".to_vec(), at)));

        let file = data.path().join("pictures/a.b.jpg");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&data.path().join("pictures")), 0o700);

        let album = Album::open(data.path()).unwrap();
        assert_eq!(album.read(&uid).unwrap(), Some((b"new".to_vec(), at)));
        album.forget(&uid);
        assert_eq!(album.kept(&uid), None);
        assert!(!file.exists());
        album.forget(&uid);
    }

    #[test]
    fn old_halves_of_pictures_go_away_and_new_ones_stay() {
        let data = tempfile::tempdir().unwrap();
        let album = Album::open(data.path()).unwrap();
        album.keep(&"desk".parse().unwrap(), b"jpeg").unwrap();
        let path = |name: &str| data.path().join("pictures").join(name);
        for name in [".tmpOld", ".tmpNew"] {
            fs::write(path(name), b"ha").unwrap();
        }
        let long_ago = std::time::SystemTime::now() - 2 * ABANDONED;
        let old = File::options().write(true).open(path(".tmpOld")).unwrap();
        old.set_modified(long_ago).unwrap();
        let uids: Vec<_> = album.uids().unwrap().map(String::from).collect();
        assert_eq!(uids, ["desk"]);
        assert!(!path(".tmpOld").exists());
        assert!(path(".tmpNew").exists());
    }

    #[test]
    fn a_directory_that_cannot_be_had_is_named() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("pictures"), b"a file").unwrap();
        let error = Album::open(data.path()).unwrap_err().to_string();
        assert!(
            error.contains("pictures") && error.contains("kept in"),
            "{error}"
        );
    }
}
