//! Desktops, their runs, and the journal.

use std::sync::Arc;

use cosage::desktop::access::{Takeover, Token};
use cosage::desktop::record::{Cause, EndCause, Failure, JournalKind, RunRecord};
use cosage::engine::InstanceId;
use cosage::store::memory::MemoryStore;
use cosage::store::{ENDED_RUNS_KEPT, Note, Query, Store, StoreError};

use super::sharing::share;
use super::{Shared, at, create, create_asleep, end, journal, names, new_run, record, uid};

pub(crate) async fn a_new_store_is_empty(store: Shared) {
    assert_eq!(store.desktops(&Query::newest(10)).await.unwrap(), []);
    assert_eq!(store.count(10).await.unwrap(), 0);
    assert_eq!(store.live_runs().await.unwrap(), []);
    assert_eq!(store.journal(None, None, 10).await.unwrap(), []);
    assert_eq!(store.desktop(&uid("one")).await.unwrap(), None);
}

pub(crate) async fn a_desktop_comes_back_as_it_was(store: Shared) {
    let record = record("one", "firefox");
    let run = new_run("one", at(5));
    assert_eq!(store.begin_run(Some(&record), &run).await, Ok(1));
    let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
    let expected = RunRecord {
        instance: run.instance,
        uid: run.uid,
        replica: store.replica().to_owned(),
        epoch: 1,
        key: run.key,
        cause: run.cause,
        begun_at: at(5),
        ready_at: None,
        end: None,
    };
    assert_eq!(stored.record, record);
    assert_eq!(stored.used_at, at(5));
    assert_eq!(stored.live_run(), Some(&expected));
    assert_eq!(
        (stored.failure, stored.takeover, stored.announced_at),
        (None, None, None)
    );
    assert_eq!(store.live_runs().await.unwrap(), [expected]);
    assert_eq!(store.count(10).await.unwrap(), 1);
    assert_eq!(store.count(0).await.unwrap(), 0);
}

pub(crate) async fn a_desktop_is_created_once(store: Shared) {
    let first = create(&*store, "one", "firefox").await;
    let again = store
        .begin_run(Some(&record("one", "blender")), &new_run("one", at(9)))
        .await;
    assert_eq!(again, Err(StoreError::Exists(uid("one"))));
    let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
    assert_eq!(stored.record.app, "firefox");
    assert_eq!(stored.live_run().unwrap().instance, first.instance);
    assert_eq!(journal(&*store).await.len(), 2);
}

pub(crate) async fn of_simultaneous_creations_one_counts(store: Shared) {
    let mut creations = tokio::task::JoinSet::new();
    for number in 0..32 {
        let store = Arc::clone(&store);
        creations.spawn(async move {
            let record = record("one", &format!("app-{number}"));
            store.begin_run(Some(&record), &new_run("one", at(0))).await
        });
    }
    let outcomes = creations.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let exists = Err(StoreError::Exists(uid("one")));
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == exists)
            .count(),
        31
    );
    assert_eq!(store.live_runs().await.unwrap().len(), 1);
}

pub(crate) async fn a_run_needs_its_desktop(store: Shared) {
    let begun = store.begin_run(None, &new_run("none", at(0))).await;
    assert_eq!(begun, Err(StoreError::UnknownDesktop(uid("none"))));
    assert_eq!(store.live_runs().await.unwrap(), []);
    assert_eq!(journal(&*store).await, []);
    // What is not there can be ended, noted and deleted.
    let nothing = InstanceId::random();
    store
        .end_run(&nothing, &end(1, EndCause::Idle))
        .await
        .unwrap();
    let notes = [Note::Used(uid("none"), at(1)), Note::Ready(nothing, at(1))];
    store.note(&notes).await.unwrap();
    let failure = Failure {
        at: at(1),
        text: "x".to_owned(),
        logs: None,
    };
    store
        .set_failure(&uid("none"), Some(&failure))
        .await
        .unwrap();
    store.announce_deletion(&uid("none"), at(1)).await.unwrap();
    store.delete(&uid("none")).await.unwrap();
    assert_eq!(journal(&*store).await, []);
}

