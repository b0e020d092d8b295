//! Copies of the database beside it: one from before its schema was changed, and one of every day.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sqlx::Error;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::StoreError;
use super::files::{make_file, sync_directory, unusable};

/// The daily copy.
const DAILY: &str = "desktops.backup.db";

/// While a copy is being written.
const UNFINISHED: &str = "desktops.backup.unfinished";

/// How old the daily copy may become.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// The newest copy in the data directory.
pub(super) fn newest(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    let copies = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name == DAILY || (name.starts_with("desktops.before-") && name.ends_with(".db"))
    });
    copies
        .filter_map(|copy| Some((copy.metadata().ok()?.modified().ok()?, copy.path())))
        .max()
        .map(|(_, path)| path)
}

/// Copies the database before it is brought to a schema version.
pub(super) async fn before_version(
    connection: &mut SqliteConnection,
    directory: &Path,
    version: i64,
) -> Result<(), StoreError> {
    let target = directory.join(format!("desktops.before-{version}.db"));
    copy(connection, directory, &target).await
}

/// Makes the daily copy, where it is missing or old.
pub(super) async fn daily(pool: &SqlitePool, directory: &Path) -> Result<(), StoreError> {
    let target = directory.join(DAILY);
    let age = fs::metadata(&target)
        .and_then(|copy| copy.modified())
        .ok()
        .map(|at| SystemTime::now().duration_since(at).unwrap_or(PERIOD));
    if age.is_some_and(|age| age < PERIOD) {
        return Ok(());
    }
    let mut connection = pool
        .acquire()
        .await
        .map_err(|error| failed(&target, &error.to_string()))?;
    copy(&mut connection, directory, &target).await
}

async fn copy(
    connection: &mut SqliteConnection,
    directory: &Path,
    target: &Path,
) -> Result<(), StoreError> {
    let unfinished = directory.join(UNFINISHED);
    let begin = || -> io::Result<()> {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Empty, so that SQLite writes into it and leaves its mode.
        make_file(&unfinished, directory)
    };
    begin().map_err(|error| unusable(&unfinished, &error))?;
    sqlx::query("VACUUM INTO ?")
        .bind(unfinished.to_string_lossy().into_owned())
        .execute(connection)
        .await
        .map_err(|error: Error| failed(target, &error.to_string()))?;
    let finish = || -> io::Result<()> {
        fs::File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, target)?;
        sync_directory(directory)
    };
    finish().map_err(|error| unusable(target, &error))
}

fn failed(target: &Path, reason: &str) -> StoreError {
    StoreError::Failed(format!(
        "the database could not be copied to {}: {reason}; free some space, and look at the directory's permissions",
        target.display()
    ))
}
