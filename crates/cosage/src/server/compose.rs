//! From a configuration to a service: the only place that names concrete engines and stores.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::{Listeners, Service};
use crate::api::{AllowedHosts, AllowedOrigins, Routes};
use crate::callback::{Callbacks, Sage3};
use crate::catalog::{CatalogHandle, CatalogLoadError, CatalogSource, LaunchContext};
use crate::config::{Config, EngineKind, Reach};
use crate::desktop::context::Settings;
use crate::engine::docker::{self, Docker, DockerSettings, Operator};
use crate::engine::remote::WithRemotes;
use crate::engine::simulated::Simulated;
use crate::engine::{Engine, EngineError};
use crate::gateway::GatewaySettings;
use crate::pictures::{Album, AlbumError};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};
use crate::webhook::{self, Webhooks};

/// The seccomp profile of apps that sandbox their own content.
const SECCOMP: &str = include_str!("../../../../images/seccomp.json");

/// The directory of the data directory where a simulated engine keeps homes.
const SIMULATED_HOMES: &str = "simulated-homes";

/// Why a service could not be put together. Each is one line for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The catalogue is wrong.
    #[error(transparent)]
    Catalog(#[from] CatalogLoadError),
    /// The records cannot be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Pictures cannot be kept.
    #[error(transparent)]
    Pictures(#[from] AlbumError),
    /// The engine's settings cannot work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The TLS library could not be set up.
    #[error("callbacks to SAGE3 and webhooks cannot be set up: {0}")]
    Deliveries(#[from] reqwest::Error),
    /// A listener could not be opened.
    #[error("{setting}: cannot listen on {address}: {reason}")]
    Listen {
        /// The setting to change.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What is in the way.
        reason: String,
    },
}

/// Puts a service together. Nothing is asked of the engine yet.
///
/// # Errors
/// See [`ComposeError`].
pub async fn compose(config: &Config) -> Result<Service, ComposeError> {
    let source = CatalogSource::find(config.catalog.as_deref());
    let catalog = Arc::new(CatalogHandle::open(source, config.catalog_defaults())?);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.data_dir).await?);
    let album = Album::open(&config.data_dir)?;
    let containers: Arc<dyn Engine> = match config.engine {
        EngineKind::Docker => Arc::new(Docker::connect(DockerSettings {
            host: Some(config.docker_host.clone()),
            certificates: certificates(config),
            owner: store.owner().to_owned(),
            network: config.network.clone(),
            reach: match config.reach {
                Reach::Auto => docker::Reach::Auto,
                Reach::Direct => docker::Reach::Direct,
                Reach::Published => docker::Reach::Published,
            },
            parallel_starts: config.parallel_starts,
            seccomp: SECCOMP.to_owned(),
        })?),
        EngineKind::Simulated => Arc::new(Simulated::new(config.data_dir.join(SIMULATED_HOMES))),
    };
    let sage3 = config.sage3_server.clone().map(|server| Sage3 {
        server,
        token: config.token.as_ref().map(|token| token.reveal().to_owned()),
    });
    let webhooks = config
        .webhook_secret
        .clone()
        .map(|signer| webhook::Settings {
            addresses: config.webhooks.clone(),
            kinds: config.webhook_events.clone(),
            signer,
        });
    let origins = || config.allowed_origins.iter().map(String::as_str);
    Ok(Service {
        engine: Arc::new(WithRemotes::new(containers, config.remote_networks.clone())),
        store,
        album,
        catalog,
        ports: config.port_range_start..config.port_range_end,
        settings: Settings {
            timers: config.timers(),
            launch: LaunchContext {
                container_base_name: config.container_base_name.clone(),
                // The name that containers that call back are started with an entry for.
                callback_base: format!(
                    "http://host.docker.internal:{}/api/vm/cb/",
                    config.callback_listen.unwrap_or(config.listen).port()
                ),
            },
            undeclared: config.undeclared_environment,
            max_desktops: config.max_desktops,
            memory_reserve: config.memory_reserve,
        },
        gateway: GatewaySettings {
            ping_interval: config.ping_interval,
            ..GatewaySettings::default()
        },
        callbacks: Callbacks::new(sage3)?,
        webhooks: Webhooks::new(webhooks)?,
        stream_url_template: config.stream_url_template.clone(),
        hosts: AllowedHosts::new(config.allowed_hosts.iter().map(String::as_str), origins()),
        origins: AllowedOrigins::new(origins()),
        upload_max: config.upload_max,
        shutdown_grace: config.shutdown_grace,
    })
}

/// The engine as its operator uses it, without a service.
///
/// # Errors
/// When the engine's settings cannot work, or there is no engine but a simulated one.
pub fn operator(config: &Config) -> Result<Operator, EngineError> {
    match config.engine {
        EngineKind::Docker => {
            Operator::connect(&config.docker_host, certificates(config).as_deref())
        }
        EngineKind::Simulated => Err(EngineError::Unavailable(
            "COSAGE_ENGINE=fake simulates desktops and has no images; unset it".to_owned(),
        )),
    }
}

/// Opens the listeners.
///
/// # Errors
/// [`ComposeError::Listen`], which names the setting.
pub async fn listen(config: &Config) -> Result<Listeners, ComposeError> {
    let api = bind("COSAGE_LISTEN", config.listen).await?;
    let streams = match config.stream_listen {
        Some(address) => {
            let routes = if config.api_on_stream_port {
                Routes::All
            } else {
                Routes::Streams
            };
            Some((bind("COSAGE_STREAM_LISTEN", address).await?, routes))
        }
        None => None,
    };
    let callbacks = match config.callback_listen {
        Some(address) => Some(bind("COSAGE_CALLBACK_LISTEN", address).await?),
        None => None,
    };
    Ok(Listeners {
        api,
        streams,
        callbacks,
    })
}

async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ComposeError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| ComposeError::Listen {
            setting,
            address,
            reason: match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "another program uses this port; stop it, or set {setting} to another address"
                ),
                io::ErrorKind::AddrNotAvailable => {
                    format!("this host has no such address; set {setting} to one that it has")
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need more rights; choose a higher one".to_owned()
                }
                _ => error.to_string(),
            },
        })
}

fn certificates(config: &Config) -> Option<PathBuf> {
    config
        .docker_certificates
        .clone()
        .filter(|_| config.docker_tls)
}