pub(crate) async fn a_run_whose_end_was_not_written_is_lost(store: Shared) {
    let lost = create(&*store, "one", "firefox").await;
    let next = new_run("one", at(60));
    assert_eq!(store.begin_run(None, &next).await, Ok(2));
    let live = store.live_runs().await.unwrap();
    assert_eq!(
        live.iter().map(|run| &run.instance).collect::<Vec<_>>(),
        [&next.instance]
    );
    let (kind, _, why) = journal(&*store).await.swap_remove(1);
    assert_eq!(
        (kind, why.as_deref()),
        (JournalKind::RunEnded, Some("lost"))
    );
    // Its end comes too late to count.
    store
        .end_run(&lost.instance, &end(61, EndCause::Stopped))
        .await
        .unwrap();
    let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
    assert_eq!(stored.live_run().unwrap().instance, next.instance);
    assert_eq!(stored.used_at, at(60));
}

#[tokio::test]
async fn a_live_run_of_another_process_is_in_the_way() {
    let store = MemoryStore::new();
    create_asleep(&store, "one", "firefox", 1).await;
    let elsewhere = new_run("one", at(2));
    store.run_elsewhere(RunRecord {
        instance: elsewhere.instance,
        uid: elsewhere.uid,
        replica: "another".to_owned(),
        epoch: 2,
        key: elsewhere.key,
        cause: elsewhere.cause,
        begun_at: elsewhere.begun_at,
        ready_at: None,
        end: None,
    });
    let begun = store.begin_run(None, &new_run("one", at(3))).await;
    assert_eq!(begun, Err(StoreError::DrivenElsewhere(uid("one"))));
    assert_eq!(store.live_runs().await.unwrap().len(), 1);
}

pub(crate) async fn epochs_count_on_and_old_runs_go(store: Shared) {
    let mut first = create(&*store, "one", "firefox").await;
    let last = ENDED_RUNS_KEPT + 5;
    for epoch in 2..=last {
        let begun_at = at(i64::try_from(epoch).unwrap());
        let run = new_run("one", begun_at);
        assert_eq!(store.begin_run(None, &run).await, Ok(epoch));
        first = run;
    }
    // The epochs count on although the first runs are not kept any more.
    assert_eq!(
        store.begin_run(None, &new_run("one", at(99))).await,
        Ok(last + 1)
    );
    let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
    assert_eq!(stored.live_run().unwrap().epoch, last + 1);
    assert_ne!(stored.live_run().unwrap().instance, first.instance);
    assert_eq!(store.live_runs().await.unwrap().len(), 1);
}

pub(crate) async fn a_run_ends_once(store: Shared) {
    let run = create(&*store, "one", "firefox").await;
    let first = end(30, EndCause::Idle);
    store.end_run(&run.instance, &first).await.unwrap();
    store
        .end_run(&run.instance, &end(40, EndCause::Stopped))
        .await
        .unwrap();
    let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
    assert_eq!(stored.live_run(), None);
    assert_eq!(stored.last_run.unwrap().end, Some(first));
    assert_eq!(stored.used_at, at(30));
    assert_eq!(store.live_runs().await.unwrap(), []);
    let ends = journal(&*store).await;
    let ends = ends
        .iter()
        .filter(|(kind, ..)| *kind == JournalKind::RunEnded);
    assert_eq!(ends.count(), 1);
}

pub(crate) async fn a_failure_stays_until_the_next_run(store: Shared) {
    create_asleep(&*store, "one", "firefox", 1).await;
    let failure =
        |store: Shared| async move { store.desktop(&uid("one")).await.unwrap().unwrap().failure };
    let kept = Failure {
        at: at(2),
        text: "it did not answer".to_owned(),
        logs: Some("a\nb\n".to_owned()),
    };
    store.set_failure(&uid("one"), Some(&kept)).await.unwrap();
    assert_eq!(failure(Arc::clone(&store)).await, Some(kept.clone()));
    store.set_failure(&uid("one"), None).await.unwrap();
    assert_eq!(failure(Arc::clone(&store)).await, None);
    store.set_failure(&uid("one"), Some(&kept)).await.unwrap();
    store.begin_run(None, &new_run("one", at(3))).await.unwrap();
    assert_eq!(failure(store).await, None);
}

