//! An engine in memory. Its desktops are listeners on loopback that speak enough RFB to be looked
//! at, so everything above an engine can be tried and measured without one, by the hundred.
//!
//! Clones share one engine: what a service has started is still there for the next service that is
//! given a clone, as containers are after a restart. [`Control`] makes it misbehave.

mod files;
mod logs;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::files::FakeHome;
pub use self::server::{CLUSTER, COLOUR, HEADER, HEIGHT, Painting, WIDTH};
use super::callback::CallbackSecret;
use super::home::{HomeAccess, HomeError};
use super::legacy::own_timeout;
use super::logs::last_lines;
use super::{
    ContainerSpec, Endpoint, Engine, EngineError, EngineEvent, Exit, Found, Homes, Images,
    Instance, InstanceId, LaunchSpec, LogStream, Logs, Meter, OnStep, Protocol, StartStep, Usage,
    Workload,
};
use crate::descriptors::explain;
use crate::desktop::{Environment, Uid};

/// The exit code of a process that was killed: 128 and the number of the signal.
const KILLED: i64 = 137;

/// What every instance uses.
pub const USAGE: Usage = Usage {
    cpu: 0.25,
    memory: 64 << 20,
    memory_limit: Some(1 << 30),
    received: 1_000,
    sent: 20_000,
};

/// How often that is measured.
const MEASUREMENT: Duration = Duration::from_secs(1);

/// An engine in memory.
#[derive(Clone, Default)]
pub struct Fake {
    shared: Arc<Shared>,
}

/// Makes a [`Fake`] do what engines do on bad days.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// Whether an engine answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// It answers.
    #[default]
    Up,
    /// Every call is [`EngineError::Unavailable`]; desktops go on.
    Down,
}

/// What an engine is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Engine::start`], before anything is started.
    Start,
    /// [`Engine::start`], when the instance runs.
    Started,
    /// [`Engine::stop`]
    Stop,
    /// [`Engine::list`]
    List,
    /// [`Homes::delete`]
    DeleteHome,
    /// [`Engine::events`]
    Events,
    /// [`Meter::usage`]
    Usage,
}

struct Shared {
    state: Mutex<State>,
    events: broadcast::Sender<EngineEvent>,
    /// Changes when an instance has written something or ends.
    written: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    power: Power,
    /// The next of each panics.
    panics: BTreeSet<Call>,
    /// Goes away when it has carried out the next start.
    leaves_after_start: bool,
    instances: BTreeMap<InstanceId, Record>,
    homes: BTreeMap<Uid, FakeHome>,
    missing_images: BTreeSet<String>,
    taken_names: BTreeSet<String>,
    /// Ends after the next list that has it.
    ends_once_listed: Option<(InstanceId, Exit)>,
    starts: usize,
    measurements: usize,
    start_delay: Duration,
    start_error: Option<EngineError>,
    start_steps: Vec<StartStep>,
    stop_delay: Duration,
    stop_error: Option<EngineError>,
    banner_delay: Duration,
    painting: Painting,
    /// Clients of all VNC servers there were.
    clients: Arc<AtomicUsize>,
    recordings: Option<server::Recordings>,
}

struct Record {
    instance: Instance,
    name: String,
    environment: Environment,
    logs: String,
    life: Life,
    /// Whether it cannot be adopted.
    unusable: bool,
}

/// Counts as one for as long as it is held.
struct Measurement {
    shared: Arc<Shared>,
}

enum Life {
    /// The tasks that serve its streams; dropped with all their connections.
    Running {
        _servers: JoinSet<()>,
    },
    Ended(Exit),
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::Sender::new(256),
            written: watch::Sender::new(()),
        }
    }
}

impl Fake {
    /// An engine without any instance.
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle that makes it misbehave.
    pub fn control(&self) -> Control {
        Control {
            shared: self.shared.clone(),
        }
    }

