//! What a desktop writes, as a client follows it.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use std::time::Duration;

use cosage::engine::Exit;
use reqwest::{Method, Response};
use support::{Options, Running, World};
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn follow(service: &Running, uid: &str, lines: usize) -> Response {
    let path = format!("/api/vm/{uid}/logs?follow=true&lines={lines}");
    service.request(Method::GET, &path).send().await.unwrap()
}

async fn next(response: &mut Response) -> Option<String> {
    let piece = timeout(PATIENCE, response.chunk()).await.unwrap().unwrap();
    piece.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn logs_are_followed_until_the_desktop_ends() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    service.ensure("a", "desk").await;
    let control = world.control();
    let instance = control.running().remove(0);
    control.write_log(&instance, "one\ntwo\nthree\n");

    let mut followed = follow(&service, "a", 2).await;
    assert_eq!(followed.status(), 200);
    assert_eq!(
        followed.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(next(&mut followed).await.unwrap(), "two\nthree\n");
    control.write_log(&instance, "four\n");
    assert_eq!(next(&mut followed).await.unwrap(), "four\n");
    control.end(&instance, Exit::default());
    assert_eq!(next(&mut followed).await, None);
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_engines_stream() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    service.ensure("a", "desk").await;
    let control = world.control();
    let instance = control.running().remove(0);
    control.write_log(&instance, "one\n");
    let mut followed = follow(&service, "a", 2).await;
    next(&mut followed).await.unwrap();
    assert_eq!(control.followers(), 1);
    drop(followed);
    timeout(PATIENCE, async {
        while control.followers() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn somebody_who_follows_does_not_hold_up_the_services_end() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    service.ensure("a", "desk").await;
    let control = world.control();
    control.write_log(&control.running()[0], "one\n");
    let mut followed = follow(&service, "a", 2).await;
    next(&mut followed).await.unwrap();
    // Its grace is five seconds, which a response without an end would use up; the log says so.
    let (end, ()) = tokio::join!(next(&mut followed), service.shut_down());
    assert_eq!(end, None);
    assert_eq!(control.followers(), 0);
}

#[tokio::test]
async fn nothing_to_follow_is_said() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let reply = service.get("/api/vm/nobody/logs?follow=true").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["code"]),
        (404, &"unknown_desktop".into())
    );
    service.ensure("a", "desk").await;
    service.delete("/api/vm/a").await;
    let reply = service.get("/api/vm/a/logs?follow=true").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["code"]),
        (409, &"not_running".into())
    );
    let reply = service.get("/api/vm/a/logs?follow=maybe").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["code"]),
        (422, &"invalid_query".into())
    );
}
