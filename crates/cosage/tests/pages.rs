//! All desktops a page at a time: by the API, as a snapshot among the events, and by `cosage ls`; on the fake engine.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test they are called by"
)]

#[path = "support/sse.rs"]
mod sse;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use cosage::desktop::record::{Cause, DesktopRecord, EndCause, Failure, NewRun, RunEnd};
use cosage::desktop::{Environment, StreamKey};
use cosage::engine::InstanceId;
use cosage::store::memory::MemoryStore;
use cosage::store::sqlite::SqliteStore;
use cosage::store::{Note, Query, Store};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use sse::{Event, Listening};
use support::{Options, Running, World};

/// Adds desktops that sleep, `s-0000` the oldest.
async fn add_sleeping(store: &dyn Store, count: usize) {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for number in 0..count {
        let at = start + SignedDuration::from_secs(i64::try_from(number).unwrap());
        let record = DesktopRecord {
            uid: format!("s-{number:04}").parse().unwrap(),
            app: if number % 2 == 0 { "desk" } else { "teller" }.to_owned(),
            environment: Environment::default(),
            created_at: at,
        };
        let run = NewRun {
            instance: InstanceId::random(),
            uid: record.uid.clone(),
            key: StreamKey(22_000),
            cause: Cause::Request,
            begun_at: at,
        };
        let why = EndCause::Idle;
        store.begin_run(Some(&record), &run).await.unwrap();
        let end = RunEnd { at, why };
        store.end_run(&run.instance, &end).await.unwrap();
    }
}

async fn service_with(count: usize) -> (World, Running) {
    let world = World::new();
    add_sleeping(&*world.store, count).await;
    let service = world.serve(Options::default()).await;
    (world, service)
}

fn uids(desktops: &Value) -> Vec<&str> {
    let desktops = desktops.as_array().unwrap().iter();
    desktops
        .map(|desktop| desktop["uid"].as_str().unwrap())
        .collect()
}

