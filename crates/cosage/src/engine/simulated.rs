//! A demonstration without Docker (`COSAGE_ENGINE=fake`): an engine in memory.
//!
//! Its desktops are listeners on loopback that speak enough of each protocol to be looked at, so the service can be
//! tried, and measured by the hundred, where there are no containers. They do nothing by themselves:
//! [`Simulated::write`] and [`Simulated::end`] are what their main processes would do.
//!
//! Clones share one engine: what a service has started still runs for the next service that is given a clone, as
//! containers do after a restart.

mod desktop;
mod homes;
mod logs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::desktop::{CLUSTER, COLOUR, HEADER, HEIGHT, WIDTH};
use self::homes::Directories;
use super::callback::CallbackSecret;
use super::legacy::own_timeout;
use super::{
    ContainerSpec, Engine, EngineError, EngineEvent, Exit, Found, Homes, Images, Instance,
    InstanceId, LaunchSpec, Logs, Meter, OnStep, StartStep, Usage, Workload,
};
use crate::desktop::Uid;

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
#[derive(Clone)]
pub struct Simulated {
    shared: Arc<Shared>,
}

struct Shared {
    runs: Mutex<BTreeMap<InstanceId, Run>>,
    homes: Directories,
    events: broadcast::Sender<EngineEvent>,
    /// Changes when an instance has written something or ends.
    written: watch::Sender<()>,
}

struct Run {
    instance: Instance,
    log: String,
    life: Life,
}

enum Life {
    /// The tasks that serve its streams; dropped with all their connections.
    Running {
        _servers: JoinSet<()>,
    },
    Ended(Exit),
}

impl Simulated {
    /// An engine without any instance, which keeps the homes of its desktops in this directory.
    pub fn new(homes: PathBuf) -> Self {
        Self {
            shared: Arc::new(Shared {
                runs: Mutex::default(),
                homes: Directories::new(homes),
                events: broadcast::Sender::new(256),
                written: watch::Sender::new(()),
            }),
        }
    }

    /// The main process of an instance writes `text`.
    pub fn write(&self, instance: &InstanceId, text: &str) {
        if let Some(run) = self.shared.runs().get_mut(instance) {
            run.log.push_str(text);
        }
        self.shared.written.send_replace(());
    }

    /// The main process of an instance ends by itself.
    pub fn end(&self, instance: &InstanceId, exit: Exit) {
        self.shared.end(&mut self.shared.runs(), instance, exit);
    }

    /// The directory that is the desktop's home, while it has one.
    pub fn home(&self, uid: &Uid) -> Option<PathBuf> {
        self.shared.homes.of(uid)
    }

    async fn run(
        &self,
        spec: &LaunchSpec,
        container: &ContainerSpec,
    ) -> Result<Instance, EngineError> {
        let (endpoints, servers) = desktop::serve(container).await?;
        let variables = || {
            let all = container.environment.0.iter();
            all.map(|(name, value)| (name.as_str(), value.as_str()))
        };
        let instance = Instance {
            id: spec.instance.clone(),
            uid: spec.uid.clone(),
            app: spec.app.clone(),
            key: spec.key,
            endpoints,
            password: container.password.clone(),
            callback: CallbackSecret::among(variables()),
            home_is_new: container.home.is_some() && self.shared.homes.of(&spec.uid).is_none(),
            started_at: Timestamp::now(),
            own_timeout: own_timeout(variables()),
        };
        if container.home.is_some() {
            self.shared.homes.create(&spec.uid)?;
        }
        let earlier: Vec<_> = {
            let runs = self.shared.runs();
            let earlier = runs.values().filter(|run| run.instance.uid == spec.uid);
            earlier.map(|run| run.instance.id.clone()).collect()
        };
        for id in earlier {
            self.stop(&id, container.stop_grace).await?;
        }
        let run = Run {
            instance: Instance {
                home_is_new: false,
                ..instance.clone()
            },
            log: String::new(),
            life: Life::Running { _servers: servers },
        };
        self.shared.runs().insert(spec.instance.clone(), run);
        Ok(instance)
    }
}

#[async_trait]
impl Engine for Simulated {
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
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        on_step(StartStep::Starting);
        self.run(spec, container).await
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        // Each ends at once when it is asked to.
        let code = if grace.is_zero() { KILLED } else { 0 };
        let exit = Exit {
            code: Some(code),
            out_of_memory: false,
        };
        let mut runs = self.shared.runs();
        self.shared.end(&mut runs, instance, exit);
        runs.remove(instance);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        let runs = self.shared.runs();
        let found = runs.values().map(|run| match run.life {
            Life::Running { .. } => Found::Running(run.instance.clone()),
            Life::Ended(_) => Found::Remains(run.instance.id.clone()),
        });
        Ok(found.collect())
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        match self.shared.runs().get(instance).map(|run| &run.life) {
            None => Err(EngineError::Gone),
            Some(Life::Running { .. }) => Ok(None),
            Some(Life::Ended(exit)) => Ok(Some(*exit)),
        }
    }

    fn events(&self) -> BoxStream<'static, EngineEvent> {
        let later = stream::unfold(self.shared.events.subscribe(), |mut receiver| async {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                // What was missed is unknown, which is what this event means.
                Err(RecvError::Lagged(_)) => Some((EngineEvent::Connected, receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        let first = stream::once(std::future::ready(EngineEvent::Connected));
        first.chain(later).boxed()
    }

    fn logs(&self) -> Result<&dyn Logs, EngineError> {
        Ok(self)
    }

    fn meter(&self) -> Result<&dyn Meter, EngineError> {
        Ok(self)
    }

    fn homes(&self) -> Result<&dyn Homes, EngineError> {
        Ok(&self.shared.homes)
    }

    fn images(&self) -> Result<&dyn Images, EngineError> {
        Ok(self)
    }
}

impl Meter for Simulated {
    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage> {
        stream::unfold((), async |()| {
            tokio::time::sleep(MEASUREMENT).await;
            let runs = self.exit(instance).await == Ok(None);
            runs.then_some((USAGE, ()))
        })
        .boxed()
    }
}

#[async_trait]
impl Images for Simulated {
    async fn is_present(&self, _image: &str) -> Result<bool, EngineError> {
        Ok(true)
    }
}

impl Shared {
    /// The runs also after a panic elsewhere: every change of them is made in one step.
    fn runs(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, runs: &mut BTreeMap<InstanceId, Run>, instance: &InstanceId, exit: Exit) {
        if let Some(run) = runs.get_mut(instance)
            && let Life::Running { .. } = run.life
        {
            run.life = Life::Ended(exit);
            self.written.send_replace(());
            // An error says that there is no listener.
            let _ = self
                .events
                .send(EngineEvent::Exited(instance.clone(), exit));
        }
    }
}
