//! The store in an SQLite database in the data directory.
//!
//! Tests check the queries. The macros of sqlx would need a database to compile, and a second SQLite
//! for the compiler itself, so they are switched off.

mod backup;
mod desktops;
mod explain;
mod files;
mod journal;
mod shares;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Error, SqlSafeStr};

use self::desktops::BeginError;
use self::explain::{damaged, explain, explain_migration, restore};
use self::files::{make_directory, make_file, take_lock, unusable};
use super::{Cursor, Note, Query, Store, StoreError};
use crate::desktop::Uid;
use crate::desktop::access::{Share, Takeover, TokenHash};
use crate::desktop::record::{
    DesktopRecord, Failure, JournalEntry, NewRun, RunEnd, RunRecord, StoredDesktop,
};
use crate::engine::InstanceId;

/// The steps from an empty database to the newest schema: version, description, statements. A database
/// remembers the checksum of each step that it has taken, so a released one never changes.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (
        1,
        "desktops",
        include_str!("../../migrations/0001_desktops.sql"),
    ),
    (
        2,
        "access",
        include_str!("../../migrations/0002_access.sql"),
    ),
    (
        3,
        "takeovers",
        include_str!("../../migrations/0003_takeovers.sql"),
    ),
    (
        4,
        "orphans",
        include_str!("../../migrations/0004_orphans.sql"),
    ),
    (5, "runs", include_str!("../../migrations/0005_runs.sql")),
];

/// The database's file in the data directory.
const DATABASE: &str = "desktops.db";

/// How long a statement waits while another program, such as a backup, holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many reads there are at a time, beside the one write.
const READERS: u32 = 2;

/// One process at a time has the database open, and goes on with what the one before it left.
const REPLICA: &str = "local";

/// A store in an SQLite database. One process at a time can have it open.
#[derive(Debug)]
pub struct SqliteStore {
    directory: PathBuf,
    database: PathBuf,
    owner: String,
    /// Its one connection writes: SQLite has one transaction that does at a time anyway.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held until the store is dropped; the operating system lets go of it when the process dies.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store in a data directory, both of which are made where they are missing: the
    /// directory with mode 0700 and the database with 0600, because environments may hold secrets.
    /// A database of an earlier version is brought to this one, and a copy of it is kept beside it.
    ///
    /// # Errors
    /// Another service uses the directory; it cannot be written; the file is not a database, is
    /// damaged, is missing beside a backup, or is from a newer version. The message names the path, the newest backup,
    /// and the next step.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = make_directory(directory).map_err(|error| unusable(directory, &error))?;
        let lock = take_lock(&directory)?;
        let database = directory.join(DATABASE);
        refuse_missing(&directory, &database)?;
        make_file(&database, &directory).map_err(|error| unusable(&database, &error))?;

        let explain = |error: Error| explain(&database, &error);
        let options = SqliteConnectOptions::new()
            .filename(&database)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode, only FULL syncs at each commit, so that a record survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .after_release(|connection, _| Box::pin(end_transaction(connection)))
            .connect_with(options.clone())
            .await
            .map_err(explain)?;
        let mut connection = writer.acquire().await.map_err(explain)?;
        check(&mut connection, &database).await?;
        migrate(&mut connection, &directory, &database).await?;
        shares::hash_tokens(&mut connection)
            .await
            .map_err(explain)?;
        // What was removed for good is not left in the database or its log, also after a crash.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut *connection)
            .await
            .map_err(explain)?;
        let owner = owner(&mut connection).await.map_err(explain)?;
        drop(connection);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_lazy_with(options.read_only(true));
        Ok(Self {
            directory,
            database,
            owner,
            writer,
            readers,
            _lock: lock,
        })
    }

    fn explain(&self, error: &Error) -> StoreError {
        explain(&self.database, error)
    }

    /// What the database answered, with its errors in words for an operator.
    fn explained<T>(&self, outcome: Result<T, Error>) -> Result<T, StoreError> {
        outcome.map_err(|error| self.explain(&error))
    }

    /// Runs a change of one or more statements as one transaction.
    async fn write<T, E: From<Error>>(
        &self,
        change: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.writer.acquire().await?;
        // Not sqlx's own transaction: SQLite ends some by itself, such as on a full disk, and sqlx believes that they go on.
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut *connection)
            .await?;
        let outcome = change(&mut connection).await?;
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok(outcome)
    }

    /// As [`Self::write`], of something that belongs to a desktop.
    async fn write_of<T>(
        &self,
        uid: &Uid,
        change: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.write(change).await.map_err(|error| match &error {
            Error::RowNotFound => StoreError::UnknownDesktop(uid.clone()),
            Error::Database(database) if database.is_foreign_key_violation() => {
                StoreError::UnknownDesktop(uid.clone())
            }
            _ => self.explain(&error),
        })
    }
}

