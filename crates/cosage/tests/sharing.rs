//! Who may do what at a desktop, as its owner and its viewers see it: on the simulated engine, whose VNC servers write down
//! what they are sent.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/manager.rs"]
mod manager;
mod support;

use std::pin::pin;
use std::time::Duration;

use cosage::desktop::Uid;
use cosage::desktop::access::Takeover;
use cosage::desktop::error::DesktopError;
use cosage::desktop::lifecycle::StopMode;
use cosage::desktop::rights::{Rights, Role};
use cosage::desktop::sharing::SharingError;
use futures_util::{FutureExt, SinkExt, StreamExt, poll};
use manager::manager;
use reqwest::{Method, StatusCode};
use rfb::messages::{Kind, Messages, Part};
use serde_json::{Map, Value, json};
use support::engine::TestEngine;
use support::{Options, Reply, Running, Socket, World, port_range};
use tokio_websockets::{CloseCode, Message};

/// Longer than anything here takes, so that a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 0x61];
const KEY_UP: [u8; 8] = [4, 0, 0, 0, 0, 0, 0, 0x61];
const POINTER: [u8; 6] = [5, 1, 0, 1, 0, 2];
const CUT_TEXT: [u8; 11] = [6, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c'];
const CLIPBOARD_OFFER: [u8; 12] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 8, 0, 0, 1];
const QEMU_KEY: [u8; 12] = [255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0x1e];
const POWER: [u8; 4] = [250, 0, 1, 2];
const DEVICE: [u8; 8] = [253, 0x81, 0, 4, 4, 1, 0, 0];
const RESIZE: [u8; 24] = [
    251, 0, 4, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0, 0, 0, 0,
];
const FORBIDDEN: [&[u8]; 8] = [
    &KEY,
    &POINTER,
    &CUT_TEXT,
    &CLIPBOARD_OFFER,
    &QEMU_KEY,
    &POWER,
    &DEVICE,
    &RESIZE,
];

const FENCE: [u8; 12] = [248, 0, 0, 0, 0, 0, 0, 1, 3, 7, 7, 7];
const CONTINUOUS: [u8; 10] = [150, 1, 0, 0, 0, 0, 0, 64, 0, 48];
const ENCODINGS: [u8; 8] = [2, 0, 0, 1, 0, 0, 0, 0];
/// A whole picture, which the server answers, so that everything before it has arrived when the answer comes.
const REQUEST: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 64, 0, 48];
const PICTURE_LEN: usize = 4 + 12 + 64 * 48 * 4;

/// What a server is sent for every viewer before the viewer's own messages.
const INTRODUCTION_LEN: usize = 16;

/// An app whose applications follow the scale of its viewers' displays.
const SCALED: &str = r#"
[app.scaled]
title = "Scaled"
description = "Follows the scale of displays."
image = "test/scaled:latest"

[app.scaled.stream.vnc]
port = 5900
protocol = "rfb"

[app.scaled.stream.display]
port = 5902
protocol = "display"
"#;

async fn recorded() -> (World, Running) {
    let world = World::new();
    let running = world.serve(Options::default()).await;
    (world, running)
}

/// A viewer past its handshake.
struct Viewer {
    socket: Socket,
    seen: Vec<u8>,
}

impl Viewer {
    async fn open(service: &Running, path: &str) -> Self {
        let socket = service.open(path).await.unwrap();
        let mut viewer = Self {
            socket,
            seen: Vec::new(),
        };
        assert_eq!(viewer.take(12).await, b"RFB 003.008\n");
        viewer.send(b"RFB 003.008\n").await;
        assert_eq!(viewer.take(2).await, [1, 1]);
        viewer.send(&[1]).await;
        assert_eq!(viewer.take(4).await, [0; 4]);
        // Not shared: whoever only looks on must not send the others away with it.
        viewer.send(&[0]).await;
        let init = viewer.take(24).await;
        let name = usize::from(init[23]);
        viewer.take(name).await;
        viewer
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.socket.next());
        next.await.unwrap().unwrap().unwrap()
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            let message = self.next().await;
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

