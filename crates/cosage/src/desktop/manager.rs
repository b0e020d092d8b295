//! The calls about desktops: the one door through which the rest of the service reaches them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

use super::access::{ClientName, Takeover};
use super::context::{Context, Parts};
use super::driver::Message;
use super::error::DesktopError;
use super::events::Events;
use super::failure::FailReason;
use super::lease::Lease;
use super::lifecycle::{Holder, StopMode};
use super::reconcile::{ReconcileError, Reconciler};
use super::record::DesktopRecord;
use super::registry::Registry;
use super::usage::{self, Meter};
use super::view::View;
use super::{StreamKey, Uid};
use crate::catalog::App;
use crate::engine::{EngineError, LogStream};

/// How many lines of a desktop's log one call may read.
pub const LOG_LINES_MAX: usize = 1_000;

/// All desktops. Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    pub(super) context: Arc<Context>,
    pub(super) registry: Arc<Registry>,
    pub(super) reconciler: Arc<Reconciler>,
    meter: Arc<Meter>,
}

/// A desktop that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// Its name.
    pub uid: Uid,
    /// What its stream URLs carry.
    pub key: StreamKey,
    /// What of the request does not count, because the desktop was made with something else.
    pub ignored: Vec<Ignored>,
}

/// A part of a request that a known desktop ignores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The app.
    App,
    /// The environment.
    Environment,
}

impl Manager {
    /// Nothing runs yet as far as this knows: call [`Manager::reconcile`] and [`Manager::watch`] next.
    pub fn new(parts: Parts) -> Self {
        let context = Arc::new(Context::new(parts));
        let registry = Registry::new(Arc::clone(&context));
        let reconciler = Reconciler::new(Arc::clone(&context), Arc::clone(&registry));
        Self {
            context,
            registry,
            reconciler,
            meter: Arc::default(),
        }
    }

    /// Follows the engine's events, reconciles, and keeps the store in order, for as long as it is polled.
    pub async fn watch(&self) {
        tokio::join!(
            self.reconciler.watch(),
            self.context.notes.write_behind(),
            super::housekeeping::keep_house(&self.context, &self.registry, &self.reconciler),
        );
    }

    /// Compares the store and the engine once: adopts what runs, ends what should not run, and ends the runs of which nothing
    /// is left.
    ///
    /// # Errors
    /// When the engine or the store does not answer.
    pub async fn reconcile(&self) -> Result<(), ReconcileError> {
        self.reconciler.reconcile().await
    }

    /// Waits until it is known of everything that was found running so far whether it answers.
    pub async fn adopted(&self) {
        self.reconciler.adopted().await;
    }

    /// Whether what runs was compared with the engine since the service started: until then, that nothing of a desktop
    /// runs is not known but supposed.
    pub fn knows_what_runs(&self) -> bool {
        self.reconciler.knows_what_runs()
    }

    /// Why the engine, or the store, does not answer, if it does not, as far as is known.
    pub fn outage(&self) -> Option<Arc<FailReason>> {
        self.reconciler.outage()
    }

    /// Makes sure that the desktop runs, and waits until it answers. `None` makes one with a new
    /// name. A known desktop ignores `app` and `environment`: the stored ones count, and the answer
    /// says which of the two differ.
    ///
    /// The start goes on when the returned future is dropped.
    ///
    /// # Errors
    /// See [`DesktopError`].
    pub async fn ensure(
        &self,
        uid: Option<Uid>,
        app: Option<&str>,
        environment: &Map<String, Value>,
    ) -> Result<Ensured, DesktopError> {
        let uid = uid.unwrap_or_else(Uid::random);
        self.reconciler.compared().await?;
        let make = {
            let (context, uid) = (Arc::clone(&self.context), uid.clone());
            let (app, environment) = (app.map(str::to_owned), environment.clone());
            move || new_record(&context, &uid, app.as_deref(), &environment)
        };
        let answer = self
            .ask(&uid, |reply| Message::Ensure(Box::new(make), reply))
            .await;
        if let Err(DesktopError::Failed(FailReason::Engine(EngineError::ImageMissing {
            image,
            ..
        }))) = &answer
        {
            self.context.images.note(image, false);
        }
        let (key, record) = answer?;
        self.context.image_was_used(&record.app);
        let ignored = self.ignored(&record, app, environment);
        Ok(Ensured { uid, key, ignored })
    }

    /// What of a request differs from what the desktop was made with. Nothing is asked for by an
    /// app or an environment that is absent or empty.
    fn ignored(
        &self,
        record: &DesktopRecord,
        app: Option<&str>,
        environment: &Map<String, Value>,
    ) -> Vec<Ignored> {
        let catalog = self.context.catalog.current();
        let differs = |name: &str| {
            let named = catalog.app(name).map_or(name, |app| app.name.as_str());
            named != record.app
        };
        let is_other_environment = || {
            let Some(app) = catalog.app(&record.app) else {
                return true;
            };
            // Compared as it would be kept, so that a number equals its text.
            match app.check_environment(environment, self.context.settings.undeclared) {
                Ok(asked) => !asked.0.is_empty() && asked != record.environment,
                Err(_) => true,
            }
        };
        let mut ignored = Vec::new();
        if app.is_some_and(differs) {
            ignored.push(Ignored::App);
        }
        if !environment.is_empty() && is_other_environment() {
            ignored.push(Ignored::Environment);
        }
        ignored
    }

