//! Records in an SQLite database in the data directory.
//!
//! Tests check the queries. The macros of sqlx would need a database to compile, and a second SQLite
//! for the compiler itself, so they are switched off.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Error, Row, SqlSafeStr};

use super::{Store, StoreError};
use crate::desktop::access::{Share, Takeover};
use crate::desktop::{DesktopRecord, Uid};
use crate::engine::InstanceId;

mod access;

/// The steps from an empty database to the newest schema: version, description, statements. A database
/// remembers the checksum of each step that it has taken, so a released one never changes.
const MIGRATIONS: [(i64, &str, &str); 4] = [
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
];

/// The database's file in the data directory.
const DATABASE: &str = "desktops.db";

/// Locked for as long as a service uses the data directory.
const LOCK: &str = "lock";

/// How long a statement waits while somebody else, such as a backup, holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A store in an SQLite database. One process at a time can have it open.
#[derive(Debug)]
pub struct SqliteStore {
    database: PathBuf,
    owner: String,
    pool: SqlitePool,
    /// Held until the store is dropped; the operating system lets go of it when the process dies.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store in a data directory, both of which are made where they are missing: the
    /// directory with mode 0700 and the database with 0600, because environments may hold secrets.
    ///
    /// # Errors
    /// Another service uses the directory; it cannot be written; the file is not a database, is
    /// damaged, or is from a newer version. The message names the path and the next step.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = make_directory(directory).map_err(|error| unusable(directory, &error))?;
        let lock = take_lock(&directory)?;
        let database = directory.join(DATABASE);
        make_file(&database, &directory).map_err(|error| unusable(&database, &error))?;

        let explain = |error: Error| explain(&database, &error);
        let options = SqliteConnectOptions::new()
            .filename(&database)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode, only FULL syncs at each commit, so that a record survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        // SQLite writes one transaction at a time anyway, and reads are served from memory.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(explain)?;
        migrator()
            .run(&pool)
            .await
            .map_err(|error| explain_migration(&database, error))?;
        let owner = owner(&pool).await.map_err(explain)?;
        Ok(Self {
            database,
            owner,
            pool,
            _lock: lock,
        })
    }

    fn explain(&self, error: &Error) -> StoreError {
        explain(&self.database, error)
    }
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

    async fn load(&self) -> Result<Vec<DesktopRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT uid, app, environment, created_at FROM desktops ORDER BY uid")
                .fetch_all(&self.pool)
                .await
                .map_err(|error| self.explain(&error))?;
        rows.iter()
            .map(|row| read_record(row).map_err(|error| self.explain(&error)))
            .collect()
    }

    async fn insert(&self, record: &DesktopRecord) -> Result<(), StoreError> {
        let environment = serde_json::to_string(&record.environment)
            .map_err(|error| self.explain(&Error::Encode(error.into())))?;
        sqlx::query(
            "INSERT INTO desktops (uid, app, environment, created_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT (uid) DO NOTHING",
        )
        .bind(record.uid.as_str())
        .bind(&record.app)
        .bind(environment)
        .bind(record.created_at.to_string())
        .execute(&self.pool)
        .await
        .map_err(|error| self.explain(&error))?;
        Ok(())
    }

    async fn delete(&self, uid: &Uid) -> Result<(), StoreError> {
        // Its shares and its role go with it (ON DELETE CASCADE).
        sqlx::query("DELETE FROM desktops WHERE uid = ?")
            .bind(uid.as_str())
            .execute(&self.pool)
            .await
            .map_err(|error| self.explain(&error))?;
        Ok(())
    }

    async fn load_orphans(&self) -> Result<Vec<InstanceId>, StoreError> {
        let orphans: Vec<String> = sqlx::query_scalar("SELECT instance FROM orphans")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.explain(&error))?;
        Ok(orphans.into_iter().map(InstanceId).collect())
    }

    async fn put_orphan(&self, instance: &InstanceId) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO orphans (instance) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(&instance.0)
            .execute(&self.pool)
            .await
            .map_err(|error| self.explain(&error))?;
        Ok(())
    }

    async fn delete_orphan(&self, instance: &InstanceId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM orphans WHERE instance = ?")
            .bind(&instance.0)
            .execute(&self.pool)
            .await
            .map_err(|error| self.explain(&error))?;
        Ok(())
    }

    async fn load_shares(&self) -> Result<Vec<Share>, StoreError> {
        access::load_shares(&self.pool)
            .await
            .map_err(|error| self.explain(&error))
    }

    async fn put_share(&self, share: &Share) -> Result<(), StoreError> {
        access::put_share(&self.pool, share)
            .await
            .map_err(|error| self.explain(&error))
    }

    async fn delete_share(&self, id: &str) -> Result<(), StoreError> {
        access::delete_share(&self.pool, id)
            .await
            .map_err(|error| self.explain(&error))
    }

    async fn load_takeovers(&self) -> Result<Vec<(Uid, Takeover)>, StoreError> {
        access::load_takeovers(&self.pool)
            .await
            .map_err(|error| self.explain(&error))
    }

    async fn set_takeover(&self, uid: &Uid, takeover: Option<&Takeover>) -> Result<(), StoreError> {
        access::set_takeover(&self.pool, uid, takeover)
            .await
            .map_err(|error| self.explain(&error))
    }
}

