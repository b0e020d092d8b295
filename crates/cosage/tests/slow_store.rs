//! A store that answers slowly slows only the desktop that waits for it.

#![expect(
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/manager.rs"]
mod manager;
mod support;
#[path = "support/wait.rs"]
mod wait;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cosage::desktop::Uid;
use cosage::desktop::keys::KeyTable;
use cosage::desktop::lifecycle::StopMode;
use cosage::desktop::manager::Manager;
use cosage::store::Store;
use cosage::store::memory::MemoryStore;
use gate::{Gate, GatedStore};
use serde_json::Map;
use support::engine::TestEngine;
use support::port_range;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(30);

/// Holds the calls about one desktop up.
struct Slow {
    uid: Uid,
    /// How many more calls pass before the next is held.
    passing: watch::Sender<u32>,
    /// Whether one is held.
    holds: watch::Sender<bool>,
}

#[async_trait]
impl Gate for Slow {
    async fn enter(&self, uid: Option<&Uid>) -> bool {
        if uid != Some(&self.uid) {
            return false;
        }
        let mut passing = self.passing.subscribe();
        while *passing.borrow_and_update() == 0 {
            self.holds.send_replace(true);
            passing.changed().await.unwrap();
        }
        self.passing
            .send_modify(|passing| *passing = passing.saturating_sub(1));
        false
    }

    async fn leave(&self, _: bool) {}
}

impl Slow {
    async fn holds(&self) {
        let mut holds = self.holds.subscribe();
        let held = holds.wait_for(|holds| *holds);
        drop(wait::within(LIMIT, "a call is held", held).await.unwrap());
    }

    fn let_go(&self) {
        self.passing.send_replace(u32::MAX);
    }
}

/// A service whose store holds the calls about `slow` up, after the first `passing` ones.
fn service(engine: &TestEngine, store: &Arc<MemoryStore>, passing: u32) -> (Manager, Arc<Slow>) {
    let slow = Arc::new(Slow {
        uid: "slow".parse().unwrap(),
        passing: watch::Sender::new(passing),
        holds: watch::Sender::new(false),
    });
    let gate = Arc::clone(&slow) as Arc<dyn Gate>;
    let store = GatedStore::new(Arc::clone(store) as Arc<dyn Store>, gate);
    let keys = KeyTable::new(port_range(10));
    let manager = manager::manager_of(Arc::new(engine.clone()), Arc::new(store), keys);
    (manager, slow)
}

async fn ensure(manager: &Manager, uid: &str) {
    let uid = Some(uid.parse().unwrap());
    manager
        .ensure(uid, Some("desk"), &Map::new())
        .await
        .unwrap();
}

/// Another desktop is started, looked at, read, stopped and deleted.
async fn another_is_served(manager: &Manager) {
    let served = async {
        let uid: Uid = "quick".parse().unwrap();
        ensure(manager, "quick").await;
        let key = manager.ready_key(&uid).unwrap();
        drop(manager.acquire(key, "vnc", None).await.unwrap());
        manager.shares(&uid).await.unwrap();
        manager.set_takeover(&uid, None).await.unwrap();
        manager.stop(&uid, StopMode::Keep).await.unwrap();
        manager.view(&uid).await.unwrap();
        manager.reconcile().await.unwrap();
        manager.stop(&uid, StopMode::Forget).await.unwrap();
    };
    wait::within(LIMIT, "the other desktop is served", served).await;
}

#[tokio::test]
async fn a_slow_store_slows_only_the_desktop_that_waits_for_it() {
    for passing in 0..2 {
        let (engine, store) = (TestEngine::new(), Arc::default());
        let (manager, slow) = service(&engine, &store, passing);
        manager.reconcile().await.unwrap();
        let starting = manager.clone();
        let start = tokio::spawn(async move { ensure(&starting, "slow").await });
        slow.holds().await;
        another_is_served(&manager).await;
        assert!(!start.is_finished());
        slow.let_go();
        wait::within(LIMIT, "the slow one starts", start)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_slow_end_of_a_lost_run_holds_up_no_start() {
    let (engine, store) = (TestEngine::new(), Arc::default());
    let (manager, _) = service(&engine, &store, u32::MAX);
    manager.reconcile().await.unwrap();
    ensure(&manager, "slow").await;
    drop(manager.end_with());
    engine.remove(&engine.instance("slow").unwrap());
    // The next life of the service finds the run without its instance.
    let (manager, slow) = service(&engine, &store, 0);
    let reconciled = manager.reconcile();
    wait::within(LIMIT, "reconciled", reconciled).await.unwrap();
    slow.holds().await;
    another_is_served(&manager).await;
    assert_eq!(store.live_runs().await.unwrap().len(), 1);
    slow.let_go();
    let ended = async || store.live_runs().await.unwrap().is_empty().then_some(());
    wait::eventually(LIMIT, "the run has ended", ended).await;
    ensure(&manager, "slow").await;
}
