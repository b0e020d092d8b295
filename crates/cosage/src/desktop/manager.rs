//! From a uid to its driver: the one door through which the rest of the service reaches desktops.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::access::{Access, ClientName};
use super::admission;
use super::camera::Camera;
use super::driver::{self, Handle, Message, Refusal};
use super::events::Events;
use super::failure::FailReason;
use super::images::Images;
use super::keys::KeyTable;
use super::launch::Probe;
use super::lease::Lease;
use super::lifecycle::{History, Holder, StopMode};
use super::orphans::Orphans;
use super::usage::Meter;
use super::view::View;
use super::{DesktopRecord, Environment, StreamKey, Uid};
use crate::catalog::{
    App, CatalogHandle, EnvironmentError, LaunchContext, Source, Timers, Undeclared, UnknownApp,
};
use crate::engine::home::{HomeAccess, HomeError};
use crate::engine::{Engine, EngineError, LogStream};
use crate::store::{Store, StoreError};

/// How many lines of a desktop's log one call may read.
pub const LOG_LINES_MAX: usize = 1_000;

/// How long a request waits for the first comparison with the engine.
const COMPARISON_BOUND: Duration = Duration::from_secs(10);

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For desktops whose app is not in the catalogue any more.
    pub timers: Timers,
    /// What every launch needs.
    pub launch: LaunchContext,
    /// What becomes of environment names that the catalogue does not declare.
    pub undeclared: Undeclared,
    /// How many desktops may run at a time; `None` is as many as there are stream keys.
    pub max_desktops: Option<usize>,
    /// No start below this much available memory of the host, in bytes; 0 is no such check.
    pub memory_reserve: u64,
}

/// What the manager is made of.
pub struct Parts {
    /// What runs instances.
    pub engine: Arc<dyn Engine>,
    /// What keeps records.
    pub store: Arc<dyn Store>,
    /// The curated list.
    pub catalog: Arc<CatalogHandle>,
    /// How readiness is found out.
    pub probe: Arc<dyn Probe>,
    /// What takes and keeps pictures.
    pub camera: Arc<dyn Camera>,
    /// The stream keys.
    pub keys: Arc<KeyTable>,
    /// What the operator set.
    pub settings: Settings,
}

/// What all drivers share.
pub(super) struct Shared {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) store: Arc<dyn Store>,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) camera: Arc<dyn Camera>,
    pub(super) keys: Arc<KeyTable>,
    pub(super) settings: Settings,
    pub(super) catalog: Arc<CatalogHandle>,
    pub(super) images: Images,
    desktops: RwLock<HashMap<Uid, Handle>>,
    /// Who is connected, and may do what.
    pub(super) access: Arc<Access>,
    /// Why the engine does not answer, while it does not.
    pub(super) outage: ArcSwapOption<String>,
    /// Whether what runs was compared with the engine since the service started.
    pub(super) compared: watch::Sender<bool>,
    /// Held while it is compared, so that it happens once at a time.
    pub(super) comparing: Mutex<()>,
    /// What was found running, until it is known whether it answers.
    pub(super) adoptions: TaskTracker,
    /// What has ended and is not removed yet.
    pub(super) orphans: Orphans,
    /// What happens to desktops.
    pub(super) events: Arc<Events>,
    /// What they use.
    pub(super) meter: Meter,
    /// Ends what is streamed without an end of its own, which would hold up the service's.
    pub(super) closing: CancellationToken,
    /// Ends all drivers.
    pub(super) ended: CancellationToken,
}

/// All desktops. Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    pub(super) shared: Arc<Shared>,
}