fn make_directory(directory: &Path) -> io::Result<PathBuf> {
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

fn take_lock(directory: &Path) -> Result<File, StoreError> {
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
        Err(TryLockError::WouldBlock) => Err(StoreError(format!(
            "another service uses the data directory {}; stop it, or set COSAGE_DATA_DIR to a directory of this one's own",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// SQLite would make the file readable for everybody. Its `-wal` and `-shm` files take the mode of
/// the database. The directory is synced because SQLite does that for its journals only.
fn make_file(path: &Path, directory: &Path) -> io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    sync_directory(directory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

async fn owner(pool: &SqlitePool) -> Result<String, Error> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ('owner', ?) ON CONFLICT (name) DO NOTHING")
        .bind(uuid::Uuid::new_v4().to_string())
        .execute(pool)
        .await?;
    sqlx::query_scalar("SELECT value FROM meta WHERE name = 'owner'")
        .fetch_one(pool)
        .await
}

fn read_record(row: &SqliteRow) -> Result<DesktopRecord, Error> {
    let uid: &str = row.try_get("uid")?;
    let environment: &str = row.try_get("environment")?;
    let created_at: &str = row.try_get("created_at")?;
    Ok(DesktopRecord {
        uid: uid.parse().map_err(decode)?,
        app: row.try_get("app")?,
        environment: serde_json::from_str(environment).map_err(decode)?,
        created_at: created_at.parse().map_err(decode)?,
    })
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode(Box::new(error))
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError(format!(
        "{} cannot be used: {error}; make it writable for this service, or set COSAGE_DATA_DIR to another directory",
        path.display()
    ))
}

fn explain_migration(database: &Path, error: MigrateError) -> StoreError {
    let path = database.display();
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            explain(database, &error)
        }
        MigrateError::VersionMissing(version) => StoreError(format!(
            "{path} was written by a newer version of this service (its schema {version} is not known here); install that version, or set COSAGE_DATA_DIR to another directory"
        )),
        MigrateError::VersionMismatch(version) => StoreError(format!(
            "{path} was written by a build of this service whose schema {version} differs; install that build, or set COSAGE_DATA_DIR to another directory"
        )),
        other => StoreError(format!(
            "{path} cannot be brought to this version: {other}; restore it from a backup, or set COSAGE_DATA_DIR to another directory"
        )),
    }
}

/// What SQLite's primary result codes (sqlite.org/rescode.html) mean for an operator.
fn explain(database: &Path, error: &Error) -> StoreError {
    let path = database.display();
    let code = match error {
        Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
        Error::Decode(_) | Error::ColumnDecode { .. } => {
            return StoreError(format!(
                "{path} holds a record that cannot be read: {error}; restore it from a backup, or move it away to start with no desktops"
            ));
        }
        _ => None,
    };
    // The higher bits of a result code only say more about the same thing.
    let next_step = match code.map(|code| code & 0xff) {
        Some(5 | 6) => "another program holds it; end that program",
        Some(8) => "it cannot be written; make the file and its directory writable",
        Some(11) => {
            "it is damaged; restore it from a backup, or move it away to start with no desktops"
        }
        Some(19) => "what is to be kept does not fit what is there: its desktop was forgotten",
        Some(13) => "the disk is full; free some space",
        Some(14) => "it cannot be opened; make the file and its directory readable and writable",
        Some(26) => {
            "it is not a database; move it away, or set COSAGE_DATA_DIR to another directory"
        }
        _ => "look at the disk and at the file's permissions",
    };
    StoreError(format!("{path}: {next_step} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desktop::Environment;

    fn record(uid: &str, length: usize) -> DesktopRecord {
        DesktopRecord {
            uid: uid.parse().unwrap(),
            app: "firefox".to_owned(),
            environment: Environment([("A".to_owned(), "x".repeat(length))].into()),
            created_at: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
        }
    }

    async fn set(store: &SqliteStore, pragma: &'static str) {
        sqlx::query(pragma).execute(&store.pool).await.unwrap();
    }

    #[test]
    fn every_file_of_migrations_is_applied() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut files: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let applied =
            MIGRATIONS.map(|(version, description, _)| format!("{version:04}_{description}.sql"));
        assert_eq!(files, applied);
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_and_not_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        // SQLite answers as it does to a full disk when a database reaches this size.
        set(&store, "PRAGMA max_page_count = 10").await;
        store.insert(&record("small", 1)).await.unwrap();
        let StoreError(message) = store.insert(&record("large", 100_000)).await.unwrap_err();
        assert!(message.contains("the disk is full"), "{message}");
        assert!(message.contains(DATABASE), "{message}");

        set(&store, "PRAGMA max_page_count = 100000").await;
        store.insert(&record("large", 100_000)).await.unwrap();
        assert_eq!(store.load().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        set(&store, "PRAGMA query_only = ON").await;
        let StoreError(message) = store.insert(&record("one", 1)).await.unwrap_err();
        assert!(message.contains("it cannot be written"), "{message}");
        assert!(store.delete(&"one".parse().unwrap()).await.is_err());
        assert_eq!(store.load().await.unwrap(), []);
    }

    #[tokio::test]
    async fn the_settings_that_durability_rests_on_are_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&store.pool)
            .await
            .unwrap();
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&store.pool)
            .await
            .unwrap();
        assert_eq!((journal.as_str(), synchronous), ("wal", 2));
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'from the future', TRUE, x'00', 0)",
        )
        .execute(&store.pool)
        .await
        .unwrap();
        drop(store);
        let StoreError(message) = SqliteStore::open(directory.path()).await.unwrap_err();
        assert!(message.contains("newer version"), "{message}");
        assert!(message.contains("COSAGE_DATA_DIR"), "{message}");
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        sqlx::query(
            "INSERT INTO desktops VALUES ('../etc', 'firefox', '{}', '2026-01-01T00:00:00Z')",
        )
        .execute(&store.pool)
        .await
        .unwrap();
        let StoreError(message) = store.load().await.unwrap_err();
        assert!(
            message.contains(DATABASE) && message.contains("cannot be read"),
            "{message}"
        );
    }
}