    async fn launch(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
    ) -> Result<Instance, EngineError> {
        let variables = || {
            let all = container.environment.0.iter();
            all.map(|(name, value)| (name.as_str(), value.as_str()))
        };
        let mut servers = JoinSet::new();
        let mut endpoints = BTreeMap::new();
        for (name, stream) in &container.streams {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .map_err(|error| EngineError::OutOfResources(explain(&error)))?;
            let address = listener
                .local_addr()
                .map_err(|error| EngineError::OutOfResources(error.to_string()))?;
            match stream.protocol {
                Protocol::Rfb => {
                    let state = self.shared.lock();
                    servers.spawn(server::rfb(
                        listener,
                        container.password.clone(),
                        state.banner_delay,
                        state.painting,
                        Arc::clone(&state.clients),
                        state.recordings.clone(),
                    ));
                }
                Protocol::Tcp => {
                    servers.spawn(server::echo(listener));
                }
                Protocol::Display => {
                    servers.spawn(server::display(listener, container.password.clone()));
                }
                Protocol::Webm => {
                    servers.spawn(server::webm(listener, container.password.clone()));
                }
                Protocol::Websocket => {
                    return Err(EngineError::Refused(format!(
                        "the fake engine has no WebSocket desktops, and stream '{name}' is one"
                    )));
                }
            }
            let endpoint = Endpoint {
                address,
                protocol: stream.protocol,
                path: stream.path.clone(),
                presence: stream.presence,
            };
            endpoints.insert(name.clone(), endpoint);
        }
        let instance = Instance {
            id: spec.instance.clone(),
            uid: spec.uid.clone(),
            app: spec.app.clone(),
            key: spec.key,
            endpoints,
            password: container.password.clone(),
            callback: CallbackSecret::among(variables()),
            started_at: Timestamp::now(),
            own_timeout: own_timeout(variables()),
        };
        let earlier = self.shared.lock().in_the_way(&container.name, &spec.uid)?;
        for instance in earlier {
            self.stop(&instance, container.stop_grace).await?;
        }
        let mut state = self.shared.lock();
        if container.home.is_some() {
            state
                .homes
                .entry(spec.uid.clone())
                .or_insert_with(FakeHome::new);
        }
        state.instances.insert(
            spec.instance.clone(),
            Record {
                instance: instance.clone(),
                name: container.name.clone(),
                environment: container.environment.clone(),
                logs: String::new(),
                life: Life::Running { _servers: servers },
                unusable: false,
            },
        );
        Ok(instance)
    }
}