    /// Sends a message to the desktop's driver and waits for the answer.
    pub(super) async fn ask<T>(
        &self,
        uid: &Uid,
        message: impl FnOnce(oneshot::Sender<Result<T, DesktopError>>) -> Message,
    ) -> Result<T, DesktopError> {
        let (reply, answer) = oneshot::channel();
        self.registry.tell(uid, message(reply));
        answer.await.unwrap_or_else(|_| Err(self.lost().into()))
    }

    /// The same, of a desktop of which something runs or is under way.
    async fn ask_driver<T>(
        &self,
        uid: &Uid,
        message: impl FnOnce(oneshot::Sender<Result<T, DesktopError>>) -> Message,
    ) -> Result<T, DesktopError> {
        let (reply, answer) = oneshot::channel();
        if self.registry.tell_driver(uid, message(reply)).is_err() {
            self.known(uid).await?;
            return Err(DesktopError::NotRunning(uid.clone()));
        }
        answer.await.unwrap_or_else(|_| Err(self.lost().into()))
    }

    /// Why a message was not answered.
    fn lost(&self) -> FailReason {
        if self.context.ended.is_cancelled() {
            FailReason::ShuttingDown
        } else {
            FailReason::Internal
        }
    }

    /// Gives the right to be connected to a stream of the desktop that holds `key`, and waits for
    /// a desktop that is starting or about to start again.
    ///
    /// # Errors
    /// See [`DesktopError`].
    pub async fn acquire(
        &self,
        key: StreamKey,
        stream: &str,
        client: Option<ClientName>,
    ) -> Result<Lease, DesktopError> {
        let unknown = || DesktopError::UnknownKey(key);
        let uid = self.context.keys.holder(key).ok_or_else(unknown)?;
        let lease =
            self.lease(&uid, stream, Holder::Viewer)
                .await
                .map_err(|error| match error {
                    DesktopError::UnknownDesktop(_) => unknown(),
                    error => error,
                })?;
        Ok(self.context.access.admit(&uid, None, stream, client, lease))
    }

    pub(super) async fn lease(
        &self,
        uid: &Uid,
        stream: &str,
        holder: Holder,
    ) -> Result<Lease, DesktopError> {
        let stream = stream.to_owned();
        self.ask_driver(uid, |reply| Message::Acquire(stream, holder, reply))
            .await
    }

    /// Gives the right to take one look at the desktop, which has to be ready: the lease neither starts it nor keeps
    /// it alive, and nobody sees a viewer.
    ///
    /// # Errors
    /// See [`DesktopError`].
    pub async fn glance(&self, uid: &Uid) -> Result<Lease, DesktopError> {
        self.ask_driver(uid, Message::Glance).await
    }

    /// Stops the desktop, and waits until nothing of it runs. With [`StopMode::Forget`] also its
    /// record and home are deleted. The stop goes on when the returned future is dropped.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], or why it could not be done.
    pub async fn stop(&self, uid: &Uid, mode: StopMode) -> Result<(), DesktopError> {
        // First, because nobody should wait for the engine to learn that there is no such desktop.
        self.known(uid).await?;
        // Or what runs of it would be adopted after all.
        self.reconciler.compared().await?;
        self.ask(uid, |reply| Message::Stop(mode, reply)).await
    }

    /// Deletes the desktop with its home, if nothing of it runs and it was used last at this time.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], [`DesktopError::InUse`], or why it could not be done.
    pub async fn forget_unused(&self, uid: &Uid, used_at: Timestamp) -> Result<(), DesktopError> {
        self.known(uid).await?;
        self.reconciler.compared().await?;
        self.registry.forget_unused(uid, used_at).await
    }

    /// What is known of a desktop right now.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], or the store's.
    pub async fn view(&self, uid: &Uid) -> Result<Arc<View>, DesktopError> {
        if let Some(view) = self.registry.view(uid) {
            return Ok(view);
        }
        let stored = self.context.store.desktop(uid).await?;
        let stored = stored.ok_or_else(|| DesktopError::UnknownDesktop(uid.clone()))?;
        Ok(Arc::new(View::stored(
            &stored,
            self.context.camera.kept(uid),
        )))
    }

    /// What is known of a desktop of which something runs or is under way.
    pub fn active(&self, uid: &Uid) -> Option<Arc<View>> {
        self.registry.view(uid)
    }

    /// Whether there is such a desktop.
    pub(super) async fn known(&self, uid: &Uid) -> Result<(), DesktopError> {
        self.view(uid).await.map(drop)
    }

