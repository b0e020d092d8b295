//! The service's process on a real Docker Engine, seen by its clients: what they get, what they
//! are told when it cannot be had, and what is left behind.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;
#[path = "support/sse.rs"]
mod sse;

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use process::{PATIENCE, Scene, TINY, assert_error, eventually, run, within};
use tokio_websockets::CloseCode;

/// Longer than a desktop has to have been ready to be started again under its viewers, as
/// `desktop/lifecycle.rs` has it.
const PROVEN: SignedDuration = SignedDuration::from_millis(10_500);

/// Less than a start may take.
const NOTICED_BOUND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_desktop_comes_is_seen_and_goes() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let reply = service.post("allocate", r#"{"vm": "tiny"}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let uid = reply.json["uid"].as_str().unwrap().to_owned();
    let url = reply.json["url"].as_str().unwrap().to_owned();

    let viewer = service.see(&url).await;
    service
        .until(&uid, "the viewer counts", |desktop| desktop["viewers"] == 1)
        .await;
    let containers = scene.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    assert_eq!(containers[0].uid, uid);
    assert_eq!(url, format!("/stream/{}/vnc", containers[0].key));

    scene.docker(&[
        "exec",
        &containers[0].id,
        "sh",
        "-c",
        "echo told >/proc/1/fd/2",
    ]);
    let logs = service.get(&format!("/api/vm/{uid}/logs")).await;
    assert_eq!(logs.status, 200, "{logs:?}");
    assert!(logs.json.to_string().contains("told"), "{logs:?}");

    assert_eq!(service.delete(&uid).await.status, 204);
    let (code, reason) = viewer.closed().await.unwrap();
    assert_eq!(
        (code, reason.as_str()),
        (CloseCode::GOING_AWAY, "the desktop was stopped")
    );
    assert_eq!(scene.containers(), []);
    let stopped = service.get(&format!("/api/vm/{uid}")).await;
    assert_eq!(stopped.json["status"], "asleep", "{stopped:?}");
    let ws = service.get(&format!("/api/vm/ws/{uid}")).await;
    assert_eq!(
        ws.json,
        serde_json::json!({ "details": "container not running" })
    );
}

/// The colours of the tiny desktop: of its corners and of what lies between them.
#[track_caller]
fn assert_tiny(picture: &image::RgbImage, tolerance: u8) {
    let (width, height) = picture.dimensions();
    let (x, y) = (width / 80, height / 45);
    for (at, expected) in [
        ((x, y), [255, 0, 0]),
        ((width - x, y), [0, 255, 0]),
        ((x, height - y), [0, 0, 255]),
        ((width - x, height - y), [255, 255, 0]),
        ((width / 2, y), [0x10, 0x20, 0x30]),
    ] {
        let seen = picture.get_pixel(at.0, at.1).0;
        let close = seen
            .iter()
            .zip(expected)
            .all(|(a, b)| a.abs_diff(b) <= tolerance);
        assert!(close, "{seen:?} at {at:?} of {width} × {height}");
    }
}

#[tokio::test]
async fn a_desktop_is_pictured_while_it_runs_and_when_it_sleeps() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let url = service.ensure("a", "tiny").await;
    let viewer = service.see(&url).await;

    // The application draws some time after its server answers.
    let live = eventually(PATIENCE, "the application has drawn", async || {
        let picture = service.picture("a", "").await?;
        let corner = picture.get_pixel(picture.width() / 80, picture.height() / 45);
        (corner.0 == [255, 0, 0]).then_some(picture)
    })
    .await;
    assert_tiny(&live, 0);
    let small = service.picture("a", "?format=jpeg&width=320").await;
    let small = small.unwrap();
    assert_eq!(small.width(), 320);
    assert_eq!(small.height(), live.height() * 320 / live.width());
    assert_tiny(&small, 24);
    let desktop = service.get("/api/vm/a").await.json;
    assert_eq!(desktop["viewers"], 1, "{desktop}");

    drop(viewer);
    service
        .until("a", "a picture is kept when the viewer leaves", |desktop| {
            desktop["picture"].is_string()
        })
        .await;
    assert_eq!(service.delete("a").await.status, 204);
    let last = service.picture("a", "").await.unwrap();
    assert_eq!(last.width(), 640);
    assert_tiny(&last, 24);
    assert_eq!(service.delete("a?forget=true").await.status, 204);
    assert!(service.picture("a", "").await.is_none());
}

