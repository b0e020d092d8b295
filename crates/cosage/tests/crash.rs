//! The service is killed at any call to its engine or its store, before or after the call takes effect, and starts again:
//! nothing is orphaned, nothing is lost, and no desktop runs twice. Each life has a runtime of its own, whose end is that of
//! a process; the simulated engine and the store go on.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/manager.rs"]
mod manager;
mod support;
use support::engine::TestEngine;
#[path = "support/wait.rs"]
mod wait;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cosage::desktop::Uid;
use cosage::desktop::keys::KeyTable;
use cosage::desktop::lease::Lease;
use cosage::desktop::lifecycle::StopMode;
use cosage::desktop::manager::Manager;
use cosage::desktop::record::{EndCause, NewRun, RunEnd};
use cosage::engine::{Engine, Exit, Found, Instance, InstanceId};
use cosage::store::Store;
use cosage::store::memory::MemoryStore;
use futures_util::future::join_all;
use gate::{Gate, GatedEngine, GatedStore};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Map;
use tokio::sync::watch;

/// The desktops, and the app of each. The last has an idle timeout.
const DESKTOPS: [(&str, &str); 3] = [("one", "desk"), ("two", "desk"), ("three", "brief")];

/// How many times each world's service is killed.
const KILLS: u64 = 2;

/// Blows at a call, and lets none return from then on.
struct Fuse {
    left: Mutex<u32>,
    /// Whether the call at which it blows takes effect.
    takes_effect: bool,
    blown: watch::Sender<bool>,
}

#[async_trait]
impl Gate for Fuse {
    async fn enter(&self, _: Option<&Uid>) -> bool {
        let is_last = {
            let mut left = self.left.lock().unwrap();
            *left = left.saturating_sub(1);
            *left == 0
        };
        if *self.blown.borrow() || (is_last && !self.takes_effect) {
            self.blow().await;
        }
        is_last
    }

    async fn leave(&self, is_last: bool) {
        if is_last || *self.blown.borrow() {
            self.blow().await;
        }
    }
}

impl Fuse {
    fn new(calls: u32, takes_effect: bool) -> Arc<Self> {
        Arc::new(Self {
            left: Mutex::new(calls),
            takes_effect,
            blown: watch::Sender::new(false),
        })
    }

    async fn blow(&self) {
        self.blown.send_replace(true);
        std::future::pending::<()>().await;
    }
}

/// What callers were told last.
#[derive(Default)]
struct Told {
    /// The desktops that were answered, and not deleted since.
    answered: HashSet<Uid>,
    /// Those that run, and as which instance.
    up: HashMap<Uid, InstanceId>,
    /// Those that were stopped.
    stopped: HashSet<Uid>,
    /// Those that were deleted.
    deleted: HashSet<Uid>,
}

/// What outlives the service.
struct World {
    engine: TestEngine,
    store: Arc<MemoryStore>,
    keys: Range<u16>,
    told: Mutex<Told>,
}

/// One life of the service.
struct Life<'a> {
    world: &'a World,
    manager: Manager,
    keys: Arc<KeyTable>,
    leases: Mutex<Vec<Lease>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ensure,
    View,
    Leave,
    Stop,
    Delete,
    /// Its main process ends.
    Exit,
    /// An operator removes its container.
    Remove,
    /// Time passes, so that it may become idle.
    Pass,
}

const STEPS: [Step; 12] = [
    Step::Ensure,
    Step::Ensure,
    Step::Ensure,
    Step::Ensure,
    Step::View,
    Step::Leave,
    Step::Stop,
    Step::Stop,
    Step::Delete,
    Step::Exit,
    Step::Remove,
    Step::Pass,
];

impl World {
    fn new(keys: Range<u16>) -> Self {
        Self {
            engine: TestEngine::new(),
            store: Arc::new(MemoryStore::new()),
            keys,
            told: Mutex::default(),
        }
    }

