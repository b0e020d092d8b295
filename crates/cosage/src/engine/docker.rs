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
mod events;
mod files;
mod labels;
mod launch;
mod operator;
mod pull;
mod site;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State, Volume};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, LogsOptionsBuilder,
    RemoveVolumeOptions, StopContainerOptionsBuilder,
};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::client::{Client, ORDER_LIMIT, READ_LIMIT, is_not_found, limited};
use self::files::Programs;
pub use self::operator::Operator;
use self::site::Site;
use super::home::{Home, HomeError};
use super::logs::{LOGS_MAX_LEN, last_lines};
use super::{
    Engine, EngineError, EngineEvent, Exit, Found, Instance, InstanceId, LaunchSpec, LogStream,
    OnStep, Usage,
};
use crate::desktop::Uid;

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

    /// The containers with all of these labels, running or not.
    async fn containers(
        &self,
        labels: &[(&str, &str)],
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&labels::filter(labels))
            .build();
        self.call(READ_LIMIT, |docker| docker.list_containers(Some(options)))
            .await
    }

    /// The engine's names for the containers of one run: one, or none.
    async fn containers_of(&self, instance: &InstanceId) -> Result<Vec<String>, EngineError> {
        let labels = [
            (labels::OWNER, self.settings.owner.as_str()),
            (labels::INSTANCE, &instance.0),
        ];
        let containers = self.containers(&labels).await?;
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
            Ok(container) => Ok(labels::exit(container.state.as_ref()).is_none()),
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

    async fn logs_of(&self, container: &str, lines: usize) -> Result<String, EngineError> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let docker = self.client.get()?;
        let read = docker.logs(container, Some(options)).try_fold(
            Vec::new(),
            |mut text: Vec<u8>, part| async move {
                text.extend_from_slice(part.as_ref());
                // The newest are what is wanted; what is before them need not be held.
                if text.len() > 2 * LOGS_MAX_LEN {
                    text.drain(..text.len() - LOGS_MAX_LEN - 1);
                }
                Ok(text)
            },
        );
        match limited(READ_LIMIT, read).await {
            Ok(text) => Ok(last_lines(&text)),
            Err(error) if is_not_found(&error) => Err(EngineError::Gone),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// No limit of time holds for it: an instance may write nothing for days.
    fn follow_logs_of(&self, container: &str, lines: usize) -> Result<LogStream, EngineError> {
        let options = LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let client = Arc::clone(&self.client);
        let written = self.client.get()?.logs(container, Some(options));
        Ok(written
            .map(move |part| match part {
                Ok(part) => Ok(part.into_bytes()),
                Err(error) if is_not_found(&error) => Err(EngineError::Gone),
                Err(error) => Err(client.explain(error)),
            })
            .boxed())
    }

    /// What a container with our owner's label is.
    async fn found(
        &self,
        container: ContainerSummary,
        site: &Site,
    ) -> Result<Option<Found>, EngineError> {
        let instance = container
            .labels
            .as_ref()
            .and_then(|labels| labels.get(labels::INSTANCE));
        let (Some(id), Some(instance)) = (container.id, instance) else {
            return Ok(None);
        };
        let instance = InstanceId(instance.clone());
        if !matches!(container.state, Some(State::RUNNING | State::PAUSED)) {
            return Ok(Some(Found::Remains(instance)));
        }
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_container(&id, None)).await {
            Ok(container) => match labels::instance(&container, site) {
                Ok(instance) => Ok(Some(Found::Running(instance))),
                Err(reason) => {
                    tracing::warn!(%instance, reason, "a running container cannot be used");
                    Ok(Some(Found::Unusable {
                        id: instance,
                        uid: labels::uid(&container),
                    }))
                }
            },
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// The home volumes of a desktop that are ours.
    async fn home_volumes(&self, uid: &Uid) -> Result<Vec<Volume>, EngineError> {
        let labels = [
            (labels::OWNER, self.settings.owner.as_str()),
            (labels::UID, uid.as_str()),
        ];
        let options = ListVolumesOptionsBuilder::default()
            .filters(&labels::filter(&labels))
            .build();
        let listed = self
            .call(READ_LIMIT, |docker| docker.list_volumes(Some(options)))
            .await?;
        Ok(listed.volumes.unwrap_or_default())
    }

    /// Deletes the home volumes of a desktop that are ours; of them only `name`, where one is
    /// given.
    async fn delete_homes(&self, uid: &Uid, name: Option<&str>) -> Result<(), EngineError> {
        let _nobody_opens_it = self.end_programs(uid).await?;
        let docker = self.client.get()?;
        for volume in self.home_volumes(uid).await? {
            if name.is_some_and(|name| name != volume.name) {
                continue;
            }
            match limited(
                ORDER_LIMIT,
                docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>),
            )
            .await
            {
                Ok(()) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(self.client.explain(error)),
            }
        }
        Ok(())
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
        Box::pin(self.launch(spec, cancel, on_step)).await
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        for container in self.containers_of(instance).await? {
            self.end(&container, grace).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        let site = self.site().await?;
        let labels = [(labels::OWNER, self.settings.owner.as_str())];
        let containers = self.containers(&labels).await?;
        self.sweep_programs(&containers);
        stream::iter(containers)
            .map(|container| self.found(container, site))
            .buffered(INSPECTIONS)
            .try_filter_map(|found| async { Ok(found) })
            .try_collect()
            .await
    }

    async fn logs(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError> {
        let container = self.container_of(instance).await?;
        self.logs_of(&container, lines).await
    }

    async fn follow_logs(
        &self,
        instance: &InstanceId,
        lines: usize,
    ) -> Result<LogStream, EngineError> {
        let container = self.container_of(instance).await?;
        self.follow_logs_of(&container, lines)
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        let container = self.container_of(instance).await?;
        let docker = self.client.get()?;
        match limited(READ_LIMIT, docker.inspect_container(&container, None)).await {
            Ok(container) => Ok(labels::exit(container.state.as_ref())),
            Err(error) if is_not_found(&error) => Err(EngineError::Gone),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage> {
        self.measure(instance)
    }

    async fn home(&self, uid: &Uid) -> Result<Home, HomeError> {
        Box::pin(self.open_home(uid)).await
    }

    async fn delete_home(&self, uid: &Uid) -> Result<(), EngineError> {
        self.delete_homes(uid, None).await
    }

    async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        Ok(self.client.image(image).await?.is_some())
    }

    async fn ping(&self) -> Result<(), EngineError> {
        self.call(READ_LIMIT, |docker| docker.ping())
            .await
            .map(drop)
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
}
