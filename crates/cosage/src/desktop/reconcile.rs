//! What the store says against what the engine has: at the start, whenever the engine comes back, and from time to time.
//!
//! | instance | its run | what becomes of them |
//! |---|---|---|
//! | runs | live, of this process | adopted, unless a driver has it |
//! | runs, and cannot be reached | live, of this process | ended, with the app's stop grace |
//! | runs | ended, or none | ended, with the app's stop grace |
//! | does not run | any | removed, and the run has ended |
//! | any | live, of another process | left alone |
//! | none | live, of this process | the run has ended |

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::task::TaskTracker;

use super::Uid;
use super::context::Context;
use super::driver::{Find, Message};
use super::failure::FailReason;
use super::keys::KeyLease;
use super::record::{Cause, EndCause, NewRun, RunRecord};
use super::registry::Registry;
use crate::engine::{EngineError, EngineEvent, Exit, Found, Instance, InstanceId};
use crate::store::{Note, StoreError};
use crate::supervise::caught;

/// How often everything is compared although no event asked for it.
const PERIOD: Duration = Duration::from_secs(30);

/// How long to wait before events are followed anew that have ended.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long a request waits for the first comparison with the engine.
const COMPARISON_BOUND: Duration = Duration::from_secs(10);

/// Why the store and the engine could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// The engine's part.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store's part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of how they compare.
pub(super) struct Reconciler {
    context: Arc<Context>,
    registry: Arc<Registry>,
    /// Why the two could not be compared last, until they are.
    outage: ArcSwapOption<FailReason>,
    /// Whether they were compared since the service started.
    compared: watch::Sender<bool>,
    /// Held while they are compared, so that it happens once at a time.
    comparing: Mutex<()>,
    /// What was found running, until it is known whether it answers.
    adoptions: TaskTracker,
    /// Whether what a version without runs started may still be found.
    upgrading: AtomicBool,
}

