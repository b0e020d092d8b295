//! What happens to desktops, as a receiver of webhooks hears it, whatever state it is in.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;
#[path = "support/sse.rs"]
mod sse;
mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cosage::desktop::events::Kind;
use cosage::webhook::{Settings, Signer};
use hmac::{Hmac, KeyInit, Mac};
use process::Scene;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use sse::Listening;
use support::{Options, Running, World};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two secrets, and what is in the first.
const SECRETS: [&str; 2] = [
    "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
];
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// One request as it came.
#[derive(Clone, Debug)]
struct Delivery {
    status: StatusCode,
    id: String,
    body: Value,
}

impl Delivery {
    fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }
}

/// Somebody who is posted what happens, checks who posts it, and records it.
#[derive(Clone)]
struct Receiver {
    answer: Arc<Mutex<StatusCode>>,
    heard: watch::Sender<Vec<Delivery>>,
    address: SocketAddr,
}

impl Receiver {
    /// One that is known at an address and does not listen there yet.
    async fn away() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            answer: Arc::new(Mutex::new(StatusCode::NO_CONTENT)),
            heard: watch::Sender::default(),
            address: listener.local_addr().unwrap(),
        }
    }

    async fn start() -> Self {
        let receiver = Self::away().await;
        receiver.come_back().await;
        receiver
    }

    async fn come_back(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let router = Router::new()
            .route("/hook", post(record))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn answer_with(&self, status: StatusCode) {
        *self.answer.lock().unwrap() = status;
    }

    async fn wait_until(&self, is_so: impl FnMut(&Vec<Delivery>) -> bool) {
        let mut heard = self.heard.subscribe();
        timeout(PATIENCE, heard.wait_for(is_so))
            .await
            .unwrap()
            .unwrap();
    }

    async fn hears(&self, kind: &str) {
        self.wait_until(|heard| {
            let last = heard.iter().rev().find(|one| one.kind() == kind);
            last.is_some_and(|one| one.status.is_success())
        })
        .await;
    }

    fn heard(&self) -> Vec<Delivery> {
        self.heard.borrow().clone()
    }

    /// The types of what it took, in order.
    fn took(&self) -> Vec<String> {
        let heard = self.heard();
        let taken = heard.iter().filter(|one| one.status.is_success());
        taken.map(|one| one.kind().to_owned()).collect()
    }

    fn settings(receivers: &[&Self], kinds: &[Kind]) -> Settings {
        Settings {
            addresses: receivers
                .iter()
                .map(|receiver| {
                    let text = format!("http://{}/hook?token=t0ken", receiver.address);
                    text.parse().unwrap()
                })
                .collect(),
            kinds: kinds.to_vec(),
            signer: Signer::new(SECRETS).unwrap(),
        }
    }
}

