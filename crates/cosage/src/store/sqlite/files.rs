//! The data directory: who may read it, and which process has it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Locked for as long as a service uses the data directory.
const LOCK: &str = "lock";

pub(super) fn make_directory(directory: &Path) -> io::Result<PathBuf> {
    if !directory.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        if let Some(parent) = directory.canonicalize()?.parent() {
            sync_directory(parent)?;
        }
    }
    directory.canonicalize()
}

pub(super) fn take_lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Failed(format!(
            "another service uses the data directory {}; stop it, or set COSAGE_DATA_DIR to a directory of this one's own",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// SQLite would make the file readable for everybody. Its `-wal` and `-shm` files take the mode of
/// the database. The directory is synced because SQLite does that for its journals only.
pub(super) fn make_file(path: &Path, directory: &Path) -> io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    sync_directory(directory)
}

pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What is wrong with a path.
pub(super) fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed(format!(
        "{} cannot be used: {error}; make it writable for this service, or set COSAGE_DATA_DIR to another directory",
        path.display()
    ))
}
