//! What desktops report, and what a SAGE3 hears of it, whatever state it is in.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

mod support;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::engine::Power;
use support::{Options, Reply, Running, World, port_range};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stand-in for SAGE3's API that records what it is sent.
#[derive(Clone)]
struct Sage3 {
    answer: Arc<Mutex<StatusCode>>,
    heard: watch::Sender<Vec<(StatusCode, String, Value)>>,
}

impl Sage3 {
    fn new() -> Self {
        Self {
            answer: Arc::new(Mutex::new(StatusCode::OK)),
            heard: watch::Sender::default(),
        }
    }

    async fn serve(&self, listener: TcpListener) {
        let router = Router::new()
            .route("/api/apps/{uid}", put(record))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn answer_with(&self, status: StatusCode) {
        *self.answer.lock().unwrap() = status;
    }

    async fn wait_until(&self, is_so: impl FnMut(&Vec<(StatusCode, String, Value)>) -> bool) {
        let mut heard = self.heard.subscribe();
        timeout(PATIENCE, heard.wait_for(is_so))
            .await
            .unwrap()
            .unwrap();
    }

    /// What it took, in order.
    fn took(&self) -> Vec<(String, Value)> {
        let heard = self.heard.borrow();
        let taken = heard.iter().filter(|(status, _, _)| status.is_success());
        taken
            .map(|(_, uid, report)| (uid.clone(), report.clone()))
            .collect()
    }
}

async fn record(
    State(sage3): State<Sage3>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let status = match headers.get("authorization") {
        Some(token) if token == "Bearer a-token" => *sage3.answer.lock().unwrap(),
        _ => StatusCode::UNAUTHORIZED,
    };
    let report = serde_json::from_str(&body).unwrap();
    sage3
        .heard
        .send_modify(|heard| heard.push((status, uid, report)));
    status
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn service(world: &World, sage3: SocketAddr) -> Running {
    service_on(world, sage3, port_range(50)).await
}

async fn service_on(world: &World, sage3: SocketAddr, ports: Range<u16>) -> Running {
    let options = Options {
        sage3: Some(sage3),
        ports,
        ..Options::default()
    };
    world.serve(options).await
}

/// Path and query of the address that the only instance got.
fn callback_path(world: &World) -> String {
    let control = world.control();
    let environment = control.environment(&control.running()[0]).unwrap();
    let url: reqwest::Url = environment.0["CALLBACK_URL"].parse().unwrap();
    assert_eq!(url.host_str(), Some("host.docker.internal"));
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

async fn report(service: &Running, path: &str, report: &Value) -> Reply {
    let body = report.to_string();
    service.call(Method::POST, path, Some(&body)).await
}

#[tokio::test]
async fn only_the_desktops_own_container_reports_for_it() {
    let (world, (listener, address)) = (World::new(), listener().await);
    let sage3 = Sage3::new();
    sage3.serve(listener).await;
    // So that adoption takes its time.
    world.control().set_banner_delay(Duration::from_millis(300));
    let ports = port_range(50);
    let service = service_on(&world, address, ports.clone()).await;
    service.ensure("a", "teller").await;
    let path = callback_path(&world);
    assert!(path.starts_with("/api/vm/cb/a?secret="), "{path}");
    let urls = json!({"state.urls": ["https://example.org"]});

    for (path, status, code) in [
        ("/api/vm/cb/b?secret=x", 404, "unknown_desktop"),
        ("/api/vm/cb/a", 403, "wrong_secret"),
        ("/api/vm/cb/a?secret=", 403, "wrong_secret"),
        ("/api/vm/cb/a?secret=x", 403, "wrong_secret"),
    ] {
        let reply = report(&service, path, &urls).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.json["code"], code, "{path}");
        assert!(reply.json.get("url").is_none());
    }
    let large = json!({"state.lastImage": "x".repeat(4 << 20)});
    assert_eq!(report(&service, &path, &large).await.status, 413);
    let reply = report(&service, &path, &urls).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["status"]),
        (202, &json!("queued"))
    );
    sage3.wait_until(|heard| !heard.is_empty()).await;
    assert_eq!(sage3.took(), [("a".to_owned(), urls.clone())]);

    // The secret outlives the service, and not the instance.
    service.crash().await;
    let service = service_on(&world, address, ports).await;
    assert_eq!(report(&service, &path, &urls).await.status, 202);
    service.delete("/api/vm/a").await;
    service
        .wait_until("a", |desktop| desktop["status"] == "asleep")
        .await;
    assert_eq!(report(&service, &path, &urls).await.status, 403);
}

#[tokio::test]
async fn who_reports_before_its_secret_can_be_known_is_to_do_so_again() {
    let (world, (listener, address)) = (World::new(), listener().await);
    let sage3 = Sage3::new();
    sage3.serve(listener).await;
    let ports = port_range(50);
    let service = service_on(&world, address, ports.clone()).await;
    let note = json!({"state.note": 1});
    let assert_too_early = |reply: Reply| {
        assert_eq!(reply.status, 503);
        assert_eq!(reply.json["code"], "not_known_yet");
        assert!(reply.headers.contains_key("retry-after"));
    };

    // The application is faster than the VNC server.
    world.control().set_banner_delay(Duration::from_millis(700));
    let starts = service.ensure("a", "teller");
    let reports = async {
        service
            .wait_until("a", |desktop| desktop["progress"]["step"] == "waiting")
            .await;
        let path = callback_path(&world);
        assert_too_early(report(&service, &path, &note).await);
        path
    };
    let (_, path) = tokio::join!(starts, reports);
    assert_eq!(report(&service, &path, &note).await.status, 202);

    // The service is faster than the engine.
    service.crash().await;
    world.control().set_power(Power::Down);
    let service = service_on(&world, address, ports).await;
    assert_too_early(report(&service, &path, &note).await);
    world.control().set_power(Power::Up);
    service
        .wait_until("a", |desktop| desktop["status"] == "ready")
        .await;
    assert_eq!(report(&service, &path, &note).await.status, 202);
}

