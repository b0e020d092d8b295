use super::*;
use crate::desktop::record::Cause;
use crate::desktop::{Environment, StreamKey};
use crate::store::{Cursor, Resting, Sort};

fn record(uid: &str, length: usize) -> DesktopRecord {
    DesktopRecord {
        uid: uid.parse().unwrap(),
        app: "firefox".to_owned(),
        environment: Environment([("A".to_owned(), "x".repeat(length))].into()),
        created_at: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
    }
}

async fn create(store: &SqliteStore, record: &DesktopRecord) -> Result<u64, StoreError> {
    let run = NewRun {
        instance: InstanceId::random(),
        uid: record.uid.clone(),
        key: StreamKey(11_000),
        cause: Cause::Request,
        begun_at: record.created_at,
    };
    store.begin_run(Some(record), &run).await
}

fn message_of<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    outcome.unwrap_err().to_string()
}

async fn set(store: &SqliteStore, pragma: &'static str) {
    sqlx::query(pragma).execute(&store.writer).await.unwrap();
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
    create(&store, &record("small", 1)).await.unwrap();
    // SQLite answers as it does to a full disk when a database reaches this size.
    set(&store, "PRAGMA max_page_count = 1").await;
    let message = message_of(create(&store, &record("large", 1_000_000)).await);
    assert!(message.contains("the disk is full"), "{message}");
    assert!(message.contains(DATABASE), "{message}");

    set(&store, "PRAGMA max_page_count = 100000").await;
    create(&store, &record("large", 1_000_000)).await.unwrap();
    assert_eq!(store.count(10).await.unwrap(), 2);
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    set(&store, "PRAGMA query_only = ON").await;
    let message = message_of(create(&store, &record("one", 1)).await);
    assert!(message.contains("it cannot be written"), "{message}");
    assert!(store.delete(&"one".parse().unwrap()).await.is_err());
    assert_eq!(store.count(10).await.unwrap(), 0);
}

#[tokio::test]
async fn the_settings_that_durability_rests_on_are_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&store.writer)
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
    .execute(&store.writer)
    .await
    .unwrap();
    drop(store);
    let message = message_of(SqliteStore::open(directory.path()).await);
    assert!(message.contains("newer version"), "{message}");
    assert!(message.contains("COSAGE_DATA_DIR"), "{message}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    sqlx::query(
        "INSERT INTO desktops (uid, app, environment, created_at, used_at) \
         VALUES ('../etc', 'firefox', '{}', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    let message = message_of(store.desktops(&Query::newest(10)).await);
    assert!(
        message.contains(DATABASE) && message.contains("cannot be read"),
        "{message}"
    );
}

#[tokio::test]
async fn unused_desktops_come_in_pages_as_they_do_from_memory() {
    let directory = tempfile::tempdir().unwrap();
    let stores: [Box<dyn Store>; 2] = [
        Box::new(SqliteStore::open(directory.path()).await.unwrap()),
        Box::new(crate::store::memory::MemoryStore::new()),
    ];
    for store in stores {
        let later: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        // "c" was used later than the others, and a run of "d" is live.
        for (name, ended) in [
            ("b", true),
            ("a", true),
            ("e", true),
            ("c", true),
            ("d", false),
        ] {
            let record = record(name, 1);
            let instance = InstanceId(name.to_owned());
            let run = NewRun {
                instance: instance.clone(),
                uid: record.uid.clone(),
                key: StreamKey(11_000),
                cause: Cause::Request,
                begun_at: record.created_at,
            };
            store.begin_run(Some(&record), &run).await.unwrap();
            let at = if name == "c" {
                later
            } else {
                record.created_at
            };
            let why = crate::desktop::record::EndCause::Idle;
            if ended {
                store.end_run(&instance, &RunEnd { at, why }).await.unwrap();
            }
        }
        let mut names = Vec::new();
        let mut after = None;
        loop {
            let before = "2026-02-01T00:00:00Z".parse().unwrap();
            let page = store.unused("firefox", before, after.as_ref(), 2).await;
            let page = page.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(Cursor::after(last, crate::store::Sort::Used));
            names.push(
                page.iter()
                    .map(|one| one.record.uid.to_string())
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(names, [["a", "b"], ["e", "c"]]);
        let first = store.unused("firefox", later, None, 10).await.unwrap();
        assert_eq!(first.len(), 3);
        assert!(
            store
                .unused("gimp", later, None, 10)
                .await
                .unwrap()
                .is_empty()
        );
    }
}

/// Two readers serve everything, so no page may look through all desktops of a large service.
#[tokio::test]
async fn a_page_is_found_by_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    for app in [None, Some("tiny")] {
        for sort in [Sort::Created, Sort::Used, Sort::Uid] {
            for resting in [None, Some(Resting::Failed)] {
                if resting.is_some() && (app.is_some() || sort != Sort::Created) {
                    continue;
                }
                let query = Query {
                    sort,
                    app: app.map(str::to_owned),
                    resting,
                    after: Some(Cursor {
                        at: "2026-01-02T03:04:05Z".parse().unwrap(),
                        uid: "desk".parse().unwrap(),
                    }),
                    ..Query::newest(10)
                };
                let plan = desktops::plan(&store.readers, &query).await.unwrap();
                assert!(
                    !plan.contains("TEMP B-TREE") && !plan.contains("SCAN d\n"),
                    "{query:?}: {plan}"
                );
                assert!(
                    resting.is_none() || plan.contains("desktops_failed"),
                    "{plan}"
                );
            }
        }
    }
}