    /// The key under which the desktop can be looked at right now.
    pub fn ready_key(&self, uid: &Uid) -> Option<StreamKey> {
        self.active(uid)?.ready_key()
    }

    /// What is known of every desktop of which something runs or is under way, in no order.
    pub fn all_active(&self) -> Vec<Arc<View>> {
        self.registry.views()
    }

    /// The takeover of a desktop right now, where there is one.
    pub fn takeover_of(&self, view: &View) -> Option<Takeover> {
        let known = self.context.access.takeover(&view.record.uid);
        known.unwrap_or_else(|| view.takeover.clone())
    }

    /// What happens to them.
    pub fn events(&self) -> &Arc<Events> {
        &self.context.events
    }

    /// Tells whoever listens what a desktop's application reports, a JSON object. A desktop of which nothing runs any more is
    /// of interest to nobody.
    pub fn tell_report(&self, uid: &Uid, report: Bytes) {
        if let Some(view) = self.active(uid) {
            self.context.events.publish_report(&view, report);
        }
    }

    /// Listens to what the running desktops use. It is measured until the last listener is
    /// dropped.
    pub fn usage(&self) -> usage::Listener {
        self.meter.listen(&self.context, &self.registry)
    }

    /// The last `lines` lines (at most [`LOG_LINES_MAX`]) of the desktop's running instance.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], [`DesktopError::NotRunning`], or the engine's.
    pub async fn logs(&self, uid: &Uid, lines: usize) -> Result<String, DesktopError> {
        let view = self.view(uid).await?;
        let Some(id) = &view.claimed else {
            return match view
                .failure
                .as_ref()
                .and_then(|failure| failure.logs.clone())
            {
                Some(logs) => Ok(logs),
                None => Err(DesktopError::NotRunning(uid.clone())),
            };
        };
        let logs = self.context.engine.logs().map_err(FailReason::Engine)?;
        match logs.last(id, lines.min(LOG_LINES_MAX)).await {
            Ok(logs) => Ok(logs),
            Err(EngineError::Gone) => Err(DesktopError::NotRunning(uid.clone())),
            Err(error) => Err(DesktopError::Failed(FailReason::Engine(error))),
        }
    }

    /// The last `lines` lines (at most [`LOG_LINES_MAX`]) of the desktop's running instance, and what
    /// it writes from then on, until it ends or the service does. Nothing runs: as [`Self::logs`].
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn follow_logs(&self, uid: &Uid, lines: usize) -> Result<LogStream, DesktopError> {
        let view = self.view(uid).await?;
        let Some(id) = &view.claimed else {
            let logs = self.logs(uid, lines).await?;
            return Ok(stream::iter([Ok(logs.into())]).boxed());
        };
        let lines = lines.min(LOG_LINES_MAX);
        let logs = self.context.engine.logs().map_err(FailReason::Engine)?;
        match logs.follow(id, lines).await {
            Ok(written) => {
                let closing = self.context.closing.clone();
                Ok(written.take_until(closing.cancelled_owned()).boxed())
            }
            Err(EngineError::Gone) => Err(DesktopError::NotRunning(uid.clone())),
            Err(error) => Err(DesktopError::Failed(FailReason::Engine(error))),
        }
    }

    /// The curated list as it is in force now.
    pub fn catalog(&self) -> Arc<crate::catalog::Catalog> {
        self.context.catalog.current()
    }

    /// Whether the app's image is there, as it was seen last; `None` where that is not known, and
    /// for an app that needs none.
    pub fn image_is_there(&self, app: &App) -> Option<bool> {
        self.context.images.has(app)
    }

    /// Ends all drivers when the guard is dropped. Instances go on running.
    #[must_use]
    pub fn end_with(&self) -> DropGuard {
        self.context.ended.clone().drop_guard()
    }

    /// Tells everybody who is connected that the service ends. The desktops go on running, and
    /// the next service adopts them.
    pub fn begin_shutdown(&self) {
        self.context.closing.cancel();
        self.registry.tell_all(|| Message::ServiceShutdown);
    }

    /// Writes what is only written from time to time.
    pub async fn flush(&self) {
        // It is in the log.
        let _ = self.context.notes.flush().await;
    }
}

/// What a new desktop is made from.
fn new_record(
    context: &Context,
    uid: &Uid,
    app: Option<&str>,
    environment: &Map<String, Value>,
) -> Result<DesktopRecord, DesktopError> {
    let Some(name) = app else {
        return Err(DesktopError::AppRequired(uid.clone()));
    };
    let catalog = context.catalog.current();
    let app = catalog.app(name).ok_or_else(|| catalog.unknown(name))?;
    let environment = app.check_environment(environment, context.settings.undeclared)?;
    Ok(DesktopRecord {
        uid: uid.clone(),
        app: app.name.clone(),
        environment,
        created_at: Timestamp::now(),
    })
}
