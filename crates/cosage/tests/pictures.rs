//! Pictures of desktops as a client gets them, on the simulated engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use std::time::Duration;

use cosage::engine::simulated::{COLOUR, HEIGHT, WIDTH};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use image::RgbImage;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, StatusCode};
use support::engine::Painting;
use support::{Options, Reply, Running, World};
use tokio_websockets::Message;

async fn service() -> (World, Running) {
    let world = World::new();
    let running = world.serve(Options::default()).await;
    (world, running)
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    file: Vec<u8>,
}

impl Answer {
    #[track_caller]
    fn image(&self) -> RgbImage {
        assert_eq!(self.status, 200, "{self:?}");
        image::load_from_memory(&self.file).unwrap().into_rgb8()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

async fn screenshot(service: &Running, uid: &str, query: &str) -> Answer {
    screenshot_with(service, uid, query, &[]).await
}

async fn screenshot_with(
    service: &Running,
    uid: &str,
    query: &str,
    headers: &[(HeaderName, &str)],
) -> Answer {
    let mut request = service.request(Method::GET, &format!("/api/vm/{uid}/screenshot{query}"));
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let response = request.send().await.unwrap();
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        file: response.bytes().await.unwrap().to_vec(),
    }
}

#[track_caller]
fn assert_error(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.json["code"], code, "{reply:?}");
    assert!(!reply.json["details"].as_str().unwrap().is_empty());
    assert!(reply.json.get("url").is_none(), "{reply:?}");
}

async fn refused(service: &Running, uid: &str, query: &str, status: u16, code: &str) {
    let reply = service
        .get(&format!("/api/vm/{uid}/screenshot{query}"))
        .await;
    assert_error(&reply, status, code);
}

/// Looks at the desktop until it counts as a viewer, and goes.
async fn look(service: &Running, uid: &str, url: &str) {
    let viewer = service.open(url).await.unwrap();
    service
        .wait_until(uid, |desktop| desktop["viewers"] == 1)
        .await;
    drop(viewer);
}

fn close(colour: [u8; 3]) -> bool {
    colour.iter().zip(COLOUR).all(|(a, b)| a.abs_diff(b) <= 6)
}

fn size() -> (u32, u32) {
    (WIDTH.into(), HEIGHT.into())
}

#[tokio::test]
async fn a_ready_desktop_is_seen_as_it_is() {
    let (world, service) = service().await;
    service.ensure("a", "desk").await;
    let before = service.get("/api/vm/a").await.json;

    let png = screenshot(&service, "a", "").await;
    let image = png.image();
    assert_eq!(image.dimensions(), size());
    assert!(image.pixels().all(|pixel| pixel.0 == COLOUR));
    assert_eq!(png.header("content-type"), "image/png");
    assert_eq!(png.header("x-cosage-picture"), "live");
    assert_eq!(png.header("cache-control"), "no-store");
    assert!(png.header("last-modified").ends_with(" GMT"));

    for (query, media, width) in [
        ("?format=png&width=32", "image/png", 32),
        ("?format=jpeg&width=16", "image/jpeg", 16),
        ("?format=jpeg", "image/jpeg", 64),
        ("?width=1000", "image/png", 64),
    ] {
        let answer = screenshot(&service, "a", query).await;
        let image = answer.image();
        assert_eq!(answer.header("content-type"), media);
        assert_eq!(image.dimensions(), (width, width * 3 / 4), "{query}");
        assert!(image.pixels().all(|pixel| close(pixel.0)), "{query}");
    }
    let accept = [(reqwest::header::ACCEPT, "image/jpeg")];
    let answer = screenshot_with(&service, "a", "", &accept).await;
    assert_eq!(answer.header("content-type"), "image/jpeg");

    // Nobody was a viewer, nothing was prolonged, and nothing is kept.
    let after = service.get("/api/vm/a").await.json;
    assert_eq!(after["viewers"], 0);
    assert_eq!(after["until"].is_string(), before["until"].is_string());
    assert_eq!(after["because"], before["because"]);
    assert!(after.get("picture").is_none(), "{after}");
    assert_eq!(world.control().starts(), 1);
}