#[tokio::test]
async fn what_a_desktop_uses_is_told_while_somebody_listens() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    service.ensure("a", "tiny").await;
    let address = format!("http://{}/api/events?usage=true", service.address);
    let mut events = sse::Listening::start(reqwest::Client::new().get(address)).await;
    let idle = events.until("usage").await.pop().unwrap();
    let idle = &idle.data["desktops"]["a"];
    let memory = idle["memory"].as_u64().unwrap();
    assert!(memory > 1 << 20, "{idle}");
    assert!(memory < idle["memory_limit"].as_u64().unwrap(), "{idle}");
    let container = scene.container_name("a");
    // Of one core as much as the machine has left, and no more.
    let work = "timeout 60 sh -c 'while :; do :; done' >/dev/null &";
    scene.docker(&["exec", "--detach", &container, "sh", "-c", work]);
    loop {
        let usage = events.until("usage").await.pop().unwrap();
        let cores = usage.data["desktops"]["a"]["cpu"].as_f64().unwrap();
        assert!(cores < 1.5, "{usage:?}");
        if cores > 0.2 {
            break;
        }
    }
    service.delete("a").await;
    events.until("gone").await;
}

#[tokio::test]
async fn nobody_looks_and_it_goes_and_its_home_stays_until_it_is_forgotten() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let url = service.ensure("a", "homely").await;
    let volumes = [scene.container_name("a")];
    assert_eq!(scene.volumes(), volumes);
    scene.docker(&["exec", &volumes[0], "sh", "-c", "echo kept > ~/mark"]);

    drop(service.see(&url).await);
    service
        .until("a", "the idle desktop sleeps", |desktop| {
            desktop["status"] == "asleep"
        })
        .await;
    assert_eq!(scene.containers(), []);
    assert_eq!(scene.volumes(), volumes);

    let url = service.ensure("a", "homely").await;
    let _viewer = service.see(&url).await;
    let mark = scene.docker(&["exec", &volumes[0], "sh", "-c", "cat ~/mark"]);
    assert_eq!(mark, "kept");

    assert_eq!(service.delete("a?forget=true").await.status, 204);
    assert_eq!(scene.containers(), []);
    assert_eq!(scene.volumes(), [""; 0]);
    assert_error(&service.get("/api/vm/a").await, 404, "unknown_desktop");
}

#[tokio::test]
async fn a_desktop_removed_under_its_viewer_soon_after_its_start_waits_to_be_asked_for() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let url = service.ensure("a", "tiny").await;
    let proven = Timestamp::now() + PROVEN;
    let viewer = service.see(&url).await;
    scene.docker(&["rm", "--force", &scene.container_name("a")]);
    let removed = Timestamp::now();

    assert_clean(viewer.closed().await);
    let ended = service
        .until("a", "the end is noticed", |desktop| {
            desktop["status"] != "ready" && desktop["status"] != "stopping"
        })
        .await;
    // A busy machine may have taken so long that it had proved itself.
    if removed < proven {
        assert_eq!(ended["status"], "failed", "{ended}");
        assert!(
            ended["failure"].as_str().unwrap().contains("by itself"),
            "{ended}"
        );
        let gone = process::Viewer::open(service.stream_address, &url).await;
        assert!(gone.is_err_and(|error| error.contains("404")));
    }

    let url = service.ensure("a", "tiny").await;
    service.see(&url).await;
    assert_eq!(scene.containers().len(), 1);
}