    /// Runs a life of the service, until it is killed or has nothing left to do.
    fn live(&self, fuse: &Arc<Fuse>, life: impl AsyncFnOnce(&Life<'_>)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let gate: Arc<dyn Gate> = Arc::clone(fuse) as Arc<dyn Gate>;
            let engine = GatedEngine {
                inner: Arc::new(self.engine.clone()),
                gate: Arc::clone(&gate),
            };
            let store = GatedStore::new(Arc::clone(&self.store) as Arc<dyn Store>, gate);
            let keys = KeyTable::new(self.keys.clone());
            let manager = manager::manager_of(Arc::new(engine), Arc::new(store), Arc::clone(&keys));
            let whole_life = async {
                manager.reconcile().await.unwrap();
                let watched = manager.clone();
                tokio::spawn(async move { watched.watch().await });
                manager.adopted().await;
                let leases = Mutex::default();
                let (world, manager) = (self, manager.clone());
                life(&Life {
                    world,
                    manager,
                    keys,
                    leases,
                })
                .await;
            };
            let mut blown = fuse.blown.subscribe();
            tokio::select! {
                biased;
                _ = blown.wait_for(|blown| *blown) => {}
                () = whole_life => {}
            }
        });
    }

    fn told<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        change(&mut self.told.lock().unwrap())
    }

    /// What of the engine, the store and the service contradicts another, or what callers were told.
    async fn contradictions(&self, life: &Life<'_>) -> Vec<String> {
        let mut found = Vec::new();
        let mut instances: HashMap<InstanceId, Instance> = HashMap::new();
        for it in self.engine.list().await.unwrap() {
            match it {
                Found::Running(instance) => drop(instances.insert(instance.id.clone(), instance)),
                other => found.push(format!("remains: {other:?}")),
            }
        }
        let runs = self.store.live_runs().await.unwrap();
        let desktops: HashSet<_> = runs.iter().map(|run| &run.uid).collect();
        if desktops.len() != runs.len() || instances.len() != runs.len() {
            found.push(format!("{runs:?} are live, and {:?} run", instances.keys()));
        }
        for run in &runs {
            let Some(instance) = instances.get(&run.instance) else {
                found.push(format!("a run without instance: {run:?}"));
                continue;
            };
            if instance.uid != run.uid {
                found.push(format!("{run:?} has another's {instance:?}"));
            }
            let holder = |key| life.keys.holder(key);
            // A run whose port another process of the host holds gets another key, and its row with it.
            if holder(run.key).is_some_and(|uid| uid != run.uid) {
                found.push(format!("another desktop holds the key of {run:?}"));
            }
            let view = life.manager.active(&run.uid);
            let is_seen = view.as_ref().is_some_and(|view| {
                let key = view.ready_key();
                view.claimed.as_ref() == Some(&run.instance)
                    && key == Some(run.key)
                    && holder(run.key).as_ref() == Some(&run.uid)
            });
            if !is_seen {
                found.push(format!("{run:?} is seen as {view:?}"));
            }
        }
        let (answered, up, stopped, deleted) = self.told(|told| {
            let Told {
                answered,
                up,
                stopped,
                deleted,
            } = told;
            (
                answered.clone(),
                up.clone(),
                stopped.clone(),
                deleted.clone(),
            )
        });
        for uid in answered {
            if self.store.desktop(&uid).await.unwrap().is_none() {
                found.push(format!("{uid} is lost"));
            }
        }
        for (uid, id) in up {
            if instances.get(&id).map(|instance| &instance.uid) != Some(&uid) {
                found.push(format!("{uid} does not run as {id} any more"));
            }
        }
        for uid in stopped {
            if desktops.contains(&uid) {
                found.push(format!("{uid} was stopped, and runs"));
            }
        }
        for uid in deleted {
            let has_home = self.engine.has_home(&uid);
            if self.store.desktop(&uid).await.unwrap().is_some() || has_home {
                found.push(format!("{uid} was deleted, and is there"));
            }
        }
        found
    }
}

