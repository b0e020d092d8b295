//! A panic inside the service: whoever waits is told, nothing runs on unclaimed, and the next request works. The service in
//! this process, on the simulated engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/manager.rs"]
mod manager;
mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cosage::desktop::Uid;
use cosage::desktop::view::Phase;
use cosage::engine::Exit;
use cosage::store::Store;
use manager::manager;
use serde_json::Map;
use support::engine::{Call, TestEngine};
use support::{Options, Reply, Running, World};

async fn serve(world: &World) -> Running {
    world.serve(Options::default()).await
}

fn assert_internal(reply: &Reply) {
    assert_eq!(reply.status, 500, "{reply:?}");
    assert_eq!(reply.json["code"], "internal", "{reply:?}");
}

/// The desktop has failed for that reason, nothing of it runs, and it comes when it is asked for.
async fn starts_anew(world: &World, service: &Running, uid: &str) {
    let desktop = service
        .wait_until(uid, |desktop| {
            desktop["status"] == "failed" && world.control().running().is_empty()
        })
        .await;
    let failure = desktop["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("log"), "{desktop}");
    service.ensure(uid, "desk").await;
    assert_eq!(world.control().running().len(), 1);
    assert_eq!(service.delete(&format!("/api/vm/{uid}")).await.status, 204);
    let kept = async {
        while !world.store.live_runs().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, kept).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_start_fails_the_desktop() {
    for call in [Call::Start, Call::Started] {
        let world = World::new();
        let service = serve(&world).await;
        world.control().panic_once(call);
        let (one, other) = tokio::join!(
            service.post("wall", r#"{"vm": "desk"}"#),
            service.post("wall", r#"{"vm": "desk"}"#)
        );
        // The second one may have come after it.
        assert!(
            one.status == 500 || other.status == 500,
            "{one:?} {other:?}"
        );
        if one.status == other.status {
            assert_internal(&one);
            assert_internal(&other);
            starts_anew(&world, &service, "wall").await;
        }
    }
}

#[tokio::test]
async fn a_panic_in_a_stop_fails_the_desktop_and_leaves_nothing() {
    let world = World::new();
    let service = serve(&world).await;
    service.ensure("wall", "desk").await;
    world.control().panic_once(Call::Stop);
    assert_internal(&service.delete("/api/vm/wall").await);
    starts_anew(&world, &service, "wall").await;
}

#[tokio::test]
async fn a_panic_while_a_desktop_is_forgotten_is_told_and_it_can_be_forgotten_again() {
    let world = World::new();
    let service = serve(&world).await;
    service.ensure("wall", "desk").await;
    world.control().panic_once(Call::DeleteHome);
    let forget = "/api/vm/wall?forget=true";
    assert_internal(&service.delete(forget).await);
    assert_eq!(service.delete(forget).await.status, 204);
    assert_eq!(service.get("/api/vm/wall").await.status, 404);
}

#[tokio::test]
async fn the_engines_events_are_followed_after_a_panic() {
    let world = World::new();
    world.control().panic_once(Call::Events);
    world.control().panic_once(Call::List);
    let service = serve(&world).await;
    service.ensure("wall", "desk").await;
    let instance = world.control().instance("wall").unwrap();
    world.control().end(&instance, Exit::default());
    service
        .wait_until("wall", |desktop| desktop["status"] == "asleep")
        .await;
}

/// Panics in whoever answers.
struct Mine;

impl Wake for Mine {
    fn wake(self: Arc<Self>) {
        // Not while the test itself is unwound.
        assert!(std::thread::panicking(), "a panic in the task that answers");
    }
}

#[tokio::test]
async fn a_panic_in_the_driver_itself_fails_the_desktop_and_it_starts_anew() {
    let engine = TestEngine::new();
    let manager = manager(&engine).await;
    let uid: Uid = "wall".parse().unwrap();
    let none = Map::new();
    let mut mined = pin!(manager.ensure(Some(uid.clone()), Some("desk"), &none));
    let waker = Waker::from(Arc::new(Mine));
    let polled = mined.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Pending));

    // Those who wait beside it are told, and it is not left as it was.
    let failed = async {
        loop {
            if let Ok(view) = manager.view(&uid).await
                && view.phase == Phase::Failed
                && engine.running().is_empty()
            {
                return view;
            }
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(30);
    let view = tokio::time::timeout(limit, failed).await.unwrap();
    assert!(view.claimed.is_none());
    manager.reconcile().await.unwrap();
    assert_eq!(manager.view(&uid).await.unwrap().phase, Phase::Failed);

    manager
        .ensure(Some(uid.clone()), None, &none)
        .await
        .unwrap();
    assert_eq!(engine.running().len(), 1);
    let stop = cosage::desktop::lifecycle::StopMode::Keep;
    manager.stop(&uid, stop).await.unwrap();
    assert_eq!(engine.running(), []);
}
