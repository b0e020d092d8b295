//! What the service needs of whatever runs containers, owned by the one who needs it.
//!
//! An engine knows how to run one instance of a desktop and how to find its own instances again.
//! It decides nothing: when to start, stop or retry is the business of [`crate::desktop`].

pub mod callback;
pub mod docker;
pub mod fake;
pub mod home;
pub mod inventory;
pub mod legacy;
mod logs;
pub mod remote;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::callback::CallbackSecret;
use self::home::{Home, HomeError};
use crate::desktop::{Environment, StreamKey, Uid};

/// The name of one run of a desktop; never used twice, also not over restarts of the service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl InstanceId {
    /// A new name: a UUID version 4.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A password for the VNC server of one instance: 8 characters, the most that RFB's VNC
/// Authentication takes (RFC 6143, 7.2.2). It keeps other users of the host and other desktops
/// out of the desktop's port. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct VncPassword(String);

impl VncPassword {
    /// Eight random letters and digits: about 47 bits.
    pub fn random() -> Self {
        use rand::distr::{Alphanumeric, SampleString};
        Self(Alphanumeric.sample_string(&mut rand::rng(), 8))
    }

    /// A password read back from where an engine keeps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, to hand it to the container or to the VNC server.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VncPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VncPassword(…)")
    }
}

/// How a stream is spoken between the gateway and the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Plain RFB over TCP: the gateway makes the WebSocket and answers the VNC server's password.
    Rfb,
    /// Raw bytes over TCP: the gateway makes the WebSocket and looks at nothing.
    Tcp,
    /// A live WebM stream over TCP, after the instance's password where it has one: the gateway
    /// makes the WebSocket, and shares one connection among all listeners.
    Webm,
    /// The scale of a viewer's display, in lines over TCP after the instance's password where it has one: the gateway
    /// makes the WebSocket, and passes on what clients with the role control send.
    Display,
    /// The instance is a WebSocket server itself.
    Websocket,
}

/// Whether somebody connected to a stream counts as looking at the desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A connection is a viewer: it keeps the desktop alive.
    Viewer,
    /// A connection only listens: it keeps nothing alive and starts nothing.
    Listener,
}

/// A way into an instance, as the catalogue declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// The container's TCP port, 1 to 65535.
    pub port: u16,
    /// How it is spoken.
    pub protocol: Protocol,
    /// For [`Protocol::Websocket`], the path of the upgrade request, such as `/vnc`.
    pub path: String,
    /// Whether a connection is a viewer.
    pub presence: Presence,
}

/// A way into a running instance, as the gateway dials it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it answers.
    pub address: SocketAddr,
    /// How it is spoken.
    pub protocol: Protocol,
    /// For [`Protocol::Websocket`], the path of the upgrade request.
    pub path: String,
    /// Whether a connection is a viewer.
    pub presence: Presence,
}

/// When an image is fetched from a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Never: a missing image is an error that says how to build it.
    Never,
    /// When it is not there.
    #[default]
    Missing,
    /// Before every start; what is there is used when the registry does not answer.
    Always,
}

/// What an instance may use of its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPUs, in thousandths of one; `None` is no limit.
    pub milli_cpus: Option<u32>,
    /// Memory in bytes; `None` is no limit.
    pub memory: Option<u64>,
    /// `/dev/shm` in bytes.
    pub shared_memory: u64,
    /// Processes and threads.
    pub processes: u32,
}

/// Which system calls an instance may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// The engine's own default profile.
    #[default]
    EngineDefault,
    /// Our profile, which also allows user namespaces, so that a browser can sandbox its content.
    UserNamespaces,
}

/// A container to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The container's name, `collab-vm-{uid}`.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// When to pull it.
    pub pull: PullPolicy,
    /// What to do about a missing image, as one sentence for people (such as the build command).
    pub image_hint: String,
    /// Everything the container gets as its environment, the VNC password apart.
    pub environment: Environment,
    /// Whether the image understands `COSAGE_VNC_PASSWORD`.
    pub password: Option<VncPassword>,
    /// Ways in, by name.
    pub streams: BTreeMap<String, StreamSpec>,
    /// What it may use.
    pub limits: Limits,
    /// System calls it may use.
    pub sandbox: Sandbox,
    /// Where the desktop's home volume is mounted; `None` is no volume.
    pub home: Option<String>,
    /// How long its main process may take to end when it is asked to, before it is killed.
    pub stop_grace: Duration,
    /// Further lines of `/etc/hosts`, `name:address`, as Docker's `--add-host` takes them.
    pub extra_hosts: Vec<String>,
    /// Whether the host's GPUs (`/dev/dri`) are passed in where there are any.
    pub gpu: bool,
}