pub(crate) async fn notes_never_go_back_in_time(store: Shared) {
    let run = create(&*store, "one", "firefox").await;
    let notes = |used, ready| {
        [
            Note::Used(uid("one"), at(used)),
            Note::Ready(run.instance.clone(), at(ready)),
        ]
    };
    store.note(&notes(20, 10)).await.unwrap();
    store.note(&notes(15, 30)).await.unwrap();
    let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
    assert_eq!(stored.used_at, at(20));
    assert_eq!(stored.last_run.unwrap().ready_at, Some(at(10)));
    assert_eq!(store.live_runs().await.unwrap()[0].ready_at, Some(at(10)));
    // An end or a beginning by a clock that was set back does not either.
    store
        .end_run(&run.instance, &end(5, EndCause::Idle))
        .await
        .unwrap();
    store.begin_run(None, &new_run("one", at(6))).await.unwrap();
    let stored = store.desktop(&uid("one")).await.unwrap().unwrap();
    assert_eq!(stored.used_at, at(20));
}

pub(crate) async fn a_deleted_desktop_takes_everything_with_it(store: Shared) {
    let token = Token::random();
    for name in ["one", "two"] {
        create(&*store, name, "firefox").await;
        let token = if name == "one" {
            &token
        } else {
            &Token::random()
        };
        store
            .add_share(&share(name, name), &token.hash())
            .await
            .unwrap();
        store
            .set_takeover(&uid(name), Some(&Takeover::default()))
            .await
            .unwrap();
    }
    store.delete(&uid("one")).await.unwrap();
    store.delete(&uid("one")).await.unwrap();
    assert_eq!(store.desktop(&uid("one")).await.unwrap(), None);
    assert_eq!(store.shares(&uid("one")).await.unwrap(), []);
    assert_eq!(store.share_by_token(&token.hash()).await.unwrap(), None);
    assert_eq!(store.live_runs().await.unwrap().len(), 1);
    assert_eq!(store.shares(&uid("two")).await.unwrap().len(), 1);
    let two = store.desktop(&uid("two")).await.unwrap().unwrap();
    assert_eq!(two.takeover, Some(Takeover::default()));

    // The name is free, and has nothing of the other.
    assert_eq!(
        store
            .begin_run(Some(&record("one", "blender")), &new_run("one", at(0)))
            .await,
        Ok(1)
    );
    let one = store.desktop(&uid("one")).await.unwrap().unwrap();
    assert_eq!((one.record.app.as_str(), one.takeover), ("blender", None));
    assert_eq!(store.shares(&uid("one")).await.unwrap(), []);
}

/// No prefixes, no patterns, no folding of case.
pub(crate) async fn uids_are_told_apart_exactly(store: Shared) {
    for name in ["ab", "abc", "AB", "a_", "a.b"] {
        create_asleep(&*store, name, "firefox", 1).await;
    }
    store.delete(&uid("ab")).await.unwrap();
    store.delete(&uid("a_")).await.unwrap();
    assert_eq!(
        names(&*store, &Query::newest(10)).await,
        ["AB", "a.b", "abc"]
    );
}

pub(crate) async fn unused_desktops_come_in_order_until_they_are_used(store: Shared) {
    for (name, app, second) in [
        ("b", "tiny", 20),
        ("a", "tiny", 30),
        ("c", "tiny", 10),
        ("x", "firefox", 1),
    ] {
        create_asleep(&*store, name, app, second).await;
    }
    create(&*store, "runs", "tiny").await;
    let unused = async |before, limit| -> Vec<String> {
        let found = store.unused("tiny", at(before), None, limit).await.unwrap();
        found
            .iter()
            .map(|desktop| desktop.record.uid.to_string())
            .collect()
    };
    assert_eq!(unused(30, 10).await, ["c", "b"]);
    assert_eq!(unused(31, 2).await, ["c", "b"]);
    assert_eq!(unused(31, 10).await, ["c", "b", "a"]);

    let announced = async |name| {
        store
            .desktop(&uid(name))
            .await
            .unwrap()
            .unwrap()
            .announced_at
    };
    for name in ["b", "c"] {
        store.announce_deletion(&uid(name), at(40)).await.unwrap();
        assert_eq!(announced(name).await, Some(at(40)));
    }
    store.note(&[Note::Used(uid("b"), at(50))]).await.unwrap();
    store.begin_run(None, &new_run("c", at(50))).await.unwrap();
    assert_eq!((announced("b").await, announced("c").await), (None, None));
}