/// Why a desktop could not be had, asked or stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesktopError {
    /// The catalogue does not have the app.
    #[error(transparent)]
    UnknownApp(#[from] UnknownApp),
    /// A new uid without an app.
    #[error("no desktop is called '{0}' yet; name an app to make it: {{\"vm\": \"<app>\"}}")]
    AppRequired(Uid),
    /// The environment is not what the app allows.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// No such desktop.
    #[error("no desktop is called '{0}'")]
    UnknownDesktop(Uid),
    /// The stream key belongs to no desktop.
    #[error("no desktop holds the stream '{0}'; it may have ended: ask for it again by its uid")]
    UnknownKey(StreamKey),
    /// Nothing of it runs.
    #[error("the desktop '{0}' is not running")]
    NotRunning(Uid),
    /// It has no such stream.
    #[error("the desktop has no stream '{name}'; it has: {}", .known.join(", "))]
    UnknownStream {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It could not be done with the files of its home.
    #[error(transparent)]
    Files(#[from] HomeError),
    /// It could not be done.
    #[error(transparent)]
    Failed(#[from] FailReason),
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
    /// Reads the store; nothing runs yet as far as this knows. Call [`super::reconcile::watch`] next.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(parts: Parts) -> Result<Self, StoreError> {
        let Parts {
            engine,
            store,
            catalog,
            probe,
            camera,
            keys,
            settings,
        } = parts;
        let closing = CancellationToken::new();
        let shared = Arc::new(Shared {
            engine,
            store,
            probe,
            camera,
            keys,
            settings,
            catalog,
            images: Images::default(),
            desktops: RwLock::default(),
            access: Arc::default(),
            outage: ArcSwapOption::from_pointee("it was not asked yet".to_owned()),
            compared: watch::Sender::new(false),
            comparing: Mutex::default(),
            adoptions: TaskTracker::new(),
            orphans: Orphans::default(),
            events: Arc::new(Events::new(closing.clone())),
            meter: Meter::default(),
            closing,
            ended: CancellationToken::new(),
        });
        for record in shared.store.load().await? {
            let uid = record.uid.clone();
            let handle = driver::spawn(Arc::clone(&shared), record, History::Proven);
            shared.write().insert(uid, handle);
        }
        shared.load_orphans().await?;
        shared.load_access().await?;
        Ok(Self { shared })
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
        self.compared().await?;
        loop {
            let handle = match self.shared.get(&uid) {
                Some(handle) => handle,
                None => self.create(&uid, app, environment)?,
            };
            let (reply, answer) = oneshot::channel();
            handle.send(Message::Ensure(reply));
            let answer = answer.await.unwrap_or(Err(Refusal::Gone));
            if let Err(Refusal::Failed(FailReason::Engine(EngineError::ImageMissing {
                image,
                ..
            }))) = &answer
            {
                self.shared.images.note(image, false);
            }
            match answer {
                Ok(key) => {
                    let view = handle.view();
                    self.shared.image_was_used(&view.record.app);
                    let ignored = self.ignored(&view.record, app, environment);
                    return Ok(Ensured { uid, key, ignored });
                }
                Err(Refusal::Gone) if self.shared.ended.is_cancelled() => {
                    return Err(FailReason::ShuttingDown.into());
                }
                Err(Refusal::Gone) if self.is_served_by(&uid, &handle) => {
                    return Err(FailReason::Internal.into());
                }
                // Forgotten while this request waited: whoever asks for the name now makes a new
                // desktop of it. The driver has removed itself before it answers or drops.
                Err(Refusal::Gone) => {}
                Err(refusal) => return Err(error_of(refusal, &uid, "")),
            }
        }
    }

    /// What of a request differs from what the desktop was made with. Nothing is asked for by an
    /// app or an environment that is absent or empty.
    fn ignored(
        &self,
        record: &DesktopRecord,
        app: Option<&str>,
        environment: &Map<String, Value>,
    ) -> Vec<Ignored> {
        let catalog = self.shared.catalog.current();
        let differs = |name: &str| {
            let named = catalog.app(name).map_or(name, |app| app.name.as_str());
            named != record.app
        };
        let is_other_environment = || {
            let Some(app) = catalog.app(&record.app) else {
                return true;
            };
            // Compared as it would be kept, so that a number equals its text.
            match app.check_environment(environment, self.shared.settings.undeclared) {
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

    /// Whether the desktop's driver is still this one: then a request that it did not answer was lost in a panic.
    fn is_served_by(&self, uid: &Uid, handle: &Handle) -> bool {
        self.shared.get(uid).is_some_and(|now| now.is(handle))
    }

    /// Whether what runs was compared with the engine since the service started: until then, that nothing of a desktop
    /// runs is not known but supposed.
    pub fn knows_what_runs(&self) -> bool {
        *self.shared.compared.borrow()
    }

    /// Waits until what runs is known: before that, a start could end a running desktop of the same name or get a stream
    /// key that another one still holds, and a stop could find nothing to stop.
    async fn compared(&self) -> Result<(), DesktopError> {
        let mut compared = self.shared.compared.subscribe();
        let known = tokio::time::timeout(COMPARISON_BOUND, compared.wait_for(|known| *known));
        match known.await {
            Ok(_) => Ok(()),
            Err(_) => {
                let reason = self.outage().map_or_else(
                    || "it did not tell in time what runs".to_owned(),
                    |reason| reason.to_string(),
                );
                Err(FailReason::Engine(EngineError::Unavailable(reason)).into())
            }
        }
    }

    fn create(
        &self,
        uid: &Uid,
        app: Option<&str>,
        environment: &Map<String, Value>,
    ) -> Result<Handle, DesktopError> {
        let Some(name) = app else {
            return Err(DesktopError::AppRequired(uid.clone()));
        };
        let catalog = self.shared.catalog.current();
        let app = catalog.app(name).ok_or_else(|| catalog.unknown(name))?;
        let environment: Environment =
            app.check_environment(environment, self.shared.settings.undeclared)?;
        Ok(self.shared.enter(DesktopRecord {
            uid: uid.clone(),
            app: app.name.clone(),
            environment,
            created_at: Timestamp::now(),
        }))
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
        let uid = self.shared.keys.holder(key).ok_or_else(unknown)?;
        let lease =
            self.lease(&uid, stream, Holder::Viewer)
                .await
                .map_err(|error| match error {
                    DesktopError::UnknownDesktop(_) => unknown(),
                    error => error,
                })?;
        let lease = self.shared.access.admit(&uid, None, stream, client, lease);
        lease.ok_or_else(unknown)
    }

    pub(super) async fn lease(
        &self,
        uid: &Uid,
        stream: &str,
        holder: Holder,
    ) -> Result<Lease, DesktopError> {
        let unknown = || DesktopError::UnknownDesktop(uid.clone());
        let handle = self.shared.get(uid).ok_or_else(unknown)?;
        let (reply, answer) = oneshot::channel();
        handle.send(Message::Acquire(stream.to_owned(), holder, reply));
        answer
            .await
            .unwrap_or(Err(Refusal::Gone))
            .map_err(|refusal| error_of(refusal, uid, stream))
    }

    /// Gives the right to take one look at the desktop, which has to be ready: the lease neither starts it nor keeps
    /// it alive, and nobody sees a viewer.
    ///
    /// # Errors
    /// See [`DesktopError`].
    pub async fn glance(&self, uid: &Uid) -> Result<Lease, DesktopError> {
        let unknown = || DesktopError::UnknownDesktop(uid.clone());
        let handle = self.shared.get(uid).ok_or_else(unknown)?;
        let (reply, answer) = oneshot::channel();
        handle.send(Message::Glance(reply));
        answer
            .await
            .unwrap_or(Err(Refusal::Gone))
            .map_err(|refusal| error_of(refusal, uid, "vnc"))
    }

    /// Stops the desktop, and waits until nothing of it runs. With [`StopMode::Forget`] also its
    /// record and home are deleted. The stop goes on when the returned future is dropped.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], or why it could not be done.
    pub async fn stop(&self, uid: &Uid, mode: StopMode) -> Result<(), DesktopError> {
        let handle = self
            .shared
            .get(uid)
            .ok_or_else(|| DesktopError::UnknownDesktop(uid.clone()))?;
        // Or what runs of it would be adopted after all.
        self.compared().await?;
        let (reply, answer) = oneshot::channel();
        handle.send(Message::Stop(mode, reply));
        match answer.await {
            Err(_) if self.shared.ended.is_cancelled() => Err(FailReason::ShuttingDown.into()),
            Err(_) if self.is_served_by(uid, &handle) => Err(FailReason::Internal.into()),
            // A driver that is gone has stopped and forgotten its desktop.
            Ok(Ok(())) | Ok(Err(Refusal::Gone)) | Err(_) => Ok(()),
            Ok(Err(refusal)) => Err(error_of(refusal, uid, "")),
        }
    }

    /// What is known of a desktop right now.
    pub fn view(&self, uid: &Uid) -> Option<Arc<View>> {
        self.shared.get(uid).map(|handle| handle.view())
    }

    /// The key under which the desktop can be looked at right now.
    pub fn ready_key(&self, uid: &Uid) -> Option<StreamKey> {
        self.view(uid)?.ready_key()
    }

    /// What is known of every desktop right now, in no order.
    pub fn views(&self) -> Vec<Arc<View>> {
        self.shared.read().values().map(Handle::view).collect()
    }

    /// What happens to them.
    pub fn events(&self) -> &Arc<Events> {
        &self.shared.events
    }

    /// Tells whoever listens what a desktop's application reports, a JSON object. A desktop that is forgotten meanwhile
    /// is of interest to nobody.
    pub fn tell_report(&self, uid: &Uid, report: Bytes) {
        if let Some(view) = self.view(uid) {
            self.shared.events.publish_report(&view, report);
        }
    }

    /// The last `lines` lines (at most [`LOG_LINES_MAX`]) of the desktop's running instance.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], [`DesktopError::NotRunning`], or the engine's.
    pub async fn logs(&self, uid: &Uid, lines: usize) -> Result<String, DesktopError> {
        let view = self
            .view(uid)
            .ok_or_else(|| DesktopError::UnknownDesktop(uid.clone()))?;
        let Some(id) = &view.claimed else {
            return match view.failure.as_ref().and_then(FailReason::logs) {
                Some(logs) => Ok(logs.to_owned()),
                None => Err(DesktopError::NotRunning(uid.clone())),
            };
        };
        let logs = self.shared.engine.logs().map_err(FailReason::Engine)?;
        match logs.last(id, lines.min(LOG_LINES_MAX)).await {
            Ok(logs) => Ok(logs),
            Err(EngineError::Gone) => Err(DesktopError::NotRunning(uid.clone())),
            Err(error) => Err(DesktopError::Failed(FailReason::Engine(error))),
        }
    }

    /// Access to the files of the desktop's home for one request, whether it runs or sleeps.
    ///
    /// # Errors
    /// [`DesktopError::UnknownDesktop`], [`DesktopError::Files`], or the engine's.
    pub async fn home(&self, uid: &Uid) -> Result<HomeAccess, DesktopError> {
        if self.shared.get(uid).is_none() {
            return Err(DesktopError::UnknownDesktop(uid.clone()));
        }
        let homes = self.shared.engine.homes().map_err(HomeError::from)?;
        Ok(homes.open(uid).await?)
    }

    /// The last `lines` lines (at most [`LOG_LINES_MAX`]) of the desktop's running instance, and what
    /// it writes from then on, until it ends or the service does. Nothing runs: as [`Self::logs`].
    ///
    /// # Errors
    /// As [`Self::logs`].
    pub async fn follow_logs(&self, uid: &Uid, lines: usize) -> Result<LogStream, DesktopError> {
        let view = self
            .view(uid)
            .ok_or_else(|| DesktopError::UnknownDesktop(uid.clone()))?;
        let Some(id) = &view.claimed else {
            let logs = self.logs(uid, lines).await?;
            return Ok(stream::iter([Ok(logs.into())]).boxed());
        };
        let lines = lines.min(LOG_LINES_MAX);
        let logs = self.shared.engine.logs().map_err(FailReason::Engine)?;
        match logs.follow(id, lines).await {
            Ok(written) => {
                let closing = self.shared.closing.clone();
                Ok(written.take_until(closing.cancelled_owned()).boxed())
            }
            Err(EngineError::Gone) => Err(DesktopError::NotRunning(uid.clone())),
            Err(error) => Err(DesktopError::Failed(FailReason::Engine(error))),
        }
    }

    /// Why the engine does not answer, if it does not, as far as its events tell.
    pub fn outage(&self) -> Option<Arc<String>> {
        self.shared.outage.load_full()
    }

    /// The curated list as it is in force now.
    pub fn catalog(&self) -> Arc<crate::catalog::Catalog> {
        self.shared.catalog.current()
    }

    /// Ends all drivers when the guard is dropped. Instances go on running.
    #[must_use]
    pub fn end_with(&self) -> DropGuard {
        self.shared.ended.clone().drop_guard()
    }

    /// Tells everybody who is connected that the service ends. The desktops go on running, and
    /// the next service adopts them.
    pub fn begin_shutdown(&self) {
        self.shared.closing.cancel();
        for handle in self.shared.read().values() {
            handle.send(Message::ServiceShutdown);
        }
    }
}

impl Shared {
    pub(super) fn app(&self, name: &str) -> Option<Arc<App>> {
        self.catalog.current().app(name).cloned()
    }

    /// What was started has its image.
    fn image_was_used(&self, app: &str) {
        if let Some(app) = self.app(app)
            && let Source::Container(source) = &app.source
        {
            self.images.note(&source.image, true);
        }
    }

    /// Makes a new desktop, unless somebody was faster: then the first one's environment counts.
    pub(super) fn enter(self: &Arc<Self>, record: DesktopRecord) -> Handle {
        let mut desktops = self.write();
        let desktop = desktops.entry(record.uid.clone());
        desktop
            .or_insert_with(|| driver::spawn(Arc::clone(self), record, History::New))
            .clone()
    }

    pub(super) fn get(&self, uid: &Uid) -> Option<Handle> {
        self.read().get(uid).cloned()
    }

    /// Removes a driver that is done, unless its uid belongs to a newer one already.
    pub(super) fn remove(&self, uid: &Uid, inbox: &mpsc::UnboundedSender<Message>) {
        let mut desktops = self.write();
        if desktops
            .get(uid)
            .is_some_and(|current| current.leads_to(inbox))
        {
            desktops.remove(uid);
            self.access.forget(uid);
        }
    }

    /// Whether the host has room for one more desktop.
    pub(super) fn admit(&self) -> Result<(), FailReason> {
        admission::memory(self.settings.memory_reserve)
    }

    pub(super) fn handles(&self) -> Vec<Handle> {
        self.read().values().cloned().collect()
    }

    // A panic while a lock is held cannot leave the map half-changed: go on with it.
    fn read(&self) -> impl std::ops::Deref<Target = HashMap<Uid, Handle>> {
        self.desktops.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> impl std::ops::DerefMut<Target = HashMap<Uid, Handle>> {
        self.desktops
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn error_of(refusal: Refusal, uid: &Uid, stream: &str) -> DesktopError {
    match refusal {
        Refusal::Gone => DesktopError::UnknownDesktop(uid.clone()),
        Refusal::NotRunning => DesktopError::NotRunning(uid.clone()),
        Refusal::UnknownStream(known) => DesktopError::UnknownStream {
            name: stream.to_owned(),
            known,
        },
        Refusal::Failed(reason) => DesktopError::Failed(reason),
    }
}
