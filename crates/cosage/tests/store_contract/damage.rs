//! A database that is damaged, lost, or held by another program.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cosage::store::sqlite::SqliteStore;
use cosage::store::{Query, Store};
use sqlx::Connection;

use super::disk::refusal;
use super::migration::connect;
use super::wait;
use super::{create_asleep, names};

const LIMIT: Duration = Duration::from_secs(30);

/// The size of a page, in bytes.
const PAGE: usize = 4096;

/// A data directory with a database of many pages and a backup, no service in it.
async fn filled(directory: &Path) -> (PathBuf, PathBuf) {
    let store = SqliteStore::open(directory).await.unwrap();
    for number in 0..200 {
        create_asleep(&store, &format!("d{number}"), "firefox", number).await;
    }
    store.maintain().await.unwrap();
    drop(store);
    // The store's connections close in their own time, and the last of them removes the log.
    let tidied = async || {
        let mut connection = connect(directory).await;
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        checkpoint.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        (!directory.join("desktops.db-wal").exists()).then_some(())
    };
    wait::eventually(LIMIT, "all is in the one file", tidied).await;
    (
        directory.join("desktops.db"),
        directory.join("desktops.backup.db"),
    )
}

/// Does what a refusal says: removes the log, and copies the backup back.
fn restore(directory: &Path, backup: &Path) {
    for name in ["desktops.db-wal", "desktops.db-shm"] {
        // It need not be there.
        let _ = std::fs::remove_file(directory.join(name));
    }
    std::fs::copy(backup, directory.join("desktops.db")).unwrap();
}

fn assert_names_the_way_back(message: &str, database: &Path, backup: &Path) {
    let (database, backup) = (database.display(), backup.display());
    for part in [
        format!("{database}"),
        format!("{backup} is a copy"),
        format!("delete {database}-wal and {database}-shm"),
        format!("copy {backup} to {database}"),
    ] {
        assert!(message.contains(&part), "{part}: {message}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_the_backup_named() {
    let directory = tempfile::tempdir().unwrap();
    let (database, backup) = filled(directory.path()).await;
    let whole = std::fs::read(&database).unwrap();
    let pages = whole.len() / PAGE;
    assert!(pages > 30, "{pages} pages");
    for page in (0..pages).step_by(pages / 15) {
        let mut damaged = whole.clone();
        for byte in &mut damaged[page * PAGE..][..64] {
            *byte ^= 0xff;
        }
        std::fs::write(&database, &damaged).unwrap();
        let message = refusal(directory.path()).await;
        assert_names_the_way_back(&message, &database, &backup);
        assert_eq!(
            std::fs::read(&database).unwrap(),
            damaged,
            "page {page} was written"
        );
    }
    restore(directory.path(), &backup);
    let store = SqliteStore::open(directory.path()).await.unwrap();
    assert_eq!(store.count(1_000).await.unwrap(), 200);
    assert_eq!(names(&store, &Query::newest(1)).await.len(), 1);
}

#[tokio::test]
async fn a_lost_database_is_never_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let (database, backup) = filled(directory.path()).await;
    for is_there in [true, false] {
        if is_there {
            std::fs::write(&database, "").unwrap();
        } else {
            std::fs::remove_file(&database).unwrap();
        }
        let message = refusal(directory.path()).await;
        assert_names_the_way_back(&message, &database, &backup);
        assert!(message.contains("to start with no desktops"), "{message}");
        assert_eq!(database.exists(), is_there);
    }
    // The way to start anew.
    std::fs::remove_file(&backup).unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    assert_eq!(store.count(10).await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_that_another_program_holds_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (database, _) = filled(directory.path()).await;
    let mut other = connect(directory.path()).await;
    sqlx::query("PRAGMA locking_mode = EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let message = refusal(directory.path()).await;
    assert!(
        message.contains("another program holds it; end that program"),
        "{message}"
    );
    assert!(message.contains(database.to_str().unwrap()), "{message}");
    other.close().await.unwrap();
    SqliteStore::open(directory.path()).await.unwrap();
}

#[tokio::test]
async fn the_daily_backup_is_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    create_asleep(&store, "one", "firefox", 1).await;
    store.maintain().await.unwrap();
    create_asleep(&store, "two", "firefox", 1).await;
    // Once a day.
    store.maintain().await.unwrap();
    let back = tempfile::tempdir().unwrap();
    let backup = directory.path().join("desktops.backup.db");
    std::fs::copy(&backup, back.path().join("desktops.db")).unwrap();
    let copy = SqliteStore::open(back.path()).await.unwrap();
    assert_eq!(names(&copy, &Query::newest(9)).await, ["one"]);
    assert_eq!(copy.owner(), store.owner());

    let yesterday = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    std::fs::File::open(&backup)
        .unwrap()
        .set_modified(yesterday)
        .unwrap();
    store.maintain().await.unwrap();
    drop(copy);
    std::fs::copy(&backup, back.path().join("desktops.db")).unwrap();
    let copy = SqliteStore::open(back.path()).await.unwrap();
    assert_eq!(names(&copy, &Query::newest(9)).await, ["one", "two"]);
}

/// Prints how long the check takes that each opening makes.
#[tokio::test]
#[ignore = "a measurement"]
async fn the_check_of_100_000_desktops_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(directory.path()).await.unwrap());
    let mut connection = connect(directory.path()).await;
    let count =
        "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000)";
    for statement in [
        "INSERT INTO desktops (uid, app, environment, created_at, used_at, last_run) \
         SELECT 'desktop-' || i, 'firefox', '{\"FIREFOX_URLS\":\"[\\\"https://a.example/\\\"]\"}', \
         '2026-01-02T03:04:05.678901234Z', '2026-01-02T03:04:05.678901234Z', 'instance-0123456789-' || i FROM n",
        "INSERT INTO runs (instance, uid, replica, epoch, key, cause, begun_at, ended_at, ended_why) \
         SELECT 'instance-0123456789-' || i, 'desktop-' || i, 'local', 1, 11000, 'request', \
         '2026-01-02T03:04:05.678901234Z', '2026-01-02T03:04:05.678901234Z', 'idle' FROM n",
    ] {
        let statement = sqlx::AssertSqlSafe(format!("{count} {statement}"));
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let begun = std::time::Instant::now();
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let size = std::fs::metadata(directory.path().join("desktops.db"))
        .unwrap()
        .len();
    println!(
        "{found}: {} bytes in {:?}",
        size,
        std::time::Instant::now() - begun
    );
}
