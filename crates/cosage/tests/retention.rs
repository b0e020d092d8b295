//! Desktops that are not used are announced and deleted, and homes of no desktop are found: the service in this process, on
//! the fake engine, with a store in which time has passed.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/sse.rs"]
mod sse;
mod support;

use std::sync::Arc;
use std::time::Duration;

use cosage::desktop::record::{Cause, DesktopRecord, EndCause, NewRun, RunEnd};
use cosage::desktop::{Environment, StreamKey, Uid};
use cosage::engine::{EngineError, InstanceId};
use cosage::store::Store;
use cosage::store::memory::MemoryStore;
use jiff::{Timestamp, ToSpan};
use reqwest::Method;
use serde_json::json;
use sse::Listening;
use support::engine::{Call, Power};
use support::{Options, Running, World};

/// An app whose desktops are deleted after ten days, of which the last is announced.
const APPS: &str = r#"
[app.brittle]
image = "test/brittle:latest"
home = "/home/user"
forget_after = "10d"

[app.brittle.stream.vnc]
port = 5900
protocol = "rfb"
"#;

async fn serve(world: &World) -> Running {
    world
        .serve(Options {
            apps: APPS,
            ..Options::default()
        })
        .await
}

fn hours_ago(hours: i64) -> Timestamp {
    Timestamp::now().checked_sub(hours.hours()).unwrap()
}

/// Puts a desktop into the store that was used last so many hours ago.
async fn add(world: &World, name: &str, app: &str, hours: i64) -> Uid {
    let uid: Uid = name.parse().unwrap();
    let at = hours_ago(hours);
    let record = DesktopRecord {
        uid: uid.clone(),
        app: app.to_owned(),
        environment: Environment::default(),
        created_at: at,
    };
    let instance = InstanceId(format!("run-of-{name}"));
    let run = NewRun {
        instance: instance.clone(),
        uid: uid.clone(),
        key: StreamKey(1),
        cause: Cause::Request,
        begun_at: at,
    };
    world.store.begin_run(Some(&record), &run).await.unwrap();
    let why = EndCause::Idle;
    let end = RunEnd { at, why };
    world.store.end_run(&instance, &end).await.unwrap();
    uid
}

/// As [`add`], with its deletion announced so many hours ago.
async fn add_announced(world: &World, name: &str, hours: i64, announced: i64) -> Uid {
    let uid = add(world, name, "brittle", hours).await;
    let at = hours_ago(announced);
    world.store.announce_deletion(&uid, at).await.unwrap();
    uid
}

/// A world whose engine has the homes of these desktops, and whose store knows none of them.
async fn with_homes(names: &[&str]) -> World {
    let world = World::new();
    let service = serve(&world).await;
    for name in names {
        service.ensure(name, "brittle").await;
        assert_eq!(service.delete(&format!("/api/vm/{name}")).await.status, 204);
    }
    service.shut_down().await;
    World {
        store: Arc::new(MemoryStore::new()),
        ..world
    }
}

/// Waits until the desktop does not exist.
async fn gone(service: &Running, uid: &str) {
    service
        .wait_until(uid, |desktop| desktop["code"] == "unknown_desktop")
        .await;
}

#[tokio::test]
async fn unused_desktops_are_announced_and_then_deleted_with_their_homes() {
    let world = with_homes(&["over", "soon"]).await;
    let over = add_announced(&world, "over", 250, 30).await;
    let soon = add(&world, "soon", "brittle", 220).await;
    add(&world, "overdue", "brittle", 5000).await;
    add(&world, "fresh", "brittle", 100).await;
    add(&world, "kept", "desk", 5000).await;
    add(&world, "of-an-unknown-app", "was-there", 5000).await;
    let service = serve(&world).await;

    gone(&service, "over").await;
    assert!(!world.control().has_home(&over));
    assert!(world.control().has_home(&soon));

    let hello = Listening::start(service.request(Method::GET, "/api/events"))
        .await
        .next()
        .await;
    let boot = hello.data["boot"].as_str().unwrap().to_owned();
    let request = service.request(Method::GET, "/api/events");
    let request = request.header("last-event-id", format!("{boot}-0"));
    let mut events = Listening::start(request).await;
    let mut expiring = Vec::new();
    while expiring.len() < 2 {
        let event = events.until("expiring").await.pop().unwrap().data;
        expiring.push((
            event["uid"].clone(),
            event["desktop"]["forgotten_at"].clone(),
        ));
    }
    expiring.sort_by_key(|(uid, _)| uid.to_string());
    assert_eq!(expiring[0].0, "overdue");
    assert_eq!(expiring[1].0, "soon");
    for (uid, at) in &expiring {
        let at: Timestamp = at.as_str().unwrap().parse().unwrap();
        // Never sooner than the announcement period.
        let left = at.duration_since(Timestamp::now()).as_hours();
        assert!((23..=24).contains(&left), "{uid}: {left} h");
        let shown = service
            .get(&format!("/api/vm/{}", uid.as_str().unwrap()))
            .await;
        assert_eq!(shown.json["forgotten_at"], at.to_string());
    }
    for (uid, has_time) in [
        ("fresh", true),
        ("kept", false),
        ("of-an-unknown-app", false),
    ] {
        let shown = service.get(&format!("/api/vm/{uid}")).await.json;
        assert_eq!(shown["status"], "asleep", "{shown}");
        assert_eq!(shown["forgotten_at"].is_string(), has_time, "{shown}");
    }
    let listed = service.get("/api/vm?limit=10&sort=uid").await.json;
    let soon = listed["desktops"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&soon["uid"], &soon["forgotten_at"]),
        (&json!("soon"), &expiring[1].1)
    );
}