    /// Everything sent so far has reached the server, or was kept from it, when this is over.
    async fn picture(&mut self) {
        self.send(&REQUEST).await;
        let picture = self.take(PICTURE_LEN).await;
        assert_eq!(picture[..4], [0, 0, 0, 1], "an update of one rectangle");
    }

    async fn closed(&mut self) -> (CloseCode, String) {
        loop {
            if let Some((code, reason)) = self.next().await.as_close() {
                return (code, reason.to_owned());
            }
        }
    }
}

/// The messages a server was sent, without the introduction.
fn kinds(recording: &[u8]) -> Vec<Kind> {
    let mut messages = Messages::default();
    let mut kinds = Vec::new();
    let mut rest = &recording[INTRODUCTION_LEN..];
    while !rest.is_empty() {
        let (len, part) = messages.advance(rest).unwrap();
        if let Part::Head(kind) = part {
            kinds.push(kind);
        }
        rest = &rest[len..];
    }
    assert!(messages.at_boundary(), "half a message");
    kinds
}

/// The path of a call on a desktop.
fn of(uid: &str, call: &str) -> String {
    format!("/api/vm/{uid}/{call}")
}

async fn share(service: &Running, uid: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let reply = service
        .call(Method::POST, &of(uid, "shares"), Some(&body))
        .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    reply
}

async fn url_of(service: &Running, uid: &str, role: &str) -> String {
    let reply = share(service, uid, &json!({ "role": role })).await;
    reply.json["url"].as_str().unwrap().to_owned()
}

async fn patch(service: &Running, path: &str, body: Value) -> Reply {
    service
        .call(Method::PATCH, path, Some(&body.to_string()))
        .await
}

