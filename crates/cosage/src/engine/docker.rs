//! Docker, through its API: Engine 20.10 and newer.
//!
//! **Reaching the containers.** They are on a bridge network of their own, made when it is first
//! needed, and the gateway dials their addresses ([`Reach`] says when it cannot). No port is
//! published, so none is open to anybody but this host. Containers cannot reach each other: the
//! network is made with inter-container communication off.
//!
//! A service that itself runs in a container of the same engine joins a second network, with the
//! name's suffix `-shared`. There, communication between containers has to be on, because the
//! service is one of them; each desktop's VNC password is what keeps the others out. Desktops of
//! foreign images, which know no password, are open to the other desktops in that arrangement: run
//! the service on the host, or with `network_mode: host`, where that matters.
//!
//! **Finding them again.** Containers and volumes are found by their exact labels only, never by
//! their names. The labels carry all that a service needs to go on with a running desktop.
//!
//! **Secrets.** A container's environment appears in no message of this module, and bollard's own
//! messages about requests are compiled out.

mod client;
mod container;
mod events;
mod files;
mod homes;
mod instance;
mod labels;
mod logs;
mod operator;
mod pull;
mod site;
mod start;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{ListContainersOptionsBuilder, StopContainerOptionsBuilder};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::client::{Client, READ_LIMIT, is_not_found, limited};
use self::files::Programs;
use self::labels::Filter;
pub use self::operator::Operator;
use self::site::Site;
use super::{
    Engine, EngineError, EngineEvent, Exit, Found, Homes, Images, Instance, InstanceId, LaunchSpec,
    Logs, Meter, OnStep,
};

/// What a stop may take beyond its grace.
const STOP_SLACK: Duration = Duration::from_secs(15);

/// How many containers are looked at at the same time.
const INSPECTIONS: usize = 8;

// Whole requests, environment included, are logged by bollard below `info`.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Info as usize);

/// How the gateway reaches a container's ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// [`Reach::Published`] for Docker Desktop, a rootless engine and one that is spoken to over
    /// TCP; otherwise [`Reach::Direct`].
    #[default]
    Auto,
    /// At the container's own address.
    Direct,
    /// At a free port of the engine's host that is open to its loopback only.
    Published,
}

/// How the engine is found and used.
#[derive(Clone, Debug)]
pub struct DockerSettings {
    /// `DOCKER_HOST`: `unix://` with a path, or `tcp://` with a host and a port; `None` is
    /// `unix:///var/run/docker.sock`.
    pub host: Option<String>,
    /// `DOCKER_CERT_PATH`, where `DOCKER_TLS_VERIFY` is set: the directory with `ca.pem`,
    /// `cert.pem` and `key.pem` for an engine that is spoken to over TLS.
    pub certificates: Option<PathBuf>,
    /// The label by which this service knows what is its own ([`crate::store::Store::owner`]).
    pub owner: String,
    /// The network that containers are put on; made when it is not there.
    pub network: String,
    /// How their ports are reached.
    pub reach: Reach,
    /// How many containers are started at the same moment, at least 1: more only wait for each
    /// other inside the engine.
    pub parallel_starts: usize,
    /// The seccomp profile of [`super::Sandbox::UserNamespaces`], as JSON text.
    pub seccomp: String,
}

/// A Docker Engine, or what speaks its API.
pub struct Docker {
    settings: DockerSettings,
    client: Arc<Client>,
    site: OnceCell<Site>,
    network_lock: Mutex<()>,
    starts: Semaphore,
    programs: Arc<Programs>,
}

impl Docker {
    /// Gets ready to speak to an engine, which need not be up. Fails when the settings cannot work
    /// whatever the engine does: an address that is none, certificates that cannot be read.
    pub fn connect(settings: DockerSettings) -> Result<Self, EngineError> {
        let client = Client::new(settings.host.as_deref(), settings.certificates.as_deref())?;
        Ok(Self {
            starts: Semaphore::new(settings.parallel_starts.max(1)),
            settings,
            programs: Arc::default(),
            client: Arc::new(client),
            site: OnceCell::new(),
            network_lock: Mutex::new(()),
        })
    }

