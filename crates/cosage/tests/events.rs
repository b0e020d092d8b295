//! What happens to desktops, as a client of the events hears it, on the simulated engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/sse.rs"]
mod sse;
mod support;

use std::time::Duration;

use cosage::engine::simulated::USAGE;
use cosage::engine::{EngineError, StartStep};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sse::{Event, Listening};
use support::{Options, Running, World};

async fn listen(service: &Running, query: &str, last: Option<&str>) -> Listening {
    let mut request = service.request(Method::GET, &format!("/api/events{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    Listening::start(request).await
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

#[tokio::test]
async fn the_life_of_a_desktop_is_told() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    world.control().set_start_steps([
        StartStep::Pulling { percent: None },
        StartStep::Pulling { percent: Some(43) },
    ]);
    let mut events = listen(&service, "", None).await;
    let hello = events.next().await;
    assert_eq!(hello.name, "hello");
    assert_eq!(hello.data["version"], env!("CARGO_PKG_VERSION"));
    let boot = hello.data["boot"].as_str().unwrap().to_owned();
    assert_eq!(hello.id, format!("{boot}-0"));
    assert_eq!(events.next().await.name, "reset");

    let url = service.ensure("a", "desk").await;
    let viewer = service.open(&url).await.unwrap();
    let mut heard = events.until("viewer_joined").await;
    drop(viewer);
    heard.extend(events.until("idle").await);
    service.delete("/api/vm/a").await;
    heard.extend(events.until("gone").await);
    service.delete("/api/vm/a?forget=true").await;
    heard.extend(events.until("gone").await);
    for (number, event) in (1..).zip(&heard) {
        assert_eq!(event.id, format!("{boot}-{number}"));
        assert_eq!(event.data["type"], event.name);
        assert_eq!(event.data["uid"], "a");
        assert!(event.data["at"].is_string());
    }
    // Pictures come when they are taken: that of the viewer's leaving may have been overtaken by the last one.
    let (pictures, heard): (Vec<_>, Vec<_>) =
        heard.into_iter().partition(|event| event.name == "picture");
    assert!((1..=2).contains(&pictures.len()), "{pictures:?}");
    for picture in &pictures {
        assert!(picture.data["desktop"]["picture"].is_string());
    }

    assert_eq!(
        names(&heard),
        [
            "created",
            "progress",
            "progress",
            "progress",
            "progress",
            "progress",
            "ready",
            "viewer_joined",
            "viewer_left",
            "idle",
            "stopping",
            "gone",
            "stopping",
            "gone",
        ]
    );
    let progress: Vec<_> = heard[1..6]
        .iter()
        .map(|event| event.data["desktop"]["progress"].clone())
        .collect();
    assert_eq!(
        json!(progress),
        json!([
            {"step": "queued"},
            {"step": "pulling"},
            {"step": "pulling", "percent": 43},
            {"step": "starting"},
            {"step": "waiting"},
        ])
    );
    let ready = &heard[6].data["desktop"];
    assert_eq!(
        (&ready["status"], &ready["url"]),
        (&json!("ready"), &json!(url))
    );
    assert_eq!(heard[7].data["desktop"]["viewers"], 1);
    assert_eq!(heard[9].data["desktop"]["viewers"], 0);
    assert_eq!(heard[11].data["desktop"]["status"], "asleep");
    assert!(heard[11].data.get("forgotten").is_none());
    assert_eq!(heard[13].data["forgotten"], true);
    assert!(heard[13].data.get("desktop").is_none());
}

#[tokio::test]
async fn a_takeover_is_told_when_it_begins_changes_and_ends() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    service.ensure("a", "desk").await;
    let mut events = listen(&service, "?uid=a", None).await;
    events.until("reset").await;
    // What changes nothing is no event.
    for (body, takeover) in [
        (json!({"role": "control"}), None),
        (json!({"role": "view"}), Some(json!({}))),
        (json!({"role": "view"}), None),
        (
            json!({"role": "view", "except": "page"}),
            Some(json!({"except": "page"})),
        ),
        (json!({"role": "control"}), Some(Value::Null)),
    ] {
        let (path, body) = ("/api/vm/a/viewers", body.to_string());
        let reply = service.call(Method::PATCH, path, Some(&body)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        if let Some(takeover) = takeover {
            let event = events.next().await;
            assert_eq!(event.name, "takeover");
            assert_eq!(event.data["desktop"]["takeover"], takeover);
        }
    }
}

#[tokio::test]
async fn a_first_start_that_fails_is_told_with_its_reason() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let full = EngineError::OutOfDisk("no space left on device".to_owned());
    world.control().set_start_error(Some(full));
    let mut events = listen(&service, "", None).await;
    let reply = service.post("a", r#"{"vm": "desk"}"#).await;
    assert_eq!(reply.status, 503);
    let heard = events.until("gone").await;
    assert_eq!(
        names(&heard[2..]),
        ["created", "progress", "failed", "gone"]
    );
    assert_eq!(heard[4].data["desktop"]["status"], "failed");
    assert_eq!(heard[4].data["desktop"]["failure"], reply.json["details"]);
    assert_eq!(heard[5].data["forgotten"], true);
}

#[tokio::test]
async fn viewers_that_come_at_once_are_told_one_by_one() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let mut events = listen(&service, "", None).await;
    let url = service.ensure("a", "desk").await;
    service.delete("/api/vm/a").await;
    events.until("gone").await;
    // They are held while it starts, and let in all at once.
    world.control().set_banner_delay(Duration::from_millis(300));
    let (reply, viewers) = tokio::join!(service.post("a", "{}"), async {
        service
            .wait_until("a", |desktop| desktop["progress"]["step"] == "waiting")
            .await;
        join_all((0..5).map(|_| service.open(&url))).await
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    let heard = events.until("viewer_joined").await;
    assert_eq!(names(&heard[heard.len() - 2..]), ["ready", "viewer_joined"]);
    for _ in 1..5 {
        assert_eq!(events.next().await.name, "viewer_joined");
    }
    drop(viewers);
    for _ in 0..5 {
        assert_eq!(events.next().await.name, "viewer_left");
    }
    assert_eq!(events.next().await.name, "idle");
}

#[tokio::test]
async fn who_comes_back_hears_what_it_missed_and_nothing_twice() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let mut events = listen(&service, "", None).await;
    service.ensure("a", "desk").await;
    let last = events.until("ready").await.pop().unwrap();
    drop(events);

    service.ensure("b", "desk").await;
    service.delete("/api/vm/a").await;
    let mut events = listen(&service, "", Some(&last.id)).await;
    let hello = events.next().await;
    assert_eq!((hello.name.as_str(), &hello.id), ("hello", &last.id));
    let heard = events.until("gone").await;
    assert_eq!(
        names(&heard),
        [
            "created", "progress", "progress", "progress", "ready", "stopping", "picture", "gone"
        ]
    );

    // Somebody who wants to hear of one desktop only.
    let mut events = listen(&service, "?uid=a&uid=c", Some(&last.id)).await;
    assert_eq!(
        names(&events.until("gone").await),
        ["hello", "stopping", "picture", "gone"]
    );
    service.ensure("b", "desk").await;
    service.ensure("c", "desk").await;
    assert_eq!(events.next().await.data["uid"], "c");
}

#[tokio::test]
async fn what_is_not_remembered_has_to_be_read_again() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let mut events = listen(&service, "", None).await;
    let first = events.next().await;
    service.ensure("a", "desk").await;
    // Each time the wait for the first viewer starts again, which is an event.
    for _ in 0..100 {
        join_all((0..41).map(|_| service.post("a", "{}"))).await;
    }
    for last in [first.id.as_str(), "nonsense", "nonsense-1", "-", ""] {
        let mut events = listen(&service, "", Some(last)).await;
        let heard = events.until("reset").await;
        assert_eq!(names(&heard), ["hello", "reset"]);
        assert_eq!(heard[0].id, heard[1].id);
        // From there on it can go on.
        let mut events = listen(&service, "", Some(&heard[1].id)).await;
        events.next().await;
        service.post("a", "{}").await;
        assert_eq!(events.next().await.name, "idle");
    }

    let before = events.next().await;
    service.shut_down().await;
    let service = world.serve(Options::default()).await;
    let mut events = listen(&service, "", Some(&before.id)).await;
    let heard = events.until("reset").await;
    assert_eq!(names(&heard), ["hello", "reset"]);
    assert_ne!(heard[0].data["boot"], first.data["boot"]);
}

#[tokio::test]
async fn a_hundred_listeners_hear_the_same() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let listening = join_all((0..100).map(|_| listen(&service, "", None))).await;
    let starts = join_all((0..10).map(|_| service.post("allocate", r#"{"vm": "desk"}"#)));
    let listened = join_all(listening.into_iter().map(async |mut events| {
        let mut heard = Vec::new();
        for _ in 0..2 + 10 * 5 {
            heard.push(events.next().await);
        }
        heard
    }));
    let (replies, heard) = tokio::join!(starts, listened);
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert!(heard.iter().all(|one| *one == heard[0]));
    let ready = heard[0].iter().filter(|event| event.name == "ready");
    assert_eq!(ready.count(), 10);
}

#[tokio::test]
async fn the_end_of_the_service_is_the_end_of_the_stream() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let mut events = listen(&service, "", None).await;
    events.until("reset").await;
    let (end, ()) = tokio::join!(events.block(), service.shut_down());
    assert_eq!(end, None);
}

#[tokio::test]
async fn a_silent_connection_is_kept_alive() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let mut events = listen(&service, "", None).await;
    events.until("reset").await;
    tokio::time::pause();
    let comment = events.block().await.unwrap();
    assert!(comment.starts_with(':'), "{comment}");
}

#[tokio::test]
async fn what_desktops_use_is_measured_once_and_only_while_somebody_listens() {
    let world = World::new();
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = world
        .serve(Options {
            remote_networks: vec!["127.0.0.1/32".to_owned()],
            ..Options::default()
        })
        .await;
    let control = world.control();
    let url = service.ensure("a", "desk").await;
    service.ensure("b", "desk").await;
    let port = elsewhere.local_addr().unwrap().port();
    let target = json!({"TARGET_IP": "127.0.0.1", "TARGET_PORT": port});
    let remote = json!({"vm": "elsewhere", "env": target}).to_string();
    assert_eq!(service.post("c", &remote).await.status, 200);
    let _silent = listen(&service, "?usage=false", None).await;
    assert_eq!(control.measurements(), 0);

    for _ in 0..2 {
        let listening = join_all((0..20).map(|_| listen(&service, "?usage=true", None))).await;
        let one = listen(&service, "?usage=true&uid=b", None).await;
        let used = json!({
            "cpu": USAGE.cpu,
            "memory": USAGE.memory,
            "memory_limit": USAGE.memory_limit,
            "received": USAGE.received,
            "sent": USAGE.sent,
        });
        let heard = join_all(listening.into_iter().chain([one]).map(async |mut events| {
            let usage = events.until("usage").await.pop().unwrap();
            (usage, events)
        }))
        .await;
        assert_eq!(control.measurements(), 2);
        let ((one, _), others) = heard.split_last().unwrap();
        assert_eq!(one.data["desktops"], json!({"b": used}));
        for (usage, _) in others {
            assert_eq!(
                (usage.id.as_str(), &usage.data["type"]),
                ("", &json!("usage"))
            );
            assert!(usage.data["at"].is_string());
            assert_eq!(usage.data["desktops"], json!({"a": used, "b": used}));
        }
        drop(heard);
        while control.measurements() > 0 {
            tokio::task::yield_now().await;
        }
    }

    // Events come in between, and what does not run any more is not measured.
    let mut events = listen(&service, "?usage=true", None).await;
    let viewer = service.open(&url).await.unwrap();
    events.until("viewer_joined").await;
    events.until("usage").await;
    service.delete("/api/vm/a").await;
    drop(viewer);
    events.until("gone").await;
    while events.until("usage").await.pop().unwrap().data["desktops"]
        .get("a")
        .is_some()
    {}
    assert_eq!(control.measurements(), 1);
}

#[tokio::test]
async fn a_query_that_is_wrong_is_refused() {
    let world = World::new();
    let service = world.serve(Options::default()).await;
    let reply = service.get("/api/events?uid=a&uid=-x").await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert_eq!(reply.json["code"], "invalid_uid");
    let reply = service.get("/api/events?usage=maybe").await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert_eq!(reply.json["code"], "invalid_query");
}