/// Ends what a change that failed, or was given up, has left open.
async fn end_transaction(connection: &mut SqliteConnection) -> Result<bool, Error> {
    // It fails where nothing is open, which is as good.
    let _ = sqlx::query("ROLLBACK").execute(connection).await;
    Ok(true)
}

/// A database that is gone, while its backup is there, was lost and is not new.
fn refuse_missing(directory: &Path, database: &Path) -> Result<(), StoreError> {
    let is_empty = std::fs::metadata(database).is_ok_and(|file| file.len() == 0);
    match backup::newest(directory) {
        Some(copy) if is_empty || !database.exists() => Err(StoreError::Failed(format!(
            "{database} is {}, and {} is a copy of it; {}, or move the copy away to start with no desktops",
            if is_empty { "empty" } else { "missing" },
            copy.display(),
            restore(&copy, database),
            database = database.display(),
        ))),
        _ => Ok(()),
    }
}

/// Whether every page of the database can be read, so that damage is found before it spreads.
async fn check(connection: &mut SqliteConnection, database: &Path) -> Result<(), StoreError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|error| explain(database, &error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StoreError::Failed(format!(
        "{}: {} ({found})",
        database.display(),
        damaged(database)
    )))
}

async fn migrate(
    connection: &mut SqliteConnection,
    directory: &Path,
    database: &Path,
) -> Result<(), StoreError> {
    let migrator = migrator();
    let explain_step = |error| explain_migration(database, error);
    connection
        .ensure_migrations_table(&migrator.table_name)
        .await
        .map_err(explain_step)?;
    let applied = connection
        .list_applied_migrations(&migrator.table_name)
        .await
        .map_err(explain_step)?;
    let newest = MIGRATIONS.len();
    if !applied.is_empty() && applied.len() < newest {
        let version = MIGRATIONS[newest - 1].0;
        backup::before_version(connection, directory, version).await?;
    }
    migrator.run(connection).await.map_err(explain_step)
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, statements)| {
        let statements = statements.into_sql_str();
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            statements,
            false,
        )
    });
    Migrator::with_migrations(migrations.into())
}

#[async_trait]
impl Store for SqliteStore {
    fn owner(&self) -> &str {
        &self.owner
    }

    fn replica(&self) -> &str {
        REPLICA
    }

    async fn desktop(&self, uid: &Uid) -> Result<Option<StoredDesktop>, StoreError> {
        self.explained(desktops::one(&self.readers, uid).await)
    }

    async fn desktops(&self, query: &Query) -> Result<Vec<StoredDesktop>, StoreError> {
        self.explained(desktops::page(&self.readers, query).await)
    }

    async fn count(&self, most: usize) -> Result<usize, StoreError> {
        self.explained(desktops::count(&self.readers, most).await)
    }

    async fn begin_run(
        &self,
        new: Option<&DesktopRecord>,
        run: &NewRun,
    ) -> Result<u64, StoreError> {
        let begun = self
            .write(async |connection| desktops::begin_run(connection, REPLICA, new, run).await)
            .await;
        begun.map_err(|error| match error {
            BeginError::Exists => StoreError::Exists(run.uid.clone()),
            BeginError::UnknownDesktop => StoreError::UnknownDesktop(run.uid.clone()),
            BeginError::DrivenElsewhere => StoreError::DrivenElsewhere(run.uid.clone()),
            BeginError::Sql(error) => self.explain(&error),
        })
    }

    async fn end_run(&self, instance: &InstanceId, end: &RunEnd) -> Result<(), StoreError> {
        self.explained(
            self.write(async |connection| desktops::end_run(connection, instance, end).await)
                .await,
        )
    }

