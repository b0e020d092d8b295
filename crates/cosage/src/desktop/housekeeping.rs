//! What is done from time to time so that nothing grows for ever: shares that have expired are deleted, the store does its
//! own, and desktops that were not used for their app's `forget_after` are announced and deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::context::Context;
use super::error::DesktopError;
use super::events::Kind;
use super::failure::FailReason;
use super::reconcile::Reconciler;
use super::record::StoredDesktop;
use super::registry::Registry;
use super::retention::{Clock, Due, unused_before};
use super::view::View;
use crate::engine::EngineError;
use crate::store::{Cursor, Sort, StoreError};
use crate::supervise::caught;

/// How often.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// How many unused desktops are read at a time.
const BATCH: usize = 100;

/// How many desktops are deleted at the same time.
const DELETIONS: usize = 4;

/// How long shares are kept that have expired.
const SHARES_KEPT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Does it again and again, for as long as it is polled.
pub(super) async fn keep_house(
    context: &Context,
    registry: &Arc<Registry>,
    reconciler: &Reconciler,
) {
    let keep_store = async {
        let mut clock = hourly();
        loop {
            clock.tick().await;
            // A panic is in the log already.
            let _ = caught(keep_store_once(context)).await;
        }
    };
    let keep_desktops = async {
        // Before that, what seems to be unused may run.
        reconciler.until_compared().await;
        let time = Clock::start();
        let mut clock = hourly();
        loop {
            clock.tick().await;
            let sweep = Sweep::new(context, registry, time.now());
            if let Ok(Err(error)) = caught(sweep.run()).await {
                tracing::error!(%error, "unused desktops could not be looked for");
            }
        }
    };
    tokio::join!(keep_store, keep_desktops);
}

fn hourly() -> tokio::time::Interval {
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

async fn keep_store_once(context: &Context) {
    let store = &context.store;
    // Long after: nobody can connect by them, and a clock that was set forward for a moment deletes none.
    let expired = Timestamp::now()
        .saturating_sub(SHARES_KEPT)
        .unwrap_or(Timestamp::MIN);
    if let Err(error) = store.delete_expired_shares(expired).await {
        tracing::error!(%error, "expired shares could not be deleted");
    }
    if let Err(error) = store.maintain().await {
        tracing::error!(%error, "the store could not be maintained");
    }
}

/// One look at all unused desktops.
struct Sweep<'a> {
    context: &'a Context,
    registry: &'a Arc<Registry>,
    now: Timestamp,
    /// The engine does not answer, so that the next sweep deletes what this one should.
    engine_is_away: AtomicBool,
}

impl<'a> Sweep<'a> {
    fn new(context: &'a Context, registry: &'a Arc<Registry>, now: Timestamp) -> Self {
        Self {
            context,
            registry,
            now,
            engine_is_away: AtomicBool::new(false),
        }
    }

    /// A desktop whose app is not in the catalog is kept: its app may come back.
    async fn run(&self) -> Result<(), StoreError> {
        let catalog = self.context.catalog.current();
        for app in catalog.apps.values() {
            if let Some(forget_after) = app.forget_after {
                self.look_at_app(&app.name, forget_after).await?;
            }
        }
        Ok(())
    }

    async fn look_at_app(&self, app: &str, forget_after: Duration) -> Result<(), StoreError> {
        let store = &self.context.store;
        let before = unused_before(forget_after, self.now);
        let mut after = None;
        loop {
            let batch = store.unused(app, before, after.as_ref(), BATCH).await?;
            let is_last = batch.len() < BATCH;
            after = batch.last().map(|last| Cursor::after(last, Sort::Used));
            stream::iter(batch)
                .for_each_concurrent(DELETIONS, |desktop| self.look_at(desktop, forget_after))
                .await;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn look_at(&self, desktop: StoredDesktop, forget_after: Duration) {
        if self.registry.view(&desktop.record.uid).is_some() {
            // Something is wanted of it.
            return;
        }
        match desktop.unused().due(forget_after, self.now) {
            Due::Nothing => {}
            Due::Announcement => self.announce(desktop).await,
            Due::Deletion => self.delete(&desktop).await,
        }
    }

    async fn announce(&self, mut desktop: StoredDesktop) {
        let uid = &desktop.record.uid;
        if let Err(error) = self.context.store.announce_deletion(uid, self.now).await {
            tracing::error!(%uid, %error, "the deletion of an unused desktop could not be announced");
            return;
        }
        tracing::info!(%uid, unused_since = %desktop.used_at, "the desktop will be deleted unless it is used");
        desktop.announced_at = Some(self.now);
        let picture = self.context.camera.kept(&desktop.record.uid);
        let view = Arc::new(View::stored(&desktop, picture));
        self.context.events.publish(Kind::Expiring, &view);
    }

    async fn delete(&self, desktop: &StoredDesktop) {
        if self.engine_is_away.load(Ordering::Relaxed) {
            return;
        }
        let uid = &desktop.record.uid;
        match self.registry.forget_unused(uid, desktop.used_at).await {
            Ok(()) => {
                tracing::info!(%uid, unused_since = %desktop.used_at, "an unused desktop was deleted");
            }
            Err(DesktopError::InUse(_) | DesktopError::UnknownDesktop(_)) => {}
            Err(error) => {
                tracing::warn!(%uid, %error, "an unused desktop could not be deleted; the next hour tries again");
                let away = matches!(
                    error,
                    DesktopError::Failed(FailReason::Engine(EngineError::Unavailable(_)))
                );
                self.engine_is_away.fetch_or(away, Ordering::Relaxed);
            }
        }
    }
}
