//! Old images, which end by themselves when nobody looks. The service in this process, on the simulated engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/sse.rs"]
mod sse;
mod support;

use cosage::engine::{Exit, InstanceId};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::Value;
use sse::Listening;
use support::{Options, Running, Socket, World, port_range};
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
"#;

/// Longer than the time-out that the app's image gets: both of the service's timers, ten minutes each, and one more.
const LONG_AGO: SignedDuration = SignedDuration::from_mins(30);

async fn serve(world: &World) -> Running {
    let options = Options {
        apps: APPS,
        ports: port_range(20),
        ..Options::default()
    };
    world.serve(options).await
}

/// Leaves a desktop that was started so long ago and that no service has.
async fn leave(world: &World, uid: &str, ago: SignedDuration) -> InstanceId {
    let service = serve(world).await;
    service.ensure(uid, "old").await;
    let instance = world.control().instance(uid).unwrap();
    service.crash().await;
    world
        .control()
        .set_started_at(&instance, Timestamp::now() - ago);
    instance
}

fn end(world: &World, instance: &InstanceId) {
    world.control().end(instance, Exit::default());
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
            control.starts() == 2 && desktop["status"] == "ready"
        })
        .await;
}

#[tokio::test]
async fn an_old_image_that_ends_when_nobody_looks_went_idle() {
    let world = World::new();
    let never_seen = leave(&world, "never-seen", LONG_AGO).await;
    let young = leave(&world, "young", SignedDuration::from_secs(5)).await;
    let service = serve(&world).await;
    ready(&service, "never-seen").await;
    ready(&service, "young").await;
    let mut events = Listening::start(service.request(Method::GET, "/api/events")).await;
    events.until("reset").await;

    end(&world, &never_seen);
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
    end(&world, &young);
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
async fn an_instance_that_ends_while_it_is_adopted_leaves_its_desktop_asleep() {
    let world = World::new();
    let instance = leave(&world, "wall", LONG_AGO).await;
    world.control().end_once_listed(&instance, Exit::default());
    let service = serve(&world).await;
    let desktop = asleep(&service, "wall").await;
    assert!(desktop.get("failure").is_none(), "{desktop}");
    assert_eq!(world.control().running(), []);
    let url = service.ensure("wall", "old").await;
    look(&service, &url).await;
}

#[tokio::test]
async fn an_old_image_that_ends_under_a_viewer_crashed_and_is_started_again() {
    let world = World::new();
    let instance = leave(&world, "wall", LONG_AGO).await;
    let service = serve(&world).await;
    let url = ready(&service, "wall").await;
    let mut viewer = look(&service, &url).await;
    end(&world, &instance);
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
    let instance = leave(&world, "wall", LONG_AGO).await;
    let service = serve(&world).await;
    ready(&service, "wall").await;
    let reply = service.post("wall", "{}").await;
    let url = reply.json["url"].as_str().unwrap();
    end(&world, &instance);
    started_again(&world, &service).await;
    look(&service, url).await;
    assert_eq!(service.get("/api/vm/wall").await.json["url"], *url);
}
