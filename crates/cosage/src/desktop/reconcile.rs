//! What the store and the drivers believe against what the engine has: at the start, whenever the
//! engine comes back, and from time to time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Uid;
use super::driver::{Find, Handle, Message};
use super::failure::FailReason;
use super::manager::Manager;
use crate::engine::{EngineError, EngineEvent, Exit, Found, Instance, InstanceId};
use crate::supervise::caught;

/// How often everything is compared although no event asked for it.
const PERIOD: Duration = Duration::from_secs(30);

/// How long to wait before events are followed anew that have ended.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Follows the engine's events and reconciles, for as long as it is polled.
pub async fn watch(manager: Manager) {
    loop {
        // A panic is in the log already.
        if caught(follow(&manager)).await.is_ok() {
            tracing::error!("the engine's events have ended; they are followed anew");
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

async fn follow(manager: &Manager) {
    let mut events = manager.shared.engine.events();
    let mut clock = interval_at(Instant::now() + PERIOD, PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(EngineEvent::Connected) => manager.compare_aside(),
                Some(EngineEvent::Disconnected(reason)) => {
                    tracing::error!(%reason, "the container engine does not answer");
                    manager.shared.outage.store(Some(reason.into()));
                }
                Some(EngineEvent::Exited(id, exit)) => manager.ended(&id, exit),
                None => return,
            },
            () = manager.shared.catalog.replaced() => manager.look_at_images_aside(),
            _ = clock.tick() => manager.compare_aside(),
        }
    }
}

impl Manager {
    /// Compares once: adopts what runs and nobody claims, reports what is claimed and does not run,
    /// and removes what is of no use.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn reconcile(&self) -> Result<(), EngineError> {
        let _turn = self.shared.comparing.lock().await;
        let compared = caught(self.compare()).await;
        let outcome = compared.unwrap_or_else(|panic| Err(EngineError::Refused(panic.to_string())));
        match &outcome {
            Ok(()) => {
                if self.shared.outage.swap(None).is_some() {
                    tracing::info!("the container engine answers");
                }
                self.shared.compared.send_replace(true);
                self.look_at_images_aside();
            }
            Err(error) => {
                tracing::warn!(%error, "desktops could not be compared with the container engine");
                self.shared.outage.store(Some(error.to_string().into()));
            }
        }
        outcome
    }

    async fn compare(&self) -> Result<(), EngineError> {
        // Before the list: what was ready then and is not in it is gone. What became ready later
        // may be missing in it for that reason alone.
        let ready = self.claims(|handle| handle.view().instance.is_some());
        let claimed_before = self.claims(|_| true);
        let orphans = self.shared.orphans.all();
        let found = self.shared.engine.list().await?;
        // What is in the list and was started meanwhile is claimed by now, because a run is claimed
        // before its container is made; what was claimed before and is not any more has ended.
        let claimed_after = self.claims(|_| true);
        let running: HashSet<&InstanceId> = found
            .iter()
            .filter_map(|found| match found {
                Found::Running(Instance { id, .. }) | Found::Unusable { id, .. } => Some(id),
                Found::Remains(_) => None,
            })
            .collect();
        for id in ready.iter().filter(|id| !running.contains(id)) {
            self.ended(id, Exit::default());
        }
        let found_ids: HashSet<&InstanceId> = found.iter().map(Found::id).collect();
        for id in orphans.iter().filter(|id| !found_ids.contains(id)) {
            self.shared.forget_orphan(id).await;
        }
        for found in found {
            if claimed_before.contains(found.id()) || claimed_after.contains(found.id()) {
                continue;
            }
            match found {
                // An orphan that was ended since the list was asked for is none any more, and still in the list.
                Found::Running(instance)
                    if !orphans.contains(&instance.id)
                        && !self.shared.orphans.contains(&instance.id) =>
                {
                    self.adopt(instance);
                }
                Found::Running(Instance { id, uid, .. }) => self.remove_orphan(id, Some(&uid)),
                Found::Unusable { id, uid } => self.remove_orphan(id, uid.as_ref()),
                // It may be on its way to being removed by somebody else already.
                Found::Remains(id) => self.remove_orphan(id, None),
            }
        }
        Ok(())
    }

    /// Hands a running instance to its desktop, with the key it was started with before anybody else
    /// can have it.
    fn adopt(&self, instance: Instance) {
        let handle = self.shared.get(&instance.uid);
        let Some(handle) = handle.filter(|handle| handle.view().claimed.is_none()) else {
            // Its desktop is forgotten, or runs as another instance.
            return self.remove_orphan(instance.id, Some(&instance.uid));
        };
        match self
            .shared
            .keys
            .lease(&instance.uid, Some(instance.key), None)
        {
            Ok(key) => handle.send(Message::Found(Find {
                instance: Box::new(instance),
                key,
                adoption: self.shared.adoptions.token(),
            })),
            Err(error) => {
                let reason = FailReason::from(error);
                tracing::error!(uid = %instance.uid, %reason, "a running desktop cannot be adopted");
            }
        }
    }

    /// Waits until it is known of everything that was found running so far whether it answers.
    pub async fn adopted(&self) {
        self.shared.adoptions.close();
        self.shared.adoptions.wait().await;
    }

    /// In a task of its own, so that it holds up neither events nor the comparison.
    fn compare_aside(&self) {
        let manager = self.clone();
        // Its errors are logged and shown as an outage.
        tokio::spawn(async move { drop(manager.reconcile().await) });
    }

    /// Removes an instance without a run; one that runs is asked to end first.
    fn remove_orphan(&self, id: InstanceId, uid: Option<&Uid>) {
        if !self.shared.orphans.begin_ending(&id) {
            return;
        }
        let grace = self.shared.stop_grace(uid);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tracing::info!(instance = %id, "removing an instance that belongs to no run");
            match caught(shared.end(&id, grace)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(instance = %id, %error, "it could not be removed; the next comparison tries again");
                }
                Err(panic) => {
                    tracing::error!(instance = %id, %panic, "it could not be removed; the next comparison tries again");
                }
            }
            shared.orphans.was_ended(&id);
        });
    }

    fn ended(&self, id: &InstanceId, exit: Exit) {
        let holder = self
            .shared
            .handles()
            .into_iter()
            .find(|handle| handle.view().claimed.as_ref() == Some(id));
        if let Some(handle) = holder {
            handle.send(Message::Ended(id.clone(), exit));
        }
    }

    fn claims(&self, of: impl Fn(&Handle) -> bool) -> HashSet<InstanceId> {
        self.shared
            .handles()
            .iter()
            .filter(|handle| of(handle))
            .filter_map(|handle| handle.view().claimed.clone())
            .collect()
    }
}