#[tokio::test]
async fn a_desktop_removed_under_its_viewer_after_a_while_comes_back_under_it_and_at_the_same_url()
{
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let url = service.ensure("a", "tiny").await;
    let mut viewer = service.see(&url).await;
    let before = scene.containers();
    let since = service
        .until("a", "it has proved itself", |desktop| {
            let since: Timestamp = desktop["since"].as_str().unwrap().parse().unwrap();
            Timestamp::now().duration_since(since) > PROVEN
        })
        .await["since"]
        .clone();
    scene.docker(&["rm", "--force", &before[0].id]);

    // Nobody asks for the desktop: whoever looked sees another one, and the same path leads to it.
    service
        .until("a", "it is started again", |desktop| {
            desktop["status"] == "ready" && desktop["since"] != since
        })
        .await;
    viewer.see().await;
    service
        .until("a", "its viewer is there", |desktop| {
            desktop["viewers"] == 1
        })
        .await;
    service.see(&url).await;
    let after = scene.containers();
    assert_eq!(after.len(), 1, "{after:?}");
    assert_ne!(after[0].id, before[0].id);
    let reply = service.post("a", "{}").await;
    assert_eq!(reply.json["url"], url.as_str());
}

/// The server says goodbye, and not that it broke.
#[track_caller]
fn assert_clean(closed: Option<(CloseCode, String)>) {
    let (code, reason) = closed.unwrap();
    assert!(
        [CloseCode::GOING_AWAY, CloseCode::NORMAL_CLOSURE].contains(&code) && !reason.is_empty(),
        "{code:?} {reason}"
    );
}

