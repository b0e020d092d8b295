//! What the state machine asks for: launches, stops, deletions.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::super::StreamKey;
use super::super::camera::{self, Occasion};
use super::super::end::EndReason;
use super::super::events::Kind;
use super::super::failure::FailReason;
use super::super::keys::KeyLease;
use super::super::launch::{self, Attempt, Launch, Order};
use super::super::lifecycle::Run;
use super::super::record::{EndCause, NewRun};
use super::super::view::Progress;
use super::{Current, Driver, Find, Report, pictures, report};
use crate::catalog::{App, Timers};
use crate::engine::{EngineError, Instance, InstanceId, StartStep};
use crate::supervise::caught;

/// How much of a deletion has to succeed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Forgetting {
    /// A caller wants it: record and home.
    Wanted,
    /// A first start failed: the record.
    CleanUp,
}

impl Driver<'_> {
    /// Puts a new run in place and starts its launch.
    pub(super) fn begin_launch(&mut self, run: Run) -> Result<(), FailReason> {
        self.current = None;
        let app = self.app()?;
        self.machine.set_timers(app.timers);
        let key = self.take_key(self.last_key)?;
        self.context.admit()?;
        let id = InstanceId::random();
        let spec = app
            .launch_spec(
                &self.record.uid,
                &self.record.environment,
                id.clone(),
                key,
                &self.context.settings.launch,
            )
            .map_err(|error| FailReason::Catalogue(error.to_string()))?;
        tracing::info!(uid = %self.record.uid, app = %self.record.app, instance = %id, key = %key, "starting");
        let new_run = NewRun {
            instance: id.clone(),
            uid: self.record.uid.clone(),
            key,
            cause: self.cause,
            begun_at: Timestamp::now(),
        };
        let record = (!self.is_stored).then(|| Arc::clone(&self.record));
        let order = Order {
            record,
            run: new_run,
            spec,
        };
        self.begin(run, id, Launch::New(Box::new(order)), app.timers);
        Ok(())
    }

    /// Puts a run in place for an instance that was found running.
    pub(super) fn begin_probe(&mut self, run: Run) -> Result<(), FailReason> {
        let Some(find) = self.found.take() else {
            return Err(FailReason::Engine(EngineError::Gone));
        };
        let Find {
            instance,
            key,
            adoption,
        } = find;
        let timers = self.context.timers(&self.record.app);
        self.machine.set_timers(timers);
        self.last_key = Some(key.key());
        self.key = Some(key);
        tracing::info!(uid = %self.record.uid, app = %self.record.app, instance = %instance.id, "adopting");
        let id = instance.id.clone();
        self.begin(run, id, Launch::Found(instance), timers);
        if let Some(current) = self.current_of(run) {
            current.adoption = Some(adoption);
            current.progress = Some(Progress::Waiting);
            current.is_found = true;
        }
        self.show();
        Ok(())
    }

    fn begin(&mut self, run: Run, id: InstanceId, launch: Launch, timers: Timers) {
        let cancel = CancellationToken::new();
        let (exited, exit) = oneshot::channel();
        self.current = Some(Current {
            run,
            id,
            cancel: cancel.clone(),
            progress: None,
            exited: Some(exited),
            adoption: None,
            is_found: false,
            instance: None,
            ended: watch::Sender::new(None),
        });
        // Claimed from here on, before there is a container that could look like an orphan.
        self.show();
        let (context, own) = (Arc::clone(&self.context), self.own.clone());
        let attempt = Attempt {
            timers,
            cancel,
            exited: exit,
        };
        self.start_task(Some(run), async move {
            let begun = || report(&own, Report::Begun(run));
            let on_progress = |progress| report(&own, Report::Progress(run, progress));
            match launch::launch(&context, launch, attempt, begun, on_progress).await {
                Ok(instance) => Report::Launched(run, Box::new(instance)),
                Err(reason) => Report::LaunchFailed(run, reason),
            }
        });
    }

    /// The store has the run, and the desktop with it: it may be known.
    pub(super) fn begun(&mut self, run: Run) {
        if !std::mem::replace(&mut self.is_stored, true)
            && let Some(view) = &*self.view.borrow()
        {
            self.context.events.publish(Kind::Created, view);
        }
        self.stored_failure = None;
        if let Some(current) = self.current_of(run) {
            current
                .progress
                .get_or_insert(Progress::Engine(StartStep::Queued));
        }
        self.show();
    }

    fn app(&self) -> Result<Arc<App>, FailReason> {
        self.context.app(&self.record.app).ok_or_else(|| {
            FailReason::Catalogue(format!(
                "the app '{}' of this desktop is not in the catalogue any more",
                self.record.app
            ))
        })
    }

    fn take_key(&mut self, preferred: Option<StreamKey>) -> Result<StreamKey, FailReason> {
        if self.key.is_none() {
            let lease = self
                .context
                .keys
                .lease(
                    &self.record.uid,
                    preferred,
                    self.context.settings.max_desktops,
                )
                .map_err(FailReason::from)?;
            self.key = Some(lease);
        }
        self.last_key = self.key.as_ref().map(KeyLease::key);
        self.last_key.ok_or(FailReason::PortsExhausted(0))
    }

    pub(super) fn stop(&mut self, run: Run, reason: EndReason) {
        let uid = self.record.uid.clone();
        let grace = self.context.timers(&self.record.app).stop_grace;
        let last_look = self.last_look();
        let (context, own) = (Arc::clone(&self.context), self.own.clone());
        let Some(current) = self.current_of(run) else {
            return;
        };
        current.ended.send_replace(Some(reason));
        let id = current.id.clone();
        tracing::info!(%uid, instance = %id, ?reason, "stopping");
        self.start_task(Some(run), async move {
            if let Some(lease) = last_look {
                let (occasion, patience) = (Occasion::Stopping, camera::STOP_PATIENCE);
                let picture = pictures::keep(&context, &own, lease, occasion, patience);
                // No picture is worth a stop.
                let _ = caught(picture).await;
            }
            let logs = match reason {
                EndReason::Exited => launch::last_lines(&*context.engine, &id).await,
                _ => String::new(),
            };
            launch::end(&context, &id, grace, cause_of(reason), |reason| {
                report(&own, Report::StopDelayed(run, reason));
            })
            .await;
            Report::Stopped(run, logs)
        });
    }

    pub(super) fn forget(&mut self, forgetting: Forgetting) {
        let context = Arc::clone(&self.context);
        let uid = self.record.uid.clone();
        let keeping = self.keeping.take().map(|keeping| keeping.task);
        self.start_task(None, async move {
            let home = match (context.engine.homes(), forgetting) {
                (Ok(homes), Forgetting::Wanted) => homes.delete(&uid).await,
                // The launch has deleted what it made, and an engine without homes has nothing to delete.
                (_, Forgetting::CleanUp) | (Err(_), _) => Ok(()),
            };
            let result = match home {
                Err(error) => Err(FailReason::Engine(error)),
                Ok(()) => context.store.delete(&uid).await.map_err(FailReason::from),
            };
            match &result {
                Ok(()) => {
                    // Or what is being taken would be kept after it. It is bounded in time.
                    if let Some(keeping) = keeping {
                        let _ = keeping.await;
                    }
                    // The desktop is gone, whatever becomes of its picture.
                    let _ = caught(context.camera.forget(&uid)).await;
                }
                Err(reason) => {
                    tracing::error!(%uid, reason = reason.for_log(), "a desktop could not be forgotten");
                }
            }
            Report::Forgotten(result)
        });
    }
}

fn cause_of(reason: EndReason) -> EndCause {
    match reason {
        EndReason::Idle => EndCause::Idle,
        EndReason::MaximumAge => EndCause::MaximumAge,
        EndReason::Exited => EndCause::Exited,
        // The others are ends of connections.
        EndReason::Stopped
        | EndReason::ServiceShutdown
        | EndReason::ShareRevoked
        | EndReason::ShareExpired => EndCause::Stopped,
    }
}

/// How long ago it was started.
pub(super) fn age_of(instance: &Instance) -> Duration {
    // A clock that was set back makes no age.
    Duration::try_from(Timestamp::now().duration_since(instance.started_at)).unwrap_or_default()
}
