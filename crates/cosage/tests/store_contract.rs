//! What every store promises, held against each of them; and what a store on disk promises beyond.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test they are called by"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use cosage::desktop::access::{Share, Takeover, Token};
use cosage::desktop::rights::{Clipboard, Rights, Role};
use cosage::desktop::{DesktopRecord, Environment, Uid};
use cosage::engine::InstanceId;
use cosage::store::memory::MemoryStore;
use cosage::store::sqlite::SqliteStore;
use cosage::store::{Store, StoreError};

/// Runs each function of the list on each store, as a test of its own.
macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(std::sync::Arc::new(super::MemoryStore::new())).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                let store = super::SqliteStore::open(directory.path()).await.unwrap();
                super::$promise(std::sync::Arc::new(store)).await;
            })*
        }
    };
}

contract!(
    a_new_store_is_empty,
    a_record_comes_back_as_it_was,
    the_first_record_of_a_uid_counts,
    of_simultaneous_records_of_a_uid_one_counts,
    a_deleted_record_is_gone_and_its_uid_is_free,
    deleting_what_is_not_there_is_a_success,
    uids_are_told_apart_exactly,
    the_owner_is_a_name_that_stays,
    orphans_are_kept_until_they_are_removed,
    a_share_comes_back_as_it_was_last,
    shares_and_takeovers_go_with_their_desktop,
    nothing_is_kept_of_a_desktop_that_is_not_there,
);

fn uid(text: &str) -> Uid {
    text.parse().unwrap()
}

fn record(name: &str, app: &str) -> DesktopRecord {
    DesktopRecord {
        uid: uid(name),
        app: app.to_owned(),
        environment: Environment(
            [
                (
                    "FIREFOX_URLS".to_owned(),
                    r#"["https://a.example/?q='\"%00"]"#.to_owned(),
                ),
                (
                    "TEXT".to_owned(),
                    "日本語 🦊\n\t\u{1}'; DROP TABLE desktops; --".to_owned(),
                ),
                ("EMPTY".to_owned(), String::new()),
            ]
            .into(),
        ),
        created_at: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
    }
}

async fn a_new_store_is_empty(store: Arc<dyn Store>) {
    assert_eq!(store.load().await.unwrap(), []);
}

async fn a_record_comes_back_as_it_was(store: Arc<dyn Store>) {
    let kept = record("desk-1", "firefox");
    store.insert(&kept).await.unwrap();
    assert_eq!(store.load().await.unwrap(), [kept]);
}

async fn the_first_record_of_a_uid_counts(store: Arc<dyn Store>) {
    let first = record("desk-1", "firefox");
    store.insert(&first).await.unwrap();
    store.insert(&record("desk-1", "blender")).await.unwrap();
    assert_eq!(store.load().await.unwrap(), [first]);
}

async fn of_simultaneous_records_of_a_uid_one_counts(store: Arc<dyn Store>) {
    let mut inserts = tokio::task::JoinSet::new();
    for number in 0..32 {
        let store = Arc::clone(&store);
        inserts.spawn(async move {
            store
                .insert(&record("desk-1", &format!("app-{number}")))
                .await
        });
    }
    let outcomes: Result<Vec<()>, StoreError> = inserts.join_all().await.into_iter().collect();
    outcomes.unwrap();
    assert_eq!(store.load().await.unwrap().len(), 1);
}

async fn a_deleted_record_is_gone_and_its_uid_is_free(store: Arc<dyn Store>) {
    store.insert(&record("desk-1", "firefox")).await.unwrap();
    store.insert(&record("desk-2", "firefox")).await.unwrap();
    store.delete(&uid("desk-1")).await.unwrap();
    assert_eq!(store.load().await.unwrap(), [record("desk-2", "firefox")]);
    store.delete(&uid("desk-2")).await.unwrap();
    store.insert(&record("desk-2", "blender")).await.unwrap();
    assert_eq!(store.load().await.unwrap(), [record("desk-2", "blender")]);
}

async fn deleting_what_is_not_there_is_a_success(store: Arc<dyn Store>) {
    store.delete(&uid("nobody")).await.unwrap();
}

/// No prefixes, no patterns, no folding of case.
async fn uids_are_told_apart_exactly(store: Arc<dyn Store>) {
    for name in ["ab", "abc", "AB", "a_", "a.b"] {
        store.insert(&record(name, "firefox")).await.unwrap();
    }
    store.delete(&uid("ab")).await.unwrap();
    store.delete(&uid("a_")).await.unwrap();
    let mut left: Vec<String> = store
        .load()
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.uid.to_string())
        .collect();
    left.sort();
    assert_eq!(left, ["AB", "a.b", "abc"]);
}

fn share(desktop: &str, id: &str) -> Share {
    Share {
        id: id.to_owned(),
        uid: uid(desktop),
        token: Token::random(),
        rights: Rights::of(Role::View),
        created_at: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
        expires: Some("2027-01-02T03:04:05Z".parse().unwrap()),
    }
}

async fn a_share_comes_back_as_it_was_last(store: Arc<dyn Store>) {
    store.insert(&record("desk-1", "firefox")).await.unwrap();
    let mut first = share("desk-1", "a");
    let second = Share {
        expires: None,
        ..share("desk-1", "b")
    };
    store.put_share(&first).await.unwrap();
    store.put_share(&second).await.unwrap();
    first.rights = Rights {
        role: Role::Control,
        clipboard: Clipboard::Out,
    };
    store.put_share(&first).await.unwrap();
    assert_eq!(store.load_shares().await.unwrap(), [first, second.clone()]);
    store.delete_share("a").await.unwrap();
    store.delete_share("a").await.unwrap();
    assert_eq!(store.load_shares().await.unwrap(), [second]);
}

