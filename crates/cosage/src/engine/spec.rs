//! What an engine is asked to run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::instance::{InstanceId, VncPassword};
use super::stream::{Protocol, StreamSpec};
use crate::desktop::{Environment, StreamKey, Uid};

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
