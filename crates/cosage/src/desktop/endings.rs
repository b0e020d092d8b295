//! The ends of instances: the engine removes the instance, and the store ends its run.
//!
//! An instance that the engine could not remove now has an ended run, so that the next comparison with the engine ends
//! it, in this life of the process or a later one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::record::{EndCause, RunEnd};
use crate::engine::{Engine, EngineError, InstanceId};
use crate::store::Store;

/// Ends instances.
pub(super) struct Endings {
    engine: Arc<dyn Engine>,
    store: Arc<dyn Store>,
    /// Those that must not be adopted, although the store may not say so yet.
    condemned: Mutex<HashSet<InstanceId>>,
    /// Those that are being ended as orphans right now.
    ending: Mutex<HashSet<InstanceId>>,
}

impl Endings {
    pub(super) fn new(engine: Arc<dyn Engine>, store: Arc<dyn Store>) -> Self {
        Self {
            engine,
            store,
            condemned: Mutex::default(),
            ending: Mutex::default(),
        }
    }

    /// Lets an instance be none that could be adopted, from now on.
    pub(super) fn condemn(&self, id: &InstanceId) {
        lock(&self.condemned).insert(id.clone());
    }

    pub(super) fn is_condemned(&self, id: &InstanceId) -> bool {
        lock(&self.condemned).contains(id)
    }

    /// Lets go of the condemned ones that the engine does not have any more.
    pub(super) fn retain(&self, is_there: impl Fn(&InstanceId) -> bool) {
        lock(&self.condemned).retain(|id| is_there(id));
    }

    /// Ends an instance within its grace, and then its run.
    ///
    /// # Errors
    /// The engine's; the run is live then.
    pub(super) async fn end(
        &self,
        id: &InstanceId,
        grace: Duration,
        why: EndCause,
    ) -> Result<(), EngineError> {
        self.engine.stop(id, grace).await?;
        self.end_run(id, why).await;
        Ok(())
    }

    /// Ends a run whose instance is gone, or has to go. Where the store does not take it, a comparison with the engine
    /// finds out again.
    pub(super) async fn end_run(&self, id: &InstanceId, why: EndCause) {
        let end = RunEnd {
            at: Timestamp::now(),
            why,
        };
        if let Err(error) = self.store.end_run(id, &end).await {
            tracing::error!(instance = %id, %error, "the end of a run could not be written");
        }
    }

    /// Ends an instance that belongs to no run any more. Where that is not possible now, it is ended later.
    pub(super) async fn abandon(&self, id: &InstanceId, grace: Duration, why: EndCause) {
        self.condemn(id);
        self.end_run(id, why).await;
        if let Err(error) = self.engine.stop(id, grace).await {
            tracing::warn!(instance = %id, %error, "an instance is left, and removed when the engine allows it");
        }
    }

    /// Whether this orphan may be ended now: comparisons overlap, and an instance that is asked to end twice may take that as a
    /// wish to end at once. [`Self::was_ended`] follows.
    pub(super) fn begin_ending(&self, id: &InstanceId) -> bool {
        lock(&self.ending).insert(id.clone())
    }

    pub(super) fn was_ended(&self, id: &InstanceId) {
        lock(&self.ending).remove(id);
    }
}

// Every change of a set is one step, so it is sound also after a panic elsewhere.
fn lock(set: &Mutex<HashSet<InstanceId>>) -> MutexGuard<'_, HashSet<InstanceId>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