async fn shares_and_takeovers_go_with_their_desktop(store: Arc<dyn Store>) {
    for name in ["desk-1", "desk-2"] {
        store.insert(&record(name, "firefox")).await.unwrap();
        store.put_share(&share(name, name)).await.unwrap();
        let takeover = Takeover::default();
        store
            .set_takeover(&uid(name), Some(&takeover))
            .await
            .unwrap();
    }
    store.delete(&uid("desk-1")).await.unwrap();
    let shares = store.load_shares().await.unwrap();
    assert_eq!(
        shares.iter().map(|share| &share.id).collect::<Vec<_>>(),
        ["desk-2"]
    );
    let name = uid("desk-2");
    let expected = [(name.clone(), Takeover::default())];
    assert_eq!(store.load_takeovers().await.unwrap(), expected);
    for spared in ["the-page_1", "the-page_1@share"] {
        let spared = Takeover {
            except: Some(spared.parse().unwrap()),
        };
        store.set_takeover(&name, Some(&spared)).await.unwrap();
        let kept = store.load_takeovers().await.unwrap();
        assert_eq!(kept, [(name.clone(), spared)]);
    }
    store.set_takeover(&name, None).await.unwrap();
    assert_eq!(store.load_takeovers().await.unwrap(), []);
}

async fn nothing_is_kept_of_a_desktop_that_is_not_there(store: Arc<dyn Store>) {
    store.put_share(&share("nobody", "a")).await.unwrap_err();
    let takeover = Takeover::default();
    store
        .set_takeover(&uid("nobody"), Some(&takeover))
        .await
        .unwrap_err();
    store.set_takeover(&uid("nobody"), None).await.unwrap();
    assert_eq!(store.load_shares().await.unwrap(), []);
    assert_eq!(store.load_takeovers().await.unwrap(), []);
}

async fn orphans_are_kept_until_they_are_removed(store: Arc<dyn Store>) {
    let (one, other) = (InstanceId::random(), InstanceId::random());
    assert_eq!(store.load_orphans().await.unwrap(), []);
    for instance in [&one, &other, &one] {
        store.put_orphan(instance).await.unwrap();
    }
    store.delete_orphan(&other).await.unwrap();
    store.delete_orphan(&other).await.unwrap();
    assert_eq!(store.load_orphans().await.unwrap(), [one]);
}

async fn the_owner_is_a_name_that_stays(store: Arc<dyn Store>) {
    let owner = store.owner().to_owned();
    assert_eq!(owner.len(), 36, "{owner} is no UUID");
    store.insert(&record("desk-1", "firefox")).await.unwrap();
    assert_eq!(store.owner(), owner);
    assert_ne!(MemoryStore::new().owner(), owner);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_on_disk_when_the_power_goes_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let records = [record("desk-1", "firefox"), record("desk-2", "blender")];
    for record in &records {
        store.insert(record).await.unwrap();
    }
    store.insert(&record("desk-3", "tiny")).await.unwrap();
    store.delete(&uid("desk-3")).await.unwrap();

    // The store stays open, so that nothing is tidied up. The `-shm` file is shared memory and
    // would not be there after a power cut.
    let after = tempfile::tempdir().unwrap();
    for name in ["desktops.db", "desktops.db-wal"] {
        std::fs::copy(directory.path().join(name), after.path().join(name)).unwrap();
    }
    let reopened = SqliteStore::open(after.path()).await.unwrap();
    assert_eq!(reopened.load().await.unwrap(), records);
    assert_eq!(reopened.owner(), store.owner());
}

#[tokio::test]
async fn a_store_that_is_opened_again_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let owner = store.owner().to_owned();
    store.insert(&record("desk-1", "firefox")).await.unwrap();
    drop(store);
    let store = SqliteStore::open(directory.path()).await.unwrap();
    assert_eq!(store.load().await.unwrap(), [record("desk-1", "firefox")]);
    assert_eq!(store.owner(), owner);
}

#[tokio::test]
async fn two_services_cannot_share_a_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = SqliteStore::open(directory.path()).await.unwrap();
    let StoreError(message) = SqliteStore::open(directory.path()).await.unwrap_err();
    assert!(message.contains("another service uses"), "{message}");
    assert!(message.contains("COSAGE_DATA_DIR"), "{message}");
    drop(first);
    SqliteStore::open(directory.path()).await.unwrap();
}

#[tokio::test]
async fn nobody_else_can_read_the_records() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a/b");
    let store = SqliteStore::open(&data).await.unwrap();
    store.insert(&record("desk-1", "firefox")).await.unwrap();
    assert_eq!(mode(&data), 0o700);
    for name in ["desktops.db", "desktops.db-wal", "desktops.db-shm", "lock"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("desktops.db");
    let text = "These are somebody's notes and not a database. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let StoreError(message) = SqliteStore::open(directory.path()).await.unwrap_err();
    assert!(message.contains("it is not a database"), "{message}");
    assert!(message.contains("desktops.db"), "{message}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_is_an_error_with_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let StoreError(message) = SqliteStore::open(&path).await.unwrap_err();
        assert!(message.contains("set COSAGE_DATA_DIR"), "{message}");
        assert!(message.contains("file"), "{message}");
    }
}
