//! Many at the same moment, on a real Docker Engine.

#[path = "support/process.rs"]
mod process;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use process::{PATIENCE, Scene, Service, Viewer, at_phase, eventually};

#[tokio::test]
async fn twenty_allocations_at_the_same_moment_all_succeed() {
    const MANY: usize = 20;
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let replies = join_all((0..MANY).map(|_| service.post("allocate", r#"{"vm": "tiny"}"#))).await;
    let mut uids = BTreeSet::new();
    let mut urls = BTreeSet::new();
    for reply in &replies {
        assert_eq!(reply.status, 200, "{reply:?}");
        uids.insert(reply.json["uid"].as_str().unwrap());
        urls.insert(reply.json["url"].as_str().unwrap());
    }
    assert_eq!((uids.len(), urls.len()), (MANY, MANY));

    let containers = scene.containers();
    assert_eq!(containers.len(), MANY);
    let contained: BTreeSet<&str> = containers.iter().map(|c| c.uid.as_str()).collect();
    assert_eq!(contained, uids);
    assert!(
        containers
            .iter()
            .all(|container| container.state == "running")
    );
    join_all(urls.iter().map(|url| service.see(url))).await;
}

#[tokio::test]
async fn a_hundred_requests_for_one_uid_make_one_container() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let replies = join_all((0..100).map(|_| service.post("a", r#"{"vm": "tiny"}"#))).await;
    let urls: BTreeSet<&str> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.json["url"].as_str().unwrap()
        })
        .collect();
    assert_eq!(urls.len(), 1, "{urls:?}");
    assert_eq!(scene.containers().len(), 1);
    service.see(urls.first().unwrap()).await;
}

#[tokio::test]
async fn whoever_comes_back_at_any_phase_of_a_stop_gets_a_living_desktop() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let phases = (0..16).map(|step| Duration::from_millis(100 * step));
    let rounds = phases.flat_map(|phase| [(phase, Way::Asks), (phase, Way::Connects)]);
    stream::iter(rounds)
        .map(|(phase, way)| come_back(&service, phase, way))
        .buffer_unordered(3)
        .collect::<Vec<()>>()
        .await;
    // Each stop was made undone or came to its end: one container each, and all of them live.
    let containers = scene.containers();
    assert_eq!(containers.len(), 32, "{containers:?}");
    assert!(
        containers
            .iter()
            .all(|container| container.state == "running")
    );
}

/// How somebody comes back.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By asking for the desktop by its name.
    Asks,
    /// At the URL that is known from before.
    Connects,
}

async fn come_back(service: &Service, phase: Duration, way: Way) {
    let uid = format!("{way:?}-{}", phase.as_millis());
    let url = service.ensure(&uid, "tiny").await;
    let stopped = async { assert_eq!(service.delete(&uid).await.status, 204) };
    let comes_back = async {
        // From the moment that the stop is under way, or the visit may be before it.
        eventually(PATIENCE, "the stop begins", async || {
            let reply = service.get(&format!("/api/vm/{uid}")).await;
            (reply.json["status"] != "ready").then_some(())
        })
        .await;
        at_phase(phase).await;
        if let Way::Connects = way {
            match Viewer::open(service.stream_address, &url).await {
                Ok(mut viewer) => return viewer.see().await,
                // The stop was through: its URL leads nowhere, and says so.
                Err(error) => assert!(error.contains("404"), "{uid}: {error}"),
            }
        }
        let url = service.ensure(&uid, "tiny").await;
        drop(service.see(&url).await);
    };
    futures_util::join!(stopped, comes_back);
}
