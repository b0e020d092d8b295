//! An engine and a store whose every call a test can hold up, before or after it takes effect.

#![allow(dead_code, reason = "each test program uses another part of this")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cosage::desktop::Uid;
use cosage::desktop::access::{Share, Takeover, TokenHash};
use cosage::desktop::record::{
    DesktopRecord, Failure, JournalEntry, NewRun, RunEnd, RunRecord, StoredDesktop,
};
use cosage::engine::home::{HomeAccess, HomeError};
use cosage::engine::{
    Engine, EngineError, EngineEvent, Exit, Found, Homes, Images, Instance, InstanceId, LaunchSpec,
    Logs, OnStep,
};
use cosage::store::{Cursor, Note, Query, Store, StoreError};
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// Decides when calls go on.
#[async_trait]
pub(crate) trait Gate: Send + Sync + 'static {
    /// Before a call takes effect; `uid` is the desktop that it is about, where it is about one. The answer goes to
    /// [`Gate::leave`].
    async fn enter(&self, uid: Option<&Uid>) -> bool;

    /// After it took effect, before its caller hears of it.
    async fn leave(&self, entered: bool);
}

/// An engine behind a gate.
pub(crate) struct GatedEngine {
    pub(crate) inner: Arc<dyn Engine>,
    pub(crate) gate: Arc<dyn Gate>,
}

/// A store behind a gate.
pub(crate) struct GatedStore {
    inner: Arc<dyn Store>,
    gate: Arc<dyn Gate>,
    /// Whose runs there are.
    runs: Mutex<HashMap<InstanceId, Uid>>,
}

impl GatedStore {
    pub(crate) fn new(inner: Arc<dyn Store>, gate: Arc<dyn Gate>) -> Self {
        let runs = Mutex::default();
        Self { inner, gate, runs }
    }
}

async fn through<T>(gate: &dyn Gate, uid: Option<&Uid>, call: impl Future<Output = T>) -> T {
    let entered = gate.enter(uid).await;
    let outcome = call.await;
    gate.leave(entered).await;
    outcome
}

#[async_trait]
impl Engine for GatedEngine {
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        let call = self.inner.start(spec, cancel, on_step);
        through(&*self.gate, Some(&spec.uid), call).await
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        through(&*self.gate, None, self.inner.stop(instance, grace)).await
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        through(&*self.gate, None, self.inner.list()).await
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        through(&*self.gate, None, self.inner.exit(instance)).await
    }

    fn events(&self) -> BoxStream<'static, EngineEvent> {
        self.inner.events()
    }

    fn logs(&self) -> Result<&dyn Logs, EngineError> {
        self.inner.logs()
    }

    fn homes(&self) -> Result<&dyn Homes, EngineError> {
        Ok(self)
    }

    fn images(&self) -> Result<&dyn Images, EngineError> {
        self.inner.images()
    }
}

#[async_trait]
impl Homes for GatedEngine {
    async fn open(&self, uid: &Uid) -> Result<HomeAccess, HomeError> {
        self.inner.homes()?.open(uid).await
    }

    async fn list(&self) -> Result<Vec<Uid>, EngineError> {
        through(&*self.gate, None, async {
            self.inner.homes()?.list().await
        })
        .await
    }

    async fn delete(&self, uid: &Uid) -> Result<(), EngineError> {
        through(&*self.gate, Some(uid), self.inner.homes()?.delete(uid)).await
    }
}

#[async_trait]
impl Store for GatedStore {
    fn owner(&self) -> &str {
        self.inner.owner()
    }

    fn replica(&self) -> &str {
        self.inner.replica()
    }

    async fn desktop(&self, uid: &Uid) -> Result<Option<StoredDesktop>, StoreError> {
        through(&*self.gate, Some(uid), self.inner.desktop(uid)).await
    }

    async fn desktops(&self, query: &Query) -> Result<Vec<StoredDesktop>, StoreError> {
        through(&*self.gate, None, self.inner.desktops(query)).await
    }

