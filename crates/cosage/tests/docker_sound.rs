//! The sound of a real desktop, as the service and those whom it does not concern get it. What it sounds like is heard by
//! a real browser, in `tests/browser`.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;

use futures_util::StreamExt;
use process::{PATIENCE, Scene, Service, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, WebSocketStream};

const TONE: &str = r#"
[app.tone]
title = "Tone"
description = "Sounds for a part of each second."
image = "cosage/tone-test:latest"
pull = "never"
password = true
sandbox = "user-namespaces"
memory = "256MiB"
stop_grace = "5s"

[app.tone.stream.vnc]
port = 5900
protocol = "rfb"

[app.tone.stream.audio]
port = 5901
protocol = "webm"
"#;

/// The same application, which sounds when it gets a signal.
const ON_SIGNAL: &str = r#"
[app.tone.env.TONE_ON_SIGNAL]
type = "boolean"
default = true
"#;

/// EBML, and a cluster (RFC 8794 and RFC 9559).
const HEADER: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const CLUSTER: [u8; 4] = [0x1f, 0x43, 0xb6, 0x75];

/// More than a cluster of silence has.
const SOUND: usize = 150;

/// Connects to the sound of the desktop at `url`.
async fn listen(service: &Service, url: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let uri = format!(
        "ws://{}{}",
        service.stream_address,
        url.replace("/vnc", "/audio")
    );
    let builder = ClientBuilder::new().uri(&uri).unwrap();
    builder.connect().await.unwrap().0
}

/// Listens until something sounds.
async fn hear(service: &Service, url: &str) {
    // As listeners do, it comes back when the sound has ended, or is not there yet.
    eventually(PATIENCE, "something sounds", async || {
        let mut socket = listen(service, url).await;
        let mut begins = HEADER;
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_binary() {
                break;
            }
            let part = message.as_payload();
            assert_eq!(part[..4], begins);
            if begins == CLUSTER && part.len() > SOUND {
                return Some(());
            }
            begins = CLUSTER;
        }
        None
    })
    .await;
}

#[tokio::test]
async fn a_desktop_sounds_after_a_crash_of_the_service_and_of_its_sound() {
    let Some(scene) = Scene::new() else { return };
    scene.write_catalog(TONE);
    let service = scene.serve().await;
    let url = service.ensure("a", "tone").await;
    hear(&service, &url).await;

    service.kill();
    let service = scene.serve().await;
    assert_eq!(service.ensure("a", "tone").await, url);
    hear(&service, &url).await;

    let container = scene.container_name("a");
    for program in ["pulseaudio", "sound-stream"] {
        // There is no pkill in the image.
        let script = format!(
            "for process in /proc/[0-9]*; do
                grep -qs {program} $process/cmdline && [ \"${{process#/proc/}}\" != $$ ] && kill -KILL ${{process#/proc/}}
            done; true"
        );
        scene.docker(&["exec", &container, "bash", "-c", &script]);
        hear(&service, &url).await;
    }
    let desktop = service.get("/api/vm/a").await.json;
    assert_eq!(desktop["status"], "ready", "{desktop}");
}

/// A sink that renders far ahead when somebody begins to listen loses what is played meanwhile.
#[tokio::test]
async fn a_sound_that_begins_after_its_listener_came_is_heard() {
    let Some(scene) = Scene::new() else { return };
    scene.write_catalog(&format!("{TONE}{ON_SIGNAL}"));
    let service = scene.serve().await;
    let url = service.ensure("a", "tone").await;
    let container = scene.container_name("a");
    eventually(PATIENCE, "the application waits", async || {
        let written = scene.docker(&["logs", &container]);
        written.contains("waiting for SIGUSR1").then_some(())
    })
    .await;
    let signal = "for process in /proc/[0-9]*; do
            [ \"$(cat $process/comm 2> /dev/null)\" = app ] && kill -USR1 ${process#/proc/}
        done; true";
    for _ in 0..5 {
        let mut socket = listen(&service, &url).await;
        let header = within(PATIENCE, "the header comes", socket.next()).await;
        assert_eq!(header.unwrap().unwrap().as_payload()[..4], HEADER);
        scene.docker(&["exec", &container, "bash", "-c", signal]);
        let heard = async {
            while let Some(Ok(message)) = socket.next().await {
                if message.as_payload().len() > SOUND {
                    return true;
                }
            }
            false
        };
        assert!(within(PATIENCE, "the tone arrives", heard).await);
    }
}

/// Other desktops reach the port where the service shares a network with them.
#[tokio::test]
async fn only_who_knows_the_password_hears_anything() {
    let Some(scene) = Scene::new() else { return };
    scene.write_catalog(TONE);
    let service = scene.serve().await;
    let url = service.ensure("a", "tone").await;
    hear(&service, &url).await;
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let container = scene.container_name("a");
    let address = scene.docker(&["inspect", "--format", format, &container]);
    let mut stream = TcpStream::connect(format!("{address}:5901")).await.unwrap();
    stream.write_all(b"guessed!").await.unwrap();
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    within(PATIENCE, "the connection ends", read).await.unwrap();
    assert_eq!(bytes, b"");
    hear(&service, &url).await;
}