/// A VNC server elsewhere, which is dialled and not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSpec {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The stream it is reached by, and how it is spoken.
    pub stream: (String, Protocol),
}

/// What an instance is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A container that the engine runs.
    Container(Box<ContainerSpec>),
    /// A server elsewhere.
    Remote(RemoteSpec),
}

/// One order to run a desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchSpec {
    /// The desktop.
    pub uid: Uid,
    /// The catalogue's name of the app.
    pub app: String,
    /// This run.
    pub instance: InstanceId,
    /// What its URL carries; kept with the instance so that an adopting service can go on with it.
    pub key: StreamKey,
    /// What to run.
    pub workload: Workload,
}

/// A running instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// This run.
    pub id: InstanceId,
    /// The desktop.
    pub uid: Uid,
    /// The catalogue's name of the app.
    pub app: String,
    /// The stream key it was started with.
    pub key: StreamKey,
    /// Ways in, by name. Not necessarily answering yet.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The password of its VNC server, where it has one.
    pub password: Option<VncPassword>,
    /// What a callback of it has to show, where it got an address with one.
    pub callback: Option<CallbackSecret>,
    /// When it was started.
    pub started_at: Timestamp,
    /// How long it goes on without a client before it ends by itself, as old images do; see [`legacy::own_timeout`].
    pub own_timeout: Option<Duration>,
}

/// What an engine holds that carries this service's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It runs and could be adopted.
    Running(Instance),
    /// It runs and cannot be adopted: what the service needs to reach it cannot be read. Somebody may have worked in it.
    Unusable {
        /// Which run it is.
        id: InstanceId,
        /// The desktop, where that can be read.
        uid: Option<Uid>,
    },
    /// It does not run (made and never started, exited, dead): of no use but to be removed.
    Remains(InstanceId),
}

impl Found {
    /// Which run it is.
    pub fn id(&self) -> &InstanceId {
        match self {
            Self::Running(instance) => &instance.id,
            Self::Unusable { id, .. } | Self::Remains(id) => id,
        }
    }
}

/// How an instance's main process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, where the engine knows it.
    pub code: Option<i64>,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
}

/// Where a start is, as far as its engine is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStep {
    /// It waits for its turn among other starts.
    Queued,
    /// Its image is being fetched; `percent` (0 to 100) of it is there, where that is known. It
    /// never goes down within one start.
    Pulling {
        /// How much is there.
        percent: Option<u8>,
    },
    /// Its turn has come: the container is being started.
    Starting,
}

/// Is told the steps of a start; it must not block.
pub type OnStep<'a> = &'a (dyn Fn(StartStep) + Send + Sync);

/// What an instance uses of its host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Processors, in cores: 1.0 is all of one.
    pub cpu: f64,
    /// Memory in bytes, without file pages that the kernel can take back at once.
    pub memory: u64,
    /// The most memory it may use, in bytes: its own limit, or what the host has.
    pub memory_limit: Option<u64>,
    /// Bytes per second that it receives over the network.
    pub received: u64,
    /// Bytes per second that it sends.
    pub sent: u64,
}

/// What an engine reports by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// It answers (again); what happened meanwhile is unknown, so compare everything.
    Connected,
    /// It does not answer; it is asked again until it does.
    Disconnected(String),
    /// An instance ended.
    Exited(InstanceId, Exit),
}