    async fn count(&self, most: usize) -> Result<usize, StoreError> {
        through(&*self.gate, None, self.inner.count(most)).await
    }

    async fn begin_run(
        &self,
        new: Option<&DesktopRecord>,
        run: &NewRun,
    ) -> Result<u64, StoreError> {
        let (instance, uid) = (run.instance.clone(), run.uid.clone());
        self.runs.lock().unwrap().insert(instance, uid);
        let call = self.inner.begin_run(new, run);
        through(&*self.gate, Some(&run.uid), call).await
    }

    async fn end_run(&self, instance: &InstanceId, end: &RunEnd) -> Result<(), StoreError> {
        let uid = self.runs.lock().unwrap().get(instance).cloned();
        through(&*self.gate, uid.as_ref(), self.inner.end_run(instance, end)).await
    }

    async fn live_runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        let live = through(&*self.gate, None, self.inner.live_runs()).await?;
        let mut runs = self.runs.lock().unwrap();
        runs.extend(
            live.iter()
                .map(|run| (run.instance.clone(), run.uid.clone())),
        );
        Ok(live)
    }

    async fn set_failure(&self, uid: &Uid, failure: Option<&Failure>) -> Result<(), StoreError> {
        through(&*self.gate, Some(uid), self.inner.set_failure(uid, failure)).await
    }

    async fn note(&self, notes: &[Note]) -> Result<(), StoreError> {
        through(&*self.gate, None, self.inner.note(notes)).await
    }

    async fn delete(&self, uid: &Uid) -> Result<(), StoreError> {
        through(&*self.gate, Some(uid), self.inner.delete(uid)).await
    }

    async fn unused(
        &self,
        app: &str,
        before: Timestamp,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<StoredDesktop>, StoreError> {
        let unused = self.inner.unused(app, before, after, limit);
        through(&*self.gate, None, unused).await
    }

    async fn announce_deletion(&self, uid: &Uid, at: Timestamp) -> Result<(), StoreError> {
        through(
            &*self.gate,
            Some(uid),
            self.inner.announce_deletion(uid, at),
        )
        .await
    }

    async fn is_from_before(&self, instance: &InstanceId) -> Result<bool, StoreError> {
        through(&*self.gate, None, self.inner.is_from_before(instance)).await
    }

    async fn end_upgrade(&self) -> Result<(), StoreError> {
        through(&*self.gate, None, self.inner.end_upgrade()).await
    }

    async fn shares(&self, uid: &Uid) -> Result<Vec<Share>, StoreError> {
        through(&*self.gate, Some(uid), self.inner.shares(uid)).await
    }

    async fn share_by_token(&self, token: &TokenHash) -> Result<Option<Share>, StoreError> {
        through(&*self.gate, None, self.inner.share_by_token(token)).await
    }

    async fn add_share(&self, share: &Share, token: &TokenHash) -> Result<(), StoreError> {
        let call = self.inner.add_share(share, token);
        through(&*self.gate, Some(&share.uid), call).await
    }

    async fn change_share(&self, share: &Share) -> Result<(), StoreError> {
        through(
            &*self.gate,
            Some(&share.uid),
            self.inner.change_share(share),
        )
        .await
    }

    async fn delete_share(&self, uid: &Uid, id: &str) -> Result<bool, StoreError> {
        through(&*self.gate, Some(uid), self.inner.delete_share(uid, id)).await
    }

    async fn delete_expired_shares(&self, now: Timestamp) -> Result<(), StoreError> {
        through(&*self.gate, None, self.inner.delete_expired_shares(now)).await
    }

    async fn set_takeover(&self, uid: &Uid, takeover: Option<&Takeover>) -> Result<(), StoreError> {
        through(
            &*self.gate,
            Some(uid),
            self.inner.set_takeover(uid, takeover),
        )
        .await
    }

    async fn journal(
        &self,
        uid: Option<&Uid>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        through(&*self.gate, uid, self.inner.journal(uid, before, limit)).await
    }

    async fn maintain(&self) -> Result<(), StoreError> {
        through(&*self.gate, None, self.inner.maintain()).await
    }
}