impl Reconciler {
    pub(super) fn new(context: Arc<Context>, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self {
            context,
            registry,
            outage: ArcSwapOption::from_pointee(unavailable("it was not asked yet".to_owned())),
            compared: watch::Sender::new(false),
            comparing: Mutex::default(),
            adoptions: TaskTracker::new(),
            upgrading: AtomicBool::new(true),
        })
    }

    /// Follows the engine's events and reconciles, for as long as it is polled.
    pub(super) async fn watch(self: &Arc<Self>) {
        loop {
            // A panic is in the log already.
            if caught(self.follow()).await.is_ok() {
                tracing::error!("the engine's events have ended; they are followed anew");
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    async fn follow(self: &Arc<Self>) {
        let mut events = self.context.engine.events();
        let mut clock = interval_at(Instant::now() + PERIOD, PERIOD);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(EngineEvent::Connected) => self.spawn_reconcile(),
                    Some(EngineEvent::Disconnected(reason)) => {
                        tracing::error!(%reason, "the container engine does not answer");
                        self.outage.store(Some(unavailable(reason).into()));
                    }
                    Some(EngineEvent::Exited(id, exit)) => self.ended(&id, exit),
                    None => return,
                },
                () = self.context.catalog.replaced() => self.spawn_image_look(),
                _ = clock.tick() => self.spawn_reconcile(),
            }
        }
    }

    /// Compares once: see the table of this module.
    ///
    /// # Errors
    /// When the engine or the store does not answer.
    pub(super) async fn reconcile(self: &Arc<Self>) -> Result<(), ReconcileError> {
        let _turn = self.comparing.lock().await;
        let compared = caught(self.compare()).await;
        let outcome =
            compared.unwrap_or_else(|panic| Err(EngineError::Refused(panic.to_string()).into()));
        match &outcome {
            Ok(()) => {
                if self.outage.swap(None).is_some() {
                    tracing::info!("the container engine answers");
                }
                self.compared.send_replace(true);
                self.spawn_image_look();
            }
            Err(ReconcileError::Engine(error)) => {
                tracing::warn!(%error, "desktops could not be compared with the container engine");
                let reason = FailReason::Engine(error.clone());
                self.outage.store(Some(reason.into()));
            }
            Err(ReconcileError::Store(error)) => {
                tracing::error!(%error, "desktops could not be compared with the container engine");
                self.outage
                    .store(Some(FailReason::from(error.clone()).into()));
            }
        }
        outcome
    }

    async fn compare(self: &Arc<Self>) -> Result<(), ReconcileError> {
        let store = &self.context.store;
        // Before the list: what was ready then and is not in it is gone. What became ready later
        // may be missing in it for that reason alone.
        let views = self.registry.views();
        let ready = views.iter().filter_map(|view| view.instance.as_ref());
        let ready: Vec<_> = ready.map(|instance| instance.id.clone()).collect();
        let claimed_before: HashSet<_> = views
            .iter()
            .filter_map(|view| view.claimed.clone())
            .collect();
        let runs = store.live_runs().await?;
        let found = self.context.engine.list().await?;
        // What is in the list and was started meanwhile is claimed by now, because a run is claimed
        // before its container is made; what was claimed before and is not any more has ended.
        let views = self.registry.views();
        let claimed_after: HashSet<_> = views
            .iter()
            .filter_map(|view| view.claimed.clone())
            .collect();
        let is_claimed =
            |id: &InstanceId| claimed_before.contains(id) || claimed_after.contains(id);

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
        let is_ours = |run: &RunRecord| run.replica == store.replica();
        for run in runs.iter().filter(|run| is_ours(run)) {
            if !found_ids.contains(&run.instance) && !is_claimed(&run.instance) {
                self.end_lost(run);
            }
        }
        self.context.endings.retain(|id| found_ids.contains(id));

        let mut adoptions = Vec::new();
        let runs: HashMap<&InstanceId, &RunRecord> =
            runs.iter().map(|run| (&run.instance, run)).collect();
        for found in &found {
            let run = runs.get(found.id()).copied();
            if is_claimed(found.id()) || run.is_some_and(|run| !is_ours(run)) {
                continue;
            }
            match found {
                Found::Running(instance) if self.context.endings.is_condemned(&instance.id) => {
                    self.remove_orphan(&instance.id, Some(&instance.uid));
                }
                Found::Running(instance) => {
                    let run = match run {
                        Some(run) => Some(run.clone()),
                        None => self.take_over(instance, &runs, &adoptions).await?,
                    };
                    match run {
                        Some(run) => adoptions.push((run, instance)),
                        None => self.remove_orphan(&instance.id, Some(&instance.uid)),
                    }
                }
                Found::Unusable { id, uid } => self.remove_orphan(id, uid.as_ref()),
                // It may be on its way to being removed by somebody else already.
                Found::Remains(id) => self.remove_orphan(id, None),
            }
        }
        self.adopt(adoptions).await;
        if self.upgrading.load(Ordering::Relaxed) {
            store.end_upgrade().await?;
            self.upgrading.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Hands running instances to their desktops, with the keys they were started with before any other desktop
    /// can have them. One whose key another program holds meanwhile gets another key, after all others have theirs.
    async fn adopt(&self, adoptions: Vec<(RunRecord, &Instance)>) {
        let mut without_key = Vec::new();
        for (run, instance) in adoptions {
            let view = self.registry.view(&run.uid);
            match view.and_then(|view| view.claimed.clone()) {
                // Adopted since the desktops were looked at.
                Some(claimed) if claimed == run.instance => continue,
                // Its desktop runs as another instance.
                Some(_) => {
                    self.remove_orphan(&run.instance, Some(&run.uid));
                    continue;
                }
                None => {}
            }
            let key = self.context.keys.lease(&run.uid, Some(run.key), None);
            match key {
                Ok(key) if key.key() == run.key => self.hand_over(&run.uid, instance, key),
                Ok(_) | Err(_) => without_key.push((run, instance)),
            }
        }
        for (run, instance) in without_key {
            let uid = &run.uid;
            let key = match self.context.keys.lease(uid, None, None) {
                Ok(key) => key,
                Err(error) => {
                    let reason = FailReason::from(error);
                    tracing::error!(%uid, %reason, "a running desktop cannot be adopted");
                    continue;
                }
            };
            // Before anybody is told of it: the next process has to know whose it is.
            let note = Note::Key(run.instance.clone(), key.key());
            match self.context.store.note(&[note]).await {
                Ok(()) => self.hand_over(uid, instance, key),
                Err(error) => {
                    tracing::error!(%uid, %error, "a running desktop cannot be adopted");
                }
            }
        }
    }

    fn hand_over(&self, uid: &Uid, instance: &Instance, key: KeyLease) {
        let find = Find {
            instance: Box::new(instance.clone()),
            key,
            adoption: self.adoptions.token(),
        };
        self.registry.tell(uid, Message::Found(find));
    }

    /// Begins a run for an instance that a version of the service started which did not write runs; `None` where it is none.
    async fn take_over(
        &self,
        instance: &Instance,
        runs: &HashMap<&InstanceId, &RunRecord>,
        adoptions: &[(RunRecord, &Instance)],
    ) -> Result<Option<RunRecord>, StoreError> {
        let store = &self.context.store;
        let mut live = runs
            .values()
            .copied()
            .chain(adoptions.iter().map(|(run, _)| run));
        let runs_already = live.any(|run| run.uid == instance.uid);
        if runs_already || !store.is_from_before(&instance.id).await? {
            return Ok(None);
        }
        let run = NewRun {
            instance: instance.id.clone(),
            uid: instance.uid.clone(),
            key: instance.key,
            cause: Cause::Upgrade,
            begun_at: instance.started_at,
        };
        let epoch = match store.begin_run(None, &run).await {
            Ok(epoch) => epoch,
            // Its desktop was deleted.
            Err(StoreError::UnknownDesktop(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(run.begun(store.replica(), epoch)))
    }

    /// Waits until it is known of everything that was found running so far whether it answers.
    pub(super) async fn adopted(&self) {
        self.adoptions.close();
        self.adoptions.wait().await;
    }

    /// Whether what runs was compared with the engine since the service started.
    pub(super) fn knows_what_runs(&self) -> bool {
        *self.compared.borrow()
    }

    /// Waits until what runs is known, however long that takes.
    pub(super) async fn until_compared(&self) {
        let mut compared = self.compared.subscribe();
        // The sender is held here.
        let _ = compared.wait_for(|known| *known).await;
    }

    /// Waits until what runs is known: before that, a start could end a running desktop of the same name or get a stream
    /// key that another one still holds, and a stop could find nothing to stop.
    ///
    /// # Errors
    /// When that takes too long.
    pub(super) async fn compared(&self) -> Result<(), FailReason> {
        let mut compared = self.compared.subscribe();
        let known = tokio::time::timeout(COMPARISON_BOUND, compared.wait_for(|known| *known));
        if known.await.is_ok() {
            return Ok(());
        }
        Err(self.outage().map_or_else(
            || unavailable("it did not tell in time what runs".to_owned()),
            |reason| FailReason::clone(&reason),
        ))
    }

    /// Why the engine, or the store, does not answer, if it does not, as far as is known.
    pub(super) fn outage(&self) -> Option<Arc<FailReason>> {
        self.outage.load_full()
    }

    /// In a task of its own, so that it holds up neither events nor the next comparison.
    fn spawn_reconcile(self: &Arc<Self>) {
        let reconciler = Arc::clone(self);
        // Its errors are logged and shown as an outage.
        tokio::spawn(async move { drop(reconciler.reconcile().await) });
    }

    fn spawn_image_look(&self) {
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let catalog = context.catalog.current();
            context.images.look(&*context.engine, &catalog).await;
        });
    }

    /// Ends a run without an instance. In a task of its own, so that a store that is slow with it holds up no other desktop.
    fn end_lost(&self, run: &RunRecord) {
        let id = run.instance.clone();
        if !self.context.endings.begin_ending(&id) {
            return;
        }
        tracing::info!(uid = %run.uid, instance = %id, "a run has no instance any more");
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            // A panic is in the log already.
            let _ = caught(context.endings.end_run(&id, EndCause::Lost)).await;
            context.endings.was_ended(&id);
        });
    }

    /// Removes an instance without a live run; one that is running is asked to end first.
    fn remove_orphan(&self, id: &InstanceId, uid: Option<&Uid>) {
        if !self.context.endings.begin_ending(id) {
            return;
        }
        let context = Arc::clone(&self.context);
        let (id, uid) = (id.clone(), uid.cloned());
        tokio::spawn(async move {
            tracing::info!(instance = %id, "removing an instance that belongs to no run");
            let ending = async {
                let grace = context.stop_grace(uid.as_ref()).await;
                context.endings.end(&id, grace, EndCause::Lost).await
            };
            match caught(ending).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(instance = %id, %error, "it could not be removed; the next comparison tries again");
                }
                Err(panic) => {
                    tracing::error!(instance = %id, %panic, "it could not be removed; the next comparison tries again");
                }
            }
            context.endings.was_ended(&id);
        });
    }

    fn ended(&self, id: &InstanceId, exit: Exit) {
        if let Some(uid) = self.registry.holder_of(id) {
            // One that retired meanwhile knows already.
            let _ = self
                .registry
                .tell_driver(&uid, Message::Ended(id.clone(), exit));
        }
    }
}

fn unavailable(reason: String) -> FailReason {
    FailReason::Engine(EngineError::Unavailable(reason))
}