async fn record(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> Response {
    let header = |name| headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(header("content-type"), "application/json");
    let id = header("webhook-id");
    let timestamp = header("webhook-timestamp");
    let age = jiff::Timestamp::now().as_second() - timestamp.parse::<i64>().unwrap();
    // As receivers have to check it, by the specification.
    assert!((-1..300).contains(&age), "{age}");
    let signed = Hmac::<Sha256>::new_from_slice(KEY)
        .unwrap()
        .chain_update(format!("{id}.{timestamp}.{body}"))
        .finalize();
    let signature = format!("v1,{}", STANDARD.encode(signed.into_bytes()));
    let signatures: Vec<_> = header("webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), SECRETS.len());
    let is_genuine = signatures.contains(&signature.as_str());

    let status = if is_genuine {
        *receiver.answer.lock().unwrap()
    } else {
        StatusCode::UNAUTHORIZED
    };
    let delivery = Delivery {
        status,
        id: id.to_owned(),
        body: serde_json::from_str(&body).unwrap(),
    };
    receiver.heard.send_modify(|heard| heard.push(delivery));
    if status.is_redirection() {
        Redirect::temporary("/hook").into_response()
    } else {
        status.into_response()
    }
}

fn quiet() -> Vec<Kind> {
    let all = Kind::ALL.into_iter();
    all.filter(|kind| *kind != Kind::Progress).collect()
}

async fn serve(world: &World, receivers: &[&Receiver], kinds: &[Kind]) -> Running {
    world
        .serve(Options {
            webhooks: Some(Receiver::settings(receivers, kinds)),
            ..Options::default()
        })
        .await
}

/// Path and query of the address that the only instance got for its reports.
fn callback_path(world: &World) -> String {
    let control = world.control();
    let environment = control.environment(&control.running()[0]).unwrap();
    let url: reqwest::Url = environment.0["CALLBACK_URL"].parse().unwrap();
    format!("{}?{}", url.path(), url.query().unwrap())
}

async fn report(service: &Running, path: &str, report: &Value) {
    let body = report.to_string();
    let reply = service.call(Method::POST, path, Some(&body)).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json["status"], "queued");
}

#[tokio::test]
async fn the_life_of_a_desktop_is_posted_as_the_events_tell_it() {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let service = serve(&world, &[&receiver], &quiet()).await;
    let mut events = Listening::start(service.request(Method::GET, "/api/events")).await;
    receiver.hears("reset").await;
    let url = service.ensure("a", "desk").await;
    drop(service.open(&url).await.unwrap());
    receiver.hears("idle").await;
    service.delete("/api/vm/a?forget=true").await;
    receiver.hears("gone").await;

    let mut told = HashMap::new();
    for event in events.until("gone").await {
        told.insert(event.id, event.data);
    }
    let heard = receiver.heard();
    assert_eq!(heard[0].kind(), "reset");
    assert!(heard[0].body["at"].is_string() && heard[0].id.ends_with("-0-reset"));
    for delivery in &heard[1..] {
        assert_eq!(told.get(&delivery.id), Some(&delivery.body), "{delivery:?}");
    }
    let kinds = receiver.took();
    // Pictures come when they are taken.
    let kinds: Vec<_> = kinds.iter().filter(|kind| *kind != "picture").collect();
    assert_eq!(
        kinds,
        [
            "reset",
            "created",
            "ready",
            "viewer_joined",
            "viewer_left",
            "idle",
            "stopping",
            "gone"
        ]
    );
}

#[tokio::test]
async fn only_what_was_chosen_is_posted() {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let service = serve(&world, &[&receiver], &[Kind::Progress, Kind::Gone]).await;
    service.ensure("a", "desk").await;
    service.delete("/api/vm/a").await;
    receiver.hears("gone").await;
    assert_eq!(
        receiver.took(),
        ["reset", "progress", "progress", "progress", "gone"]
    );
}

#[tokio::test]
async fn what_applications_report_is_posted_in_its_place_and_told_to_no_page() {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let service = serve(
        &world,
        &[&receiver],
        &[Kind::Ready, Kind::Report, Kind::Gone],
    )
    .await;
    let mut events = Listening::start(service.request(Method::GET, "/api/events")).await;
    service.ensure("a", "teller").await;
    let path = callback_path(&world);
    let urls = json!({"state.urls": ["https://example.org/"]});
    report(&service, &path, &urls).await;
    receiver.hears("report").await;
    service.delete("/api/vm/a").await;
    receiver.hears("gone").await;
    assert_eq!(receiver.took(), ["reset", "ready", "report", "gone"]);
    let heard = receiver.heard();
    let posted = &heard[2].body;
    assert_eq!((&posted["uid"], &posted["report"]), (&json!("a"), &urls));
    assert!(posted["at"].is_string() && posted.get("desktop").is_none());
    for event in events.until("gone").await {
        assert_ne!(event.name, "report");
    }
}

#[tokio::test]
async fn reports_that_nobody_wants_are_ignored() {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let service = serve(&world, &[&receiver], &[Kind::Ready]).await;
    service.ensure("a", "teller").await;
    let reply = service
        .call(Method::POST, &callback_path(&world), Some("{}"))
        .await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json["status"]),
        (202, &json!("ignored"))
    );
}

#[tokio::test]
async fn a_receiver_that_was_away_hears_everything_in_order_and_holds_up_no_other() {
    let (world, away, other) = (
        World::new(),
        Receiver::away().await,
        Receiver::start().await,
    );
    let kinds = [Kind::Created, Kind::Ready, Kind::Gone];
    let service = serve(&world, &[&away, &other], &kinds).await;
    service.ensure("a", "desk").await;
    service.delete("/api/vm/a").await;
    other.hears("gone").await;
    assert_eq!(other.took(), ["reset", "created", "ready", "gone"]);
    assert!(away.heard().is_empty());

    // It comes back, and is not well at first.
    away.answer_with(StatusCode::INTERNAL_SERVER_ERROR);
    away.come_back().await;
    away.wait_until(|heard| heard.len() >= 2).await;
    let first = away.heard();
    assert!(first.iter().all(|one| one.id == first[0].id), "{first:?}");
    away.answer_with(StatusCode::OK);
    away.hears("gone").await;
    assert_eq!(away.took(), ["reset", "created", "ready", "gone"]);
}

#[tokio::test]
async fn what_is_refused_or_led_elsewhere_is_dropped_and_who_is_gone_is_left_alone() {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let service = serve(&world, &[&receiver], &[Kind::Ready, Kind::Gone]).await;
    receiver.hears("reset").await;
    for (status, uid) in [
        (StatusCode::BAD_REQUEST, "refused"),
        (StatusCode::TEMPORARY_REDIRECT, "led-elsewhere"),
        (StatusCode::GONE, "gone"),
    ] {
        receiver.answer_with(status);
        service.ensure(uid, "desk").await;
        receiver
            .wait_until(|heard| heard.iter().any(|one| one.body["uid"] == uid))
            .await;
    }
    receiver.answer_with(StatusCode::OK);
    service.ensure("later", "desk").await;
    // It ends without waiting for somebody who wants nothing more.
    service.shut_down().await;
    let heard: Vec<_> = receiver
        .heard()
        .iter()
        .map(|one| (one.status.as_u16(), one.body["uid"].clone()))
        .collect();
    assert_eq!(
        heard,
        [
            (204, Value::Null),
            (400, json!("refused")),
            (307, json!("led-elsewhere")),
            (410, json!("gone"))
        ]
    );
}

