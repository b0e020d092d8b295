//! The service's process is killed, again and again, on a real Docker Engine: what was
//! acknowledged is kept, what runs is adopted, and what belongs to nobody goes.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/process.rs"]
mod process;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use process::{Container, PATIENCE, Reply, Scene, Service, at_phase, call, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Client, Method};
use tokio::sync::watch;

/// What the random choices come from. The timing of processes is no part of it, so that a seed
/// makes a failure likely again, and not certain.
const SEED: u64 = 0x00C0_5A6E;

const KILLS: usize = 9;

/// How long the service works between two kills, in milliseconds.
const WORK: std::ops::Range<u64> = 200..2_500;

/// How many desktops are asked for, stopped and forgotten all the time.
const WORKERS: u64 = 5;

/// How long it may take until all is in order again: reconciliation looks every 30 s.
const ORDER: Duration = Duration::from_secs(75);

#[tokio::test]
async fn killed_at_random_moments_it_loses_and_orphans_nothing() {
    let Some(scene) = Scene::new() else { return };
    let mut service = scene.serve().await;
    // Nobody touches this one: it has to come through as it is.
    let bystander_url = service.ensure("bystander", "tiny").await;
    let bystander = scene.containers();
    let owner = bystander[0].owner.clone();

    let (stage, seen) = watch::channel(Stage::Up);
    let workers = (0..WORKERS).map(|number| {
        let worker = Worker::new(number, scene.address, seen.clone());
        tokio::spawn(worker.work())
    });
    let workers: Vec<_> = workers.collect();
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..KILLS {
        let work = Duration::from_millis(random.random_range(WORK));
        at_phase(work).await;
        stage.send(Stage::Down).unwrap();
        service.kill();
        service = scene.serve().await;
        stage.send(Stage::Up).unwrap();
        let known = service.get("/api/vm/bystander").await;
        assert_eq!(known.json["app"], "tiny", "{known:?}");
    }
    stage.send(Stage::Over).unwrap();
    let outcomes: Vec<Outcome> = join_all(workers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let answered: usize = outcomes.iter().map(|outcome| outcome.answered).sum();
    assert!(answered > KILLS, "only {answered} requests were answered");

    let containers = settled(&scene, &service, &owner).await;
    for outcome in &outcomes {
        for uid in &outcome.acknowledged {
            let known = service.get(&format!("/api/vm/{uid}")).await;
            assert_eq!(known.status, 200, "'{uid}' was acknowledged: {known:?}");
        }
    }
    assert_eq!(
        containers
            .iter()
            .find(|container| container.uid == "bystander"),
        bystander.first()
    );
    assert_eq!(
        service.get("/api/vm/ws/bystander").await.json["url"],
        bystander_url.as_str()
    );
    let uids: BTreeSet<&str> = containers.iter().map(|c| c.uid.as_str()).collect();
    let keys: BTreeSet<&str> = containers.iter().map(|c| c.key.as_str()).collect();
    assert_eq!(uids.len(), containers.len(), "{containers:?}");
    assert_eq!(keys.len(), containers.len(), "{containers:?}");
    for container in &containers {
        let url = service.get(&format!("/api/vm/ws/{}", container.uid)).await;
        let url = url.json["url"].as_str().unwrap();
        assert_eq!(url, format!("/stream/{}/vnc", container.key));
        service.see(url).await;
    }
    // The names and ports of all that went are free again.
    let reply = service.post("allocate", r#"{"vm": "tiny"}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// The owner's containers, once they are exactly those of the desktops that are ready.
async fn settled(scene: &Scene, service: &Service, owner: &str) -> Vec<Container> {
    let mut last = String::new();
    let look = async || {
        let containers = scene.containers_by(&format!("label=cosage.owner={owner}"));
        let contained: Vec<&str> = containers.iter().map(|c| c.uid.as_str()).collect();
        let listed = service.get("/api/vm/list").await.json;
        let mut ready = true;
        for uid in listed.as_array().unwrap() {
            let desktop = service
                .get(&format!("/api/vm/{}", uid.as_str().unwrap()))
                .await;
            ready &= desktop.json["status"] == "ready";
        }
        let named = scene.containers();
        let now =
            format!("desktops {listed}, ready: {ready}, containers {containers:?}, {named:?}");
        if now != last {
            eprintln!("{now}");
            last = now;
        }
        let in_order = ready
            && listed == serde_json::json!(contained)
            && containers
                .iter()
                .all(|container| container.state == "running")
            && named == containers;
        in_order.then_some(containers)
    };
    eventually(ORDER, "the containers are those of the desktops", look).await
}

/// Where the test is, as its workers need to know.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The service answers.
    Up,
    /// It is about to be killed, or not ready yet.
    Down,
    /// Enough was killed.
    Over,
}

/// A client that works on a desktop of its own, and on allocated ones.
struct Worker {
    uid: String,
    address: SocketAddr,
    client: Client,
    random: StdRng,
    stage: watch::Receiver<Stage>,
    outcome: Outcome,
}

/// What a worker was told, and must be able to rely on.
#[derive(Default)]
struct Outcome {
    acknowledged: BTreeSet<String>,
    answered: usize,
}

impl Worker {
    fn new(number: u64, address: SocketAddr, stage: watch::Receiver<Stage>) -> Self {
        Self {
            uid: format!("worker-{number}"),
            address,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            random: StdRng::seed_from_u64(SEED + 1 + number),
            stage,
            outcome: Outcome::default(),
        }
    }

    async fn work(mut self) -> Outcome {
        while *self.stage.borrow() != Stage::Over {
            match self.random.random_range(0..10) {
                0..5 => {
                    let uid = self.uid.clone();
                    self.ensure(&uid).await;
                }
                5..7 => self.stop("").await,
                7 => self.stop("?forget=true").await,
                _ => self.allocate_and_stop().await,
            }
        }
        self.outcome
    }

    /// `None` when the service is killed before it answers, once the next one is ready.
    async fn call(&mut self, method: Method, path: &str) -> Option<Reply> {
        let body = (method == Method::POST).then_some(r#"{"vm": "tiny"}"#);
        match call(&self.client, self.address, method, path, body).await {
            Ok(reply) => {
                self.outcome.answered += 1;
                Some(reply)
            }
            Err(_) => {
                let up = self.stage.wait_for(|stage| *stage != Stage::Down);
                up.await.unwrap();
                None
            }
        }
    }

    async fn ensure(&mut self, uid: &str) -> Option<String> {
        let reply = self
            .call(Method::POST, &format!("/api/vm/any/{uid}"))
            .await?;
        assert_eq!(reply.status, 200, "{uid}: {reply:?}");
        let uid = reply.json["uid"].as_str().unwrap().to_owned();
        self.outcome.acknowledged.insert(uid.clone());
        Some(uid)
    }

    async fn stop(&mut self, query: &str) {
        let uid = self.uid.clone();
        if !query.is_empty() {
            // Whether it is forgotten is not known until there is an answer.
            self.outcome.acknowledged.remove(&uid);
        }
        let path = format!("/api/vm/{uid}{query}");
        if let Some(reply) = self.call(Method::DELETE, &path).await {
            assert!(
                [204, 404].contains(&reply.status.as_u16()),
                "{uid}: {reply:?}"
            );
        }
    }

    async fn allocate_and_stop(&mut self) {
        if let Some(uid) = self.ensure("allocate").await {
            self.call(Method::DELETE, &format!("/api/vm/{uid}")).await;
        }
    }
}

#[tokio::test]
async fn an_environment_survives_a_kill_right_after_the_answer() {
    let Some(scene) = Scene::new() else { return };
    let service = scene.serve().await;
    let reply = service
        .post("a", r#"{"vm": "tiny", "env": {"NOTE": "kept as it is"}}"#)
        .await;
    service.kill();
    assert_eq!(reply.status, 200, "{reply:?}");
    // Its container goes too, so that what is stored is all there is.
    let name = scene.container_name("a");
    scene.docker(&["rm", "--force", &name]);

    let service = scene.serve().await;
    let reply = service.post("a", r#"{"env": {"NOTE": "another"}}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let environment = scene.docker(&["inspect", "--format", "{{json .Config.Env}}", &name]);
    let environment: Vec<String> = serde_json::from_str(&environment).unwrap();
    assert!(environment.contains(&"NOTE=kept as it is".to_owned()));
    service.see(reply.json["url"].as_str().unwrap()).await;
}