/// The status of a refused WebSocket, and its JSON.
async fn refused(service: &Running, path: &str) -> (StatusCode, Value) {
    let request = service
        .request(Method::GET, path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let reply = Running::reply(request).await;
    (reply.status, reply.json)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thirty_viewers_none_does_what_it_may_not() {
    let (world, service) = recorded().await;
    let own = service.ensure("wall", "desk").await;
    let control = url_of(&service, "wall", "control").await;
    let view = url_of(&service, "wall", "view").await;
    let addresses = [&own, &control, &view];
    let mut viewers = Vec::new();
    for number in 0..30 {
        // One after the other, so that their recordings are in this order.
        viewers.push(Viewer::open(&service, addresses[number % 3]).await);
    }
    for (number, viewer) in viewers.iter_mut().enumerate() {
        for (step, forbidden) in FORBIDDEN.iter().enumerate() {
            // In pieces that differ from viewer to viewer, between allowed ones and in one frame with them.
            let stream = [&ENCODINGS[..], forbidden, &FENCE, forbidden, &CONTINUOUS].concat();
            for piece in stream.chunks(1 + (number + step) % 13) {
                viewer.send(piece).await;
            }
        }
        viewer.picture().await;
    }
    let recordings = world.control().recorded();
    assert_eq!(recordings.len(), 30);
    for (number, recording) in recordings.iter().enumerate() {
        let kinds = kinds(recording);
        let allowed = [
            Kind::SetEncodings,
            Kind::ClientFence,
            Kind::EnableContinuousUpdates,
        ];
        for kind in allowed {
            assert_eq!(
                kinds.iter().filter(|there| **there == kind).count(),
                8,
                "{kind:?}"
            );
        }
        let rest: Vec<Kind> = kinds
            .into_iter()
            .filter(|kind| !allowed.contains(kind))
            .collect();
        if number % 3 == 2 {
            assert_eq!(rest, [Kind::FramebufferUpdateRequest], "viewer {number}");
        } else {
            // Of sizes that are asked for one after the other, the last one may be enough.
            let resizes = rest.iter().filter(|kind| **kind == Kind::SetDesktopSize);
            let others = rest.len() - resizes.count();
            assert_eq!(others, 2 * (FORBIDDEN.len() - 1) + 1, "viewer {number}");
        }
    }
}

#[tokio::test]
async fn a_role_is_switched_while_its_viewer_is_connected() {
    let (world, service) = recorded().await;
    let url = service.ensure("wall", "desk").await;
    let mut viewer = Viewer::open(&service, &url).await;
    let list = service.get(&of("wall", "viewers")).await.json;
    let id = list[0]["id"].as_u64().unwrap();
    assert_eq!(list[0]["role"], "control");
    assert_eq!(list[0]["clipboard"], "both");
    assert_eq!(list[0]["stream"], "vnc");
    assert_eq!(list[0]["address"], "127.0.0.1");
    assert!(list[0].get("share").is_none());

    // Half a message has passed when the role is switched.
    viewer.send(&[&KEY[..], &CUT_TEXT[..10]].concat()).await;
    let half = |recording: &Vec<u8>| recording.ends_with(&CUT_TEXT[..10]);
    while !world.control().recorded().first().is_some_and(half) {
        tokio::task::yield_now().await;
    }
    let path = of("wall", &format!("viewers/{id}"));
    let reply = patch(&service, &path, json!({ "role": "view" })).await;
    assert_eq!(reply.json["role"], "view");
    assert_eq!(reply.json["clipboard"], "out");
    // The rest of it passes, and behind it the key is let go in the viewer's stead.
    viewer.send(&[&CUT_TEXT[10..], &KEY, &FENCE].concat()).await;
    let released = |recording: &Vec<u8>| recording.ends_with(&KEY_UP);
    while !world.control().recorded().first().is_some_and(released) {
        tokio::task::yield_now().await;
    }
    viewer.picture().await;

    let reply = patch(
        &service,
        &path,
        json!({ "role": "control", "clipboard": "out" }),
    )
    .await;
    assert_eq!(reply.json["clipboard"], "out");
    viewer.send(&[&CUT_TEXT[..], &POINTER].concat()).await;
    viewer.picture().await;
    assert_eq!(
        kinds(&world.control().recorded()[0]),
        [
            Kind::KeyEvent,
            Kind::ClientCutText,
            Kind::ClientFence,
            Kind::KeyEvent,
            Kind::FramebufferUpdateRequest,
            Kind::PointerEvent,
            Kind::FramebufferUpdateRequest,
        ]
    );
}

#[tokio::test]
async fn control_is_taken_away_from_everybody_and_given_back() {
    let (world, service) = recorded().await;
    let url = service.ensure("wall", "desk").await;
    let mut by_share = Viewer::open(&service, &url_of(&service, "wall", "view").await).await;
    let mut first = Viewer::open(&service, &url).await;
    let reply = patch(&service, &of("wall", "viewers"), json!({ "role": "view" })).await;
    let roles: Vec<&Value> = reply
        .json
        .as_array()
        .unwrap()
        .iter()
        .map(|v| &v["role"])
        .collect();
    assert_eq!(roles, ["view", "view"]);
    let mut later = Viewer::open(&service, &url).await;
    for viewer in [&mut by_share, &mut first, &mut later] {
        viewer.send(&KEY).await;
        viewer.picture().await;
    }
    patch(
        &service,
        &of("wall", "viewers"),
        json!({ "role": "control" }),
    )
    .await;
    for viewer in [&mut by_share, &mut first, &mut later] {
        viewer.send(&KEY).await;
        viewer.picture().await;
    }
    assert_eq!(keys_typed(&world), [0, 1, 1]);
}

/// A client that types more symbols at once than the desktop's keyboard has room for, and leaves.
#[tokio::test]
async fn all_that_was_typed_arrives_in_order_also_of_who_has_left() {
    let (world, service) = recorded().await;
    let url = service.ensure("wall", "desk").await;
    let mut viewer = Viewer::open(&service, &url).await;
    let typed: Vec<u8> = (0..130_u32)
        .flat_map(|symbol| {
            let keysym = (0x0100_4e00 + symbol).to_be_bytes();
            [1, 0].map(|down| [&[4, down, 0, 0][..], &keysym].concat())
        })
        .flatten()
        .collect();
    viewer.send(&typed).await;
    viewer.socket.close().await.unwrap();
    let arrived = async {
        loop {
            if world.control().recorded()[0].ends_with(&typed) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
}

/// How many keys each connection has sent to the desktop.
fn keys_typed(world: &World) -> Vec<usize> {
    let count = |recording: &Vec<u8>| {
        let kinds = kinds(recording);
        kinds.iter().filter(|kind| **kind == Kind::KeyEvent).count()
    };
    world.control().recorded().iter().map(count).collect()
}

#[tokio::test]
async fn a_takeover_spares_who_asked_and_holds_whoever_comes_back_until_it_is_lifted() {
    let world = World::new();
    let ports = port_range(50);
    let options = || Options {
        ports: ports.clone(),
        ..Options::default()
    };
    let service = world.serve(options()).await;
    let own = service.ensure("wall", "desk").await;
    let made = share(&service, "wall", &json!({ "role": "control" })).await;
    let by_share = format!("{}?client=page-1", made.json["url"].as_str().unwrap());
    let asking = format!("{own}?client=page-1");
    let other = format!("{own}?client=page-2");
    let view = format!("{}?client=page-1", url_of(&service, "wall", "view").await);
    let mut viewers = Vec::new();
    for address in [&asking, &other, &by_share, &own, &view] {
        viewers.push(Viewer::open(&service, address).await);
    }
    let body = json!({ "role": "view", "except": "page-1" });
    let reply = patch(&service, &of("wall", "viewers"), body).await;
    let told: Vec<_> = reply.json.as_array().unwrap().iter().collect();
    let roles: Vec<&str> = told.iter().map(|v| v["role"].as_str().unwrap()).collect();
    // The name is the client's that came by the desktop's own address: guests gain nothing by it.
    assert_eq!(roles, ["control", "view", "view", "view", "view"]);
    assert_eq!(
        (&told[0]["client"], &told[1]["client"]),
        (&json!("page-1"), &json!("page-2"))
    );
    assert!(told[3].get("client").is_none());
    let shown = service.get("/api/vm/wall").await.json;
    assert_eq!(shown["takeover"], json!({ "except": "page-1" }));

    // A share is given control, the service restarts, and all come back: it holds.
    let id = made.json["id"].as_str().unwrap();
    let path = of("wall", &format!("shares/{id}"));
    patch(&service, &path, json!({ "role": "control" })).await;
    service.crash().await;
    let service = world.serve(options()).await;
    service
        .wait_until("wall", |desktop| desktop["status"] == "ready")
        .await;
    let guest = service.get(by_share.split("/vnc").next().unwrap()).await;
    assert_eq!(guest.json["role"], "view");
    let before = world.control().recorded().len();
    let mut viewers = Vec::new();
    for address in [&asking, &other, &by_share, &own, &view] {
        viewers.push(Viewer::open(&service, address).await);
    }
    for viewer in &mut viewers {
        viewer.send(&KEY).await;
        viewer.picture().await;
    }
    assert_eq!(keys_typed(&world)[before..], [1, 0, 0, 0, 0]);

    patch(
        &service,
        &of("wall", "viewers"),
        json!({ "role": "control" }),
    )
    .await;
    let shown = service.get("/api/vm/wall").await.json;
    assert!(shown.get("takeover").is_none());
    let guest = service.get(by_share.split("/vnc").next().unwrap()).await;
    assert_eq!(guest.json["role"], "control");
    for viewer in &mut viewers {
        viewer.send(&KEY).await;
        viewer.picture().await;
    }
    assert_eq!(keys_typed(&world)[before..], [2, 1, 1, 1, 0]);
}

/// A call that has found its desktop, and waits for its turn while the desktop is forgotten.
#[tokio::test]
async fn nothing_is_decided_of_a_desktop_that_is_forgotten_meanwhile() {
    let engine = TestEngine::new();
    let manager = manager(&engine).await;
    let uid: Uid = "wall".parse().unwrap();
    let none = Map::new();
    let make = || manager.ensure(Some(uid.clone()), Some("desk"), &none);
    make().await.unwrap();
    {
        let mut taken = pin!(manager.set_takeover(&uid, Some(Takeover::default())));
        let mut shared = pin!(manager.share(&uid, Rights::of(Role::View), None));
        // A task that has used its budget gives way at the next lock.
        while tokio::task::consume_budget().now_or_never().is_some() {}
        assert!(poll!(taken.as_mut()).is_pending() && poll!(shared.as_mut()).is_pending());
        manager.stop(&uid, StopMode::Forget).await.unwrap();
        for refused in [taken.await.err(), shared.await.err()] {
            let unknown = matches!(
                refused,
                Some(SharingError::Desktop(DesktopError::UnknownDesktop(_)))
            );
            assert!(unknown, "{refused:?}");
        }
    }
    make().await.unwrap();
    let view = manager.view(&uid).await.unwrap();
    assert_eq!(manager.takeover_of(&view), None);
    assert!(manager.shares(&uid).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_takeover_spares_a_guest_by_name_and_share() {
    let (world, service) = recorded().await;
    let own = service.ensure("wall", "desk").await;
    let made = share(&service, "wall", &json!({ "role": "control" })).await;
    let other = url_of(&service, "wall", "control").await;
    let mut viewers = Vec::new();
    for address in [made.json["url"].as_str().unwrap(), &other, &own] {
        viewers.push(Viewer::open(&service, &format!("{address}?client=page")).await);
    }
    let id = &made.json["id"];
    let spared = json!({ "except": "page", "share": id });
    let body = json!({ "role": "view", "except": "page", "share": id });
    let reply = patch(&service, &of("wall", "viewers"), body).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert_eq!(service.get("/api/vm/wall").await.json["takeover"], spared);
    for viewer in &mut viewers {
        viewer.send(&KEY).await;
        viewer.picture().await;
    }
    assert_eq!(keys_typed(&world), [1, 0, 0]);
    let body = json!({ "role": "view", "except": "page", "share": "none" });
    let reply = patch(&service, &of("wall", "viewers"), body).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND, "{reply:?}");
    assert_eq!(reply.json["code"], "unknown_share");
}

#[tokio::test]
async fn whoever_loses_control_leaves_no_scale_behind() {
    let world = World::new();
    let options = Options {
        apps: SCALED,
        ..Options::default()
    };
    let service = world.serve(options).await;
    let own = service.ensure("wall", "scaled").await;
    let display = own.replace("/vnc", "/display");
    let mut asking = service
        .open(&format!("{display}?client=page"))
        .await
        .unwrap();
    let mut other = service.open(&display).await.unwrap();
    let body = json!({ "role": "view", "except": "page" });
    patch(&service, &of("wall", "viewers"), body).await;
    let ended = async {
        loop {
            let next = other.next().await.unwrap().unwrap();
            if let Some((code, _)) = next.as_close() {
                return code;
            }
        }
    };
    let code = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(code, CloseCode::POLICY_VIOLATION);
    let (status, error) = refused(&service, &display).await;
    assert_eq!(
        (status, &error["code"]),
        (StatusCode::CONFLICT, &json!("role_unsupported"))
    );
    // Who keeps control goes on.
    asking
        .send(Message::binary(&b"scale 2\n"[..]))
        .await
        .unwrap();
    let left = async {
        loop {
            let viewers = service.get(&of("wall", "viewers")).await.json;
            if viewers.as_array().unwrap().len() == 1 {
                return viewers[0]["client"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, left).await.unwrap(), "page");
}

#[tokio::test]
async fn a_share_that_changes_during_a_takeover_gives_its_viewers_no_control() {
    let (world, service) = recorded().await;
    service.ensure("wall", "desk").await;
    let made = share(&service, "wall", &json!({ "role": "view" }))
        .await
        .json;
    let mut guest = Viewer::open(&service, made["url"].as_str().unwrap()).await;
    patch(&service, &of("wall", "viewers"), json!({ "role": "view" })).await;
    let path = of("wall", &format!("shares/{}", made["id"].as_str().unwrap()));
    patch(&service, &path, json!({ "role": "control" })).await;
    guest.send(&KEY).await;
    guest.picture().await;
    assert_eq!(keys_typed(&world), [0]);
}

#[tokio::test]
async fn a_share_lives_until_it_is_deleted() {
    let (_world, service) = recorded().await;
    service.ensure("wall", "desk").await;
    let body = json!({ "role": "view", "expires": 3600 });
    let made = share(&service, "wall", &body).await.json;
    let (id, url) = (made["id"].as_str().unwrap(), made["url"].as_str().unwrap());
    assert_eq!(url.len(), "/stream//vnc".len() + 64);
    assert_eq!(
        (&made["role"], &made["clipboard"]),
        (&json!("view"), &json!("out"))
    );
    assert!(made["expires"].is_string());

    let list = service.get(&of("wall", "shares")).await;
    assert_eq!(list.json.as_array().unwrap().len(), 1);
    assert_eq!(list.json[0]["id"], id);
    assert!(list.json[0].get("url").is_none(), "the address is a secret");

    let mut viewer = Viewer::open(&service, url).await;
    let viewers = service.get(&of("wall", "viewers")).await.json;
    assert_eq!(viewers[0]["share"], id);
    let path = of("wall", &format!("shares/{id}"));
    let changed = patch(&service, &path, json!({ "role": "control" })).await;
    assert_eq!(changed.json["role"], "control");
    let viewers = service.get(&of("wall", "viewers")).await.json;
    assert_eq!(viewers[0]["role"], "control");

    assert_eq!(service.delete(&path).await.status, StatusCode::NO_CONTENT);
    let (code, reason) = viewer.closed().await;
    assert_eq!(code, CloseCode::POLICY_VIOLATION);
    assert_eq!(reason, "the address you came by was withdrawn");
    let (status, error) = refused(&service, url).await;
    assert_eq!(
        (status, &error["code"]),
        (StatusCode::NOT_FOUND, &json!("unknown_share"))
    );
    for again in [
        service.delete(&path).await,
        patch(&service, &path, json!({})).await,
    ] {
        assert_eq!(again.status, StatusCode::NOT_FOUND);
        assert_eq!(again.json["code"], "unknown_share");
    }
}

#[tokio::test]
async fn whoever_has_a_shares_address_is_told_what_it_gives_and_not_the_desktops_name() {
    let (_world, service) = recorded().await;
    service.ensure("wall", "desk").await;
    let body = json!({ "role": "view", "expires": 3600 });
    let made = share(&service, "wall", &body).await.json;
    let id = made["id"].as_str().unwrap();
    let url = made["url"].as_str().unwrap();
    let address = url.strip_suffix("/vnc").unwrap();
    let token = address.strip_prefix("/stream/").unwrap();
    assert_eq!(made["page"], format!("/view/#share={token}"));
    let shown = service.get(address).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert_eq!(
        shown.json,
        json!({
            "title": "Desk",
            "status": "ready",
            "streams": ["audio", "vnc"],
            "role": "view",
            "clipboard": "out",
            "expires": made["expires"],
        })
    );
    patch(
        &service,
        &of("wall", &format!("shares/{id}")),
        json!({ "role": "control" }),
    )
    .await;
    service.call(Method::DELETE, "/api/vm/wall", None).await;
    let shown = service.get(address).await.json;
    assert_eq!(
        (&shown["role"], &shown["clipboard"]),
        (&json!("control"), &json!("both"))
    );
    assert_eq!(
        (&shown["status"], &shown["ended"]),
        (&json!("asleep"), &json!("stopped"))
    );
    service
        .call(Method::DELETE, &of("wall", &format!("shares/{id}")), None)
        .await;
    let own = "/stream/11000";
    for nothing in [address, own, "/stream/%ff", "/stream/wall"] {
        let reply = service.get(nothing).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{nothing}");
        assert_eq!(reply.json["code"], "unknown_share", "{nothing}");
    }
}

#[tokio::test]
async fn a_share_that_expires_sends_its_viewers_away() {
    let (_world, service) = recorded().await;
    service.ensure("wall", "desk").await;
    let body = json!({ "role": "control", "expires": 1 });
    let made = share(&service, "wall", &body).await.json;
    let mut viewer = Viewer::open(&service, made["url"].as_str().unwrap()).await;
    let (code, reason) = viewer.closed().await;
    assert_eq!(code, CloseCode::POLICY_VIOLATION);
    assert_eq!(reason, "the address you came by has expired");
    assert_eq!(service.get(&of("wall", "shares")).await.json, json!([]));
    let (status, _) = refused(&service, made["url"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_was_decided_outlives_the_service_and_ends_with_the_desktop() {
    let world = World::new();
    let ports = port_range(50);
    let options = || Options {
        ports: ports.clone(),
        ..Options::default()
    };
    let service = world.serve(options()).await;
    let own = service.ensure("wall", "desk").await;
    let view = url_of(&service, "wall", "view").await;
    patch(&service, &of("wall", "viewers"), json!({ "role": "view" })).await;
    service.crash().await;

    let service = world.serve(options()).await;
    service
        .wait_until("wall", |desktop| desktop["status"] == "ready")
        .await;
    let mut viewers = Vec::new();
    for address in [&view, &own] {
        viewers.push(Viewer::open(&service, address).await);
    }
    for viewer in &mut viewers {
        viewer.send(&KEY).await;
        viewer.picture().await;
    }
    for recording in world.control().recorded() {
        assert_eq!(kinds(&recording), [Kind::FramebufferUpdateRequest]);
    }

    // Asleep, its address starts nothing; forgotten, there is none.
    service.delete("/api/vm/wall").await;
    let (status, error) = refused(&service, &view).await;
    assert_eq!(
        (status, &error["code"]),
        (StatusCode::CONFLICT, &json!("not_running"))
    );
    service.delete("/api/vm/wall?forget=true").await;
    assert_eq!(refused(&service, &view).await.0, StatusCode::NOT_FOUND);
    service.ensure("wall", "desk").await;
    assert_eq!(refused(&service, &view).await.0, StatusCode::NOT_FOUND);
    assert_eq!(service.get(&of("wall", "shares")).await.json, json!([]));
}

#[tokio::test]
async fn what_is_no_rfb_closes_its_own_connection_only() {
    let (_world, service) = recorded().await;
    let url = service.ensure("wall", "desk").await;
    let mut other = Viewer::open(&service, &url).await;
    let mut viewer = Viewer::open(&service, &url).await;
    viewer.send(&[FENCE.as_slice(), &[7, 7, 7]].concat()).await;
    let (code, reason) = viewer.closed().await;
    assert_eq!(code, CloseCode::PROTOCOL_ERROR);
    assert_eq!(
        reason,
        "the viewer sent an RFB message of the unknown type 7"
    );
    other.send(&KEY).await;
    other.picture().await;
}

/// Resolves when the desktop's description is as it should be.
async fn described(service: &Running, uid: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let json = service.get(&format!("/api/vm/{uid}")).await.json;
            if is_so(&json) {
                return json;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

#[tokio::test]
async fn a_guest_does_not_restart_a_stopping_desktop() {
    let (world, service) = recorded().await;
    for (uid, role) in [("a", "view"), ("b", "control")] {
        service.ensure(uid, "desk").await;
        let guest = url_of(&service, uid, role).await;
        let starts = world.control().starts();
        world.control().set_stop_delay(Duration::from_secs(1));
        let path = format!("/api/vm/{uid}");
        let stopped = service.delete(&path);
        let during = async {
            described(&service, uid, |json| json["status"] == "stopping").await;
            let (status, _) = refused(&service, &guest).await;
            assert_eq!(status, StatusCode::CONFLICT);
            let after = service.get(&path).await.json;
            assert_ne!(after["status"], "restarting", "{after}");
        };
        let (stopped, ()) = tokio::join!(stopped, during);
        assert_eq!(stopped.status, StatusCode::NO_CONTENT);
        world.control().set_stop_delay(Duration::ZERO);
        assert_eq!(service.get(&path).await.json["status"], "asleep");
        assert_eq!(refused(&service, &guest).await.0, StatusCode::CONFLICT);
        assert_eq!(world.control().starts(), starts);
    }
}

#[tokio::test]
async fn a_desktop_at_which_only_guests_look_goes_idle() {
    let (_world, service) = recorded().await;
    let url = service.ensure("a", "desk").await;
    let guest = url_of(&service, "a", "view").await;
    let viewer = Viewer::open(&service, &url).await;
    let _guest = Viewer::open(&service, &guest).await;
    let used = described(&service, "a", |json| json["viewers"] == 2).await;
    assert_eq!((&used["guests"], used.get("until")), (&json!(1), None));
    drop(viewer);
    let left = described(&service, "a", |json| json["viewers"] == 1).await;
    assert_eq!(left["guests"], 1);
    assert!(left["until"].is_string(), "{left}");
    assert!(
        left["because"].as_str().unwrap().contains("only guests"),
        "{left}"
    );
}

#[tokio::test]
async fn bad_input_is_told_what_would_be_right() {
    let (_world, service) = recorded().await;
    service.ensure("wall", "desk").await;
    let shares = of("wall", "shares");
    for (method, path, body, status, code) in [
        (
            Method::POST,
            &shares,
            r#"{"role": "owner"}"#,
            422,
            "invalid_body",
        ),
        (Method::POST, &shares, r#"{}"#, 422, "invalid_body"),
        (
            Method::POST,
            &shares,
            r#"{"role": "view", "clipboard": "none"}"#,
            422,
            "invalid_body",
        ),
        (
            Method::POST,
            &shares,
            r#"{"role": "view", "expires": 0}"#,
            422,
            "invalid_expires",
        ),
        (
            Method::POST,
            &shares,
            r#"{"role": "view", "expires": -1}"#,
            422,
            "invalid_expires",
        ),
        (
            Method::POST,
            &shares,
            r#"{"role": "view", "expires": 1e30}"#,
            422,
            "invalid_expires",
        ),
        (
            Method::POST,
            &shares,
            r#"{"role": "view", "expires": "2001-01-01T00:00:00Z"}"#,
            422,
            "invalid_expires",
        ),
        (
            Method::POST,
            &of("nobody", "share"),
            r#"{"role": "view"}"#,
            404,
            "unknown_desktop",
        ),
        (
            Method::GET,
            &of("nobody", "viewers"),
            "",
            404,
            "unknown_desktop",
        ),
        (
            Method::PATCH,
            &of("wall", "viewers/4711"),
            r#"{"role": "view"}"#,
            404,
            "unknown_viewer",
        ),
        (
            Method::PATCH,
            &of("wall", "viewers/x"),
            r#"{"role": "view"}"#,
            404,
            "unknown_viewer",
        ),
        (
            Method::PATCH,
            &of("wall", "viewers"),
            r#"{"role": "none"}"#,
            422,
            "invalid_body",
        ),
        (
            Method::PATCH,
            &of("wall", "viewers"),
            r#"{"role": "view", "except": "two words"}"#,
            422,
            "invalid_client",
        ),
        (
            Method::PATCH,
            &of("wall", "viewers"),
            r#"{"role": "view", "except": ""}"#,
            422,
            "invalid_client",
        ),
        (
            Method::PATCH,
            &of("wall", "viewers"),
            r#"{"role": "control", "except": "page"}"#,
            422,
            "invalid_except",
        ),
        (
            Method::PATCH,
            &of("wall", "viewers"),
            r#"{"role": "view", "share": "a"}"#,
            422,
            "invalid_except",
        ),
    ] {
        let reply = service.call(method, path, Some(body)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json["code"]),
            (status, &json!(code)),
            "{body}"
        );
        assert!(reply.json.get("url").is_none());
    }
    for path in [
        format!("/stream/{}/vnc", "0".repeat(32)),
        "/stream/0123abcd/vnc".to_owned(),
    ] {
        assert_eq!(refused(&service, &path).await.0, StatusCode::NOT_FOUND);
    }
    let path = format!("/stream/11000/vnc?client={}", "a".repeat(65));
    let (status, error) = refused(&service, &path).await;
    assert_eq!(
        (status, &error["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid_client"))
    );
}

/// Nothing can be kept out of what the gateway does not understand, so nobody is promised that it is.
#[tokio::test]
async fn an_app_whose_viewers_cannot_be_held_gives_control_only() {
    let world = World::new();
    let networks = vec!["127.0.0.0/8".to_owned()];
    let options = Options {
        remote_networks: networks,
        ..Options::default()
    };
    let service = world.serve(options).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let body =
        json!({ "vm": "elsewhere", "env": { "TARGET_IP": "127.0.0.1", "TARGET_PORT": port } });
    let reply = service.post("far", &body.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = json!({ "role": "view" }).to_string();
    let reply = service
        .call(Method::POST, &of("far", "share"), Some(&body))
        .await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert_eq!(reply.json["code"], "role_unsupported");
    url_of(&service, "far", "control").await;
}
