//! The composition root: puts the parts together, and serves until it is told to end.

mod compose;
mod connections;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::compose::{ComposeError, compose, listen, operator};
use self::connections::serve;
use crate::api::{self, AllowedHosts, AllowedOrigins, App, Routes};
use crate::callback::Callbacks;
use crate::catalog::CatalogHandle;
use crate::desktop::camera::Camera;
use crate::desktop::context::{Parts, Settings};
use crate::desktop::error::DesktopError;
use crate::desktop::events::Kind;
use crate::desktop::keys::KeyTable;
use crate::desktop::manager::Manager;
use crate::desktop::probe::Probe;
pub use crate::engine::docker::Operator;
use crate::engine::{Endpoint, Engine, VncPassword};
use crate::gateway::{self, Gateway, GatewaySettings};
use crate::pictures::{Album, Pictures};
use crate::store::Store;
use crate::webhook::Webhooks;

/// How long the first comparison with the engine may hold up the start of the service. An engine
/// that is slower is compared with when it answers.
const FIRST_COMPARISON: Duration = Duration::from_secs(5);

/// How long desktops that were found running may hold up the start of the service until they answer. Until
/// then they look as if nothing of them ran, to clients that ask once only.
const FIRST_ADOPTIONS: Duration = Duration::from_secs(2);

/// Everything a service is put together from.
pub struct Service {
    /// What runs instances.
    pub engine: Arc<dyn Engine>,
    /// What keeps records.
    pub store: Arc<dyn Store>,
    /// Where the last pictures of desktops are kept.
    pub album: Album,
    /// The curated list.
    pub catalog: Arc<CatalogHandle>,
    /// `PORT_RANGE_START..PORT_RANGE_END`.
    pub ports: Range<u16>,
    /// What the manager of desktops goes by.
    pub settings: Settings,
    /// What the gateway goes by.
    pub gateway: GatewaySettings,
    /// The way to SAGE3.
    pub callbacks: Callbacks,
    /// Who is posted what happens.
    pub webhooks: Webhooks,
    /// `STREAM_URL_TEMPLATE`.
    pub stream_url_template: String,
    /// `COSAGE_ALLOWED_HOSTS`, and the hosts of `origins`.
    pub hosts: AllowedHosts,
    /// `COSAGE_ALLOWED_ORIGINS`.
    pub origins: AllowedOrigins,
    /// `COSAGE_UPLOAD_MAX`, in bytes.
    pub upload_max: u64,
    /// How long viewers and requests may take to finish when the service ends.
    pub shutdown_grace: Duration,
}

/// Where a service listens.
pub struct Listeners {
    /// For API and streams.
    pub api: TcpListener,
    /// For streams, and with [`Routes::All`] also for the API.
    pub streams: Option<(TcpListener, Routes)>,
    /// For callbacks and nothing else.
    pub callbacks: Option<TcpListener>,
}

struct GatewayProbe;

#[async_trait]
impl Probe for GatewayProbe {
    async fn ready(&self, endpoint: &Endpoint, password: Option<&VncPassword>) {
        gateway::probe::ready(endpoint, password).await;
    }
}

/// Runs a service until `shutdown`: then it takes nothing new, tells viewers, and waits for them
/// within the grace period. Desktops go on running; the next service adopts them.
pub async fn run(service: Service, listeners: Listeners, shutdown: CancellationToken) {
    let gateway = Gateway::new(service.gateway);
    let pictures = Pictures::new(gateway.clone(), service.album);
    let manager = Manager::new(Parts {
        engine: service.engine,
        store: service.store,
        catalog: service.catalog,
        probe: Arc::new(GatewayProbe),
        camera: Arc::new(pictures.clone()),
        keys: KeyTable::new(service.ports),
        settings: service.settings,
    });
    let _drivers = manager.end_with();
    // Before the first request: what runs is known, and its stream keys are not handed out again.
    match timeout(FIRST_COMPARISON, manager.reconcile()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => tracing::error!("starting without the container engine"),
    }
    let watched = manager.clone();
    let watcher = tokio::spawn(async move { watched.watch().await });
    if timeout(FIRST_ADOPTIONS, manager.adopted()).await.is_err() {
        tracing::warn!("starting while desktops that run do not answer yet");
    }
    tokio::spawn(forget_pictures_of_none(manager.clone(), pictures.clone()));
    let webhooks = service.webhooks;
    let callbacks = if webhooks.want(Kind::Report) {
        service.callbacks.with_events(manager.clone())
    } else {
        service.callbacks
    };
    let reporter = tokio::spawn(
        callbacks
            .clone()
            .report_pictures(pictures.clone(), manager.events().listen(None)),
    );

    let app = App {
        manager: manager.clone(),
        gateway: gateway.clone(),
        pictures,
        callbacks: callbacks.clone(),
        stream_url_template: service.stream_url_template.into(),
        hosts: service.hosts,
        origins: service.origins,
        upload_max: service.upload_max,
    };
    let described = app.clone();
    let encode = move |event: &_| api::webhook_body(&described, event);
    webhooks.follow(manager.events(), Arc::new(encode));
    let servers = TaskTracker::new();
    if let Some((listener, routes)) = listeners.streams {
        let router = api::router(app.clone(), routes);
        servers.spawn(serve(listener, router, shutdown.clone()));
    }
    if let Some(listener) = listeners.callbacks {
        let router = api::router(app.clone(), Routes::Callbacks);
        servers.spawn(serve(listener, router, shutdown.clone()));
    }
    servers.spawn(serve(
        listeners.api,
        api::router(app, Routes::All),
        shutdown.clone(),
    ));
    servers.close();

    shutdown.cancelled().await;
    tracing::info!("ending: desktops go on running and are adopted by the next start");
    manager.begin_shutdown();
    let finished = async {
        servers.wait().await;
        gateway.drained().await;
        // Neither waits for the other, which may not answer.
        tokio::join!(callbacks.drained(), async {
            callbacks.told().await;
            webhooks.drained().await;
        });
    };
    if timeout(service.shutdown_grace, finished).await.is_err() {
        tracing::warn!(
            reports = callbacks.waiting(),
            webhooks = webhooks.unfinished(),
            "connections that did not end in time are cut off, and what SAGE3 and webhooks did not take is dropped"
        );
    }
    manager.flush().await;
    reporter.abort();
    watcher.abort();
}

/// Deletes the pictures of desktops that were deleted while no service ran, such as by the restore of a backup.
async fn forget_pictures_of_none(manager: Manager, pictures: Pictures) {
    for uid in pictures.uids().await {
        if let Err(DesktopError::UnknownDesktop(uid)) = manager.view(&uid).await {
            Camera::forget(&pictures, &uid).await;
        }
    }
}
