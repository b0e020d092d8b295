//! What an operator sets: defaults < profile < `cosage.toml` < environment < flags.
//!
//! [`resolve`] is a pure function of those; [`load`] reads them from the process. One table,
//! [`SETTINGS`], drives names, flags, defaults, checks and the reference in README.md.

mod profile;
mod reference;
mod settings;
mod sources;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::catalog::{CatalogDefaults, FirstViewer, Timers, Undeclared};
use crate::desktop::events::Kind;
use crate::webhook::{Address, Signer};

pub use profile::Profile;
pub use reference::{REFERENCE_END, REFERENCE_START, reference};
pub use settings::{DefaultValue, Presentation, SETTINGS, Setting};
pub use sources::{
    CONFIG_FILE, CONFIG_VARIABLE, Effective, FlagValues, Inputs, Origin, SettingError,
    SettingErrors, User, load, resolve,
};

/// The configuration, checked and complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose client the service is set up for.
    pub profile: Profile,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where streams listen; `None` is nowhere but on the API's address.
    pub stream_listen: Option<SocketAddr>,
    /// Whether the API answers on the streams' address too.
    pub api_on_stream_port: bool,
    /// Where callbacks are taken; `None` is nowhere but on the API's address.
    pub callback_listen: Option<SocketAddr>,
    /// The first stream key.
    pub port_range_start: u16,
    /// The stream key after the last.
    pub port_range_end: u16,
    /// What container names start with.
    pub container_base_name: String,
    /// How long a desktop lives after its last viewer left; `None` is for ever.
    pub idle: Option<Duration>,
    /// How long a desktop waits for its first viewer.
    pub first_viewer: FirstViewer,
    /// How long a desktop lives at most; `None` is for ever.
    pub max_age: Option<Duration>,
    /// How long a desktop may be unused until it is deleted; `None` is for ever.
    pub forget_after: Option<Duration>,
    /// How long a desktop may take until it answers.
    pub start_timeout: Duration,
    /// How long a desktop may take to end by itself.
    pub stop_grace: Duration,
    /// How long viewers may go on when the service ends.
    pub shutdown_grace: Duration,
    /// The path that is returned as `url`, with `{port}` for the stream key.
    pub stream_url_template: String,
    /// Where the service keeps its records.
    pub data_dir: PathBuf,
    /// The catalogue's file; `None` is `catalog.toml` in the working directory, else the built-in
    /// one.
    pub catalog: Option<PathBuf>,
    /// What runs containers.
    pub engine: EngineKind,
    /// Address of the Docker Engine.
    pub docker_host: String,
    /// Whether the Docker Engine is spoken to over TLS.
    pub docker_tls: bool,
    /// Directory with `ca.pem`, `cert.pem` and `key.pem` for an engine over TLS.
    pub docker_certificates: Option<PathBuf>,
    /// Docker network of the desktops.
    pub network: String,
    /// How the gateway reaches a container's ports.
    pub reach: Reach,
    /// Networks in which remote VNC servers may be.
    pub remote_networks: Vec<IpNet>,
    /// Further host names of the service, or `*`.
    pub allowed_hosts: Vec<String>,
    /// Origins of other web pages that may call, or `*`.
    pub allowed_origins: Vec<String>,
    /// What becomes of environment names that the catalogue does not declare.
    pub undeclared_environment: Undeclared,
    /// How many desktops may run at a time; `None` is as many as there are stream keys.
    pub max_desktops: Option<usize>,
    /// No start below this much available memory of the host, in bytes.
    pub memory_reserve: u64,
    /// `COSAGE_UPLOAD_MAX`, in bytes.
    pub upload_max: u64,
    /// How many desktops may start at the same moment.
    pub parallel_starts: usize,
    /// A client to which nothing was sent for this long gets a ping.
    pub ping_interval: Duration,
    /// What is logged, in the grammar of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Base address of the SAGE3 server that callbacks go to.
    pub sage3_server: Option<reqwest::Url>,
    /// Bearer token for SAGE3.
    pub token: Option<Secret>,
    /// To whom events are posted.
    pub webhooks: Vec<Address>,
    /// By what those know that events come from here.
    pub webhook_secret: Option<Signer>,
    /// Which events are posted.
    pub webhook_events: Vec<Kind>,
    /// What the operator calls this installation.
    pub environment: String,
}

impl Config {
    /// The timers of an app whose catalogue entry says nothing about them.
    pub fn catalog_defaults(&self) -> CatalogDefaults {
        CatalogDefaults {
            idle: self.idle,
            first_viewer: self.first_viewer,
            max_age: self.max_age,
            start: self.start_timeout,
            stop_grace: self.stop_grace,
            forget_after: self.forget_after,
        }
    }

    /// How many desktops may run at a time: each has a port, and there may be a limit.
    pub fn most_desktops(&self) -> usize {
        let ports = (self.port_range_start..self.port_range_end).len();
        self.max_desktops.map_or(ports, |most| most.min(ports))
    }

    /// The timers of a desktop whose app is not in the catalogue any more.
    pub fn timers(&self) -> Timers {
        self.catalog_defaults().timers()
    }
}

/// What runs desktops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// A Docker Engine.
    Docker,
    /// Nothing: desktops are simulated, for a demonstration, and to measure the service itself.
    Simulated,
}

/// How the gateway reaches a container's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whichever works with the engine that is there.
    Auto,
    /// At the container's own address.
    Direct,
    /// At a port published on the engine's loopback.
    Published,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, to hand it to whom it is for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests;
