//! The simulated engine on bad days: it goes away, fails, panics and takes its time when a test says so, and counts
//! what is asked of it.

#![allow(dead_code, reason = "each test program uses another part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

#[path = "engine/vnc.rs"]
mod vnc;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cosage::desktop::{Environment, Uid};
use cosage::engine::home::{HomeAccess, HomeError};
use cosage::engine::simulated::Simulated;
use cosage::engine::{
    Engine, EngineError, EngineEvent, Exit, Found, Homes, Images, Instance, InstanceId, LaunchSpec,
    LogStream, Logs, Meter, OnStep, Protocol, StartStep, Usage, Workload,
};
use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{JoinSet, unconstrained};
use tokio_util::sync::CancellationToken;

pub(crate) use self::vnc::Painting;
use self::vnc::Watch;

const KILLED: Exit = Exit {
    code: Some(137),
    out_of_memory: false,
};

/// The simulated engine, and what a test does to it. Clones are of one engine.
#[derive(Clone)]
pub(crate) struct TestEngine {
    simulated: Simulated,
    shared: Arc<Shared>,
}

/// Whether an engine answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Power {
    #[default]
    Up,
    /// Every call is [`EngineError::Unavailable`]; desktops go on.
    Down,
}

/// What an engine is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// [`Engine::start`], before anything is started.
    Start,
    /// [`Engine::start`], when the instance runs.
    Started,
    Stop,
    List,
    DeleteHome,
    Events,
    Usage,
}

struct Shared {
    _homes: TempDir,
    state: Mutex<State>,
    /// The simulated engine's own events, which reach [`Self::events`] while it answers.
    reported: Mutex<BoxStream<'static, EngineEvent>>,
    events: broadcast::Sender<EngineEvent>,
    followers: Arc<AtomicUsize>,
    measurements: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    power: Power,
    /// The next of each panics.
    panics: BTreeSet<Call>,
    leaves_after_start: bool,
    /// Ends after the next list.
    ends_once_listed: Option<(InstanceId, Exit)>,
    runs: HashMap<InstanceId, Run>,
    missing_images: BTreeSet<String>,
    taken_names: BTreeSet<String>,
    starts: usize,
    start_delay: Duration,
    start_error: Option<EngineError>,
    start_steps: Vec<StartStep>,
    stop_delay: Duration,
    stop_error: Option<EngineError>,
    watch: Watch,
}

/// An instance that has been started, as the test engine shows it.
struct Run {
    instance: Instance,
    environment: Environment,
    unusable: bool,
    /// What is between the VNC server and its clients; dropped with all connections.
    _watches: JoinSet<()>,
}

/// Counts as one for as long as it is held.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Engine for TestEngine {
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        let Workload::Container(container) = &spec.workload else {
            return self.simulated.start(spec, cancel, on_step).await;
        };
        self.panic_in(Call::Start);
        let delay = {
            let mut state = self.up()?;
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
            if state.taken_names.contains(&container.name) {
                return Err(EngineError::NameTaken {
                    name: container.name.clone(),
                });
            }
            for step in &state.start_steps {
                on_step(*step);
            }
            state.start_delay
        };
        take(delay).await;
        // The order is carried out by now, or it never will be.
        drop(self.up()?);
        let mut instance = self.simulated.start(spec, cancel, on_step).await?;
        self.forward();
        let watch = self.state().watch.clone();
        let mut watches = JoinSet::new();
        for endpoint in instance.endpoints.values_mut() {
            if endpoint.protocol == Protocol::Rfb {
                let password = instance.password.is_some();
                endpoint.address = watch.put_before(endpoint.address, password, &mut watches);
            }
        }
        let run = Run {
            instance: instance.clone(),
            environment: container.environment.clone(),
            unusable: false,
            _watches: watches,
        };
        {
            let mut state = self.state();
            state.runs.retain(|_, run| run.instance.uid != spec.uid);
            state.runs.insert(spec.instance.clone(), run);
        }
        self.panic_in(Call::Started);
        if std::mem::take(&mut self.state().leaves_after_start) {
            self.set_power(Power::Down);
        }
        drop(self.up()?);
        Ok(instance)
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        self.panic_in(Call::Stop);
        let (delay, grace) = {
            let state = self.up()?;
            if let Some(error) = &state.stop_error {
                return Err(error.clone());
            }
            match state.stop_delay {
                _ if !self.runs(instance) => (Duration::ZERO, grace),
                delay if delay < grace => (delay, grace),
                _ => (grace, Duration::ZERO),
            }
        };
        take(delay).await;
        self.up()?.runs.remove(instance);
        self.simulated.stop(instance, grace).await?;
        self.forward();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        self.panic_in(Call::List);
        drop(self.up()?);
        let found = self.simulated.list().await?;
        let mut state = self.state();
        let shown = |found| match found {
            Found::Running(Instance { id, .. }) => {
                let run = state.runs.get(&id)?;
                Some(if run.unusable {
                    let uid = Some(run.instance.uid.clone());
                    Found::Unusable { id, uid }
                } else {
                    Found::Running(Instance {
                        home_is_new: false,
                        ..run.instance.clone()
                    })
                })
            }
            other => Some(other),
        };
        let shown = found.into_iter().filter_map(shown).collect();
        let ends = state.ends_once_listed.take();
        drop(state);
        if let Some((instance, exit)) = ends {
            self.end(&instance, exit);
        }
        Ok(shown)
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        drop(self.up()?);
        self.simulated.exit(instance).await
    }

    fn events(&self) -> BoxStream<'static, EngineEvent> {
        self.panic_in(Call::Events);
        // Subscribed under the lock: whatever changes after this call is seen.
        let state = self.state();
        let receiver = self.shared.events.subscribe();
        let first = (state.power == Power::Up).then_some(EngineEvent::Connected);
        let later = stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
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
impl Logs for TestEngine {
    async fn last(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError> {
        drop(self.up()?);
        self.simulated.logs()?.last(instance, lines).await
    }

    async fn follow(&self, instance: &InstanceId, lines: usize) -> Result<LogStream, EngineError> {
        drop(self.up()?);
        let follower = Counted::begin(&self.shared.followers);
        let written = self.simulated.logs()?.follow(instance, lines).await?;
        Ok(written
            .inspect(move |_| {
                let _counted = &follower;
            })
            .boxed())
    }
}

impl Meter for TestEngine {
    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage> {
        self.panic_in(Call::Usage);
        let measurement = Counted::begin(&self.shared.measurements);
        let usage = self.simulated.meter().unwrap().usage(instance);
        usage
            .take_while(move |_| {
                let _counted = &measurement;
                std::future::ready(self.up().is_ok())
            })
            .boxed()
    }
}

#[async_trait]
impl Homes for TestEngine {
    async fn open(&self, uid: &Uid) -> Result<HomeAccess, HomeError> {
        drop(self.up()?);
        self.simulated.homes()?.open(uid).await
    }