#[tokio::test]
async fn a_use_of_a_desktop_takes_its_announcement_back() {
    let world = with_homes(&["started", "read"]).await;
    let names = ["started", "read"];
    for name in names {
        add_announced(&world, name, 225, 5).await;
    }
    let service = serve(&world).await;
    service.ensure("started", "brittle").await;
    let running = service.get("/api/vm/started").await.json;
    assert!(running.get("forgotten_at").is_none(), "{running}");
    assert_eq!(service.delete("/api/vm/started").await.status, 204);
    assert_eq!(service.get("/api/vm/read/files/").await.status, 200);
    for name in names {
        let used = service
            .wait_until(name, |desktop| {
                let at = desktop["forgotten_at"].as_str();
                at.is_some_and(|at| {
                    let at: Timestamp = at.parse().unwrap();
                    at.duration_since(Timestamp::now()).as_hours() > 230
                })
            })
            .await;
        assert_eq!(used["status"], "asleep", "{used}");
        let stored = world.store.desktop(&name.parse().unwrap()).await.unwrap();
        assert_eq!(stored.unwrap().announced_at, None);
    }
}

#[tokio::test]
async fn what_the_engine_cannot_delete_stays_until_it_can() {
    let world = with_homes(&["wall"]).await;
    let uid = add_announced(&world, "wall", 250, 30).await;
    world.control().set_power(Power::Down);
    let service = serve(&world).await;
    assert_eq!(service.get("/api/vm/wall").await.json["status"], "asleep");
    world.control().panic_once(Call::DeleteHome);
    world.control().set_power(Power::Up);
    service
        .wait_until("wall", |desktop| desktop["status"] == "failed")
        .await;
    assert!(world.control().has_home(&uid));
    service.shut_down().await;
    let service = serve(&world).await;
    gone(&service, "wall").await;
    assert!(!world.control().has_home(&uid));
}

#[tokio::test]
async fn many_unused_desktops_are_all_looked_at() {
    let world = World::new();
    for number in 0..250 {
        add(&world, &format!("d{number}"), "brittle", 300).await;
    }
    // Behind all that only wait for their time.
    add_announced(&world, "over", 250, 30).await;
    let service = serve(&world).await;
    gone(&service, "over").await;
    service
        .wait_until("d249", |desktop| desktop["forgotten_at"].is_string())
        .await;
    for number in [0, 100, 249] {
        let uid = format!("d{number}").parse().unwrap();
        let stored = world.store.desktop(&uid).await.unwrap().unwrap();
        assert!(stored.announced_at.is_some(), "{uid}");
    }
}

#[tokio::test]
async fn a_desktop_is_deleted_only_if_it_was_not_used_meanwhile() {
    let world = World::new();
    add(&world, "wall", "desk", 100).await;
    let service = serve(&world).await;
    let used_at = service.get("/api/vm/wall").await.json["used_at"].clone();
    let path = format!(
        "/api/vm/wall?forget=true&unused_since={}",
        used_at.as_str().unwrap()
    );
    service.ensure("wall", "desk").await;
    let refused = service.delete(&path).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json["code"]),
        (409, &json!("in_use"))
    );
    assert_eq!(service.get("/api/vm/wall").await.json["status"], "ready");
    service.delete("/api/vm/wall").await;
    assert_eq!(service.delete(&path).await.status, 409, "it was used since");
    let used_at = service
        .wait_until("wall", |desktop| desktop["status"] == "asleep")
        .await["used_at"]
        .clone();
    let kept = format!("/api/vm/wall?unused_since={}", used_at.as_str().unwrap());
    assert_eq!(service.delete(&kept).await.status, 204);
    for path in [
        "/api/vm/wall?unused_since=",
        "/api/vm/wall?forget=true&unused_since=today",
    ] {
        assert_eq!(service.delete(path).await.status, 409, "{path}");
    }
    let stored = world.store.desktop(&"wall".parse().unwrap()).await.unwrap();
    let path = format!(
        "/api/vm/wall?forget=true&unused_since={}",
        stored.unwrap().used_at
    );
    assert_eq!(service.delete(&path).await.status, 204);
    assert_eq!(service.get("/api/vm/wall").await.status, 404);
}