#[async_trait]
impl Engine for Fake {
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        let Workload::Container(container) = &spec.workload else {
            return Err(EngineError::Refused(
                "this engine runs containers, and nothing else".to_owned(),
            ));
        };
        self.shared.panic_in(Call::Start);
        let delay = {
            let mut state = self.shared.up()?;
            state.starts += 1;
            if cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            if let Some(error) = &state.start_error {
                return Err(error.clone());
            }
            if state.missing_images.contains(&container.image) {
                return Err(EngineError::ImageMissing {
                    image: container.image.clone(),
                    hint: container.image_hint.clone(),
                });
            }
            for step in &state.start_steps {
                on_step(*step);
            }
            state.start_delay
        };
        pause(delay).await;
        // The order is carried out by now, or it never will be.
        drop(self.shared.up()?);
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        on_step(StartStep::Starting);
        let instance = self.launch(spec, container).await?;
        self.shared.panic_in(Call::Started);
        if std::mem::take(&mut self.shared.lock().leaves_after_start) {
            self.control().set_power(Power::Down);
        }
        drop(self.shared.up()?);
        Ok(instance)
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        self.shared.panic_in(Call::Stop);
        let (delay, exit) = {
            let state = self.shared.up()?;
            if let Some(error) = &state.stop_error {
                return Err(error.clone());
            }
            match state.instances.get(instance).map(|record| &record.life) {
                None => return Ok(()),
                Some(Life::Ended(_)) => (Duration::ZERO, 0),
                Some(Life::Running { .. }) if state.stop_delay < grace => (state.stop_delay, 0),
                Some(Life::Running { .. }) => (grace, KILLED),
            }
        };
        pause(delay).await;
        let mut state = self.shared.up()?;
        self.shared.end(&mut state, instance, with_code(exit));
        state.instances.remove(instance);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        self.shared.panic_in(Call::List);
        let mut state = self.shared.up()?;
        let found = state.instances.values().map(|record| match record.life {
            Life::Running { .. } if record.unusable => Found::Unusable {
                id: record.instance.id.clone(),
                uid: Some(record.instance.uid.clone()),
            },
            Life::Running { .. } => Found::Running(record.instance.clone()),
            Life::Ended(_) => Found::Remains(record.instance.id.clone()),
        });
        let found = found.collect();
        if let Some((instance, exit)) = state.ends_once_listed.take() {
            self.shared.end(&mut state, &instance, exit);
        }
        Ok(found)
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        let state = self.shared.up()?;
        let record = state.instances.get(instance).ok_or(EngineError::Gone)?;
        match record.life {
            Life::Running { .. } => Ok(None),
            Life::Ended(exit) => Ok(Some(exit)),
        }
    }

    fn events(&self) -> BoxStream<'static, EngineEvent> {
        self.shared.panic_in(Call::Events);
        // Subscribed under the lock: whatever changes after this call is seen.
        let state = self.shared.lock();
        let receiver = self.shared.events.subscribe();
        let first = (state.power == Power::Up).then_some(EngineEvent::Connected);
        let later = stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                // What was missed is unknown, which is what this event means.
                Err(RecvError::Lagged(_)) => Some((EngineEvent::Connected, receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        stream::iter(first).chain(later).boxed()
    }

    fn logs(&self) -> Result<&dyn Logs, EngineError> {
        Ok(self)
    }

    fn meter(&self) -> Result<&dyn Meter, EngineError> {
        Ok(self)
    }

    fn homes(&self) -> Result<&dyn Homes, EngineError> {
        Ok(self)
    }

    fn images(&self) -> Result<&dyn Images, EngineError> {
        Ok(self)
    }
}

#[async_trait]
impl Logs for Fake {
    async fn last(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError> {
        let state = self.shared.up()?;
        let record = state.instances.get(instance).ok_or(EngineError::Gone)?;
        let all: Vec<&str> = record.logs.split_inclusive('\n').collect();
        let last = all.get(all.len().saturating_sub(lines)..);
        Ok(last_lines(last.unwrap_or_default().concat().as_bytes()))
    }

    async fn follow(&self, instance: &InstanceId, lines: usize) -> Result<LogStream, EngineError> {
        logs::follow(&self.shared, instance, lines)
    }
}

impl Meter for Fake {
    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage> {
        self.shared.panic_in(Call::Usage);
        let measurement = Measurement::begin(&self.shared);
        stream::unfold(measurement, async |measurement| {
            tokio::time::sleep(MEASUREMENT).await;
            let running = self.exit(instance).await == Ok(None);
            running.then_some((USAGE, measurement))
        })
        .boxed()
    }
}

#[async_trait]
impl Homes for Fake {
    async fn open(&self, uid: &Uid) -> Result<HomeAccess, HomeError> {
        let mut link = {
            let mut state = self.shared.up()?;
            state.homes.get_mut(uid).ok_or(HomeError::NoHome)?.link()?
        };
        link.hello().await?;
        Ok(HomeAccess::new(link, drop))
    }

    async fn list(&self) -> Result<Vec<Uid>, EngineError> {
        Ok(self.shared.up()?.homes.keys().cloned().collect())
    }

    async fn delete(&self, uid: &Uid) -> Result<(), EngineError> {
        self.shared.panic_in(Call::DeleteHome);
        self.shared.up()?.homes.remove(uid);
        Ok(())
    }
}

#[async_trait]
impl Images for Fake {
    async fn is_present(&self, image: &str) -> Result<bool, EngineError> {
        Ok(!self.shared.up()?.missing_images.contains(image))
    }
}

impl Control {
    /// Stops answering, or answers again.
    pub fn set_power(&self, power: Power) {
        let mut state = self.shared.lock();
        if state.power == power {
            return;
        }
        state.power = power;
        self.shared.report(match power {
            Power::Up => EngineEvent::Connected,
            Power::Down => EngineEvent::Disconnected("it was switched off".to_owned()),
        });
    }