/// Why an engine could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer: not started, no rights on the socket, timed out.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
    /// The image is not there and could not be had.
    #[error("image '{image}' is missing: {hint}")]
    ImageMissing {
        /// The reference that was looked for.
        image: String,
        /// What to do about it.
        hint: String,
    },
    /// Another container that is not ours has the name.
    #[error(
        "a container named '{name}' that does not belong to this service is in the way; remove it with: docker rm -f {name}"
    )]
    NameTaken {
        /// The container's name.
        name: String,
    },
    /// The engine's disk is full.
    #[error("the container engine is out of disk space: {0}")]
    OutOfDisk(String),
    /// Memory or another resource of the host is exhausted.
    #[error("the host is out of resources: {0}")]
    OutOfResources(String),
    /// The remote target may not be dialled.
    #[error("{0}")]
    TargetRefused(String),
    /// The instance is not there (any more).
    #[error("no such instance")]
    Gone,
    /// The main process ended before its address was known.
    #[error("the main process ended at once")]
    Exited {
        /// How.
        exit: Exit,
        /// The last lines it wrote.
        logs: String,
    },
    /// The launch was called off.
    #[error("the start was cancelled")]
    Cancelled,
    /// Anything else the engine said no to.
    #[error("the container engine refused: {0}")]
    Refused(String),
}

impl EngineError {
    /// Whether the engine did not answer, so that it is not known what it did.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// What an instance writes, in pieces as the engine gives them; not necessarily whole lines.
pub type LogStream = BoxStream<'static, Result<Bytes, EngineError>>;

/// Something that runs instances. One contract suite (`tests/engine_contract.rs`) holds every
/// implementation to what is written here.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Starts what the spec says and returns when its main process runs and its endpoints are
    /// known; they need not answer yet.
    ///
    /// A main process that ends meanwhile is [`EngineError::Exited`]; one that ends later is an
    /// [`EngineEvent::Exited`]. Another instance of the same desktop is removed first, and asked to end where it runs.
    ///
    /// On an error nothing is left behind as far as the engine answers at all (what is, appears as
    /// [`Found`]); what runs already is asked to end. `cancel` ends it early with [`EngineError::Cancelled`]: a pull at once, an order that the engine is
    /// carrying out when it is carried out. The future is not dropped before it ends.
    ///
    /// `on_step` is told what a start waits for ([`StartStep::Queued`], [`StartStep::Pulling`]),
    /// as often as that changes, and after that, once, [`StartStep::Starting`].
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError>;

    /// Asks the instance to end, kills it after `grace`, and removes it (not the home volume).
    /// Returns when it is gone. An instance that is not there is a success.
    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError>;

    /// All instances of this service, running or not. One that is being started may show as
    /// [`Found::Remains`] until it runs.
    async fn list(&self) -> Result<Vec<Found>, EngineError>;

    /// The last `lines` lines the instance wrote to its standard output and error, oldest first;
    /// at most 64 KiB. [`EngineError::Gone`] when it is not there.
    async fn logs(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError>;

    /// The last `lines` lines that [`Engine::logs`] gives, and then whatever the instance writes, as
    /// it writes it. It ends with the instance; to drop it is to stop listening.
    /// [`EngineError::Gone`] when the instance is not there.
    async fn follow_logs(
        &self,
        instance: &InstanceId,
        lines: usize,
    ) -> Result<LogStream, EngineError>;

    /// How the instance ended; `None` while it runs. [`EngineError::Gone`] when it is not there.
    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError>;

    /// What the instance uses, measured about once a second until the stream is dropped. It ends when
    /// the instance is not there (any more), has nothing that could be measured, or the engine does
    /// not answer.
    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage>;

    /// Access to the files of the desktop's home, for one request, whether it runs or not. Nothing
    /// of a desktop waits for it, and it reaches nothing but the home: no link leads out.
    /// [`HomeError::NoHome`] when there is none (yet).
    async fn home(&self, uid: &Uid) -> Result<Home, HomeError>;

    /// Deletes the desktop's home volume, and ends what is being done to its files. One that is not
    /// there is a success.
    async fn delete_home(&self, uid: &Uid) -> Result<(), EngineError>;

    /// Whether the image is there, so that a start need not fetch it.
    async fn has_image(&self, image: &str) -> Result<bool, EngineError>;

    /// Whether the engine answers.
    async fn ping(&self) -> Result<(), EngineError>;

    /// What happens to this service's instances, from now on and for ever: the stream reconnects by itself
    /// and says so with [`EngineEvent::Connected`], which is also its first event.
    fn events(&self) -> BoxStream<'static, EngineEvent>;
}