#[tokio::test]
async fn homes_of_no_desktop_are_listed_measured_and_deleted() {
    let world = with_homes(&["b", "a", "claimed"]).await;
    add(&world, "claimed", "desk", 1).await;
    let service = serve(&world).await;
    let homes = async || service.get("/api/homes?unclaimed=true").await.json;
    assert_eq!(homes().await, json!(["a", "b"]));
    for wrong in ["/api/homes", "/api/homes?unclaimed=false"] {
        assert_eq!(service.get(wrong).await.status, 422, "{wrong}");
    }
    let home = world.control().home(&"a".parse().unwrap()).unwrap();
    std::fs::write(home.join("file"), vec![1; 1 << 20]).unwrap();
    let size = service.get("/api/homes/a").await.json;
    assert!(size["disk_use"].as_u64() >= Some(1 << 20), "{size}");
    let claimed = service.delete("/api/homes/claimed").await;
    assert_eq!(
        (claimed.status.as_u16(), &claimed.json["code"]),
        (409, &json!("home_claimed"))
    );
    assert!(world.control().has_home(&"claimed".parse().unwrap()));
    assert_eq!(service.delete("/api/homes/a").await.status, 204);
    assert_eq!(service.delete("/api/homes/a").await.status, 204);
    assert_eq!(homes().await, json!(["b"]));
    assert_eq!(service.get("/api/homes/a").await.json["code"], "no_home");

    // The name is free, and a measurement is no use.
    service.ensure("a", "desk").await;
    assert_eq!(service.delete("/api/homes/a").await.status, 409);
    service.delete("/api/vm/a").await;
    let before = world.store.desktop(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(service.get("/api/homes/a").await.status, 200);
    service.shut_down().await;
    let after = world.store.desktop(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(before.unwrap().used_at, after.unwrap().used_at);
}

#[tokio::test]
async fn a_home_is_kept_from_deletion_while_its_desktop_starts() {
    let world = with_homes(&["wall"]).await;
    world.control().set_banner_delay(Duration::from_secs(600));
    let service = serve(&world).await;
    let start = service.request(Method::POST, "/api/vm/any/wall");
    let start = start.header("content-type", "application/json");
    tokio::spawn(start.body(r#"{"vm": "brittle"}"#).send());
    service
        .wait_until("wall", |desktop| desktop["status"] == "starting")
        .await;
    let refused = service.delete("/api/homes/wall").await;
    assert_eq!(refused.json["code"], "home_claimed");
    assert_eq!(
        service.get("/api/homes?unclaimed=true").await.json,
        json!([])
    );
}

/// As after the restore of a backup that is older than the desktop.
#[tokio::test]
async fn a_failed_first_start_keeps_a_home_that_was_there_before() {
    let world = World::new();
    let service = serve(&world).await;
    let uid: Uid = "wall".parse().unwrap();
    service.ensure("wall", "desk").await;
    assert_eq!(service.delete("/api/vm/wall").await.status, 204);
    service.crash().await;
    world.store.delete(&uid).await.unwrap();
    let service = serve(&world).await;
    world
        .control()
        .set_start_error(Some(EngineError::OutOfDisk("full".into())));
    let reply = service.post("wall", r#"{"vm": "desk"}"#).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    service
        .wait_until("wall", |reply| reply["code"] == "unknown_desktop")
        .await;
    assert!(world.control().has_home(&uid));
    // Neither does one whose container ran and did not answer.
    world.control().set_start_error(None);
    world.control().set_banner_delay(Duration::from_secs(600));
    let start = service.post("wall", r#"{"vm": "desk"}"#);
    let stop = async {
        service
            .wait_until("wall", |desktop| desktop["status"] == "starting")
            .await;
        service.delete("/api/vm/wall").await
    };
    tokio::join!(start, stop);
    assert!(world.control().has_home(&uid));
}
