//! The old contract on a real Docker Engine: an image that was built after it runs from a catalogue entry, and containers
//! that the old service left are not touched.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;

use std::process::Command;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use process::{PATIENCE, Scene, Service, Viewer, within};
use tokio_websockets::ClientBuilder;

/// What the images' build makes as the old catalogue had them.
const IMAGE: &str = "cosage/websockify-test:latest";

/// Longer than a desktop has to have been up to be started again under its viewers, as `desktop/lifecycle.rs` has it.
const PROVEN: SignedDuration = SignedDuration::from_millis(10_500);

const APP: &str = r#"
[app.old]
title = "Old"
description = "An image of the old catalogue."
image = "cosage/websockify-test:latest"
pull = "never"
legacy_environment = true
idle = "10m"
first_viewer = "10m"
stop_grace = "2s"

[app.old.stream.vnc]
port = 2222
protocol = "websocket"
path = "/vnc"

[app.old.stream.audio]
port = 2222
protocol = "websocket"
path = "/audio"

[app.old.env.CALLBACK_ID]
type = "text"
title = "Callback id"

[app.old.env.THEME]
type = "integer"
min = 0
max = 2
title = "Theme"
"#;

/// `None`, loudly, where no engine answers.
fn scene() -> Option<Scene> {
    let scene = Scene::new()?;
    scene.write_catalog(APP);
    let image = scene.try_docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE]);
    assert!(
        image.is_ok(),
        "image {IMAGE} is missing; build it with images/build --test"
    );
    Some(scene)
}

fn log(scene: &Scene) -> String {
    std::fs::read_to_string(scene.path("service.log")).unwrap()
}