    /// Lets the engine go away when it has carried out the next start, which is not told of that.
    pub fn leave_after_start(&self) {
        self.shared.lock().leaves_after_start = true;
    }

    /// Lets the next call of this kind panic.
    pub fn panic_once(&self, call: Call) {
        self.shared.lock().panics.insert(call);
    }

    /// How long every start takes from now on.
    pub fn set_start_delay(&self, delay: Duration) {
        self.shared.lock().start_delay = delay;
    }

    /// What every start answers from now on; `None` is to work.
    pub fn set_start_error(&self, error: Option<EngineError>) {
        self.shared.lock().start_error = error;
    }

    /// What every start reports from now on before its delay; [`StartStep::Starting`] follows it.
    pub fn set_start_steps(&self, steps: impl Into<Vec<StartStep>>) {
        self.shared.lock().start_steps = steps.into();
    }

    /// How long an instance takes to end when it is asked to; beyond its grace it is killed.
    pub fn set_stop_delay(&self, delay: Duration) {
        self.shared.lock().stop_delay = delay;
    }

    /// What every stop answers from now on; `None` is to work.
    pub fn set_stop_error(&self, error: Option<EngineError>) {
        self.shared.lock().stop_error = error;
    }

    /// How long instances that are started from now on keep an RFB connection waiting for the
    /// banner.
    pub fn set_banner_delay(&self, delay: Duration) {
        self.shared.lock().banner_delay = delay;
    }

    /// What instances that are started from now on do when they are asked for a picture.
    pub fn set_painting(&self, painting: Painting) {
        self.shared.lock().painting = painting;
    }

    /// How many clients got through the handshake of a VNC server, in all.
    pub fn clients(&self) -> usize {
        self.shared.lock().clients.load(Ordering::Relaxed)
    }

    /// Writes down what the clients of instances send that are started from now on.
    pub fn record(&self) {
        self.shared.lock().recordings = Some(server::Recordings::default());
    }

    /// What each client of a VNC server has sent after its `ClientInit`, in the order in which they got that far.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        let recordings = self.shared.lock().recordings.clone();
        recordings.map_or_else(Vec::new, |recordings| recordings.all())
    }

    /// Lets this image be missing, as none is otherwise.
    pub fn lose_image(&self, image: &str) {
        self.shared.lock().missing_images.insert(image.to_owned());
    }

    /// Lets somebody else have a container of this name.
    pub fn take_name(&self, name: &str) {
        self.shared.lock().taken_names.insert(name.to_owned());
    }

    /// Ends an instance as if its main process had ended by itself.
    pub fn end(&self, instance: &InstanceId, exit: Exit) {
        let mut state = self.shared.lock();
        self.shared.end(&mut state, instance, exit);
    }

    /// Lets an instance have been started at this time.
    pub fn set_started_at(&self, instance: &InstanceId, at: Timestamp) {
        if let Some(record) = self.shared.lock().instances.get_mut(instance) {
            record.instance.started_at = at;
        }
    }

    /// Ends an instance by itself as soon as it has been listed once more.
    pub fn end_once_listed(&self, instance: &InstanceId, exit: Exit) {
        self.shared.lock().ends_once_listed = Some((instance.clone(), exit));
    }

    /// Lets an instance run on that cannot be adopted any more.
    pub fn make_unusable(&self, instance: &InstanceId) {
        if let Some(record) = self.shared.lock().instances.get_mut(instance) {
            record.unusable = true;
        }
    }

    /// Removes an instance as if somebody had done so past the service.
    pub fn remove(&self, instance: &InstanceId) {
        let mut state = self.shared.lock();
        self.shared.end(&mut state, instance, with_code(KILLED));
        state.instances.remove(instance);
    }