#[tokio::test]
async fn what_waits_is_delivered_before_the_service_ends() {
    let (world, receiver) = (World::new(), Receiver::start().await);
    receiver.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    let service = serve(&world, &[&receiver], &[Kind::Ready, Kind::Report]).await;
    service.ensure("a", "teller").await;
    receiver.wait_until(|heard| heard.len() >= 2).await;
    let path = callback_path(&world);
    report(&service, &path, &json!({"state.urls": []})).await;
    receiver.answer_with(StatusCode::OK);
    service.shut_down().await;
    assert_eq!(receiver.took(), ["reset", "ready", "report"]);
}

#[tokio::test]
async fn what_was_reported_at_last_is_told_before_the_service_ends() {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let service = serve(&world, &[&receiver], &[Kind::Ready, Kind::Report]).await;
    service.ensure("a", "teller").await;
    receiver.hears("ready").await;
    report(&service, &callback_path(&world), &json!({"state.urls": []})).await;
    service.shut_down().await;
    assert_eq!(receiver.took(), ["reset", "ready", "report"]);
}

#[tokio::test]
async fn a_service_that_is_set_up_for_it_posts_in_each_of_its_lives_and_logs_no_token() {
    let (receiver, away) = (Receiver::start().await, Receiver::away().await);
    let mut scene = Scene::simulated();
    scene.write_catalog("");
    let addresses = format!(
        "http://name:t0ken@{}/hook?t0ken, http://name:t0ken@{}/t0ken?t0ken",
        receiver.address, away.address
    );
    scene.set("COSAGE_WEBHOOKS", &addresses);
    scene.set("COSAGE_WEBHOOK_SECRET", &SECRETS.join(","));
    scene.set("COSAGE_WEBHOOK_EVENTS", "ready, gone");
    scene.set("COSAGE_LOG", "trace");
    // There is one that never takes anything.
    scene.set("COSAGE_SHUTDOWN_GRACE", "1s");
    let service = scene.serve().await;
    service.ensure("a", "tiny").await;
    receiver.hears("ready").await;
    service.terminate();
    assert!(service.ended().await.success());
    let service = scene.serve().await;
    service.ensure("a", "tiny").await;
    receiver
        .wait_until(|heard| heard.iter().filter(|one| one.kind() == "ready").count() == 2)
        .await;
    service.terminate();
    assert!(service.ended().await.success());

    assert_eq!(receiver.took(), ["reset", "ready", "reset", "ready"]);
    let heard = receiver.heard();
    assert_ne!(heard[0].id, heard[2].id);
    let log = std::fs::read_to_string(scene.path("service.log")).unwrap();
    let origin = format!("http://{}", away.address);
    assert!(log.contains(&origin) && log.contains("webhooks=1"), "{log}");
    for secret in ["t0ken", "MDEyMz", "MfKQ9r8"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// The program in an empty directory, with nothing but these variables.
fn cosage(command: &str, variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_cosage"))
        .arg(command)
        .current_dir(directory.path())
        .env_clear()
        .env("HOME", directory.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn what_is_set_wrongly_is_refused_at_once_in_one_line_that_shows_no_secret() {
    let secret = ("COSAGE_WEBHOOK_SECRET", SECRETS[0]);
    let hook = ("COSAGE_WEBHOOKS", "https://hooks.example.org/t0ken");
    for (variables, right) in [
        (
            vec![hook],
            "COSAGE_WEBHOOK_SECRET: COSAGE_WEBHOOKS needs a secret",
        ),
        (
            vec![secret, ("COSAGE_WEBHOOKS", "hooks.example.org/t0ken")],
            "COSAGE_WEBHOOKS: number 1 of the list is not the address of a web server",
        ),
        (
            vec![hook, ("COSAGE_WEBHOOK_SECRET", "whsec_t0kenAA=")],
            "COSAGE_WEBHOOK_SECRET: number 1 of the list ",
        ),
        (
            vec![hook, secret, ("COSAGE_WEBHOOK_EVENTS", "redy")],
            "COSAGE_WEBHOOK_EVENTS: 'redy' (did you mean 'ready'?) is not one of: ",
        ),
    ] {
        for command in ["check", "serve"] {
            let output = cosage(command, &variables);
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{errors}");
            assert!(errors.starts_with(right), "{errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
            assert!(!errors.contains("t0ken"), "{errors}");
        }
    }
    let output = cosage("check", &[hook, secret]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        !shown.contains("t0ken") && !shown.contains("MDEyMz"),
        "{shown}"
    );
}
