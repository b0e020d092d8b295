//! The service as a client sees it, on the simulated engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;
#[path = "support/wait.rs"]
mod wait;

use std::collections::HashSet;
use std::net::TcpListener;
use std::time::Duration;

use cosage::catalog::Undeclared;
use cosage::engine::simulated::{CLUSTER, HEADER};
use cosage::engine::{EngineError, Exit, StartStep};
use cosage::store::{Query, Store};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use support::engine::Power;
use support::{Options, Reply, Running, Socket, World, port_range};
use tokio_websockets::{CloseCode, Message};
use wait::{at_phase, pass};

async fn service() -> (World, Running) {
    let world = World::new();
    let running = world.serve(Options::default()).await;
    (world, running)
}

/// Every error is a JSON object with `details` and `code`, and never with `url`.
#[track_caller]
fn assert_error(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.json["code"], code, "{reply:?}");
    assert!(!reply.json["details"].as_str().unwrap().is_empty());
    assert!(reply.json.get("url").is_none(), "{reply:?}");
}

/// Reads RFB's greeting and answers with the viewer's part of the handshake, up to ServerInit.
async fn see_desktop(socket: &mut Socket) {
    let mut client = Rfb {
        socket,
        seen: Vec::new(),
    };
    assert_eq!(client.take(12).await, b"RFB 003.008\n");
    client.send(b"RFB 003.008\n").await;
    assert_eq!(client.take(2).await, [1, 1], "the viewer needs no password");
    client.send(&[1]).await;
    assert_eq!(client.take(4).await, [0, 0, 0, 0]);
    client.send(&[1]).await;
    let server_init = client.take(24).await;
    assert_eq!(
        server_init[..4],
        [0, 64, 0, 48],
        "width and height of the simulated screen"
    );
}

struct Rfb<'a> {
    socket: &'a mut Socket,
    seen: Vec<u8>,
}

impl Rfb<'_> {
    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            let message = self.socket.next().await.unwrap().unwrap();
            assert!(message.is_binary() || message.is_ping(), "{message:?}");
            if message.is_binary() {
                self.seen.extend_from_slice(message.as_payload());
            }
        }
        let rest = self.seen.split_off(count);
        std::mem::replace(&mut self.seen, rest)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket
            .send(Message::binary(bytes.to_vec()))
            .await
            .unwrap();
    }
}

async fn close_of(socket: &mut Socket) -> (CloseCode, String) {
    loop {
        let message = socket.next().await.unwrap().unwrap();
        if let Some((code, reason)) = message.as_close() {
            return (code, reason.to_owned());
        }
    }
}