    /// Lets an instance write `text`.
    pub fn write_log(&self, instance: &InstanceId, text: &str) {
        if let Some(record) = self.shared.lock().instances.get_mut(instance) {
            record.logs.push_str(text);
        }
        self.shared.written.send_replace(());
    }

    /// How many streams of [`Logs::follow`] are read.
    pub fn followers(&self) -> usize {
        self.shared.written.receiver_count()
    }

    /// How many starts were asked for, failed ones included.
    pub fn starts(&self) -> usize {
        self.shared.lock().starts
    }

    /// How many measurements of usage go on.
    pub fn measurements(&self) -> usize {
        self.shared.lock().measurements
    }

    /// The instances that run now.
    pub fn running(&self) -> Vec<InstanceId> {
        let state = self.shared.lock();
        let running = state
            .instances
            .values()
            .filter(|record| matches!(record.life, Life::Running { .. }));
        running.map(|record| record.instance.id.clone()).collect()
    }

    /// The instance of the desktop of this name that runs now.
    pub fn instance(&self, uid: &str) -> Option<InstanceId> {
        let state = self.shared.lock();
        let mut running = state.instances.values().filter(|record| {
            record.instance.uid.as_str() == uid && matches!(record.life, Life::Running { .. })
        });
        running.next().map(|record| record.instance.id.clone())
    }

    /// What an instance got as its environment.
    pub fn environment(&self, instance: &InstanceId) -> Option<Environment> {
        let state = self.shared.lock();
        let record = state.instances.get(instance)?;
        Some(record.environment.clone())
    }

    /// Whether the desktop has a home volume.
    pub fn has_home(&self, uid: &Uid) -> bool {
        self.shared.lock().homes.contains_key(uid)
    }

    /// The directory that is the desktop's home, while it has one.
    pub fn home(&self, uid: &Uid) -> Option<PathBuf> {
        let mut state = self.shared.lock();
        let path = state.homes.get_mut(uid)?.path().ok()?;
        Some(path.to_owned())
    }
}

impl Shared {
    /// The state also after a panic elsewhere: every change of it is made in one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn panic_in(&self, call: Call) {
        let panics = self.lock().panics.remove(&call);
        assert!(!panics, "{call:?} panics, as was asked for");
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        let state = self.lock();
        match state.power {
            Power::Up => Ok(state),
            Power::Down => Err(EngineError::Unavailable("it is switched off".to_owned())),
        }
    }

    fn end(&self, state: &mut State, instance: &InstanceId, exit: Exit) {
        let Some(record) = state.instances.get_mut(instance) else {
            return;
        };
        if let Life::Running { .. } = record.life {
            record.life = Life::Ended(exit);
            self.written.send_replace(());
            // An engine that does not answer reports nothing either.
            if state.power == Power::Up {
                self.report(EngineEvent::Exited(instance.clone(), exit));
            }
        }
    }

    fn report(&self, event: EngineEvent) {
        // An error says that nobody listens.
        let _ = self.events.send(event);
    }
}

impl Measurement {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.lock().measurements += 1;
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        self.shared.lock().measurements -= 1;
    }
}

impl State {
    /// The desktop's earlier runs, and what is left of others, that have its container's name.
    fn in_the_way(&self, name: &str, uid: &Uid) -> Result<Vec<InstanceId>, EngineError> {
        let in_the_way = |record: &Record| {
            record.name == name
                && record.instance.uid != *uid
                && matches!(record.life, Life::Running { .. })
        };
        if self.taken_names.contains(name) || self.instances.values().any(in_the_way) {
            return Err(EngineError::NameTaken {
                name: name.to_owned(),
            });
        }
        let named = self.instances.values().filter(|record| record.name == name);
        Ok(named.map(|record| record.instance.id.clone()).collect())
    }
}

/// Sleeps, unless there is nothing to wait for: then it does not even give up its turn.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn with_code(code: i64) -> Exit {
    Exit {
        code: Some(code),
        out_of_memory: false,
    }
}