    async fn live_runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        self.explained(desktops::live_runs(&self.readers).await)
    }

    async fn set_failure(&self, uid: &Uid, failure: Option<&Failure>) -> Result<(), StoreError> {
        self.explained(
            self.write(async |connection| desktops::set_failure(connection, uid, failure).await)
                .await,
        )
    }

    async fn note(&self, notes: &[Note]) -> Result<(), StoreError> {
        self.explained(
            self.write(async |connection| {
                for note in notes {
                    desktops::note(connection, note).await?;
                }
                Ok(())
            })
            .await,
        )
    }

    async fn delete(&self, uid: &Uid) -> Result<(), StoreError> {
        self.explained(
            self.write(async |connection| desktops::delete(connection, uid).await)
                .await,
        )
    }

    async fn unused(
        &self,
        app: &str,
        before: Timestamp,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<StoredDesktop>, StoreError> {
        self.explained(desktops::unused(&self.readers, app, before, after, limit).await)
    }

    async fn announce_deletion(&self, uid: &Uid, at: Timestamp) -> Result<(), StoreError> {
        self.explained(
            self.write(async |connection| desktops::announce_deletion(connection, uid, at).await)
                .await,
        )
    }

    async fn is_from_before(&self, instance: &InstanceId) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'upgrading') \
             AND NOT EXISTS (SELECT 1 FROM runs WHERE instance = ?)",
        )
        .bind(&instance.0)
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.explain(&error))
    }

    async fn end_upgrade(&self) -> Result<(), StoreError> {
        self.explained(
            self.write(async |connection| {
                // Ended runs of no desktop only kept their instances from being taken over.
                for statement in [
                    "DELETE FROM meta WHERE name = 'upgrading'",
                    "DELETE FROM runs WHERE uid IS NULL",
                ] {
                    sqlx::query(statement).execute(&mut *connection).await?;
                }
                Ok(())
            })
            .await,
        )
    }

    async fn shares(&self, uid: &Uid) -> Result<Vec<Share>, StoreError> {
        self.explained(shares::of_desktop(&self.readers, uid).await)
    }

    async fn share_by_token(&self, token: &TokenHash) -> Result<Option<Share>, StoreError> {
        self.explained(shares::by_token(&self.readers, token).await)
    }

    async fn add_share(&self, share: &Share, token: &TokenHash) -> Result<(), StoreError> {
        self.write_of(&share.uid, async |connection| {
            shares::add(connection, share, token).await
        })
        .await
    }

    async fn change_share(&self, share: &Share) -> Result<(), StoreError> {
        self.write_of(&share.uid, async |connection| {
            shares::change(connection, share).await
        })
        .await
    }

    async fn delete_share(&self, uid: &Uid, id: &str) -> Result<bool, StoreError> {
        self.write_of(uid, async |connection| {
            shares::delete(connection, uid, id).await
        })
        .await
    }

    async fn delete_expired_shares(&self, now: Timestamp) -> Result<(), StoreError> {
        self.explained(
            self.write(async |connection| shares::delete_expired(connection, now).await)
                .await,
        )
    }

    async fn set_takeover(&self, uid: &Uid, takeover: Option<&Takeover>) -> Result<(), StoreError> {
        self.write_of(uid, async |connection| {
            shares::set_takeover(connection, uid, takeover).await
        })
        .await
    }

    async fn journal(
        &self,
        uid: Option<&Uid>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.explained(journal::read(&self.readers, uid, before, limit).await)
    }

    async fn maintain(&self) -> Result<(), StoreError> {
        self.write(async |connection| journal::trim(connection).await)
            .await
            .map_err(|error| self.explain(&error))?;
        backup::daily(&self.readers, &self.directory).await
    }
}

async fn owner(connection: &mut SqliteConnection) -> Result<String, Error> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ('owner', ?) ON CONFLICT (name) DO NOTHING")
        .bind(uuid::Uuid::new_v4().to_string())
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("SELECT value FROM meta WHERE name = 'owner'")
        .fetch_one(connection)
        .await
}

/// A time as the database has it: RFC 3339 in UTC with nine digits behind the point, so that texts sort as times do.
fn time(at: Timestamp) -> String {
    format!("{at:.9}")
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode(Box::new(error))
}

#[cfg(test)]
mod tests;