pub(crate) async fn an_instance_from_before_needs_an_upgrade(store: Shared) {
    let run = create(&*store, "one", "firefox").await;
    assert_eq!(store.is_from_before(&run.instance).await, Ok(false));
    assert_eq!(store.is_from_before(&InstanceId::random()).await, Ok(false));
    store.end_upgrade().await.unwrap();
    store.end_upgrade().await.unwrap();
    assert_eq!(store.live_runs().await.unwrap().len(), 1);
}

pub(crate) async fn the_owner_is_a_name_that_stays(store: Shared) {
    let owner = store.owner().to_owned();
    assert_eq!(owner.len(), 36, "{owner} is no UUID");
    create(&*store, "one", "firefox").await;
    assert_eq!(store.owner(), owner);
    assert_ne!(MemoryStore::new().owner(), owner);
}

pub(crate) async fn the_journal_has_each_change(store: Shared) {
    let one = uid("one");
    let run = create(&*store, "one", "firefox").await;
    store
        .end_run(&run.instance, &end(1, EndCause::MaximumAge))
        .await
        .unwrap();
    let failure = Failure {
        at: at(2),
        text: "no".to_owned(),
        logs: None,
    };
    store.set_failure(&one, Some(&failure)).await.unwrap();
    store.set_failure(&one, None).await.unwrap();
    let mut kept = share("one", "a");
    store
        .add_share(&kept, &Token::random().hash())
        .await
        .unwrap();
    kept.rights.clipboard = cosage::desktop::rights::Clipboard::Out;
    store.change_share(&kept).await.unwrap();
    assert!(store.delete_share(&one, "a").await.unwrap());
    assert!(!store.delete_share(&one, "a").await.unwrap());
    store.change_share(&kept).await.unwrap();
    store
        .add_share(&share("one", "b"), &Token::random().hash())
        .await
        .unwrap();
    store
        .delete_expired_shares(at(1_000_000_000))
        .await
        .unwrap();
    for _ in 0..2 {
        store
            .set_takeover(&one, Some(&Takeover::default()))
            .await
            .unwrap();
    }
    for _ in 0..2 {
        store.set_takeover(&one, None).await.unwrap();
    }
    store.announce_deletion(&one, at(3)).await.unwrap();
    let restart = cosage::desktop::record::NewRun {
        cause: Cause::Restart,
        ..new_run("one", at(4))
    };
    store.begin_run(None, &restart).await.unwrap();
    store.delete(&one).await.unwrap();
    let mut told = journal(&*store).await;
    told.reverse();
    let expected = [
        (JournalKind::Created, Some("firefox")),
        (JournalKind::RunBegun, Some("request")),
        (JournalKind::RunEnded, Some("maximum_age")),
        (JournalKind::Failed, None),
        (JournalKind::ShareCreated, Some("a")),
        (JournalKind::ShareChanged, Some("a")),
        (JournalKind::ShareRevoked, Some("a")),
        (JournalKind::ShareCreated, Some("b")),
        (JournalKind::ShareExpired, Some("b")),
        (JournalKind::ControlTaken, None),
        (JournalKind::ControlReturned, None),
        (JournalKind::DeletionAnnounced, None),
        (JournalKind::RunBegun, Some("restart")),
        (JournalKind::Deleted, None),
    ];
    let expected =
        expected.map(|(kind, detail)| (kind, "one".to_owned(), detail.map(str::to_owned)));
    assert_eq!(told, expected);
    let entries = store.journal(None, None, 100).await.unwrap();
    let times: Vec<_> = entries.iter().rev().take(4).map(|entry| entry.at).collect();
    assert_eq!(times, [at(0), at(0), at(1), at(2)]);
}

pub(crate) async fn the_journal_is_read_from_its_end(store: Shared) {
    for name in ["one", "two", "three"] {
        create(&*store, name, "firefox").await;
    }
    store.maintain().await.unwrap();
    let all = store.journal(None, None, 100).await.unwrap();
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by(|one, other| one.number > other.number));
    let page = store.journal(None, Some(all[1].number), 2).await.unwrap();
    assert_eq!(page, all[2..4]);
    let of_one = store.journal(Some(&uid("one")), None, 100).await.unwrap();
    assert_eq!(of_one, all[4..]);
    let of_one = store
        .journal(Some(&uid("one")), Some(all[4].number), 100)
        .await
        .unwrap();
    assert_eq!(of_one, all[5..]);
}