#[tokio::test]
async fn one_call_gives_a_desktop_that_can_be_seen() {
    let (_world, service) = service().await;
    let reply = service
        .post("allocate", r#"{"vm": "desk", "env": {}}"#)
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let uid = reply.json["uid"].as_str().unwrap().to_owned();
    assert_eq!(uid.parse::<uuid::Uuid>().unwrap().get_version_num(), 4);
    let url = reply.json["url"].as_str().unwrap().to_owned();

    let ws = service.get(&format!("/api/vm/ws/{uid}")).await;
    assert_eq!(ws.json, serde_json::json!({ "url": url }));
    assert_eq!(
        service.get("/api/vm/list").await.json,
        serde_json::json!([uid])
    );

    let mut viewer = service.open(&url).await.unwrap();
    see_desktop(&mut viewer).await;
    let seen = service
        .wait_until(&uid, |desktop| desktop["viewers"] == 1)
        .await;
    assert_eq!(seen["status"], "ready");
    assert_eq!(seen["app"], "desk");
    drop(viewer);
    let left = service
        .wait_until(&uid, |desktop| desktop["viewers"] == 0)
        .await;
    assert!(left["until"].is_string(), "{left}");
}

#[tokio::test]
async fn streams_answer_on_both_ports_and_under_the_old_prefix() {
    let (_world, service) = service().await;
    let url = service.ensure("a", "old-desk").await;
    let key = url.split('/').nth(2).unwrap();
    for address in [service.address, service.stream_address] {
        for path in [
            format!("/stream/{key}/vnc"),
            format!("/api/vmstream/{key}/vnc"),
        ] {
            let uri: http::Uri = format!("ws://{address}{path}").parse().unwrap();
            let (mut socket, _) = tokio_websockets::ClientBuilder::from_uri(uri)
                .connect()
                .await
                .unwrap();
            see_desktop(&mut socket).await;
        }
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_for_one_uid_make_one_container() {
    let (world, service) = service().await;
    world.control().set_start_delay(Duration::from_millis(100));
    let requests = (0..100).map(|theme| {
        let body = format!(r#"{{"vm": "desk", "env": {{"THEME": {}}}}}"#, theme % 3);
        let service = &service;
        async move { service.post("wall", &body).await }
    });
    let replies = join_all(requests).await;
    let urls: HashSet<_> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.json["url"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(urls.len(), 1);
    assert_eq!(world.control().starts(), 1);
}

#[tokio::test]
async fn simultaneous_desktops_get_different_keys() {
    let (_world, service) = service().await;
    let replies = join_all((0..40).map(|_| service.post("allocate", r#"{"vm": "desk"}"#))).await;
    let urls: HashSet<_> = replies
        .iter()
        .map(|reply| reply.json["url"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(urls.len(), 40);
}

#[tokio::test]
async fn a_known_uid_needs_no_app_and_keeps_its_environment() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let first = service
        .post(
            "Mine.1",
            r#"{"vm": "desk", "env": {"THEME": 1, "URLS": ["https://example.org/"]}}"#,
        )
        .await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(service.delete("/api/vm/Mine.1").await.status, 204);
    // Ignored, not checked: neither the app nor the variable exists.
    let again = service
        .post("Mine.1", r#"{"vm": "nonsense", "env": {"NONSENSE": 5}}"#)
        .await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.json["ignored"], serde_json::json!(["vm", "env"]));
    let stored = world.store.desktops(&Query::newest(10)).await.unwrap();
    assert_eq!(stored.len(), 1);
    let environment = &stored[0].record.environment.0;
    assert_eq!(environment.len(), 2);
    assert_eq!(environment["THEME"], "1");
    assert_eq!(environment["URLS"], r#"["https://example.org/"]"#);
}

#[tokio::test]
async fn what_a_known_uid_ignores_is_named_where_it_differs() {
    let (_world, service) = service().await;
    let made = r#"{"vm": "desk", "env": {"THEME": 1, "URLS": ["https://example.org/"]}}"#;
    let first = service.post("a", made).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json.get("ignored"), None);
    for (body, ignored) in [
        (made, None),
        ("{}", None),
        ("", None),
        (r#"{"vm": "desk", "env": {}}"#, None),
        (r#"{"vm": "old-desk", "env": null}"#, None),
        (
            r#"{"env": {"THEME": "1", "URLS": "[\"https://example.org/\"]"}}"#,
            None,
        ),
        (r#"{"env": {"THEME": null}}"#, None),
        (r#"{"env": {"THEME": 0}}"#, Some(vec!["env"])),
        (r#"{"env": {"THEME": 1}}"#, Some(vec!["env"])),
        (r#"{"env": {"THEME": "loud"}}"#, Some(vec!["env"])),
        (r#"{"env": {"NONSENSE": 1}}"#, Some(vec!["env"])),
        (r#"{"vm": "other"}"#, Some(vec!["vm"])),
        (
            r#"{"vm": "nonsense", "env": {"THEME": 2}}"#,
            Some(vec!["vm", "env"]),
        ),
    ] {
        let again = service.post("a", body).await;
        assert_eq!(again.status, 200, "{body}: {again:?}");
        assert_eq!(again.json["url"], first.json["url"], "{body}");
        let said = ignored.map(|words| serde_json::json!(words));
        assert_eq!(again.json.get("ignored"), said.as_ref(), "{body}");
    }
}

#[tokio::test]
async fn looking_a_desktop_up_never_starts_it() {
    let (world, service) = service().await;
    let nothing = serde_json::json!({ "details": "container not running" });
    let unknown = service.get("/api/vm/ws/nobody").await;
    assert_eq!(
        (unknown.status, unknown.json),
        (StatusCode::OK, nothing.clone())
    );
    service.ensure("a", "desk").await;
    service.delete("/api/vm/a").await;
    let asleep = service.get("/api/vm/ws/a").await;
    assert_eq!((asleep.status, asleep.json), (StatusCode::OK, nothing));
    assert_eq!(
        service.get("/api/vm/list").await.json,
        serde_json::json!([])
    );
    assert_eq!(service.get("/api/vm/a").await.json["status"], "asleep");
    assert_eq!(world.control().starts(), 1);
}

#[tokio::test]
async fn a_desktop_whose_app_left_the_catalog_can_be_used_up() {
    let world = World::new();
    let with_app = || Options {
        apps: PAINTER,
        ..Options::default()
    };
    let service = world.serve(with_app()).await;
    for uid in ["sleeps", "runs", "fails"] {
        service.ensure(uid, "painter").await;
        let file = service.request(Method::PUT, &format!("/api/vm/{uid}/files/picture"));
        assert_eq!(Running::reply(file.body("blue")).await.status, 201);
    }
    for uid in ["sleeps", "fails"] {
        assert_eq!(service.delete(&format!("/api/vm/{uid}")).await.status, 204);
    }
    service.shut_down().await;

    let service = world.serve(Options::default()).await;
    let refused = service.post("fails", "{}").await;
    assert_error(&refused, 409, "app_changed");
    service
        .wait_until("runs", |desktop| desktop["status"] == "ready")
        .await;
    let stopped = service.delete("/api/vm/runs").await;
    assert_eq!(stopped.status, 204, "{stopped:?}");
    let listed = service.get("/api/vm").await.json;
    let listed = listed["desktops"]
        .as_array()
        .or(listed.as_array())
        .unwrap()
        .clone();
    assert_eq!(listed.len(), 3);
    for desktop in listed {
        assert_eq!(
            (&desktop["app"], &desktop["title"]),
            (&"painter".into(), &"painter".into())
        );
        let because = desktop["because"].as_str().unwrap();
        assert!(because.contains("not in the catalog any more"), "{desktop}");
        assert_eq!(desktop["home"], true, "{desktop}");
        let uid = desktop["uid"].as_str().unwrap();
        let file = service.get(&format!("/api/vm/{uid}/files/picture")).await;
        assert_eq!((file.status, file.json), (StatusCode::OK, "blue".into()));
        let deleted = service.delete(&format!("/api/vm/{uid}?forget=true")).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        assert_eq!(service.get(&format!("/api/vm/{uid}")).await.status, 404);
        assert!(!world.control().has_home(&uid.parse().unwrap()));
    }
}

/// An app with a home.
const PAINTER: &str = r#"
[app.painter]
title = "Painter"
description = "Leaves the catalog."
image = "test/painter:latest"
home = "/home/user"

[app.painter.stream.vnc]
port = 5900
protocol = "rfb"
"#;

#[tokio::test]
async fn bad_input_gets_a_clear_error() {
    let (world, service) = service().await;
    let long = "a".repeat(129);
    let cases = [
        ("allocate", r#"{"vm": "desc"}"#, 404, "unknown_app"),
        ("new", "{}", 404, "unknown_desktop"),
        ("new", "", 404, "unknown_desktop"),
        (
            "new",
            r#"{"vm": "desk", "env": {"THEM": 1}}"#,
            422,
            "invalid_env",
        ),
        (
            "new",
            r#"{"vm": "desk", "env": {"THEME": 3}}"#,
            422,
            "invalid_env",
        ),
        (
            "new",
            r#"{"vm": "desk", "env": {"URLS": ["file:///etc"]}}"#,
            422,
            "invalid_env",
        ),
        ("new", r#"{"vm": "desk", "env": [1]}"#, 422, "invalid_body"),
        ("new", r#"{"vm": 5}"#, 422, "invalid_body"),
        ("new", r#"["desk", {}]"#, 422, "invalid_body"),
        ("new", r#"{"vm": "desk", }"#, 400, "invalid_json"),
        ("new", r#"{"vm": "#, 400, "invalid_json"),
        ("any", r#"{"vm": "desk"}"#, 422, "invalid_uid"),
        ("list", r#"{"vm": "desk"}"#, 422, "invalid_uid"),
        ("..%2Fx", r#"{"vm": "desk"}"#, 422, "invalid_uid"),
        ("-x", r#"{"vm": "desk"}"#, 422, "invalid_uid"),
        ("%C3%A9", r#"{"vm": "desk"}"#, 422, "invalid_uid"),
        (&long, r#"{"vm": "desk"}"#, 422, "invalid_uid"),
    ];
    for (uid, body, status, code) in cases {
        assert_error(&service.post(uid, body).await, status, code);
    }
    let unknown = service.post("new", r#"{"vm": "desc"}"#).await;
    let apps: Vec<_> = unknown.json["apps"].as_array().unwrap().iter().collect();
    assert!(apps.contains(&&"desk".into()), "{unknown:?}");
    assert!(unknown.json["details"].as_str().unwrap().contains("desk"));
    let syntax = service.post("new", "{\n\"vm\" \"desk\"}").await;
    assert!(
        syntax.json["details"]
            .as_str()
            .unwrap()
            .contains("line 2 column 6"),
        "{syntax:?}"
    );

    let huge = format!(r#"{{"vm": "desk", "pad": "{}"}}"#, "x".repeat(65_536));
    assert_error(&service.post("new", &huge).await, 413, "body_too_large");
    let undeclared = service
        .request(Method::POST, "/api/vm/any/new")
        .header("content-type", "text/plain")
        .body(r#"{"vm": "desk"}"#);
    assert_error(&Running::reply(undeclared).await, 415, "json_required");
    assert_error(&service.get("/api/vm/nobody").await, 404, "unknown_desktop");
    assert_error(
        &service.delete("/api/vm/nobody").await,
        404,
        "unknown_desktop",
    );
    assert_error(
        &service.get("/api/vm/nobody/logs").await,
        404,
        "unknown_desktop",
    );
    assert_error(&service.get("/api/vm/%ff").await, 422, "invalid_uid");
    assert_error(
        &service.get("/api/vm/a/logs?lines=x").await,
        422,
        "invalid_query",
    );
    assert_error(
        &service.delete("/api/vm/a?forget=maybe").await,
        422,
        "invalid_query",
    );
    assert_error(&service.get("/nowhere").await, 404, "no_such_route");
    assert_error(
        &service.call(Method::PUT, "/api/vm/list", None).await,
        405,
        "no_such_method",
    );
    assert_eq!(
        world.control().starts(),
        0,
        "nothing of this reaches the engine"
    );
    assert_eq!(world.store.count(1).await.unwrap(), 0);
}

#[tokio::test]
async fn undeclared_environment_can_be_ignored_as_the_old_service_did() {
    let world = World::new();
    let service = world
        .serve(Options {
            undeclared: Undeclared::Ignore,
            ..Options::default()
        })
        .await;
    let reply = service
        .post("a", r#"{"vm": "desk", "env": {"NONSENSE": 1, "THEME": 2}}"#)
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let stored = world.store.desktops(&Query::newest(10)).await.unwrap();
    assert_eq!(stored[0].record.environment.0.len(), 1);
}

#[tokio::test]
async fn a_stream_that_nobody_holds_is_refused_and_not_held() {
    let (_world, service) = service().await;
    let uri = |path: &str| format!("http://{}{path}", service.stream_address);
    let socket = |path: &str| {
        reqwest::Client::new()
            .get(uri(path))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    for path in [
        "/stream/22000/vnc",
        "/stream/9/vnc",
        "/stream/x/vnc",
        "/stream/99999/vnc",
    ] {
        assert_error(&Running::reply(socket(path)).await, 404, "unknown_stream");
    }
    let url = service.ensure("a", "desk").await;
    let silent = service.ensure("b", "brief").await.replace("/vnc", "/audio");
    assert_error(
        &Running::reply(socket(&silent)).await,
        404,
        "unknown_stream",
    );
    let other = url.replace("/vnc", "/video");
    let reply = Running::reply(socket(&other)).await;
    assert_error(&reply, 404, "unknown_stream");
    assert!(
        reply.json["details"]
            .as_str()
            .unwrap()
            .contains("audio, vnc"),
        "{reply:?}"
    );
    let plain = Running::reply(reqwest::Client::new().get(uri(&url))).await;
    assert_error(&plain, 426, "websocket_required");
    let foreign = socket(&url).header("origin", "https://evil.example");
    assert_error(&Running::reply(foreign).await, 403, "origin_not_allowed");
}

#[tokio::test]
async fn nobody_looks_and_it_goes_and_asked_again_it_is_back() {
    let (world, service) = service().await;
    let url = service.ensure("b", "brief").await;
    let mut viewer = service.open(&url).await.unwrap();
    see_desktop(&mut viewer).await;
    // Twice the idle time: a viewer keeps it.
    pass(Duration::from_secs(2)).await;
    assert_eq!(service.get("/api/vm/b").await.json["status"], "ready");
    drop(viewer);
    service
        .wait_until("b", |desktop| desktop["status"] == "asleep")
        .await;
    assert!(world.control().running().is_empty());
    service.ensure("b", "brief").await;
    // And as long after a start when no viewer ever comes.
    service
        .wait_until("b", |desktop| desktop["status"] == "asleep")
        .await;
    assert_eq!(world.control().starts(), 2);
}

#[tokio::test]
async fn a_listener_keeps_nothing_alive_and_starts_nothing() {
    let (_world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    let audio = url.replace("/vnc", "/audio");
    let mut listener = service.open(&audio).await.unwrap();
    for part in [HEADER, CLUSTER, CLUSTER] {
        let message = listener.next().await.unwrap().unwrap();
        assert_eq!(message.as_payload()[..], *part);
    }
    let desktop = service.get("/api/vm/a").await.json;
    assert_eq!(desktop["viewers"], 0, "{desktop}");
    service.delete("/api/vm/a").await;
    assert!(service.open(&audio).await.is_err());
    assert_eq!(service.get("/api/vm/a").await.json["status"], "asleep");
}

/// The known defect 1 of the old service: whoever asks while a desktop is on its way out.
#[tokio::test]
async fn asking_at_any_moment_of_a_stop_gives_a_living_desktop() {
    let (world, service) = service().await;
    // Every delay and the stop itself are timers of this process.
    tokio::time::pause();
    world.control().set_stop_delay(Duration::from_millis(60));
    for delay in (0..120).step_by(6) {
        let url = service.ensure("a", "desk").await;
        let stop = service.delete("/api/vm/a");
        let ask = async {
            at_phase(Duration::from_millis(delay)).await;
            if delay % 4 == 0 {
                service.ensure("a", "desk").await
            } else {
                url.clone()
            }
        };
        let (stopped, asked) = tokio::join!(stop, ask);
        assert_eq!(stopped.status, 204, "{stopped:?}");
        match service.open(&asked).await {
            Ok(mut viewer) => see_desktop(&mut viewer).await,
            // With only the old URL, a desktop that is fully asleep is one that is not there.
            Err(error) => {
                assert!(
                    delay % 4 != 0,
                    "a dead URL {delay} ms into the stop: {error}"
                );
                let again = service.ensure("a", "desk").await;
                let mut viewer = service.open(&again).await.unwrap();
                see_desktop(&mut viewer).await;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_request_during_a_stop_is_held_and_served() {
    let (world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    world.control().set_stop_delay(Duration::from_millis(300));
    let stop = service.delete("/api/vm/a");
    let view = async {
        service
            .wait_until("a", |desktop| desktop["status"] == "stopping")
            .await;
        let mut viewer = service.open(&url).await.unwrap();
        see_desktop(&mut viewer).await;
        viewer
    };
    let (stopped, _viewer) = tokio::join!(stop, view);
    assert_eq!(stopped.status, 204);
    let desktop = service.get("/api/vm/a").await.json;
    assert_eq!(
        (&desktop["status"], &desktop["viewers"]),
        (&"ready".into(), &1.into())
    );
    assert_eq!(world.control().starts(), 2);
}

#[tokio::test]
async fn a_stop_closes_viewers_with_a_reason_and_forgetting_leaves_nothing() {
    let (world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    let mut viewer = service.open(&url).await.unwrap();
    see_desktop(&mut viewer).await;
    let uid = "a".parse().unwrap();
    assert!(world.control().has_home(&uid));
    assert_eq!(service.delete("/api/vm/a?forget=true").await.status, 204);
    let (code, reason) = close_of(&mut viewer).await;
    assert_eq!(code, CloseCode::GOING_AWAY, "{reason}");
    assert!(!reason.is_empty());
    assert!(!world.control().has_home(&uid));
    assert_error(&service.get("/api/vm/a").await, 404, "unknown_desktop");
    assert_eq!(world.store.count(1).await.unwrap(), 0);
    // The name is free: a new desktop, with its own app.
    service.ensure("a", "brief").await;
    assert_eq!(service.get("/api/vm/a").await.json["app"], "brief");
}

#[tokio::test]
async fn an_instance_that_ends_by_itself_is_noticed() {
    let (world, service) = service().await;
    service.ensure("a", "desk").await;
    let instance = world.control().running().remove(0);
    world.control().end(&instance, Exit::default());
    service
        .wait_until("a", |desktop| desktop["status"] == "asleep")
        .await;
    service.ensure("a", "desk").await;
    assert_eq!(world.control().running().len(), 1);
}

#[tokio::test]
async fn an_instance_that_is_removed_under_a_viewer_closes_it_and_can_be_had_again() {
    let (world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    let mut viewer = service.open(&url).await.unwrap();
    see_desktop(&mut viewer).await;
    let instance = world.control().running().remove(0);
    world.control().remove(&instance);
    let (code, _) = close_of(&mut viewer).await;
    assert!(
        code == CloseCode::GOING_AWAY || code == CloseCode::INTERNAL_SERVER_ERROR,
        "{code:?}"
    );
    let url = service.ensure("a", "desk").await;
    let mut viewer = service.open(&url).await.unwrap();
    see_desktop(&mut viewer).await;
}

#[tokio::test]
async fn an_app_that_ends_while_it_starts_says_what_it_wrote_and_leaves_nothing() {
    let (world, service) = service().await;
    world.control().set_banner_delay(Duration::from_secs(60));
    let ask = service.post("a", r#"{"vm": "desk"}"#);
    let end = async {
        service
            .wait_until("a", |desktop| desktop["status"] == "starting")
            .await;
        let instance = loop {
            if let Some(instance) = world.control().running().pop() {
                break instance;
            }
            tokio::task::yield_now().await;
        };
        world
            .control()
            .write_log(&instance, "cannot open display\n");
        let exit = Exit {
            code: Some(3),
            out_of_memory: false,
        };
        world.control().end(&instance, exit);
    };
    let (reply, ()) = tokio::join!(ask, end);
    assert_error(&reply, 502, "app_exited");
    assert!(
        reply.json["logs"]
            .as_str()
            .unwrap()
            .contains("cannot open display"),
        "{reply:?}"
    );
    assert!(
        reply.json["details"]
            .as_str()
            .unwrap()
            .contains("exit code 3"),
        "{reply:?}"
    );
    service
        .wait_until("a", |reply| reply["code"] == "unknown_desktop")
        .await;
    assert!(world.control().running().is_empty());
    assert!(!world.control().has_home(&"a".parse().unwrap()));
}

#[tokio::test]
async fn a_desktop_that_does_not_answer_in_time_is_a_504_and_leaves_nothing() {
    let (world, service) = service().await;
    world.control().set_banner_delay(Duration::from_secs(60));
    let reply = service.post("h", r#"{"vm": "hasty"}"#).await;
    assert_error(&reply, 504, "start_timeout");
    assert!(world.control().running().is_empty());
    service
        .wait_until("h", |reply| reply["code"] == "unknown_desktop")
        .await;
}

#[tokio::test]
async fn a_failed_start_of_a_known_desktop_is_shown_and_can_be_tried_again() {
    let (world, service) = service().await;
    service.ensure("a", "desk").await;
    service.delete("/api/vm/a").await;
    world.control().lose_image("test/desk:latest");
    let reply = service.post("a", "{}").await;
    assert_error(&reply, 503, "image_missing");
    let desktop = service.get("/api/vm/a").await.json;
    assert_eq!(desktop["status"], "failed");
    assert!(
        desktop["failure"]
            .as_str()
            .unwrap()
            .contains("test/desk:latest"),
        "{desktop}"
    );
}

#[tokio::test]
async fn a_name_that_is_taken_by_another_container_is_left_alone() {
    let (world, service) = service().await;
    world.control().take_name("collab-vm-a");
    assert_error(
        &service.post("a", r#"{"vm": "desk"}"#).await,
        409,
        "name_taken",
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_the_start() {
    let (world, service) = service().await;
    world.control().set_start_delay(Duration::from_secs(1));
    let starting = service.wait_until("a", |desktop| desktop["status"] == "starting");
    tokio::select! {
        reply = service.post("a", r#"{"vm": "desk"}"#) => panic!("the client has to go first: {reply:?}"),
        _ = starting => {}
    }
    service
        .wait_until("a", |desktop| desktop["status"] == "ready")
        .await;
    assert_eq!(world.control().starts(), 1);
}

#[tokio::test]
async fn a_stop_while_starting_leaves_nothing_running() {
    let (world, service) = service().await;
    world.control().set_start_delay(Duration::from_millis(200));
    let ask = service.post("a", r#"{"vm": "desk"}"#);
    let stop = async {
        service
            .wait_until("a", |desktop| desktop["status"] == "starting")
            .await;
        service.delete("/api/vm/a").await
    };
    let (asked, stopped) = tokio::join!(ask, stop);
    assert_error(&asked, 409, "stopped");
    assert_eq!(stopped.status, 204);
    assert!(world.control().running().is_empty());
}

#[tokio::test]
async fn what_runs_out_is_a_503_that_says_when_to_try_again() {
    let world = World::new();
    let ports = port_range(2);
    let foreign = TcpListener::bind(("127.0.0.1", ports.start)).unwrap();
    let service = world
        .serve(Options {
            ports,
            ..Options::default()
        })
        .await;
    service.ensure("a", "desk").await;
    let reply = service.post("b", r#"{"vm": "desk"}"#).await;
    assert_error(&reply, 503, "ports_exhausted");
    assert!(reply.headers.contains_key("retry-after"));
    drop(foreign);
    service.ensure("b", "desk").await;
    service.shut_down().await;

    let few = World::new();
    let service = few
        .serve(Options {
            max_desktops: Some(1),
            ..Options::default()
        })
        .await;
    service.ensure("a", "desk").await;
    let reply = service.post("b", r#"{"vm": "desk"}"#).await;
    assert_error(&reply, 503, "too_many_desktops");
    service.delete("/api/vm/a").await;
    service.ensure("b", "desk").await;

    let full = World::new()
        .serve(Options {
            memory_reserve: u64::MAX,
            ..Options::default()
        })
        .await;
    let reply = full.post("a", r#"{"vm": "desk"}"#).await;
    assert_error(&reply, 503, "memory_exhausted");
    assert!(reply.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_engine_that_is_away_is_a_503_and_comes_back_by_itself() {
    let (world, service) = service().await;
    service.ensure("a", "desk").await;
    assert_eq!(service.get("/readyz").await.status, 200);
    world.control().set_power(Power::Down);
    assert_error(
        &service.post("b", r#"{"vm": "desk"}"#).await,
        503,
        "engine_unavailable",
    );
    assert_error(
        &service.delete("/api/vm/a").await,
        503,
        "engine_unavailable",
    );
    assert_error(&service.get("/readyz").await, 503, "engine_unavailable");
    assert_eq!(service.get("/healthz").await.status, 200);
    world.control().set_power(Power::Up);
    // The stop that could not be done is done now, without being asked for again.
    service
        .wait_until("a", |desktop| desktop["status"] == "asleep")
        .await;
    service.ensure("b", "desk").await;
}

#[tokio::test]
async fn a_crash_of_the_service_loses_nothing_and_the_next_one_adopts() {
    let world = World::new();
    // So that adoption takes its time.
    world.control().set_banner_delay(Duration::from_millis(300));
    let ports = port_range(20);
    let options = || Options {
        ports: ports.clone(),
        ..Options::default()
    };
    let service = world.serve(options()).await;
    let mut urls = Vec::new();
    for uid in ["a", "b", "c"] {
        urls.push(service.ensure(uid, "desk").await);
    }
    service.delete("/api/vm/c").await;
    service.crash().await;
    // Ended while nobody was there to see it.
    let gone = world.control().running();
    assert_eq!(gone.len(), 2);

    let service = world.serve(options()).await;
    for (uid, url) in [("a", &urls[0]), ("b", &urls[1])] {
        // From the first request on, because some clients ask once only.
        let answer = service.get(&format!("/api/vm/ws/{uid}")).await.json;
        assert_eq!(answer, serde_json::json!({"url": url}), "the same key");
        let mut viewer = service.open(url).await.unwrap();
        see_desktop(&mut viewer).await;
    }
    assert_eq!(service.get("/api/vm/c").await.json["status"], "asleep");
    assert_eq!(world.control().starts(), 3, "nothing was started again");
}

#[tokio::test]
async fn an_instance_of_a_desktop_that_nobody_knows_is_removed() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    service.ensure("a", "desk").await;
    service.crash().await;
    cosage::store::Store::delete(&*world.store, &"a".parse().unwrap())
        .await
        .unwrap();
    let _service = world.serve(Options::default()).await;
    let emptied = async {
        while !world.control().running().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), emptied)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_graceful_end_tells_viewers_and_leaves_desktops_running() {
    let (world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    let mut viewer = service.open(&url).await.unwrap();
    see_desktop(&mut viewer).await;
    let close = tokio::spawn(async move { close_of(&mut viewer).await });
    service.shut_down().await;
    let (code, reason) = close.await.unwrap();
    assert_eq!(u16::from(code), 1012, "{reason}");
    assert_eq!(world.control().running().len(), 1);
}

#[tokio::test]
async fn a_vnc_server_elsewhere_is_dialled_only_where_the_operator_allows_it() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let body = format!(
        r#"{{"vm": "elsewhere", "env": {{"TARGET_IP": "127.0.0.1", "TARGET_PORT": {port}}}}}"#
    );
    let world = World::new();
    for networks in [vec![], vec!["0.0.0.0/0".to_owned()]] {
        let service = world
            .serve(Options {
                remote_networks: networks,
                ..Options::default()
            })
            .await;
        let reply = service.post("r", &body).await;
        assert_error(&reply, 403, "target_refused");
        assert!(
            reply.json["details"]
                .as_str()
                .unwrap()
                .contains("COSAGE_REMOTE_NETWORKS")
        );
        service.shut_down().await;
    }
    let service = world
        .serve(Options {
            remote_networks: vec!["127.0.0.0/8".to_owned()],
            ..Options::default()
        })
        .await;
    let accept = tokio::spawn(async move {
        loop {
            let (mut socket, _) = server.accept().await.unwrap();
            tokio::spawn(async move {
                use tokio::io::AsyncWriteExt;
                let _ = socket.write_all(b"RFB 003.008\n").await;
                let mut hold = [0_u8; 1];
                let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut hold).await;
            });
        }
    });
    let reply = service.post("r", &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut viewer = service
        .open(reply.json["url"].as_str().unwrap())
        .await
        .unwrap();
    let greeting = viewer.next().await.unwrap().unwrap();
    assert_eq!(greeting.as_payload()[..], b"RFB 003.008\n"[..]);
    accept.abort();
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_others_may_not() {
    let world = World::new();
    let service = world
        .serve(Options {
            origins: vec!["https://sage3.example".to_owned()],
            ..Options::default()
        })
        .await;
    let preflight = |origin: &str| {
        service
            .request(Method::OPTIONS, "/api/vm/any/allocate")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
    };
    let listed = Running::reply(preflight("https://sage3.example")).await;
    assert_eq!(
        listed.headers["access-control-allow-origin"],
        "https://sage3.example"
    );
    assert!(listed.headers.contains_key("access-control-max-age"));
    let foreign = Running::reply(preflight("https://evil.example")).await;
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
    // A page can also read the errors.
    let error = service
        .request(Method::GET, "/api/vm/nobody")
        .header("origin", "https://sage3.example");
    let error = Running::reply(error).await;
    assert_error(&error, 404, "unknown_desktop");
    assert_eq!(
        error.headers["access-control-allow-origin"],
        "https://sage3.example"
    );
    // The service itself looks as well: what sends no preflight changes nothing either.
    let post = |origin: &str| {
        service
            .request(Method::POST, "/api/vm/any/desk-of-a-page")
            .header("origin", origin)
            .header("content-type", "application/json")
            .body(r#"{"vm": "desk"}"#)
    };
    let refused = Running::reply(post("https://evil.example")).await;
    assert_error(&refused, 403, "origin_not_allowed");
    assert_eq!(service.get("/api/vm/desk-of-a-page").await.status, 404);
    let own = format!("http://{}", service.address);
    assert_eq!(Running::reply(post(&own)).await.status, 200);
    assert_eq!(
        Running::reply(post("https://sage3.example")).await.status,
        200
    );
}

/// What `tests/api` finds out by calls, as far as it can be seen without any.
#[tokio::test]
async fn the_description_has_what_all_calls_have_in_common() {
    let (_world, service) = service().await;
    let description = service.get("/openapi.json").await.json;
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let reference = &reference[..reference.find('"').unwrap()];
        assert!(description.pointer(reference).is_some(), "{reference}");
    }
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            let answers = |status: &str| {
                let answer = &call["responses"][status];
                assert!(answer.is_object(), "{method} {path}: {status}");
            };
            ["400", "421"].into_iter().for_each(answers);
            if call["requestBody"]["content"]["application/json"].is_object() {
                ["408", "413", "415", "422"].into_iter().for_each(answers);
            }
            let parameters = call["parameters"].as_array().cloned().unwrap_or_default();
            for parameter in &parameters {
                let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
                let is_in_path = parameter["in"] == "path";
                assert_eq!(is_in_path, path.contains(&name), "{method} {path}: {name}");
            }
            for uid in parameters
                .iter()
                .filter(|it| it["name"] == "uid" && it["in"] == "path")
            {
                assert!(uid["schema"]["pattern"].is_string(), "{method} {path}");
                answers("422");
            }
        }
    }
}

#[tokio::test]
async fn the_api_describes_itself_without_the_internet() {
    let (_world, service) = service().await;
    let description = service.get("/openapi.json").await.json;
    assert!(
        description["openapi"].as_str().unwrap().starts_with("3.1"),
        "{description}"
    );
    let paths: HashSet<_> = description["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    for path in [
        "/api/vm/any/{uid}",
        "/api/vm/ws/{uid}",
        "/api/vm/list",
        "/api/vm/cb/{uid}",
        "/api/vm/{uid}",
        "/api/vm/{uid}/logs",
        "/api/vm/{uid}/screenshot",
        "/api/catalog",
        "/healthz",
        "/readyz",
    ] {
        assert!(paths.contains(path), "{path} is missing in {paths:?}");
    }
    let page = Running::reply(service.request(Method::GET, "/docs/")).await;
    assert_eq!(page.status, 200);
    let html = page.json.as_str().unwrap();
    assert!(
        html.contains("swagger") && !html.contains("https://"),
        "{html}"
    );
    let apps = service.get("/api/catalog").await.json;
    assert!(
        apps.as_array()
            .unwrap()
            .iter()
            .any(|app| app["name"] == "desk"),
        "{apps}"
    );
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_behind() {
    let (world, service) = service().await;
    world
        .control()
        .set_start_error(Some(EngineError::OutOfDisk("full".into())));
    let reply = service.post("a", r#"{"vm": "desk"}"#).await;
    assert_error(&reply, 503, "out_of_disk");
    service
        .wait_until("a", |reply| reply["code"] == "unknown_desktop")
        .await;
    assert_eq!(world.store.count(1).await.unwrap(), 0);
}

#[tokio::test]
async fn a_start_says_how_far_it_is() {
    let (world, service) = service().await;
    let control = world.control();
    control.set_start_delay(Duration::from_secs(600));
    for (uid, step, shown) in [
        ("a", StartStep::Queued, r#"{"step": "queued"}"#),
        (
            "b",
            StartStep::Pulling { percent: None },
            r#"{"step": "pulling"}"#,
        ),
        (
            "c",
            StartStep::Pulling { percent: Some(43) },
            r#"{"step": "pulling", "percent": 43}"#,
        ),
        ("d", StartStep::Starting, r#"{"step": "starting"}"#),
    ] {
        control.set_start_steps([step]);
        let start = service.post(uid, r#"{"vm": "desk"}"#);
        let looked = service.wait_until(uid, |desktop| {
            desktop["progress"] == serde_json::from_str::<Value>(shown).unwrap()
        });
        let seen = tokio::select! {
            seen = looked => seen,
            reply = start => panic!("it should not come: {reply:?}"),
        };
        assert_eq!(seen["status"], "starting");
        assert!(seen.get("started_at").is_none(), "{seen}");
    }
    control.set_start_delay(Duration::ZERO);
    control.set_banner_delay(Duration::from_millis(200));
    let (reply, waiting) = tokio::join!(
        service.post("e", r#"{"vm": "desk"}"#),
        service.wait_until("e", |desktop| desktop["progress"]["step"] == "waiting"),
    );
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(waiting["status"], "starting");
    let ready = service.get("/api/vm/e").await.json;
    assert_eq!(ready["status"], "ready");
    assert!(ready.get("progress").is_none(), "{ready}");
    assert!(ready["started_at"].is_string(), "{ready}");
}

#[tokio::test]
async fn all_desktops_are_described_the_newest_first() {
    let world = World::new();
    let service = world
        .serve(Options {
            remote_networks: vec!["127.0.0.1/32".to_owned()],
            ..Options::default()
        })
        .await;
    assert_eq!(service.get("/api/vm").await.json, serde_json::json!([]));
    service.ensure("first", "desk").await;
    service.ensure("second", "hasty").await;
    service.delete("/api/vm/first").await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let remote = service
        .post(
            "third",
            &format!(
                r#"{{"vm": "elsewhere", "env": {{"TARGET_IP": "127.0.0.1", "TARGET_PORT": {port}}}}}"#
            ),
        )
        .await;
    assert_eq!(remote.status, 200, "{remote:?}");

    let all = service.get("/api/vm").await.json;
    let shown: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|desktop| {
            ["uid", "title", "home", "status", "streams"].map(|field| desktop[field].clone())
        })
        .collect();
    let expected = serde_json::json!([
        ["third", "Elsewhere", false, "ready", ["vnc"]],
        ["second", "Hasty", false, "ready", ["vnc"]],
        ["first", "Desk", true, "asleep", ["audio", "vnc"]],
    ]);
    assert_eq!(serde_json::json!(shown), expected);
    let one = service.get("/api/vm/second").await.json;
    assert_eq!(all[1], one);
}

#[tokio::test]
async fn a_failure_is_described_with_the_last_lines() {
    let (world, service) = service().await;
    let control = world.control();
    service.ensure("a", "hasty").await;
    service.delete("/api/vm/a").await;
    control.set_banner_delay(Duration::from_secs(600));
    let (reply, ()) = tokio::join!(service.post("a", "{}"), async {
        service
            .wait_until("a", |desktop| desktop["progress"]["step"] == "waiting")
            .await;
        let long = "x".repeat(100_000);
        control.write_log(&control.running()[0], &format!("{long}\nno display\n"));
    });
    assert_error(&reply, 504, "start_timeout");
    let failed = service.get("/api/vm/a").await.json;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["failure"], reply.json["details"]);
    let logs = failed["failure_logs"].as_str().unwrap();
    assert!(logs.ends_with("no display\n") && logs.len() <= 8 * 1024);
}
