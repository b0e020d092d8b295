//! What every store promises, held against each of them; and what a store on disk promises beyond.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod damage;
mod disk;
mod migration;
mod pages;
mod runs;
mod sharing;
#[path = "../support/wait.rs"]
mod wait;

use std::sync::Arc;

use cosage::desktop::record::{Cause, DesktopRecord, EndCause, JournalKind, NewRun, RunEnd};
use cosage::desktop::{Environment, StreamKey, Uid};
use cosage::engine::InstanceId;
use cosage::store::memory::MemoryStore;
use cosage::store::sqlite::SqliteStore;
use cosage::store::{Query, Store};
use jiff::{SignedDuration, Timestamp};

/// Runs each function of the list on each store, as a test of its own.
macro_rules! contract {
    ($($module:ident::$promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$module::$promise(std::sync::Arc::new(super::MemoryStore::new())).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                let store = super::SqliteStore::open(directory.path()).await.unwrap();
                super::$module::$promise(std::sync::Arc::new(store)).await;
            })*
        }
    };
}

contract!(
    runs::a_new_store_is_empty,
    runs::a_desktop_comes_back_as_it_was,
    runs::a_desktop_is_created_once,
    runs::of_simultaneous_creations_one_counts,
    runs::a_run_needs_its_desktop,
    runs::a_run_whose_end_was_not_written_is_lost,
    runs::epochs_count_on_and_old_runs_go,
    runs::a_run_ends_once,
    runs::a_failure_stays_until_the_next_run,
    runs::notes_never_go_back_in_time,
    runs::a_deleted_desktop_takes_everything_with_it,
    runs::uids_are_told_apart_exactly,
    runs::unused_desktops_come_in_order_until_they_are_used,
    runs::an_instance_from_before_needs_an_upgrade,
    runs::the_owner_is_a_name_that_stays,
    runs::the_journal_has_each_change,
    runs::the_journal_is_read_from_its_end,
    sharing::a_share_comes_back_as_it_was_last,
    sharing::a_share_belongs_to_its_desktop,
    sharing::shares_expire,
    sharing::a_takeover_is_kept_until_it_is_lifted,
    pages::pages_of_equal_times_lose_nothing,
    pages::a_text_is_no_pattern,
    pages::resting_desktops_have_no_live_run,
);

fn uid(text: &str) -> Uid {
    text.parse().unwrap()
}

/// A time, in seconds.
fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::new(1_767_000_000 + second, 678_901_234)
}

fn record(name: &str, app: &str) -> DesktopRecord {
    let values = [
        ("FIREFOX_URLS", r#"["https://a.example/?q='\"%00"]"#),
        ("TEXT", "日本語 🦊\n\t\u{1}'; DROP TABLE desktops; --"),
        ("EMPTY", ""),
    ];
    let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
    DesktopRecord {
        uid: uid(name),
        app: app.to_owned(),
        environment: Environment(values.into()),
        created_at: at(0),
    }
}

fn new_run(name: &str, begun_at: Timestamp) -> NewRun {
    NewRun {
        instance: InstanceId::random(),
        uid: uid(name),
        key: StreamKey(11_234),
        cause: Cause::Request,
        begun_at,
    }
}

fn end(second: i64, why: EndCause) -> RunEnd {
    RunEnd {
        at: at(second),
        why,
    }
}

/// Creates a desktop with a run that begins at once.
async fn create(store: &dyn Store, name: &str, app: &str) -> NewRun {
    let run = new_run(name, at(0));
    store
        .begin_run(Some(&record(name, app)), &run)
        .await
        .unwrap();
    run
}

/// Creates a desktop that sleeps, and was used last at that second.
async fn create_asleep(store: &dyn Store, name: &str, app: &str, second: i64) {
    let run = create(store, name, app).await;
    let end = end(second, EndCause::Idle);
    store.end_run(&run.instance, &end).await.unwrap();
}

async fn names(store: &dyn Store, query: &Query) -> Vec<String> {
    let page = store.desktops(query).await.unwrap();
    page.iter()
        .map(|desktop| desktop.record.uid.to_string())
        .collect()
}

/// What the journal says, the newest first.
async fn journal(store: &dyn Store) -> Vec<(JournalKind, String, Option<String>)> {
    let entries = store.journal(None, None, 1_000).await.unwrap();
    let entries = entries.into_iter();
    entries
        .map(|entry| (entry.kind, entry.uid.to_string(), entry.detail))
        .collect()
}

type Shared = Arc<dyn Store>;