    async fn list(&self) -> Result<Vec<Uid>, EngineError> {
        drop(self.up()?);
        self.simulated.homes()?.list().await
    }

    async fn delete(&self, uid: &Uid) -> Result<(), EngineError> {
        self.panic_in(Call::DeleteHome);
        drop(self.up()?);
        self.simulated.homes()?.delete(uid).await
    }
}

#[async_trait]
impl Images for TestEngine {
    async fn is_present(&self, image: &str) -> Result<bool, EngineError> {
        Ok(!self.up()?.missing_images.contains(image))
    }
}

/// What a test says and asks.
impl TestEngine {
    pub(crate) fn new() -> Self {
        let homes = tempfile::tempdir().unwrap();
        let simulated = Simulated::new(homes.path().to_owned());
        let mut reported = simulated.events();
        // That it answers, which this engine says itself.
        assert_eq!(next(&mut reported), Some(EngineEvent::Connected));
        Self {
            simulated,
            shared: Arc::new(Shared {
                _homes: homes,
                state: Mutex::default(),
                reported: Mutex::new(reported),
                events: broadcast::Sender::new(256),
                followers: Arc::default(),
                measurements: Arc::default(),
            }),
        }
    }

    /// Stops answering, or answers again.
    pub(crate) fn set_power(&self, power: Power) {
        let mut state = self.state();
        if std::mem::replace(&mut state.power, power) != power {
            self.report(match power {
                Power::Up => EngineEvent::Connected,
                Power::Down => EngineEvent::Disconnected("it was switched off".to_owned()),
            });
        }
    }

    /// Lets the engine go away when it has carried out the next start, which is not told of that.
    pub(crate) fn leave_after_start(&self) {
        self.state().leaves_after_start = true;
    }

    /// Lets the next call of this kind panic.
    pub(crate) fn panic_once(&self, call: Call) {
        self.state().panics.insert(call);
    }

    /// How long every start takes from now on.
    pub(crate) fn set_start_delay(&self, delay: Duration) {
        self.state().start_delay = delay;
    }

    /// What every start answers from now on; `None` is to work.
    pub(crate) fn set_start_error(&self, error: Option<EngineError>) {
        self.state().start_error = error;
    }

    /// What every start reports from now on before its delay; [`StartStep::Starting`] follows it.
    pub(crate) fn set_start_steps(&self, steps: impl Into<Vec<StartStep>>) {
        self.state().start_steps = steps.into();
    }

    /// How long an instance takes to end when it is asked to; beyond its grace it is killed.
    pub(crate) fn set_stop_delay(&self, delay: Duration) {
        self.state().stop_delay = delay;
    }

    /// What every stop answers from now on; `None` is to work.
    pub(crate) fn set_stop_error(&self, error: Option<EngineError>) {
        self.state().stop_error = error;
    }

    /// How long instances that are started from now on keep an RFB connection waiting for the banner.
    pub(crate) fn set_banner_delay(&self, delay: Duration) {
        self.state().watch.banner_delay = delay;
    }

    /// What instances that are started from now on do when they are asked for a picture.
    pub(crate) fn set_painting(&self, painting: Painting) {
        self.state().watch.painting = painting;
    }

    /// How many clients got through the handshake of a VNC server, in all.
    pub(crate) fn clients(&self) -> usize {
        self.recorded().len()
    }