impl Life<'_> {
    /// Waits until nothing contradicts.
    async fn settle(&self, when: &str) {
        let mut found = Vec::new();
        for _ in 0..500 {
            found = self.world.contradictions(self).await;
            if found.is_empty() {
                return;
            }
            wait::at_phase(Duration::from_millis(200)).await;
        }
        let journal = self.world.store.journal(None, None, 30).await;
        panic!("{when}: {found:#?}, {:?}", journal.unwrap());
    }

    async fn ensure(&self, uid: &Uid, app: &str) {
        let answer = self
            .manager
            .ensure(Some(uid.clone()), Some(app), &Map::new())
            .await;
        if answer.is_err() {
            return;
        }
        let instance = self.world.engine.instance(uid.as_str());
        self.world.told(|told| {
            told.answered.insert(uid.clone());
            // The others may be stopped for want of viewers at any time.
            if let (Some(instance), "desk") = (instance, app) {
                told.up.insert(uid.clone(), instance);
            }
        });
    }

    async fn stop(&self, uid: &Uid, mode: StopMode) {
        let done = self.manager.stop(uid, mode).await.is_ok();
        self.world.told(|told| match mode {
            StopMode::Forget if done => drop(told.deleted.insert(uid.clone())),
            _ if done => drop(told.stopped.insert(uid.clone())),
            _ => {}
        });
    }

    async fn take(&self, step: Step, name: &str, app: &str) {
        let uid: Uid = name.parse().unwrap();
        let control = &self.world.engine;
        self.world.told(|told| {
            if !matches!(step, Step::Leave | Step::Pass) {
                told.up.remove(&uid);
                told.stopped.remove(&uid);
                told.deleted.remove(&uid);
            }
            if let Step::Delete = step {
                told.answered.remove(&uid);
            }
        });
        match step {
            Step::Ensure => self.ensure(&uid, app).await,
            Step::View => {
                if let Some(key) = self.manager.ready_key(&uid)
                    && let Ok(lease) = self.manager.acquire(key, "vnc", None).await
                {
                    self.leases.lock().unwrap().push(lease);
                }
            }
            Step::Leave => self.leases.lock().unwrap().clear(),
            Step::Stop => self.stop(&uid, StopMode::Keep).await,
            Step::Delete => self.stop(&uid, StopMode::Forget).await,
            Step::Exit | Step::Remove => {
                let Some(instance) = control.instance(name) else {
                    return;
                };
                if let Step::Exit = step {
                    control.end(&instance, Exit::default());
                } else {
                    control.remove(&instance);
                }
            }
            Step::Pass => wait::at_phase(Duration::from_secs(3)).await,
        }
    }

    /// Every desktop can be started, stopped and deleted.
    async fn everything_works(&self, when: &str) {
        for (name, app) in DESKTOPS {
            let uid: Uid = name.parse().unwrap();
            self.world.told(|told| *told = Told::default());
            let ensured = self
                .manager
                .ensure(Some(uid.clone()), Some(app), &Map::new())
                .await;
            let ensured = ensured.unwrap_or_else(|error| panic!("{when}: {name}: {error}"));
            assert_eq!(self.keys.holder(ensured.key), Some(uid.clone()), "{when}");
            for mode in [StopMode::Keep, StopMode::Forget] {
                let stopped = self.manager.stop(&uid, mode).await;
                stopped.unwrap_or_else(|error| panic!("{when}: {name}: {error}"));
            }
        }
        self.settle(when).await;
        assert_eq!(self.world.engine.list().await.unwrap(), [], "{when}");
        assert_eq!(self.world.store.count(9).await.unwrap(), 0, "{when}");
    }
}

/// Some lives of a service, each of which is killed at a random call.
fn lives(world: &World, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for kill in 0..KILLS {
        let calls = random.random_range(1..50);
        let takes_effect = random.random();
        let when =
            format!("seed {seed}, kill {kill} at call {calls}, takes effect: {takes_effect}");
        let mut steps = Vec::new();
        for _ in 0..12 {
            let mut desktops = DESKTOPS.to_vec();
            desktops.truncate(random.random_range(1..=3));
            let step = |(name, app)| (*STEPS.choose(&mut random).unwrap(), name, app);
            steps.push(desktops.into_iter().map(step).collect::<Vec<_>>());
        }
        let fuse = Fuse::new(calls, takes_effect);
        world.live(&fuse, async |life| {
            for step in &steps {
                join_all(
                    step.iter()
                        .map(|(step, name, app)| life.take(*step, name, app)),
                )
                .await;
            }
        });
        world.live(&Fuse::new(u32::MAX, true), async |life| {
            life.settle(&format!("{when}, {steps:?}")).await;
            if kill + 1 == KILLS {
                life.everything_works(&when).await;
            }
        });
    }
}

/// 500 points.
#[test]
fn nothing_is_orphaned_lost_or_doubled_wherever_the_service_is_killed() {
    let keys = support::port_range(10);
    for seed in 0..250 {
        lives(&World::new(keys.clone()), seed);
    }
}

/// The desktops run as a version started them that wrote no runs.
#[test]
fn an_upgrade_can_be_killed_anywhere() {
    let keys = support::port_range(10);
    for seed in 1_000..1_050 {
        let world = World::new(keys.clone());
        let before = World {
            engine: world.engine.clone(),
            ..World::new(keys.clone())
        };
        before.live(&Fuse::new(u32::MAX, true), async |life| {
            for (name, app) in DESKTOPS {
                let uid: Uid = name.parse().unwrap();
                life.ensure(&uid, app).await;
                let stored = before.store.desktop(&uid).await.unwrap().unwrap();
                let running = stored.last_run.unwrap();
                world.store.add_from_before(running.instance);
                let run = NewRun {
                    instance: InstanceId::random(),
                    uid,
                    key: running.key,
                    cause: running.cause,
                    begun_at: running.begun_at,
                };
                world
                    .store
                    .begin_run(Some(&stored.record), &run)
                    .await
                    .unwrap();
                let end = RunEnd {
                    at: Timestamp::now(),
                    why: EndCause::Stopped,
                };
                world.store.end_run(&run.instance, &end).await.unwrap();
            }
        });
        world.told(|told| *told = before.told(std::mem::take));
        lives(&world, seed);
    }
}
