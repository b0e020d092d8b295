//! An end that was answered stays one, and what runs is asked to end before it is killed: over outages of the engine and
//! restarts of the service. The service in this process, on the simulated engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use std::time::Duration;

use cosage::engine::{Engine, EngineEvent, InstanceId};
use cosage::store::Store;
use futures_util::StreamExt;
use support::engine::Power;
use support::{Options, Running, World};

const LIMIT: Duration = Duration::from_secs(30);

async fn serve(world: &World) -> Running {
    world.serve(Options::default()).await
}

/// Waits until an instance ends; answers its exit code.
async fn end_of(world: &World, instance: &InstanceId) -> Option<i64> {
    let mut events = world.engine.events();
    let ended = async {
        while let Some(event) = events.next().await {
            match event {
                EngineEvent::Exited(id, exit) if id == *instance => return exit.code,
                _ if !world.control().running().contains(instance) => break,
                _ => {}
            }
        }
        None
    };
    tokio::time::timeout(LIMIT, ended).await.unwrap()
}

/// Waits until nothing runs, and looks whether the desktop knows.
async fn nothing_runs(world: &World, service: &Running, uid: &str, status: &str) {
    service
        .wait_until(uid, |desktop| {
            assert_ne!(desktop["status"], "ready", "{desktop}");
            world.control().running().is_empty() && desktop["status"] == status
        })
        .await;
    // The store knows, too.
    let forgotten = async {
        while !world.store.live_runs().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, forgotten).await.unwrap();
}

/// A desktop whose container runs and does not answer yet.
async fn starting(world: &World, service: &Running) {
    service.ensure("wall", "desk").await;
    assert_eq!(service.delete("/api/vm/wall").await.status, 204);
    world.control().set_banner_delay(Duration::from_secs(600));
    let asked = service.request(reqwest::Method::POST, "/api/vm/any/wall");
    let asked = asked.header("Content-Type", "application/json").body("{}");
    tokio::spawn(asked.send());
    service
        .wait_until("wall", |desktop| {
            desktop["status"] == "starting" && !world.control().running().is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_desktop_that_is_stopped_while_the_engine_goes_away_stays_stopped() {
    for restarted in [false, true] {
        let world = World::new();
        let mut service = serve(&world).await;
        starting(&world, &service).await;
        world.control().set_power(Power::Down);
        assert_eq!(service.delete("/api/vm/wall").await.status, 204);
        assert_eq!(world.control().running().len(), 1, "nobody could end it");
        if restarted {
            service.crash().await;
            world.control().set_power(Power::Up);
            service = serve(&world).await;
        } else {
            world.control().set_power(Power::Up);
        }
        nothing_runs(&world, &service, "wall", "asleep").await;
    }
}

#[tokio::test]
async fn a_stop_that_is_delayed_outlives_the_service() {
    let world = World::new();
    let service = serve(&world).await;
    service.ensure("wall", "desk").await;
    world.control().set_power(Power::Down);
    let reply = service.delete("/api/vm/wall").await;
    assert_eq!(reply.json["code"], "engine_unavailable", "{reply:?}");
    service.crash().await;
    world.control().set_power(Power::Up);
    let service = serve(&world).await;
    nothing_runs(&world, &service, "wall", "asleep").await;
}

#[tokio::test]
async fn a_start_that_failed_leaves_nothing_when_the_engine_is_back() {
    for restarted in [false, true] {
        let world = World::new();
        let mut service = serve(&world).await;
        service.ensure("wall", "desk").await;
        service.delete("/api/vm/wall").await;
        world.control().leave_after_start();
        let reply = service.post("wall", "{}").await;
        assert_eq!(reply.json["code"], "engine_unavailable", "{reply:?}");
        assert_eq!(world.control().running().len(), 1);
        let mut status = "failed";
        if restarted {
            service.crash().await;
            world.control().set_power(Power::Up);
            service = serve(&world).await;
            // Why it failed is written behind: a crash may come before it.
            let desktop = service.get("/api/vm/wall").await;
            if desktop.json["status"] != "failed" {
                status = "asleep";
            }
        } else {
            world.control().set_power(Power::Up);
        }
        nothing_runs(&world, &service, "wall", status).await;
        service.ensure("wall", "desk").await;
    }
}

#[tokio::test]
async fn a_stop_before_the_engine_was_asked_what_runs_stops_what_runs() {
    let world = World::new();
    let service = serve(&world).await;
    service.ensure("wall", "desk").await;
    service.crash().await;
    world.control().set_power(Power::Down);
    let service = serve(&world).await;
    let (reply, ()) = tokio::join!(service.delete("/api/vm/wall"), async {
        let reply = service.get("/readyz").await;
        assert_eq!(reply.status, 503, "{reply:?}");
        world.control().set_power(Power::Up);
    });
    assert_eq!(reply.status, 204, "{reply:?}");
    assert_eq!(world.control().running(), []);
}

#[tokio::test]
async fn an_instance_that_cannot_be_used_is_asked_to_end() {
    let world = World::new();
    let service = serve(&world).await;
    service.ensure("wall", "desk").await;
    service.crash().await;
    let instance = world.control().instance("wall").unwrap();
    world.control().make_unusable(&instance);
    // Less than its grace.
    world.control().set_stop_delay(Duration::from_millis(300));
    let (code, service) = tokio::join!(end_of(&world, &instance), serve(&world));
    assert_eq!(code, Some(0), "it had no time to end");
    nothing_runs(&world, &service, "wall", "asleep").await;
    service.ensure("wall", "desk").await;
}

#[tokio::test]
async fn a_working_desktop_that_cannot_be_read_for_a_moment_goes_on() {
    let world = World::new();
    let service = serve(&world).await;
    service.ensure("wall", "desk").await;
    let instance = world.control().instance("wall").unwrap();
    world.control().make_unusable(&instance);
    // The service compares what runs when the engine is back.
    for (power, status) in [(Power::Down, 503), (Power::Up, 200)] {
        world.control().set_power(power);
        let shown = async {
            while service.get("/readyz").await.status != status {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, shown).await.unwrap();
    }
    assert_eq!(service.get("/api/vm/wall").await.json["status"], "ready");
    assert_eq!(world.control().running(), [instance]);
}

#[tokio::test]
async fn a_start_that_does_not_answer_is_asked_to_end() {
    let world = World::new();
    let service = serve(&world).await;
    world.control().set_banner_delay(Duration::from_secs(600));
    world.control().set_stop_delay(Duration::from_millis(300));
    let ended = async {
        let mut events = world.engine.events();
        loop {
            if let Some(EngineEvent::Exited(_, exit)) = events.next().await {
                return exit.code;
            }
        }
    };
    let (reply, code) = tokio::join!(service.post("wall", r#"{"vm": "hasty"}"#), ended);
    assert_eq!(reply.status, 504, "{reply:?}");
    assert_eq!(code, Some(0), "it had no time to end");
}