    /// What each client of a VNC server has sent after its `ClientInit`, in the order in which they got that far.
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        self.state().watch.recordings()
    }

    /// Lets this image be missing, as none is otherwise.
    pub(crate) fn lose_image(&self, image: &str) {
        self.state().missing_images.insert(image.to_owned());
    }

    /// Lets an unmanaged container have this name.
    pub(crate) fn take_name(&self, name: &str) {
        self.state().taken_names.insert(name.to_owned());
    }

    /// Ends an instance as if its main process had ended by itself.
    pub(crate) fn end(&self, instance: &InstanceId, exit: Exit) {
        let run = self.state().runs.remove(instance);
        self.simulated.end(instance, exit);
        self.forward();
        drop(run);
    }

    /// Lets an instance have been started at this time.
    pub(crate) fn set_started_at(&self, instance: &InstanceId, at: Timestamp) {
        if let Some(run) = self.state().runs.get_mut(instance) {
            run.instance.started_at = at;
        }
    }

    /// Ends an instance by itself as soon as it has been listed once more.
    pub(crate) fn end_once_listed(&self, instance: &InstanceId, exit: Exit) {
        self.state().ends_once_listed = Some((instance.clone(), exit));
    }

    /// Lets an instance run on that cannot be adopted any more.
    pub(crate) fn make_unusable(&self, instance: &InstanceId) {
        if let Some(run) = self.state().runs.get_mut(instance) {
            run.unusable = true;
        }
    }

    /// Removes an instance as if this had been done past the service.
    pub(crate) fn remove(&self, instance: &InstanceId) {
        self.end(instance, KILLED);
        let removed = self.simulated.stop(instance, Duration::ZERO);
        removed.now_or_never().unwrap().unwrap();
    }

    /// Lets an instance write `text`.
    pub(crate) fn write_log(&self, instance: &InstanceId, text: &str) {
        self.simulated.write(instance, text);
    }

    /// How many streams of [`Logs::follow`] are read.
    pub(crate) fn followers(&self) -> usize {
        self.shared.followers.load(Ordering::Relaxed)
    }

    /// How many starts were asked for, failed ones included.
    pub(crate) fn starts(&self) -> usize {
        self.state().starts
    }

    /// How many measurements of usage go on.
    pub(crate) fn measurements(&self) -> usize {
        self.shared.measurements.load(Ordering::Relaxed)
    }

    /// The instances that run now.
    pub(crate) fn running(&self) -> Vec<InstanceId> {
        let running = self.instances().into_values();
        running.map(|instance| instance.id).collect()
    }

    /// The instance of the desktop of this name that runs now.
    pub(crate) fn instance(&self, uid: &str) -> Option<InstanceId> {
        let mut running = self.instances().into_values();
        running
            .find(|instance| instance.uid.as_str() == uid)
            .map(|instance| instance.id)
    }

    /// What an instance got as its environment.
    pub(crate) fn environment(&self, instance: &InstanceId) -> Option<Environment> {
        let state = self.state();
        Some(state.runs.get(instance)?.environment.clone())
    }

    /// Whether the desktop has a home volume.
    pub(crate) fn has_home(&self, uid: &Uid) -> bool {
        self.home(uid).is_some()
    }

    /// The directory that is the desktop's home, while it has one.
    pub(crate) fn home(&self, uid: &Uid) -> Option<PathBuf> {
        self.simulated.home(uid)
    }

    fn instances(&self) -> BTreeMap<InstanceId, Instance> {
        let listed = self.simulated.list().now_or_never().unwrap().unwrap();
        let running = listed.into_iter().filter_map(|found| match found {
            Found::Running(instance) => Some((instance.id.clone(), instance)),
            _ => None,
        });
        running.collect()
    }

    fn runs(&self, instance: &InstanceId) -> bool {
        self.instances().contains_key(instance)
    }

    /// The state also after a panic elsewhere: every change of it is made in one step.
    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        let state = self.state();
        match state.power {
            Power::Up => Ok(state),
            Power::Down => Err(EngineError::Unavailable("it was switched off".to_owned())),
        }
    }

    fn panic_in(&self, call: Call) {
        let panics = self.state().panics.remove(&call);
        assert!(!panics, "{call:?} panics, as was asked for");
    }

    /// Passes on what the simulated engine has reported. One that does not answer reports nothing either.
    fn forward(&self) {
        let state = self.state();
        let reported = self.shared.reported.lock();
        let mut reported = reported.unwrap_or_else(PoisonError::into_inner);
        while let Some(event) = next(&mut reported) {
            if state.power == Power::Up {
                self.report(event);
            }
        }
    }

    fn report(&self, event: EngineEvent) {
        // An error says that there is no listener.
        let _ = self.shared.events.send(event);
    }
}

/// What a stream has already.
fn next(stream: &mut BoxStream<'static, EngineEvent>) -> Option<EngineEvent> {
    unconstrained(stream.next()).now_or_never().flatten()
}

/// Takes as long as a test has said; nothing, and not even its turn, where that is no time.
async fn take(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
