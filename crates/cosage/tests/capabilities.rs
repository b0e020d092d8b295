//! A service on an engine that has no capabilities: it says what is missing, and does everything else.

#[path = "support/bare.rs"]
mod bare;
mod support;

use std::sync::Arc;

use bare::Bare;
use support::{Options, Running, World};

async fn service() -> (World, Running) {
    let world = World::new();
    let engine = Arc::new(Bare(Arc::new(world.engine.clone())));
    let service = world.serve_on(engine, Options::default()).await;
    (world, service)
}

#[tokio::test]
async fn a_missing_capability_is_named() {
    let (_world, service) = service().await;
    service.ensure("wall", "desk").await;
    for (path, missing) in [
        ("/api/vm/wall/logs", "logs"),
        ("/api/vm/wall/logs?follow=true", "logs"),
        ("/api/vm/wall/files/", "homes"),
        ("/api/vm/wall/files/a", "homes"),
    ] {
        let reply = service.get(path).await;
        assert_eq!(reply.status, 501, "{path}: {reply:?}");
        assert_eq!(reply.json["code"], "engine_unsupported", "{path}");
        let details = reply.json["details"].as_str().unwrap();
        assert!(details.contains(&format!("no {missing}; ")), "{details}");
    }
}

#[tokio::test]
async fn a_desktop_without_a_home_volume_is_deleted() {
    let (world, service) = service().await;
    service.ensure("wall", "desk").await;
    let forgotten = service.delete("/api/vm/wall?forget=true").await;
    assert_eq!(forgotten.status, 204, "{forgotten:?}");
    assert_eq!(service.get("/api/vm/wall").await.status, 404);
    assert!(world.control().running().is_empty());
}