    /// One call with its limit; every failure is final.
    async fn call<'a, T, F>(
        &'a self,
        limit: Duration,
        call: impl FnOnce(&'a bollard::Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, Error>> + 'a,
    {
        limited(limit, call(self.client.get()?))
            .await
            .map_err(|error| self.client.explain(error))
    }

    /// The containers that a filter finds, running or not.
    async fn containers(&self, filter: &Filter) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(filter)
            .build();
        self.call(READ_LIMIT, |docker| docker.list_containers(Some(options)))
            .await
    }

    /// The engine's names for the containers of one run: one, or none.
    async fn containers_of(&self, instance: &InstanceId) -> Result<Vec<String>, EngineError> {
        let filter = labels::owned_run(&self.settings.owner, instance);
        let containers = self.containers(&filter).await?;
        Ok(containers
            .into_iter()
            .filter_map(|found| found.id)
            .collect())
    }

    async fn container_of(&self, instance: &InstanceId) -> Result<String, EngineError> {
        let mut containers = self.containers_of(instance).await?;
        containers.pop().ok_or(EngineError::Gone)
    }

    async fn runs(&self, container: &str) -> Result<bool, EngineError> {
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_container(container, None)).await {
            Ok(container) => Ok(instance::exit(container.state.as_ref()).is_none()),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// Asks a container to end, kills it after `grace`, and removes it. One that does not run is removed at once.
    async fn end(&self, container: &str, grace: Duration) -> Result<(), EngineError> {
        if !grace.is_zero() {
            let options = StopContainerOptionsBuilder::default()
                .t(whole_seconds(grace))
                .build();
            let docker = self.client.get()?;
            let asked = Instant::now();
            let stopped = limited(
                grace + STOP_SLACK,
                docker.stop_container(container, Some(options)),
            )
            .await;
            match stopped {
                Ok(()) => {}
                Err(error) if is_not_found(&error) => return Ok(()),
                Err(error) => {
                    let error = self.client.explain(error);
                    // The removal kills it, so it has to have had its time.
                    if asked.elapsed() < grace && self.runs(container).await? {
                        return Err(error);
                    }
                    tracing::warn!(%error, "a container could not be stopped, and is removed");
                }
            }
        }
        self.client.remove(container).await
    }

    /// What a container with our owner's label is.
    async fn found(
        &self,
        container: ContainerSummary,
        site: &Site,
    ) -> Result<Option<Found>, EngineError> {
        let instance = container.labels.as_ref().and_then(labels::instance);
        let (Some(id), Some(instance)) = (container.id, instance) else {
            return Ok(None);
        };
        if !matches!(
            container.state,
            Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
        ) {
            return Ok(Some(Found::Remains(instance)));
        }
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_container(&id, None)).await {
            Ok(container) => match instance::read(&container, site) {
                Ok(instance) => Ok(Some(Found::Running(instance))),
                Err(reason) => {
                    tracing::warn!(%instance, reason, "a running container cannot be used");
                    Ok(Some(Found::Unusable {
                        id: instance,
                        uid: instance::uid(&container),
                    }))
                }
            },
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(self.client.explain(error)),
        }
    }
}

/// As the engine counts: in whole seconds.
fn whole_seconds(grace: Duration) -> i32 {
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[async_trait]
impl Engine for Docker {
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        // The client's futures are large, and a service has many of these waiting.
        Box::pin(self.start_workload(spec, cancel, on_step)).await
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        for container in self.containers_of(instance).await? {
            self.end(&container, grace).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        let site = self.site().await?;
        let filter = labels::owned(&self.settings.owner);
        let containers = self.containers(&filter).await?;
        self.sweep_programs(&containers);
        stream::iter(containers)
            .map(|container| self.found(container, site))
            .buffered(INSPECTIONS)
            .try_filter_map(|found| async { Ok(found) })
            .try_collect()
            .await
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        let container = self.container_of(instance).await?;
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_container(&container, None)).await {
            Ok(container) => Ok(instance::exit(container.state.as_ref())),
            Err(error) if is_not_found(&error) => Err(EngineError::Gone),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    fn events(&self) -> BoxStream<'static, EngineEvent> {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(events::report(
            self.client.clone(),
            self.settings.owner.clone(),
            sender,
        ));
        stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|event| (event, receiver))
        })
        .boxed()
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
impl Images for Docker {
    async fn is_present(&self, image: &str) -> Result<bool, EngineError> {
        Ok(self.client.image(image).await?.is_some())
    }
}
