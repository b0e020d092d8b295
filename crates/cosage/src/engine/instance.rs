//! What runs: one life of a desktop, as an engine tells of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::callback::CallbackSecret;
use super::stream::Endpoint;
use crate::desktop::{StreamKey, Uid};

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
    /// Whether its home was made by this start, so that a first start that fails leaves none.
    pub home_is_new: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// How long it goes on without a client before it ends by itself, as old images do; see [`super::legacy::own_timeout`].
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
