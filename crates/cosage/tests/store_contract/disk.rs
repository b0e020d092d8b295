//! What a store on disk promises beyond.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cosage::store::sqlite::SqliteStore;
use cosage::store::{Query, Store};

use super::{create, create_asleep, names, uid};

pub(crate) async fn refusal(directory: &Path) -> String {
    SqliteStore::open(directory).await.unwrap_err().to_string()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_on_disk_when_the_power_goes_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let run = create(&store, "one", "firefox").await;
    create_asleep(&store, "two", "blender", 1).await;
    create(&store, "three", "tiny").await;
    store.delete(&uid("three")).await.unwrap();

    // The store stays open, so that nothing is tidied up. The `-shm` file is shared memory and
    // would not be there after a power cut.
    let after = tempfile::tempdir().unwrap();
    for name in ["desktops.db", "desktops.db-wal"] {
        std::fs::copy(directory.path().join(name), after.path().join(name)).unwrap();
    }
    let reopened = SqliteStore::open(after.path()).await.unwrap();
    assert_eq!(names(&reopened, &Query::newest(9)).await, ["one", "two"]);
    assert_eq!(
        reopened.live_runs().await.unwrap()[0].instance,
        run.instance
    );
    assert_eq!(reopened.owner(), store.owner());
}

#[tokio::test]
async fn a_store_that_is_opened_again_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    let (owner, replica) = (store.owner().to_owned(), store.replica().to_owned());
    create(&store, "one", "firefox").await;
    let stored = store.desktop(&uid("one")).await.unwrap();
    drop(store);
    let store = SqliteStore::open(directory.path()).await.unwrap();
    assert_eq!(store.desktop(&uid("one")).await.unwrap(), stored);
    assert_eq!((store.owner(), store.replica()), (&*owner, &*replica));
}

#[tokio::test]
async fn two_services_cannot_share_a_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = SqliteStore::open(directory.path()).await.unwrap();
    let message = refusal(directory.path()).await;
    assert!(message.contains("another service uses"), "{message}");
    assert!(message.contains("COSAGE_DATA_DIR"), "{message}");
    drop(first);
    SqliteStore::open(directory.path()).await.unwrap();
}

#[tokio::test]
async fn no_other_user_can_read_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a/b");
    let store = SqliteStore::open(&data).await.unwrap();
    create(&store, "one", "firefox").await;
    store.maintain().await.unwrap();
    assert_eq!(mode(&data), 0o700);
    for name in [
        "desktops.db",
        "desktops.db-wal",
        "desktops.db-shm",
        "desktops.backup.db",
        "lock",
    ] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("desktops.db");
    let text = "These are notes and not a database. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let message = refusal(directory.path()).await;
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
        let message = refusal(&path).await;
        assert!(message.contains("set COSAGE_DATA_DIR"), "{message}");
        assert!(message.contains("file"), "{message}");
    }
}
