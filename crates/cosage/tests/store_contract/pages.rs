//! Pages of desktops.

use std::sync::Arc;

use cosage::desktop::record::{EndCause, Failure};
use cosage::store::memory::MemoryStore;
use cosage::store::sqlite::SqliteStore;
use cosage::store::{Cursor, Query, Resting, Sort, Store};
use proptest::prelude::*;

use super::{Shared, at, create, create_asleep, end, names, new_run, record, uid};

/// All desktops, page by page.
async fn in_pages(store: &dyn Store, query: &Query) -> Vec<String> {
    let mut query = query.clone();
    let mut all = Vec::new();
    loop {
        let page = store.desktops(&query).await.unwrap();
        assert!(page.len() <= query.limit);
        let Some(last) = page.last() else { return all };
        query.after = Some(Cursor::after(last, query.sort));
        all.extend(page.iter().map(|desktop| desktop.record.uid.to_string()));
    }
}

fn sorted(sort: Sort, limit: usize) -> Query {
    Query {
        sort,
        ..Query::newest(limit)
    }
}

pub(crate) async fn pages_of_equal_times_lose_nothing(store: Shared) {
    for (name, second) in [("c", 5), ("a", 5), ("b", 9), ("d", 5)] {
        create_asleep(&*store, name, "tiny", second).await;
    }
    for limit in 1..6 {
        // All were created at once.
        for (sort, expected) in [
            (Sort::Created, ["a", "b", "c", "d"]),
            (Sort::Uid, ["a", "b", "c", "d"]),
            (Sort::Used, ["b", "a", "c", "d"]),
        ] {
            let found = in_pages(&*store, &sorted(sort, limit)).await;
            assert_eq!(found, expected, "{sort:?} {limit}");
        }
    }
}

pub(crate) async fn a_text_is_no_pattern(store: Shared) {
    for (name, app) in [
        ("a_b", "tiny"),
        ("aXb", "tiny"),
        ("other", "under_score"),
        ("z", "Fire-Fox"),
    ] {
        create_asleep(&*store, name, app, 1).await;
    }
    for (text, expected) in [
        ("_", &["a_b", "other"][..]),
        ("%", &[]),
        ("A_B", &["a_b"]),
        ("axb", &["aXb"]),
        ("FOX", &["z"]),
        ("e-f", &["z"]),
        ("'", &[]),
        ("", &["aXb", "a_b", "other", "z"]),
    ] {
        let query = Query {
            text: Some(text.to_owned()),
            ..sorted(Sort::Uid, 10)
        };
        assert_eq!(names(&*store, &query).await, expected, "{text}");
    }
    let query = Query {
        app: Some("tiny".to_owned()),
        ..sorted(Sort::Uid, 10)
    };
    assert_eq!(names(&*store, &query).await, ["aXb", "a_b"]);
}

pub(crate) async fn resting_desktops_have_no_live_run(store: Shared) {
    create_asleep(&*store, "sleeps", "tiny", 1).await;
    create(&*store, "runs", "tiny").await;
    create_asleep(&*store, "failed", "tiny", 1).await;
    let failure = Failure {
        at: at(2),
        text: "no".to_owned(),
        logs: None,
    };
    store
        .set_failure(&uid("failed"), Some(&failure))
        .await
        .unwrap();
    for (resting, expected) in [(Resting::Asleep, ["sleeps"]), (Resting::Failed, ["failed"])] {
        let query = Query {
            resting: Some(resting),
            ..Query::newest(10)
        };
        assert_eq!(names(&*store, &query).await, expected);
    }
}

/// A desktop of a random store.
#[derive(Clone, Debug)]
struct Made {
    name: String,
    app: &'static str,
    created: i64,
    used: i64,
    runs: bool,
    failed: bool,
}

fn made() -> impl Strategy<Value = Made> {
    // Few values, so that many are equal.
    let name = "[abAB_.]{1,3}".prop_filter("a name", |name| {
        name.parse::<cosage::desktop::Uid>().is_ok()
    });
    let app = prop_oneof![Just("a"), Just("tiny"), Just("B_")];
    (name, app, 0..3_i64, 0..4_i64, any::<bool>(), any::<bool>()).prop_map(
        |(name, app, created, used, runs, failed)| Made {
            name,
            app,
            created,
            used,
            runs,
            failed,
        },
    )
}

fn query() -> impl Strategy<Value = Query> {
    let sort = prop_oneof![Just(Sort::Created), Just(Sort::Used), Just(Sort::Uid)];
    let app = proptest::option::of(prop_oneof![Just("a".to_owned()), Just("tiny".to_owned())]);
    let text = proptest::option::of("[aAb_.%]{0,2}");
    let resting = proptest::option::of(prop_oneof![Just(Resting::Asleep), Just(Resting::Failed)]);
    (sort, 1..5_usize, app, text, resting).prop_map(|(sort, limit, app, text, resting)| Query {
        sort,
        after: None,
        limit,
        app,
        text,
        resting,
    })
}

async fn fill(store: &dyn Store, all: &[Made]) {
    for made in all {
        let mut record = record(&made.name, made.app);
        record.created_at = at(made.created);
        let run = new_run(&made.name, at(made.created));
        if store.begin_run(Some(&record), &run).await.is_err() {
            continue;
        }
        if !made.runs {
            let end = end(made.created + made.used, EndCause::Idle);
            store.end_run(&run.instance, &end).await.unwrap();
        }
        if made.failed {
            let failure = Failure {
                at: at(9),
                text: "no".to_owned(),
                logs: None,
            };
            store
                .set_failure(&record.uid, Some(&failure))
                .await
                .unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pages_put_together_are_the_whole_list_in_order(
        all in proptest::collection::vec(made(), 0..24),
        queries in proptest::collection::vec(query(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let on_disk = SqliteStore::open(directory.path()).await.unwrap();
            let stores: [Arc<dyn Store>; 2] = [Arc::new(MemoryStore::new()), Arc::new(on_disk)];
            let mut whole = Vec::new();
            for store in &stores {
                fill(&**store, &all).await;
                whole = store.desktops(&Query::newest(1_000)).await.unwrap();
            }
            for query in queries {
                let mut expected: Vec<_> =
                    whole.iter().filter(|desktop| query.selects(desktop)).collect();
                expected.sort_by(|one, other| query.sort.compare(one, other));
                let expected: Vec<_> =
                    expected.iter().map(|desktop| desktop.record.uid.to_string()).collect();
                for store in &stores {
                    assert_eq!(in_pages(&**store, &query).await, expected, "{query:?}");
                }
            }
        });
    }
}
