//! What errors of the database mean for an operator, and what to do about them.

use std::path::Path;

use sqlx::Error;
use sqlx::migrate::MigrateError;

use super::{StoreError, backup};

/// How a copy takes the place of the database. The log of the other one would change it.
pub(super) fn restore(copy: &Path, database: &Path) -> String {
    let database = database.display();
    format!(
        "delete {database}-wal and {database}-shm, and copy {} to {database}",
        copy.display()
    )
}

/// What to do about a damaged database.
pub(super) fn damaged(database: &Path) -> String {
    let copy = database.parent().and_then(backup::newest);
    match copy {
        Some(copy) => format!(
            "it is damaged; {} is a copy of it, which may be older; {}",
            copy.display(),
            restore(&copy, database)
        ),
        None => {
            "it is damaged; restore it from a backup, or move it away to start with no desktops"
                .to_owned()
        }
    }
}

pub(super) fn explain_migration(database: &Path, error: MigrateError) -> StoreError {
    let path = database.display();
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            explain(database, &error)
        }
        MigrateError::VersionMissing(version) => StoreError::Failed(format!(
            "{path} was written by a newer version of this service (its schema {version} is not known here); install that version, or set COSAGE_DATA_DIR to another directory"
        )),
        MigrateError::VersionMismatch(version) => StoreError::Failed(format!(
            "{path} was written by a build of this service whose schema {version} differs; install that build, or set COSAGE_DATA_DIR to another directory"
        )),
        other => StoreError::Failed(format!(
            "{path} cannot be brought to this version: {other}; restore it from a backup, or set COSAGE_DATA_DIR to another directory"
        )),
    }
}

/// What SQLite's primary result codes (sqlite.org/rescode.html) mean for an operator.
pub(super) fn explain(database: &Path, error: &Error) -> StoreError {
    let path = database.display();
    let code = match error {
        Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
        Error::Decode(_) | Error::ColumnDecode { .. } => {
            return StoreError::Failed(format!(
                "{path} holds a record that cannot be read: {error}; restore it from a backup, or move it away to start with no desktops"
            ));
        }
        _ => None,
    };
    let damage;
    // The higher bits of a result code only say more about the same thing.
    let next_step = match code.map(|code| code & 0xff) {
        Some(5 | 6) => "another program holds it; end that program",
        Some(8) => "it cannot be written; make the file and its directory writable",
        Some(11) => {
            damage = damaged(database);
            &damage
        }
        Some(19) => "what is to be stored contradicts what is stored",
        Some(13) => "the disk is full; free some space",
        Some(14) => "it cannot be opened; make the file and its directory readable and writable",
        Some(26) => {
            damage = match database.parent().and_then(backup::newest) {
                Some(_) => damaged(database),
                None => "it is not a database; move it away, or set COSAGE_DATA_DIR to another directory".to_owned(),
            };
            &damage
        }
        _ => "look at the disk and at the file's permissions",
    };
    StoreError::Failed(format!("{path}: {next_step} ({error})"))
}
