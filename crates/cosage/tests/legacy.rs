//! What the old service left: its containers, and images that end by themselves when nobody looks. The service in this
//! process, on the fake engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/sse.rs"]
mod sse;
mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use cosage::desktop::Environment;
use cosage::store::Store;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::Value;
use sse::Listening;
use support::{Options, Running, Socket, World, port_range};
use tokio::time::timeout;
use tokio_websockets::CloseCode;

const APPS: &str = r#"
[app.old]
title = "Old"
description = "An image of the old catalogue."
image = "test/old:2"
legacy_environment = true

[app.old.stream.vnc]
port = 2222
protocol = "rfb"

[app.old.env.NOTE]
type = "text"
title = "Note"

[app.old.env.THEME]
type = "integer"
min = 0
max = 2
title = "Theme"

[app.one]
title = "One"
description = "The first app of an image."
image = "test/both"

[app.one.stream.vnc]
port = 2222
protocol = "rfb"

[app.two]
title = "Two"
description = "The second app of an image."
image = "test/both"

[app.two.stream.vnc]
port = 2222
protocol = "rfb"
"#;

const IMAGE: &str = "test/old:2";

fn options(adopt_legacy: bool, ports: Range<u16>) -> Options {
    Options {
        adopt_legacy,
        apps: APPS,
        ports,
        ..Options::default()
    }
}

async fn adopting(world: &World) -> Running {
    world.serve(options(true, port_range(20))).await
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Environment(pairs.iter().map(owned).collect())
}

/// Adds a container as the old service made them; answers the port it is published at.
async fn leave(world: &World, name: &str, image: &str, variables: &[(&str, &str)]) -> u16 {
    let environment = environment(variables);
    let control = world.control();
    let added = control.add_stranger(name, image, environment, 2222);
    added.await.unwrap().port()
}

/// The same, started so many seconds ago.
async fn leave_since(world: &World, name: &str, seconds: i64, own_timeout: &str) {
    leave(world, name, IMAGE, &[("WS_TIMEOUT", own_timeout)]).await;
    let started = Timestamp::now() - SignedDuration::from_secs(seconds);
    world.control().started_stranger_at(name, started);
}

/// Opens the desktop's stream and waits for its VNC server's greeting.
async fn look(service: &Running, url: &str) -> Socket {
    let mut socket = service.open(url).await.unwrap();
    let greeting = socket.next().await.unwrap().unwrap();
    assert_eq!(greeting.as_payload()[..], *b"RFB 003.008\n");
    socket
}

async fn ready(service: &Running, uid: &str) -> String {
    let desktop = service
        .wait_until(uid, |desktop| desktop["status"] == "ready")
        .await;
    desktop["url"].as_str().unwrap().to_owned()
}

async fn asleep(service: &Running, uid: &str) -> Value {
    service
        .wait_until(uid, |desktop| {
            assert_ne!(desktop["status"], "failed", "{desktop}");
            desktop["status"] == "asleep"
        })
        .await
}

async fn started_again(world: &World, service: &Running) {
    let control = world.control();
    service
        .wait_until("wall", |desktop| {
            assert_ne!(desktop["status"], "asleep", "{desktop}");
            control.starts() == 1 && desktop["status"] == "ready"
        })
        .await;
}

#[tokio::test]
async fn a_container_of_the_old_service_goes_on_as_a_desktop() {
    let world = World::new();
    let variables = [
        ("NOTE", "kept"),
        ("THEME", "1"),
        ("PATH", "/bin"),
        ("WS_TIMEOUT", "600"),
    ];
    leave(&world, "collab-vm-wall", IMAGE, &variables).await;
    let service = adopting(&world).await;
    let mut events = Listening::start(service.request(Method::GET, "/api/events?usage=true")).await;
    let url = ready(&service, "wall").await;
    let desktop = service.get("/api/vm/wall").await.json;
    assert_eq!(desktop["app"], "old");
    assert_eq!(
        service.get("/api/vm/list").await.json,
        serde_json::json!(["wall"])
    );
    let viewer = look(&service, &url).await;
    service
        .wait_until("wall", |desktop| desktop["viewers"] == 1)
        .await;
    drop(viewer);
    let waiting = service
        .wait_until("wall", |desktop| desktop["viewers"] == 0)
        .await;
    assert!(waiting["until"].is_string(), "the idle clock runs");
    assert_eq!(service.get("/api/vm/wall/logs").await.status, 200);
    let usage = events.until("usage").await.pop().unwrap();
    assert!(usage.data["desktops"]["wall"].is_object(), "{usage:?}");
    let records = world.store.load().await.unwrap();
    let kept = environment(&[("NOTE", "kept"), ("THEME", "1")]);
    assert_eq!(records[0].environment, kept);

    // Whoever asks gets the one that runs.
    let reply = service.post("wall", "{}").await;
    assert_eq!(reply.json["url"], *url, "{reply:?}");
    assert_eq!(world.control().starts(), 0);

    // Once stopped, it is a desktop like any other.
    assert_eq!(service.delete("/api/vm/wall").await.status, 204);
    assert_eq!(world.control().strangers(), [""; 0]);
    let gone = events.until("gone").await.pop().unwrap();
    assert_eq!(gone.data["desktop"]["ended"], "stopped");
    service.ensure("wall", "another").await;
    let instance = world.control().running().remove(0);
    let got = world.control().environment(&instance).unwrap().0;
    let got: Vec<(&str, &str)> = ["NOTE", "THEME"]
        .iter()
        .map(|name| (*name, got[*name].as_str()))
        .collect();
    assert_eq!(got, [("NOTE", "kept"), ("THEME", "1")]);
    assert_eq!(service.delete("/api/vm/wall?forget=true").await.status, 204);
    assert_eq!(world.store.load().await.unwrap(), []);
}