/// What `cosage doctor` finds.
fn doctor(scene: &Scene, service: &Service) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cosage"))
        .args(["doctor", "--url", &format!("http://{}", service.address)])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("CONTAINER_BASE_NAME", format!("{}-", scene.name))
        .env("COSAGE_CATALOG", scene.path("catalog.toml"))
        .env("COSAGE_DATA_DIR", scene.path("data"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn an_old_image_runs_unchanged() {
    let Some(mut scene) = scene() else { return };
    // Where containers reach the host.
    let host = "host.docker.internal";
    let entry = format!("{host}:host-gateway");
    let resolve = ["--entrypoint", "getent", IMAGE, "hosts", host];
    let hosts = scene.docker(&[&["run", "--rm", "--add-host", &entry][..], &resolve].concat());
    let address = hosts.split_whitespace().next().unwrap();
    let port = scene.address.port();
    scene.set("COSAGE_CALLBACK_LISTEN", &format!("{address}:{port}"));
    let service = scene.serve().await;
    let reply = service
        .post("a", r#"{"vm": "old", "env": {"CALLBACK_ID": "a"}}"#)
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let url = reply.json["url"].as_str().unwrap().to_owned();
    let viewer = service.see(&url).await;

    // Its sound is a WebSocket of its own, and its listener is no viewer.
    let audio = url.replace("/vnc", "/audio");
    let uri = format!("ws://{}{audio}", service.stream_address);
    let builder = ClientBuilder::from_uri(uri.parse().unwrap());
    let (mut socket, _) = builder.connect().await.unwrap();
    let first = within(PATIENCE, "sound comes", socket.next()).await;
    let first = first.unwrap().unwrap();
    assert_eq!(first.as_payload()[..], *b"\x1a\x45\xdf\xa3");
    let desktop = service.get("/api/vm/a").await.json;
    assert_eq!(desktop["viewers"], 1, "{desktop}");

    let container = scene.container_name("a");
    let inside = |script: &str| scene.docker(&["exec", &container, "bash", "-c", script]);
    let address = inside("echo $CALLBACK_URL");
    let plain = format!("http://host.docker.internal:{port}/api/vm/cb/a?secret=");
    assert!(address.starts_with(&plain), "{address}");
    assert_eq!(inside("echo $CALLBACK_ID"), "a");
    // Twice ten minutes and one more.
    assert_eq!(inside("echo $WS_TIMEOUT"), "1260");
    // It reports by the address that it got, and by no other.
    let report = |url: &str| {
        inside(&format!(
            r#"url={url}
            exec 3<> /dev/tcp/host.docker.internal/{port}
            printf 'POST /%s HTTP/1.1\r\nHost: host.docker.internal:{port}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}' "${{url#*//*/}}" >&3
            head --lines 1 <&3"#
        ))
    };
    assert!(report("$CALLBACK_URL").contains(" 202 "));
    assert!(report("${CALLBACK_URL%?secret*}").contains(" 403 "));

    let reply = service.post("b", r#"{"vm": "old"}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let other = scene.container_name("b");
    let variables = scene.docker(&["inspect", "--format", "{{json .Config.Env}}", &other]);
    assert!(!variables.contains("CALLBACK_"), "{variables}");

    assert_eq!(service.delete("a").await.status, 204);
    assert!(viewer.closed().await.is_some());
}

#[tokio::test]
async fn containers_of_the_old_service_are_left_alone_and_reported() {
    let Some(scene) = scene() else { return };
    let name = scene.container_name("wall");
    scene.docker(&["run", "--detach", "--name", &name, IMAGE]);
    let service = scene.serve().await;
    assert_eq!(service.get("/api/vm/wall").await.status, 404);
    let reply = service.post("wall", r#"{"vm": "old"}"#).await;
    assert_eq!(reply.json["code"], "name_taken", "{reply:?}");
    let doctor = doctor(&scene, &service);
    assert!(
        doctor.contains(&name) && doctor.contains("MIGRATING.md"),
        "{doctor}"
    );
    let format = ["inspect", "--format", "{{.State.Status}}", &name];
    assert_eq!(scene.docker(&format), "running");
    // When it is gone, its name is free.
    scene.docker(&["rm", "--force", &name]);
    let url = service.ensure("wall", "old").await;
    service.see(&url).await;
}

/// So the last picture is taken of what still runs.
#[tokio::test]
async fn the_services_own_clock_is_the_first() {
    let Some(scene) = scene() else { return };
    scene.write_catalog(&APP.replacen("idle = \"10m\"", "idle = \"1s\"", 1));
    let service = scene.serve().await;
    let url = service.ensure("a", "old").await;
    drop(service.see(&url).await);
    let desktop = service
        .until("a", "nobody looks at it", |desktop| {
            desktop["status"] == "asleep"
        })
        .await;
    assert_eq!(desktop["ended"], "idle", "{desktop}");
    assert!(desktop["picture"].is_string(), "{desktop}");
    assert!(!log(&scene).contains("ended by itself"));
}

/// A viewer that comes just when the image ends is held and gets the next instance: SAGE3's never asks again.
#[tokio::test]
async fn a_viewer_that_comes_at_the_moment_of_the_end_is_served() {
    let Some(scene) = scene() else { return };
    let service = scene.serve().await;
    let url = service.ensure("wall", "old").await;
    service
        .until("wall", "it has been up for long enough", |desktop| {
            let started: Timestamp = desktop["started_at"].as_str().unwrap().parse().unwrap();
            Timestamp::now().duration_since(started) > PROVEN
        })
        .await;
    assert_eq!(service.ensure("wall", "old").await, url);
    let name = scene.container_name("wall");
    // What is about to end takes connections and does not answer any more.
    let freeze =
        "for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" != nginx ] || kill -STOP ${p#/proc/}; done";
    scene.docker(&["exec", &name, "bash", "-c", freeze]);
    let streams = service.stream_address;
    let opened = tokio::spawn(async move { Viewer::open(streams, &url).await });
    service
        .until("wall", "the viewer waits", |desktop| {
            desktop["viewers"] == 1
        })
        .await;
    scene.docker(&["kill", &name]);
    let mut viewer = opened.await.unwrap().unwrap();
    viewer.see().await;
}
