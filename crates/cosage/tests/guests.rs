//! What is told to somebody who has nothing but a share's address: never the desktop's name, by which there is more to be
//! had, in whatever state the desktop is.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use std::time::Duration;

use cosage::engine::EngineError;
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::json;
use support::engine::Power;
use support::{Options, Running, Socket, World};
use tokio::time::timeout;
use tokio_websockets::Message;

/// Longer than anything here takes, so that a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// In nothing else than the desktop's name.
const NAME: &str = "wombat";

/// A service with one desktop, and an address of a share of it, without the stream.
async fn shared() -> (World, Running, String) {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    service.ensure(NAME, "desk").await;
    let address = share(&service).await;
    (world, service, address)
}

async fn share(service: &Running) -> String {
    let body = json!({ "role": "view" }).to_string();
    let path = format!("/api/vm/{NAME}/shares");
    let reply = service.call(Method::POST, &path, Some(&body)).await;
    let url = reply.json["url"].as_str().unwrap();
    url.strip_suffix("/vnc").unwrap().to_owned()
}

/// Every route that leads anywhere from the address, asked in every way.
fn routes(address: &str) -> Vec<String> {
    let token = address.strip_prefix("/stream/").unwrap();
    let mut routes = vec![address.to_owned()];
    for prefix in ["/stream", "/api/vmstream"] {
        for stream in ["vnc", "audio", "nothing"] {
            routes.push(format!("{prefix}/{token}/{stream}"));
        }
    }
    routes
}

/// Asks on every route, as a page and as a WebSocket. What was said is looked at; the sockets that are open stay so.
async fn ask_everything(service: &Running, address: &str, state: &str) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for path in routes(address) {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
            let reply = Running::reply(service.request(method, &path)).await;
            assert_nameless(&format!("{reply:?}"), state, &path);
        }
        let asked = timeout(PATIENCE, service.open(&path)).await.unwrap();
        match asked {
            Ok(mut socket) => {
                greet(&mut socket, &path, state).await;
                sockets.push(socket);
            }
            Err(_) => {
                // The client above keeps the answer to itself.
                let request = service
                    .request(Method::GET, &path)
                    .header("connection", "Upgrade")
                    .header("upgrade", "websocket")
                    .header("sec-websocket-version", "13")
                    .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
                let reply = Running::reply(request).await;
                assert_nameless(&format!("{reply:?}"), state, &path);
            }
        }
    }
    sockets
}

/// A viewer's part of RFB's handshake, up to the screen's name.
async fn greet(socket: &mut Socket, path: &str, state: &str) {
    if !path.ends_with("/vnc") {
        return;
    }
    let mut seen = Vec::new();
    for (len, reply) in [
        (12, b"RFB 003.008\n".as_slice()),
        (14, &[1]),
        (18, &[1]),
        (43, &[]),
    ] {
        while seen.len() < len {
            let message = timeout(PATIENCE, socket.next()).await.unwrap();
            let message = message.unwrap().unwrap();
            if message.as_close().is_some() {
                assert_nameless(&format!("{message:?}"), state, path);
                return;
            }
            seen.extend_from_slice(message.as_payload());
        }
        if !reply.is_empty() {
            socket.send(Message::binary(reply)).await.unwrap();
        }
    }
    assert_nameless(&String::from_utf8_lossy(&seen), state, path);
}

/// Until each is closed, with a reason.
async fn hear_out(sockets: Vec<Socket>, state: &str) {
    for mut socket in sockets {
        let closed = async {
            while let Some(message) = socket.next().await {
                let Ok(message) = message else { return };
                if let Some((_, reason)) = message.as_close() {
                    assert_nameless(reason, state, "the close frame");
                    return;
                }
            }
        };
        timeout(PATIENCE, closed).await.unwrap();
    }
}

fn assert_nameless(text: &str, state: &str, place: &str) {
    assert!(!text.contains(NAME), "{state}, {place}: {text}");
}

#[tokio::test]
async fn guests_are_not_told_the_name_of_a_desktop_that_runs_sleeps_or_is_deleted() {
    let (_world, service, address) = shared().await;
    let sockets = ask_everything(&service, &address, "ready").await;
    assert!(!sockets.is_empty());
    service.delete(&format!("/api/vm/{NAME}")).await;
    hear_out(sockets, "stopped").await;
    ask_everything(&service, &address, "asleep").await;
    service.delete(&format!("/api/vm/{NAME}?forget=true")).await;
    ask_everything(&service, &address, "deleted").await;
}

#[tokio::test]
async fn guests_are_not_told_the_name_of_a_desktop_that_comes_or_goes() {
    let (world, service, address) = shared().await;
    let path = format!("/api/vm/{NAME}");
    world.control().set_stop_delay(Duration::from_secs(1));
    let (stopped, sockets) = tokio::join!(service.delete(&path), async {
        service
            .wait_until(NAME, |desktop| desktop["status"] == "stopping")
            .await;
        ask_everything(&service, &address, "stopping").await
    });
    drop((stopped, sockets));
    service.delete(&path).await;
    world.control().set_start_delay(Duration::from_secs(1));
    let (started, sockets) = tokio::join!(service.post(NAME, "{}"), async {
        service
            .wait_until(NAME, |desktop| desktop["status"] == "starting")
            .await;
        ask_everything(&service, &address, "starting").await
    });
    assert_eq!(started.status, 200);
    service.shut_down().await;
    hear_out(sockets, "shutting down").await;
}

#[tokio::test]
async fn guests_are_not_told_the_name_in_the_reason_of_a_failure() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    service.ensure(NAME, "hasty").await;
    let address = share(&service).await;
    let path = format!("/api/vm/{NAME}");
    service.delete(&path).await;
    let control = world.control();
    // Its display does not answer in the second that it has.
    control.set_banner_delay(Duration::from_secs(60));
    let (failed, _) = tokio::join!(service.post(NAME, "{}"), async {
        let waits = |desktop: &serde_json::Value| desktop["progress"]["step"] == "waiting";
        service.wait_until(NAME, waits).await;
        control.write_log(&control.running()[0], &format!("{NAME} writes this\n"));
        ask_everything(&service, &address, "about to fail").await
    });
    assert!(failed.json["logs"].as_str().unwrap().contains(NAME));
    ask_everything(&service, &address, "failed").await;

    control.set_start_error(Some(EngineError::Refused(format!(
        "get collab-vm-{NAME}: no such volume"
    ))));
    let failed = service.post(NAME, "{}").await;
    assert!(failed.json["details"].as_str().unwrap().contains(NAME));
    ask_everything(&service, &address, "failed by the engine").await;

    control.set_start_error(None);
    control.set_banner_delay(Duration::ZERO);
    assert_eq!(service.post(NAME, "{}").await.status, 200);
    control.set_power(Power::Down);
    ask_everything(&service, &address, "without an engine").await;
}

#[tokio::test]
async fn guests_are_not_told_the_name_when_their_share_ends() {
    let (_world, service, address) = shared().await;
    let shares = format!("/api/vm/{NAME}/shares");
    let sockets = ask_everything(&service, &address, "ready").await;
    let id = service.get(&shares).await.json[0]["id"].clone();
    let share = format!("{shares}/{}", id.as_str().unwrap());
    assert_eq!(service.delete(&share).await.status, 204);
    hear_out(sockets, "revoked").await;
    ask_everything(&service, &address, "revoked").await;
}
