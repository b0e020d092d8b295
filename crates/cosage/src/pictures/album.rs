//! The last picture of each desktop, one file each: `pictures/<uid>.jpg` in the data directory.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// The last pictures. What there is, is known from memory; pictures themselves are read from their files. All of it
/// blocks, for as long as a small file takes.
#[derive(Debug)]
pub struct Album {
    directory: PathBuf,
    /// Also held while a file is put in place or removed, so that both always agree.
    kept: Mutex<HashMap<Uid, Timestamp>>,
}

impl Album {
    /// Opens the album of a data directory, and makes its directory (mode 0700) where there is none. What was left by a
    /// write that a crash interrupted goes away.
    ///
    /// # Errors
    /// When the directory cannot be made or read; the message names it.
    pub fn open(data_directory: &Path) -> Result<Self, AlbumError> {
        let directory = data_directory.join(DIRECTORY);
        match survey(&directory) {
            Ok(kept) => Ok(Self {
                directory,
                kept: Mutex::new(kept),
            }),
            Err(reason) => Err(AlbumError { directory, reason }),
        }
    }

    /// When the picture of this desktop was taken.
    pub fn kept(&self, uid: &Uid) -> Option<Timestamp> {
        self.lock().get(uid).copied()
    }

    /// Deletes the pictures of all desktops but the known ones.
    pub fn retain(&self, known: impl Fn(&Uid) -> bool) {
        let unknown: Vec<Uid> = self
            .lock()
            .keys()
            .filter(|uid| !known(uid))
            .cloned()
            .collect();
        for uid in unknown {
            self.forget(&uid);
        }
    }

    /// Keeps a picture (mode 0600) in place of the one before: whoever reads gets either of them whole, also after a
    /// power cut. Answers the time it goes by from now on.
    pub(super) fn keep(&self, uid: &Uid, jpeg: &[u8]) -> io::Result<Timestamp> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(jpeg)?;
        file.as_file().sync_data()?;
        // The file's own time, which is still the same for the next service.
        let at = taken_at(&file.as_file().metadata()?)?;
        let mut kept = self.lock();
        file.persist(self.path(uid))?;
        kept.insert(uid.clone(), at);
        Ok(at)
    }

    /// The picture of a desktop and when it was taken.
    pub(super) fn read(&self, uid: &Uid) -> io::Result<Option<(Vec<u8>, Timestamp)>> {
        // Under the lock, so that the time is this picture's.
        let kept = self.lock();
        let Some(at) = kept.get(uid) else {
            return Ok(None);
        };
        Ok(Some((fs::read(self.path(uid))?, *at)))
    }

    /// Deletes the picture of a desktop, if there is one.
    pub(super) fn forget(&self, uid: &Uid) {
        let mut kept = self.lock();
        if kept.remove(uid).is_some()
            && let Err(error) = fs::remove_file(self.path(uid))
        {
            tracing::warn!(%uid, %error, "the picture of a forgotten desktop could not be deleted");
        }
    }

    /// A uid is safe as the name of a file.
    fn path(&self, uid: &Uid) -> PathBuf {
        self.directory.join(format!("{uid}{SUFFIX}"))
    }

    // Nothing panics half-way through a change of the map.
    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Timestamp>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pictures that are there; what is none is removed.
fn survey(directory: &Path) -> io::Result<HashMap<Uid, Timestamp>> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut kept = HashMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let uid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .and_then(|name| name.parse::<Uid>().ok());
        match uid {
            Some(uid) => {
                kept.insert(uid, taken_at(&entry.metadata()?)?);
            }
            None => fs::remove_file(entry.path())?,
        }
    }
    Ok(kept)
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
    fn pictures_of_nobody_and_halves_of_pictures_go_away() {
        let data = tempfile::tempdir().unwrap();
        let album = Album::open(data.path()).unwrap();
        for uid in ["known", "unknown"] {
            album.keep(&uid.parse().unwrap(), b"jpeg").unwrap();
        }
        fs::write(data.path().join("pictures/.tmpHalf"), b"ha").unwrap();
        let album = Album::open(data.path()).unwrap();
        album.retain(|uid| uid.as_str() == "known");
        let left: Vec<_> = fs::read_dir(data.path().join("pictures"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["known.jpg"]);
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