async fn page(service: &Running, query: &str) -> Value {
    let reply = service.get(&format!("/api/vm?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {reply:?}");
    reply.json
}

#[tokio::test]
async fn a_thousand_desktops_are_one_array_and_more_have_to_be_asked_for_in_pages() {
    let (world, service) = service_with(1_000).await;
    let all = service.get("/api/vm").await.json;
    let all = uids(&all);
    assert_eq!((all.len(), all[0], all[999]), (1_000, "s-0999", "s-0000"));
    service.ensure("one-more", "desk").await;
    let reply = service.get("/api/vm").await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert_eq!(reply.json["code"], "page_required");
    let details = reply.json["details"].as_str().unwrap();
    assert!(details.contains("GET /api/vm?limit=100"), "{details}");
    assert_eq!(
        uids(&page(&service, "sort=created").await["desktops"]).len(),
        100
    );
    let most = page(&service, "limit=1000").await;
    assert_eq!(uids(&most["desktops"]).len(), 1_000);
    let last = page(
        &service,
        &format!("after={}", most["next"].as_str().unwrap()),
    )
    .await;
    assert_eq!(uids(&last["desktops"]), ["s-0000"]);
    assert_eq!(last.get("next"), None);
    drop(world);
}

#[tokio::test]
async fn every_parameter_selects_or_sorts() {
    let (world, service) = service_with(6).await;
    service.ensure("wall", "desk").await;
    let used = "2026-02-01T00:00:00Z".parse().unwrap();
    let note = Note::Used("s-0002".parse().unwrap(), used);
    world.store.note(&[note]).await.unwrap();
    let failure = Failure {
        at: used,
        text: "it broke".to_owned(),
        logs: None,
    };
    let failed = "s-0001".parse().unwrap();
    world
        .store
        .set_failure(&failed, Some(&failure))
        .await
        .unwrap();
    for (query, expected) in [
        ("sort=created&limit=3", &["wall", "s-0005", "s-0004"][..]),
        ("sort=used&limit=3", &["wall", "s-0002", "s-0005"]),
        ("sort=uid&limit=3", &["s-0000", "s-0001", "s-0002"]),
        ("app=teller", &["s-0005", "s-0003", "s-0001"]),
        ("app=des", &[]),
        (
            "q=000",
            &["s-0005", "s-0004", "s-0003", "s-0002", "s-0001", "s-0000"],
        ),
        ("q=WALL", &["wall"]),
        ("q=teller%20%205", &["s-0005"]),
        ("q=teller%204", &[]),
        ("q=%25", &[]),
        ("q=&app=desk&limit=1", &["wall"]),
        ("status=active", &["wall"]),
        ("status=active&sort=used", &["wall"]),
        ("status=active&app=teller", &[]),
        ("status=ready", &["wall"]),
        ("status=failed", &["s-0001"]),
        ("status=asleep&sort=used&limit=2", &["s-0002", "s-0005"]),
        ("status=asleep&q=teller", &["s-0005", "s-0003"]),
        ("status=starting", &[]),
    ] {
        let found = page(&service, query).await;
        assert_eq!(uids(&found["desktops"]), expected, "{query}");
    }
}

#[tokio::test]
async fn every_store_finds_desktops_by_all_words_of_a_text() {
    let directory = tempfile::tempdir().unwrap();
    let stores: [&dyn Store; 2] = [
        &MemoryStore::new(),
        &SqliteStore::open(directory.path()).await.unwrap(),
    ];
    for store in stores {
        add_sleeping(store, 20).await;
        for (text, expected) in [
            ("S-001", 10),
            ("teller  S-001", 5),
            (" 1 8 ", 1),
            ("desk 19", 0),
            ("des% _", 0),
            ("  ", 20),
        ] {
            let query = Query {
                text: Some(text.to_owned()),
                ..Query::newest(100)
            };
            let found = store.desktops(&query).await.unwrap();
            assert_eq!(found.len(), expected, "{text:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_page_is_refused() {
    let (_world, service) = service_with(2).await;
    let next = page(&service, "limit=1").await["next"].clone();
    let next = next.as_str().unwrap();
    let long = format!("q={}", "x".repeat(129));
    let cut = format!("after={}", &next[..next.len() / 2]);
    for (query, code) in [
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("limit=-1", "invalid_query"),
        ("limit=all", "invalid_query"),
        ("limit=1&limit=2", "invalid_query"),
        ("status=awake", "invalid_query"),
        ("sort=age", "invalid_query"),
        ("pages=2", "invalid_query"),
        ("after=", "invalid_after"),
        ("after=s-0001", "invalid_after"),
        (&cut, "invalid_after"),
        (&long, "invalid_q"),
    ] {
        let reply = service.get(&format!("/api/vm?{query}")).await;
        assert_eq!(reply.status, 422, "{query}: {reply:?}");
        assert_eq!(reply.json["code"], code, "{query}");
        assert!(!reply.json["details"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_walk_sees_each_desktop_that_is_there_all_the_time_exactly_once() {
    for sort in ["created", "uid"] {
        let (_world, service) = service_with(40).await;
        let (mut seen, mut after, mut number) = (Vec::new(), String::new(), 0);
        loop {
            let page = page(&service, &format!("sort={sort}&limit=3{after}")).await;
            seen.extend(uids(&page["desktops"]).iter().map(|uid| (*uid).to_owned()));
            // In front of the place and behind it.
            if number < 40 {
                let (first, last) = (number + 1, 39 - number);
                service.ensure(&format!("s-{first:04}"), "desk").await;
                service.ensure(&format!("s-{last:04}"), "desk").await;
                service.ensure(&format!("new-{number}"), "desk").await;
                let gone = format!("/api/vm/s-{number:04}?forget=true");
                service.delete(&gone).await;
                number += 4;
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let deleted = |number: &usize| number.is_multiple_of(4);
        for stayed in (0..40).filter(|number| !deleted(number)) {
            let uid = format!("s-{stayed:04}");
            let times = seen.iter().filter(|seen| **seen == uid).count();
            assert_eq!(times, 1, "{uid}, {sort}: {seen:?}");
        }
        seen.sort();
        let count = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), count, "{sort}");
    }
}

#[tokio::test]
async fn a_desktop_that_starts_is_listed_as_starting_and_as_nothing_else() {
    let (world, service) = service_with(1).await;
    world.control().set_banner_delay(Duration::from_secs(600));
    let start = tokio::spawn(
        service
            .request(Method::POST, "/api/vm/any/s-0000")
            .header("content-type", "application/json")
            .body("{}")
            .send(),
    );
    service
        .wait_until("s-0000", |desktop| desktop["progress"]["step"] == "waiting")
        .await;
    for (query, expected) in [
        ("limit=1", &["s-0000"][..]),
        ("status=active", &["s-0000"]),
        ("status=starting", &["s-0000"]),
        ("status=asleep", &[]),
        ("status=failed", &[]),
        ("status=ready", &[]),
    ] {
        let found = page(&service, query).await;
        assert_eq!(uids(&found["desktops"]), expected, "{query}");
        for desktop in found["desktops"].as_array().unwrap() {
            assert_eq!(desktop["status"], "starting", "{query}");
        }
    }
    start.abort();
}

async fn listen(service: &Running, query: &str, last: Option<&str>) -> Listening {
    let mut request = service.request(Method::GET, &format!("/api/events{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    Listening::start(request).await
}

/// What a client knows that lets each description replace the one before it.
fn apply(known: &mut BTreeMap<String, Value>, event: &Event) {
    let data = &event.data;
    if event.name == "snapshot" {
        if data["first"] == true {
            known.clear();
        }
        for desktop in data["desktops"].as_array().unwrap() {
            known.insert(desktop["uid"].as_str().unwrap().to_owned(), desktop.clone());
        }
    } else if let Some(uid) = data["uid"].as_str() {
        match data.get("desktop") {
            Some(desktop) => known.insert(uid.to_owned(), desktop.clone()),
            None => known.remove(uid),
        };
    }
}

#[tokio::test]
async fn a_snapshot_comes_in_pieces_and_only_its_end_can_be_resumed_from() {
    let (_world, service) = service_with(250).await;
    let mut events = listen(&service, "?snapshot=true", None).await;
    let heard = events.until("snapshot_end").await;
    let shape: Vec<_> = heard
        .iter()
        .map(|event| {
            let desktops = event.data["desktops"].as_array().map_or(0, Vec::len);
            (event.name.as_str(), event.data["first"] == true, desktops)
        })
        .collect();
    assert_eq!(
        shape,
        [
            ("hello", false, 0),
            ("snapshot", true, 100),
            ("snapshot", false, 100),
            ("snapshot", false, 50),
            ("snapshot_end", false, 0),
        ]
    );
    let (end, before) = heard.split_last().unwrap();
    assert!(before.iter().all(|event| event.id.is_empty()));
    assert_eq!(uids(&heard[1].data["desktops"])[0], "s-0249");
    assert_eq!(
        heard[1].data["desktops"][0],
        service.get("/api/vm/s-0249").await.json
    );

    let mut events = listen(&service, "?snapshot=true", Some(&end.id)).await;
    assert_eq!(events.next().await.id, end.id);
    service.ensure("s-0000", "desk").await;
    let ready = events.until("ready").await;
    assert!(
        ready
            .iter()
            .all(|event| event.name != "snapshot" && !event.id.is_empty())
    );
}

#[tokio::test]
async fn a_snapshot_has_only_the_desktops_that_are_wanted_and_one_of_none_begins_and_ends() {
    let (_world, service) = service_with(3).await;
    let mut events = listen(
        &service,
        "?snapshot=true&uid=s-0000&uid=nobody&uid=s-0002",
        None,
    )
    .await;
    let heard = events.until("snapshot_end").await;
    assert_eq!(uids(&heard[1].data["desktops"]), ["s-0002", "s-0000"]);
    let mut events = listen(&service, "?snapshot=true&uid=nobody", None).await;
    let heard = events.until("snapshot_end").await;
    assert_eq!(heard.len(), 3);
    assert_eq!(
        heard[1].data,
        json!({"type": "snapshot", "first": true, "desktops": []})
    );
    let reply = service.get("/api/events?snapshot=1").await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert_eq!(reply.json["details"], "snapshot is true or false");
}

#[tokio::test]
async fn who_applies_a_snapshot_and_the_events_among_it_knows_the_truth() {
    let (_world, service) = service_with(2_000).await;
    let mut events = listen(&service, "?snapshot=true", None).await;
    let mut known = BTreeMap::new();
    let changes = async {
        for number in 0..20 {
            let uid = format!("s-{:04}", 1_999 - number * 97);
            service.ensure(&uid, "desk").await;
            match number % 3 {
                0 => service.delete(&format!("/api/vm/{uid}")).await,
                1 => service.delete(&format!("/api/vm/{uid}?forget=true")).await,
                _ => service.get("/healthz").await,
            };
            service.ensure(&format!("new-{number}"), "teller").await;
        }
        service.ensure("the-last", "desk").await;
    };
    let heard = async {
        let (mut has_ended, mut is_last_ready) = (false, false);
        while !(has_ended && is_last_ready) {
            let event = events.next().await;
            has_ended |= event.name == "snapshot_end";
            is_last_ready |= event.name == "ready" && event.data["uid"] == "the-last";
            apply(&mut known, &event);
        }
    };
    tokio::join!(changes, heard);
    let (mut truth, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = page(&service, &format!("limit=1000{after}")).await;
        for desktop in page["desktops"].as_array().unwrap() {
            truth.insert(desktop["uid"].as_str().unwrap().to_owned(), desktop.clone());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let what = |desktops: &BTreeMap<String, Value>| -> BTreeMap<String, Value> {
        let desktops = desktops.iter();
        desktops
            .map(|(uid, desktop)| (uid.clone(), desktop["status"].clone()))
            .collect()
    };
    assert_eq!(what(&known), what(&truth));
}

#[tokio::test]
async fn the_command_lists_more_desktops_than_a_page_has() {
    let (_world, service) = service_with(2_500).await;
    let url = format!("http://{}", service.address);
    let list = async |arguments: &'static [&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cosage"));
        command
            .env_clear()
            .env("COSAGE_URL", &url)
            .arg("ls")
            .args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let names = list(&["--quiet"]).await;
    let names: Vec<_> = names.lines().collect();
    assert_eq!(
        (names.len(), names[0], names[2_499]),
        (2_500, "s-2499", "s-0000")
    );
    let all: Value = serde_json::from_str(&list(&["--json"]).await).unwrap();
    assert_eq!(uids(&all), names);
    let table = list(&["--limit", "1500", "--sort", "uid"]).await;
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 1_500);
    assert!(
        lines[0].starts_with("UID ") && lines[1].starts_with("s-0000 "),
        "{lines:?}"
    );
    assert_eq!(list(&["--search", "s-24 99", "-q"]).await, "s-2499\n");
}
