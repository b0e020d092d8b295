//! Instances whose run has ended, as its desktop and whoever asked were told, and which the engine has not removed yet:
//! it was away, or it failed. They are never adopted. The store keeps them, so that a later service removes them, too.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Uid;
use super::manager::Shared;
use crate::engine::{EngineError, InstanceId};
use crate::store::StoreError;

/// All orphans.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    all: Mutex<HashSet<InstanceId>>,
    /// Those that are being ended right now.
    ending: Mutex<HashSet<InstanceId>>,
}

impl Orphans {
    pub(super) fn add(&self, id: &InstanceId) {
        self.lock().insert(id.clone());
    }

    pub(super) fn contains(&self, id: &InstanceId) -> bool {
        self.lock().contains(id)
    }

    pub(super) fn all(&self) -> HashSet<InstanceId> {
        self.lock().clone()
    }

    /// Whether this one may be ended now: comparisons overlap, and an instance that is asked to end twice may take that as a
    /// wish to end at once. [`Self::was_ended`] follows.
    pub(super) fn begin_ending(&self, id: &InstanceId) -> bool {
        lock(&self.ending).insert(id.clone())
    }

    pub(super) fn was_ended(&self, id: &InstanceId) {
        lock(&self.ending).remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<InstanceId>> {
        lock(&self.all)
    }
}

// Every change of a set is one step, so it is sound also after a panic elsewhere.
fn lock(set: &Mutex<HashSet<InstanceId>>) -> MutexGuard<'_, HashSet<InstanceId>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Takes up what was kept.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn load_orphans(&self) -> Result<(), StoreError> {
        let kept = self.store.load_orphans().await?;
        self.orphans.lock().extend(kept);
        Ok(())
    }

    /// Lets an instance be an orphan, before anybody is told that its run has ended.
    pub(super) async fn add_orphan(&self, id: &InstanceId) {
        self.orphans.add(id);
        if let Err(error) = self.store.put_orphan(id).await {
            tracing::error!(instance = %id, %error, "an instance that has to be removed could not be written down");
        }
    }

    /// Ends an instance with its desktop's grace. One that was an orphan is none any more.
    ///
    /// # Errors
    /// The engine's.
    pub(super) async fn end(&self, id: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        self.engine.stop(id, grace).await?;
        self.forget_orphan(id).await;
        Ok(())
    }

    /// Ends an instance that belongs to nobody any more. Where that is not possible now, it is an orphan.
    pub(super) async fn abandon(&self, id: &InstanceId, grace: Duration) {
        if let Err(error) = self.end(id, grace).await {
            tracing::warn!(instance = %id, %error, "an instance is left, and removed when the engine allows it");
            self.add_orphan(id).await;
        }
    }

    /// After its removal.
    pub(super) async fn forget_orphan(&self, id: &InstanceId) {
        if !self.orphans.contains(id) {
            return;
        }
        match self.store.delete_orphan(id).await {
            Ok(()) => {
                self.orphans.lock().remove(id);
            }
            // The next comparison with the engine does not find it, and tries again.
            Err(error) => {
                tracing::error!(instance = %id, %error, "a removed instance could not be forgotten");
            }
        }
    }

    /// How long an instance of a desktop may take to end, whether it is known or not.
    pub(super) fn stop_grace(&self, uid: Option<&Uid>) -> Duration {
        let app = uid
            .and_then(|uid| self.get(uid))
            .and_then(|handle| self.app(&handle.view().record.app));
        app.map_or(self.settings.timers.stop_grace, |app| app.timers.stop_grace)
    }
}