#[tokio::test]
async fn the_next_service_adopts_it_again_under_the_port_that_is_its_key() {
    let world = World::new();
    let port = leave(&world, "collab-vm-wall", IMAGE, &[]).await;
    let ports = port - 2..port + 8;
    for _ in 0..2 {
        let service = world.serve(options(true, ports.clone())).await;
        let url = ready(&service, "wall").await;
        assert_eq!(url, format!("/stream/{port}/vnc"));
        look(&service, &url).await;
        service.crash().await;
    }
    // Without the setting it is a stranger again, and its name is taken.
    let service = world.serve(options(false, ports)).await;
    assert_eq!(
        service.get("/api/vm/wall").await.json["status"],
        "asleep",
        "its record is kept"
    );
    let reply = service.post("wall", "{}").await;
    assert_eq!(reply.json["code"], "name_taken", "{reply:?}");
    assert_eq!(world.control().strangers(), ["collab-vm-wall"]);
}

#[tokio::test]
async fn without_the_setting_nothing_is_touched() {
    let world = World::new();
    leave(&world, "collab-vm-wall", IMAGE, &[]).await;
    let service = world.serve(options(false, port_range(20))).await;
    assert_eq!(service.get("/api/vm/wall").await.status, 404);
    assert_eq!(service.delete("/api/vm/wall").await.status, 404);
    let reply = service.post("wall", r#"{"vm": "old"}"#).await;
    assert_eq!(reply.json["code"], "name_taken", "{reply:?}");
    assert!(
        reply.json["details"]
            .as_str()
            .unwrap()
            .contains("collab-vm-wall")
    );
    assert_eq!(world.control().strangers(), ["collab-vm-wall"]);
    assert_eq!(world.control().clients(), 0, "nobody connected to it");
}

#[tokio::test]
async fn what_cannot_go_on_as_a_desktop_is_left_alone() {
    let world = World::new();
    let left = [
        // No uid: nothing, a word of the API, and a character that none has.
        ("collab-vm-", IMAGE, vec![]),
        ("collab-vm-list", IMAGE, vec![]),
        ("collab-vm-a+b", IMAGE, vec![]),
        // No app, another version of one, and more than one.
        ("collab-vm-unknown", "test/unknown", vec![]),
        ("collab-vm-version", "test/old:3", vec![]),
        ("collab-vm-both", "test/both:latest", vec![]),
        // Values that the app does not take.
        ("collab-vm-theme", IMAGE, vec![("THEME", "7")]),
        // Of another app than the record says, and beside one that runs.
        ("collab-vm-desk", IMAGE, vec![]),
        // A name in which ours is only a part.
        ("my-collab-vm-x", IMAGE, vec![]),
    ];
    let service = world.serve(options(false, port_range(20))).await;
    service.ensure("desk", "desk").await;
    service.delete("/api/vm/desk").await;
    service.crash().await;
    for (name, image, variables) in &left {
        leave(&world, name, image, variables).await;
    }
    // It has no port of the app's.
    world
        .control()
        .add_stranger("collab-vm-elsewhere", IMAGE, environment(&[]), 5900)
        .await
        .unwrap();
    // It takes connections, and says nothing.
    world.control().set_banner_delay(Duration::from_secs(600));
    leave(&world, "collab-vm-silent", IMAGE, &[]).await;
    world.control().set_banner_delay(Duration::ZERO);
    leave(&world, "collab-vm-abc", IMAGE, &[]).await;

    let service = adopting(&world).await;
    ready(&service, "abc").await;
    let all = service.get("/api/vm").await.json;
    let known: BTreeMap<&str, &str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["uid"].as_str().unwrap(),
                one["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        known,
        BTreeMap::from([("abc", "ready"), ("desk", "asleep")])
    );
    // The uid that the other one's begins with is free.
    assert_eq!(service.get("/api/vm/ab").await.status, 404);
    service.ensure("ab", "old").await;
    assert_eq!(service.delete("/api/vm/ab").await.status, 204);
    let mut strangers = world.control().strangers();
    strangers.sort_unstable();
    let mut expected: Vec<&str> = left.iter().map(|(name, ..)| *name).collect();
    expected.extend(["collab-vm-abc", "collab-vm-elsewhere", "collab-vm-silent"]);
    expected.sort_unstable();
    assert_eq!(strangers, expected);
    assert_eq!(world.store.load().await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_old_image_that_ends_when_nobody_looks_went_idle() {
    let world = World::new();
    leave_since(&world, "collab-vm-never-seen", 60, "60").await;
    leave_since(&world, "collab-vm-young", 5, "60").await;
    let service = adopting(&world).await;
    ready(&service, "never-seen").await;
    ready(&service, "young").await;
    let mut events = Listening::start(service.request(Method::GET, "/api/events")).await;
    events.until("reset").await;

    world.control().end_stranger("collab-vm-never-seen");
    let gone = events.until("gone").await.pop().unwrap();
    assert_eq!(gone.data["desktop"]["ended"], "idle", "{gone:?}");
    let desktop = asleep(&service, "never-seen").await;
    assert_eq!(desktop["ended"], "idle", "{desktop}");
    assert!(desktop.get("failure").is_none(), "{desktop}");
    assert!(
        desktop["because"].as_str().unwrap().contains("nobody"),
        "{desktop}"
    );

    // That was no end for want of viewers: it had not waited for as long.
    world.control().end_stranger("collab-vm-young");
    assert_eq!(asleep(&service, "young").await["ended"], "exited");
    // Both are back when they are asked for.
    for uid in ["never-seen", "young"] {
        let url = service.ensure(uid, "old").await;
        look(&service, &url).await;
        let desktop = service.get(&format!("/api/vm/{uid}")).await.json;
        assert!(desktop.get("ended").is_none(), "{desktop}");
    }
}

#[tokio::test]
async fn one_that_ends_while_it_is_adopted_went_idle_and_is_started_for_whoever_asks() {
    for somebody_waits in [false, true] {
        let world = World::new();
        // Long enough for it to end before it answers, and no longer than a handshake may take.
        world.control().set_banner_delay(Duration::from_millis(700));
        leave_since(&world, "collab-vm-wall", 60, "60").await;
        world.control().set_banner_delay(Duration::ZERO);
        let service = adopting(&world).await;
        let ends_while_it_is_adopted = async {
            let adopted = async {
                while world.control().running().is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(10), adopted).await.unwrap();
            world.control().end_stranger("collab-vm-wall");
        };
        if somebody_waits {
            let (url, ()) = tokio::join!(service.ensure("wall", "old"), ends_while_it_is_adopted);
            look(&service, &url).await;
            assert_eq!(world.control().starts(), 1);
        } else {
            ends_while_it_is_adopted.await;
            assert_eq!(asleep(&service, "wall").await["ended"], "idle");
            assert_eq!(world.control().starts(), 0);
        }
    }
}

#[tokio::test]
async fn an_old_image_that_ends_under_a_viewer_crashed_and_is_started_again() {
    let world = World::new();
    leave_since(&world, "collab-vm-wall", 60, "30").await;
    let service = adopting(&world).await;
    let url = ready(&service, "wall").await;
    let mut viewer = look(&service, &url).await;
    world.control().end_stranger("collab-vm-wall");
    let close = loop {
        let message = viewer.next().await.unwrap().unwrap();
        if let Some((code, reason)) = message.as_close() {
            break (code, reason.to_owned());
        }
    };
    // Either its connection breaks first or the engine's word comes first.
    assert!(
        close
            == (
                CloseCode::GOING_AWAY,
                "the desktop ended by itself".to_owned()
            )
            || close.0 == CloseCode::NORMAL_CLOSURE
            || close.0 == CloseCode::INTERNAL_SERVER_ERROR,
        "{close:?}"
    );
    started_again(&world, &service).await;
    look(&service, &url).await;
}

#[tokio::test]
async fn a_url_that_was_handed_out_just_before_the_end_leads_to_the_next_instance() {
    let world = World::new();
    leave_since(&world, "collab-vm-wall", 60, "60").await;
    let service = adopting(&world).await;
    ready(&service, "wall").await;
    let reply = service.post("wall", "{}").await;
    let url = reply.json["url"].as_str().unwrap();
    world.control().end_stranger("collab-vm-wall");
    started_again(&world, &service).await;
    look(&service, url).await;
    assert_eq!(service.get("/api/vm/wall").await.json["url"], *url);
}

#[tokio::test]
async fn one_that_has_ended_before_the_service_came_is_asleep_and_not_in_the_way() {
    let world = World::new();
    leave_since(&world, "collab-vm-wall", 60, "60").await;
    let service = adopting(&world).await;
    ready(&service, "wall").await;
    service.crash().await;
    world.control().end_stranger("collab-vm-wall");
    let service = adopting(&world).await;
    assert_eq!(asleep(&service, "wall").await["app"], "old");
    let url = service.ensure("wall", "old").await;
    look(&service, &url).await;
}