#[tokio::test]
async fn fifty_who_ask_at_once_cost_one_connection() {
    let (world, service) = service().await;
    service.ensure("a", "desk").await;
    // However long it takes on a busy machine, it is within a second.
    tokio::time::pause();
    let asked = (0..50).map(|asker| {
        let query = if asker % 2 == 0 {
            "?width=32"
        } else {
            "?format=jpeg"
        };
        screenshot(&service, "a", query)
    });
    let answers = join_all(asked).await;
    assert_eq!(world.control().clients(), 1);
    for pair in answers.chunks(2) {
        assert_eq!(pair[0].image().width(), 32);
        assert_eq!(pair[1].image().dimensions(), size());
        assert_eq!(pair[0].file, answers[0].file);
    }
}

#[tokio::test]
async fn a_desktop_that_sleeps_is_seen_as_it_was() {
    let (world, service) = service().await;
    service.ensure("a", "desk").await;
    refused(&service, "a", "?last=true", 404, "no_picture").await;
    assert_eq!(service.delete("/api/vm/a").await.status, 204);
    let asleep = service.get("/api/vm/a").await.json;
    let taken = asleep["picture"].as_str().unwrap().to_owned();

    let last = screenshot(&service, "a", "").await;
    assert_eq!(last.header("x-cosage-picture"), "last");
    assert_eq!(last.header("content-type"), "image/png");
    assert_eq!(last.header("cache-control"), "private, no-cache");
    let image = last.image();
    assert_eq!(image.dimensions(), size());
    assert!(image.pixels().all(|pixel| close(pixel.0)));
    let tag = [(reqwest::header::IF_NONE_MATCH, last.header("etag"))];
    let known = screenshot_with(&service, "a", "", &tag).await;
    assert_eq!(
        (known.status, known.file.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    let other = screenshot_with(&service, "a", "?width=16", &tag).await;
    assert_eq!(other.image().dimensions(), (16, 12));

    // Also for the next service; and nothing was started for it.
    service.shut_down().await;
    let service = world.serve(Options::default()).await;
    assert_eq!(service.get("/api/vm/a").await.json["picture"], taken);
    let last = screenshot(&service, "a", "?format=jpeg").await;
    assert!(last.image().pixels().all(|pixel| close(pixel.0)));
    assert_eq!(world.control().starts(), 1);

    let files = || std::fs::read_dir(world.data.path().join("pictures")).unwrap();
    assert_eq!(files().count(), 1);
    assert_eq!(service.delete("/api/vm/a?forget=true").await.status, 204);
    refused(&service, "a", "", 404, "unknown_desktop").await;
    assert_eq!(files().count(), 0);
}

#[tokio::test]
async fn a_picture_is_kept_when_the_last_viewer_leaves() {
    let (world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    look(&service, "a", &url).await;
    let seen = service
        .wait_until("a", |desktop| desktop["picture"].is_string())
        .await;
    assert_eq!(seen["status"], "ready");
    let clients = world.control().clients();
    let last = screenshot(&service, "a", "?last=true").await;
    assert_eq!(last.header("x-cosage-picture"), "last");
    assert_eq!(last.image().dimensions(), size());
    assert_eq!(world.control().clients(), clients, "it was left alone");
}

#[tokio::test]
async fn a_picture_is_kept_while_somebody_looks() {
    let (world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    let mut viewer = service.open(&url).await.unwrap();
    // Through its handshake, for which it has no longer than the desktop until its picture is taken.
    for said in [&b"RFB 003.008\n"[..], &[1], &[1]] {
        viewer.next().await.unwrap().unwrap();
        viewer.send(Message::binary(said)).await.unwrap();
    }
    viewer.next().await.unwrap().unwrap();
    service
        .wait_until("a", |desktop| desktop["viewers"] == 1)
        .await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    let seen = service
        .wait_until("a", |desktop| desktop["picture"].is_string())
        .await;
    assert_eq!(
        (&seen["status"], &seen["viewers"]),
        (&"ready".into(), &1.into())
    );
    let last = screenshot(&service, "a", "?last=true").await;
    assert!(last.image().pixels().all(|pixel| close(pixel.0)));
    assert_eq!(world.control().starts(), 1);
}

#[tokio::test]
async fn whoever_only_takes_pictures_keeps_nothing_alive() {
    let (world, service) = service().await;
    service.ensure("a", "brief").await;
    while service.get("/api/vm/a").await.json["status"] != "asleep" {
        screenshot(&service, "a", "").await;
    }
    let last = screenshot(&service, "a", "").await;
    assert_eq!(last.header("x-cosage-picture"), "last");
    assert_eq!(world.control().starts(), 1);
}

#[tokio::test]
async fn a_desktop_that_is_forgotten_at_once_leaves_no_picture() {
    let (world, service) = service().await;
    let url = service.ensure("a", "desk").await;
    look(&service, "a", &url).await;
    // The picture of the viewer's leaving may be under way.
    assert_eq!(service.delete("/api/vm/a?forget=true").await.status, 204);
    let files = std::fs::read_dir(world.data.path().join("pictures")).unwrap();
    assert_eq!(files.count(), 0);
}

#[tokio::test]
async fn pictures_of_desktops_that_nobody_knows_go_away() {
    let world = World::new();
    let directory = world.data.path().join("pictures");
    std::fs::create_dir(&directory).unwrap();
    for name in ["nobody.jpg", "somebody.jpg"] {
        std::fs::write(directory.join(name), b"old").unwrap();
    }
    let service = world.serve(Options::default()).await;
    // A new desktop of that name has none, whichever is first.
    service.ensure("nobody", "desk").await;
    refused(&service, "nobody", "?last=true", 404, "no_picture").await;
    let gone = async {
        while std::fs::read_dir(&directory).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_vnc_server_that_gives_no_picture_is_an_error_and_holds_up_no_stop() {
    let (world, service) = service().await;
    for (uid, painting) in [("garbled", Painting::Garbled), ("silent", Painting::Silent)] {
        world.control().set_painting(painting);
        service.ensure(uid, "desk").await;
    }
    refused(&service, "garbled", "", 502, "picture_failed").await;

    // Nothing but the bounds lets time pass from here on.
    tokio::time::pause();
    refused(&service, "silent", "", 504, "picture_timeout").await;
    let begun = tokio::time::Instant::now();
    for uid in ["garbled", "silent"] {
        let path = format!("/api/vm/{uid}");
        assert_eq!(service.delete(&path).await.status, 204);
        refused(&service, uid, "", 404, "no_picture").await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "on the paused clock"
    );
}

#[tokio::test]
async fn asking_while_the_last_picture_is_taken_gives_a_living_desktop() {
    let (world, service) = service().await;
    world.control().set_painting(Painting::Silent);
    let url = service.ensure("a", "desk").await;
    let (stopped, asked) = tokio::join!(service.delete("/api/vm/a"), async {
        service
            .wait_until("a", |desktop| desktop["status"] == "stopping")
            .await;
        service.post("a", "{}").await
    });
    assert_eq!(stopped.status, 204);
    assert_eq!(asked.json["url"], url.as_str(), "{asked:?}");
    assert_eq!(world.control().starts(), 2);
    service.open(&url).await.unwrap();
}

#[tokio::test]
async fn bad_requests_say_what_would_be_right() {
    let (_world, service) = service().await;
    service.ensure("a", "desk").await;
    for query in [
        "?width=15",
        "?width=16385",
        "?width=-1",
        "?width=wide",
        "?format=gif",
        "?last=perhaps",
    ] {
        refused(&service, "a", query, 422, "invalid_query").await;
    }
    refused(&service, "b", "", 404, "unknown_desktop").await;
    refused(&service, "-b", "", 422, "invalid_uid").await;
    let description = service.get("/openapi.json").await.json;
    let path = &description["paths"]["/api/vm/{uid}/screenshot"]["get"];
    assert!(
        path["responses"]["200"]["content"]["image/png"].is_object(),
        "{path}"
    );
}