#[tokio::test]
async fn a_foreign_container_with_the_name_is_left_alone() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let name = scene.container_name("a");
    let foreign = scene.docker(&["create", "--name", &name, TINY]);
    for app in ["tiny", "homely"] {
        let reply = service.post("a", &format!(r#"{{"vm": "{app}"}}"#)).await;
        assert_error(&reply, 409, "name_taken");
        assert!(reply.json["details"].as_str().unwrap().contains(&name));
        forgotten(&service, "a").await;
        assert_eq!(scene.volumes(), [""; 0], "of {app}");
    }
    let containers = scene.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    assert_eq!(containers[0].id, foreign);

    scene.docker(&["rm", &foreign]);
    let url = service.ensure("a", "tiny").await;
    service.see(&url).await;
}

/// A first start that failed leaves no record either, as soon as it is cleaned up.
async fn forgotten(service: &process::Service, uid: &str) {
    eventually(PATIENCE, "the desktop is forgotten", async || {
        let reply = service.get(&format!("/api/vm/{uid}")).await;
        (reply.status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_image_is_said_with_the_way_to_build_it_and_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    scene.write_catalog(
        r#"
        [app.absent]
        image = "cosage/absent-from-every-test:latest"
        build = "images/absent"
        password = true
        home = "/home/user"

        [app.absent.stream.vnc]
        port = 5900
        protocol = "rfb"
        "#,
    );
    let service = scene.serve().await;
    let reply = service.post("a", r#"{"vm": "absent"}"#).await;
    assert_error(&reply, 503, "image_missing");
    let details = reply.json["details"].as_str().unwrap();
    assert!(details.contains("images/build absent"), "{details}");
    forgotten(&service, "a").await;
    assert_eq!(scene.containers(), []);
    assert_eq!(scene.volumes(), [""; 0]);
    assert_eq!(
        service.get("/api/vm/list").await.json,
        serde_json::json!([])
    );
}

/// An image of a test, which goes with it.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        // It is a layer without files: what is left of it does no harm.
        let _ = run(Command::new("docker").args(["rmi", "--force", &self.0]));
    }
}

#[tokio::test]
async fn an_app_that_ends_while_it_starts_tells_its_last_words_and_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    let image = Image(format!("{}:latest", scene.name));
    let entrypoint = r#"ENTRYPOINT ["/bin/sh", "-c", "sleep $PAUSE; echo boom >&2; exit 7"]"#;
    let container = scene.docker(&["create", "--name", &scene.container_name("made-of"), TINY]);
    scene.docker(&["commit", "--change", entrypoint, &container, &image.0]);
    scene.docker(&["rm", &container]);
    scene.write_catalog(&format!(
        r#"
        [app.doomed]
        image = "{}"
        pull = "never"
        password = true
        home = "/home/user"

        [app.doomed.stream.vnc]
        port = 5900
        protocol = "rfb"

        [app.doomed.env.PAUSE]
        type = "text"
        title = "Pause"
        "#,
        image.0
    ));
    let service = scene.serve().await;
    // One ends before its address is known, the other while it is waited for.
    for pause in ["0", "2"] {
        let body = format!(r#"{{"vm": "doomed", "env": {{"PAUSE": "{pause}"}}}}"#);
        let reply = service.post("a", &body);
        let reply = within(NOTICED_BOUND, "the end is noticed", reply).await;
        assert_error(&reply, 502, "app_exited");
        assert_eq!(
            reply.json["logs"].as_str().unwrap().trim(),
            "boom",
            "{reply:?}"
        );
        assert!(
            reply.json["details"]
                .as_str()
                .unwrap()
                .contains("exit code 7"),
            "{reply:?}"
        );
        forgotten(&service, "a").await;
        assert_eq!(scene.containers(), []);
        assert_eq!(scene.volumes(), [""; 0]);
    }
}

#[tokio::test]
async fn ports_of_other_programs_are_never_handed_out() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.ports = scene.ports.start..scene.ports.start + 6;
    // Listening or only bound, on one address or on all of them: in use is in use.
    let taken: Vec<_> = scene
        .ports
        .clone()
        .step_by(2)
        .zip(
            [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]
                .into_iter()
                .cycle(),
        )
        .map(|(port, address)| TcpListener::bind((address, port)).unwrap())
        .collect();
    let free: Vec<u16> = scene.ports.clone().skip(1).step_by(2).collect();
    let service = scene.serve().await;

    let allocated = free
        .iter()
        .map(|_| service.post("allocate", r#"{"vm": "tiny"}"#));
    let mut keys: Vec<u16> = join_all(allocated)
        .await
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, 200, "{reply:?}");
            let url = reply.json["url"].as_str().unwrap();
            url.split('/').nth(2).unwrap().parse().unwrap()
        })
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, free);

    let refused = service.post("one-more", r#"{"vm": "tiny"}"#).await;
    assert_error(&refused, 503, "ports_exhausted");
    assert!(refused.headers.contains_key("retry-after"));
    forgotten(&service, "one-more").await;
    assert_eq!(scene.containers().len(), free.len());

    // The other program ends, and its port can be had.
    drop(taken);
    let reply = service.post("one-more", r#"{"vm": "tiny"}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_service_that_is_told_to_end_leaves_its_desktops_to_the_next() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let url = service.ensure("a", "tiny").await;
    let viewer = service.see(&url).await;
    let before = scene.containers();
    service.terminate();
    let (code, _) = viewer.closed().await.unwrap();
    assert_eq!(code, CloseCode::SERVICE_RESTART);
    assert!(service.ended().await.success());

    let service = scene.serve().await;
    service
        .until("a", "the desktop is adopted", |desktop| {
            desktop["status"] == "ready"
        })
        .await;
    service.see(&url).await;
    assert_eq!(scene.containers(), before);
}

#[tokio::test]
async fn a_desktop_that_the_next_service_cannot_reach_is_asked_to_end() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let service = scene.serve().await;
    let url = service.ensure("wall", "homely").await;
    drop(service.see(&url).await);
    let id = scene.containers().remove(0).id;
    service.terminate();
    assert!(service.ended().await.success());

    // It was started without a published port.
    scene.set("COSAGE_REACH", "published");
    let begun = jiff::Timestamp::now().as_second().to_string();
    let service = scene.serve().await;
    eventually(PATIENCE, "it has ended", async || {
        scene.containers().is_empty().then_some(())
    })
    .await;
    // The engine tells all that has happened until then.
    let until = (jiff::Timestamp::now().as_second() + 1).to_string();
    let code = scene.docker(&[
        "events",
        "--since",
        &begun,
        "--until",
        &until,
        "--filter",
        "event=die",
        "--filter",
        &format!("container={id}"),
        "--format",
        "{{.Actor.Attributes.exitCode}}",
    ]);
    assert!(!code.is_empty() && code != "137", "it was killed: {code}");
    assert_eq!(service.get("/api/vm/wall").await.json["status"], "asleep");
    service.see(&service.ensure("wall", "homely").await).await;
}