#[tokio::test]
async fn old_images_report_without_a_secret_where_the_operator_allows_it() {
    let (world, (listener, address)) = (World::new(), listener().await);
    let sage3 = Sage3::new();
    sage3.serve(listener).await;
    let service = service(&world, address).await;
    service.ensure("a", "old-teller").await;
    let urls = json!({"state.urls": []});
    assert_eq!(report(&service, "/api/vm/cb/a", &urls).await.status, 202);
    sage3.wait_until(|heard| !heard.is_empty()).await;
    assert_eq!(sage3.took(), [("a".to_owned(), urls)]);
}

#[tokio::test]
async fn a_sage3_that_was_away_hears_the_newest_of_everything() {
    let (world, (listener, address)) = (World::new(), listener().await);
    // Nobody listens there now.
    drop(listener);
    let sage3 = Sage3::new();
    let service = service(&world, address).await;
    service.ensure("a", "teller").await;
    let path = callback_path(&world);
    for number in 0..10 {
        let reply = report(&service, &path, &json!({"state.urls": [number]})).await;
        assert_eq!(reply.status, 202);
    }
    report(&service, &path, &json!({"state.title": "old"})).await;
    // It comes back, and is not well at first.
    sage3.answer_with(StatusCode::INTERNAL_SERVER_ERROR);
    sage3.serve(TcpListener::bind(address).await.unwrap()).await;
    sage3.wait_until(|heard| !heard.is_empty()).await;
    report(&service, &path, &json!({"state.title": "new"})).await;
    sage3.answer_with(StatusCode::OK);
    let newest = json!({"state.urls": [9], "state.title": "new"});
    sage3
        .wait_until(|heard| {
            let last = heard.last();
            last.is_some_and(|(status, _, report)| status.is_success() && *report == newest)
        })
        .await;
    let took = sage3.took();
    assert!(took.len() <= 2, "{took:?}");
}

#[tokio::test]
async fn the_last_picture_is_reported_once_for_each_end() {
    let (world, (listener, address)) = (World::new(), listener().await);
    let sage3 = Sage3::new();
    sage3.serve(listener).await;
    let service = service(&world, address).await;
    let images = |took: Vec<(String, Value)>| {
        let images = took
            .iter()
            .filter(|(_, report)| !report["state.lastImage"].is_null());
        images.count()
    };
    let mut picture = Value::Null;
    for end in 0..2 {
        let url = service.ensure("a", "teller").await;
        let viewer = service.open(&url).await.unwrap();
        service
            .wait_until("a", |desktop| desktop["viewers"] == 1)
            .await;
        drop(viewer);
        let desktop = service
            .wait_until("a", |desktop| {
                desktop["viewers"] == 0 && desktop["picture"] != picture
            })
            .await;
        picture = desktop["picture"].clone();
        // What was to be reported of the viewer's leaving would be in front of this, or with it.
        let note = json!({ "state.note": end });
        assert_eq!(
            report(&service, &callback_path(&world), &note).await.status,
            202
        );
        sage3
            .wait_until(|heard| {
                heard
                    .iter()
                    .any(|(_, _, report)| report["state.note"] == end)
            })
            .await;
        assert_eq!(images(sage3.took()), end);

        service.delete("/api/vm/a").await;
        sage3
            .wait_until(|heard| {
                let last = heard.last();
                last.is_some_and(|(_, _, report)| report["state.lastImage"].is_string())
            })
            .await;
    }
    service.shut_down().await;
    assert_eq!(images(sage3.took()), 2);
}

#[tokio::test]
async fn what_waits_is_delivered_before_the_service_ends() {
    let (world, (listener, address)) = (World::new(), listener().await);
    let sage3 = Sage3::new();
    sage3.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    sage3.serve(listener).await;
    let service = service(&world, address).await;
    service.ensure("a", "teller").await;
    let urls = json!({"state.urls": ["https://example.org"]});
    report(&service, &callback_path(&world), &urls).await;
    sage3.wait_until(|heard| heard.len() >= 2).await;
    sage3.answer_with(StatusCode::OK);
    service.shut_down().await;
    assert_eq!(sage3.took(), [("a".to_owned(), urls)]);
}

#[tokio::test]
async fn the_listener_for_callbacks_takes_nothing_else() {
    let (world, (listener, address)) = (World::new(), listener().await);
    let sage3 = Sage3::new();
    sage3.serve(listener).await;
    let service = service(&world, address).await;
    service.ensure("a", "teller").await;
    let path = callback_path(&world);
    let client = Client::new();
    let base = format!("http://{}", service.callback_address);
    for path in ["/api/vm", "/api/vm/a", "/stream/22000/vnc", "/docs/", "/"] {
        let reply = client.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(reply.status(), 404, "{path}");
    }
    let reply = client
        .post(format!("{base}{path}"))
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 202);
}
