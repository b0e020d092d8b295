//! Containers that the service before this one left, and what is adopted of them where the operator says so.
//!
//! Only what can go on as a desktop of its app is taken over: it is looked at whole before anything is kept, and what
//! is refused is left as it is, with the reason in the log.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::timeout;

use super::keys::KeyLease;
use super::manager::Manager;
use super::{DesktopRecord, Environment, StreamKey, Uid, UidError};
use crate::catalog::{App, EnvironmentError, Undeclared};
use crate::engine::callback::CallbackSecret;
use crate::engine::legacy::{Stranger, own_timeout};
use crate::engine::{Endpoint, EngineError, Instance, InstanceId, Presence};

/// How long a container that runs may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(3);

/// What was said of the containers that are not adopted, so that it is said once.
#[derive(Default)]
pub(super) struct Refused(Mutex<HashMap<InstanceId, String>>);

/// Why a container is left as it is.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("what follows CONTAINER_BASE_NAME in its name is none: {0}")]
    Uid(#[from] UidError),
    #[error("no app of the catalogue has its image '{0}'; make an entry for it")]
    UnknownImage(String),
    #[error("several apps of the catalogue have its image '{image}': {}; leave it to one", .apps.join(", "))]
    Ambiguous { image: String, apps: Vec<String> },
    #[error("the desktop of this name is of the app '{app}', whose image is not '{image}'")]
    OtherApp { app: String, image: String },
    #[error("its desktop runs as another container")]
    Runs,
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(
        "its port {port} is published nowhere, and its own address cannot be dialled from here (see COSAGE_REACH)"
    )]
    Unpublished { port: u16 },
    #[error("its stream '{stream}' does not answer at {address}")]
    Silent { stream: String, address: SocketAddr },
    #[error("all ports of PORT_RANGE_START..PORT_RANGE_END are in use")]
    PortsExhausted,
}

impl Manager {
    /// Adopts what can be adopted, and says once of everything else why not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(super) async fn adopt_strangers(&self) -> Result<(), EngineError> {
        let base_name = &self.shared.settings.launch.container_base_name;
        // One that was stopped while the list was made is in it, and claimed before or after.
        let claimed_before = self.claims(|_| true);
        let mut strangers = self.shared.engine.strangers(base_name).await?;
        let claimed_after = self.claims(|_| true);
        strangers.retain(|stranger| {
            !claimed_before.contains(&stranger.id) && !claimed_after.contains(&stranger.id)
        });
        let looks = strangers.iter().map(|stranger| self.take_over(stranger));
        let outcomes = join_all(looks).await;
        let refusals = strangers.iter().zip(outcomes).filter_map(|(one, outcome)| {
            let refusal = outcome.err()?;
            Some((one, refusal.to_string()))
        });
        self.shared.refused.tell(refusals.collect());
        Ok(())
    }

    async fn take_over(&self, stranger: &Stranger) -> Result<(), Refusal> {
        let base_name = &self.shared.settings.launch.container_base_name;
        let name = stranger.name.strip_prefix(base_name.as_str());
        let uid: Uid = name.unwrap_or_default().parse()?;
        let app = self.app_of(stranger, &uid)?;
        let environment = declared(&app, stranger)?;
        let endpoints = endpoints(&app, stranger)?;
        for (stream, endpoint) in viewed(&endpoints) {
            let answers = timeout(ANSWER_BOUND, self.shared.probe.ready(endpoint, None));
            answers.await.map_err(|_| Refusal::Silent {
                stream: stream.clone(),
                address: endpoint.address,
            })?;
        }
        let key = self.key_of(stranger, &app, &uid)?;
        let handle = self.shared.enter(DesktopRecord {
            uid: uid.clone(),
            app: app.name.clone(),
            environment,
            created_at: Timestamp::now(),
        });
        // Somebody may have asked for it meanwhile.
        if handle.view().claimed.is_some() {
            return Err(Refusal::Runs);
        }
        let variables = || {
            let all = stranger.environment.0.iter();
            all.map(|(name, value)| (name.as_str(), value.as_str()))
        };
        let instance = Instance {
            id: stranger.id.clone(),
            uid,
            app: app.name.clone(),
            key: key.key(),
            endpoints,
            password: None,
            callback: CallbackSecret::among(variables()),
            started_at: stranger.started_at,
            own_timeout: own_timeout(variables()),
        };
        tracing::info!(uid = %instance.uid, container = stranger.name, app = app.name, "taking over a container of the old service");
        self.hand_over(&handle, instance, key);
        Ok(())
    }

    /// The one app whose image it has; for a desktop that is known, its own.
    fn app_of(&self, stranger: &Stranger, uid: &Uid) -> Result<Arc<App>, Refusal> {
        let image = || stranger.image.clone();
        let catalog = self.shared.catalog.current();
        let mut apps: Vec<&Arc<App>> = catalog.apps_of_image(&stranger.image).collect();
        if apps.is_empty() {
            return Err(Refusal::UnknownImage(image()));
        }
        if let Some(handle) = self.shared.get(uid) {
            let view = handle.view();
            if view.claimed.is_some() {
                return Err(Refusal::Runs);
            }
            let app = view.record.app.clone();
            apps.retain(|one| one.name == app);
            if apps.is_empty() {
                return Err(Refusal::OtherApp {
                    app,
                    image: image(),
                });
            }
        }
        match apps[..] {
            [app] => Ok(Arc::clone(app)),
            _ => Err(Refusal::Ambiguous {
                image: image(),
                apps: apps.iter().map(|app| app.name.clone()).collect(),
            }),
        }
    }

    /// The port that the old service published is its key, so that it has the same one after each start of this
    /// service; where that is none, any.
    fn key_of(&self, stranger: &Stranger, app: &App, uid: &Uid) -> Result<KeyLease, Refusal> {
        let keys = &self.shared.keys;
        let port = app
            .streams
            .values()
            .filter(|stream| stream.presence == Presence::Viewer)
            .find_map(|stream| stranger.published.get(&stream.port));
        port.and_then(|address| keys.lease_published(uid, StreamKey(address.port())))
            .map_or_else(|| keys.lease(uid, None, None), Ok)
            .map_err(|_| Refusal::PortsExhausted)
    }
}

impl Refused {
    /// Writes to the log what was not said yet, and forgets those that are not there any more.
    fn tell(&self, refusals: Vec<(&Stranger, String)>) {
        // A panic elsewhere leaves at worst something that is said again.
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = HashMap::new();
        for (stranger, reason) in refusals {
            if said.get(&stranger.id) != Some(&reason) {
                tracing::warn!(
                    container = stranger.name,
                    reason,
                    "a container is not adopted"
                );
            }
            now.insert(stranger.id.clone(), reason);
        }
        *said = now;
    }
}

/// What the app declares of the container's environment.
fn declared(app: &App, stranger: &Stranger) -> Result<Environment, EnvironmentError> {
    let given = stranger
        .environment
        .0
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    app.check_environment(&given.collect(), Undeclared::Ignore)
}

/// All ways into it that viewers need, and those for listeners that it has.
fn endpoints(app: &App, stranger: &Stranger) -> Result<BTreeMap<String, Endpoint>, Refusal> {
    let mut endpoints = BTreeMap::new();
    for (name, stream) in &app.streams {
        match (stranger.reach(stream.port), stream.presence) {
            (Some(address), presence) => {
                let endpoint = Endpoint {
                    address,
                    protocol: stream.protocol,
                    path: stream.path.clone(),
                    presence,
                };
                endpoints.insert(name.clone(), endpoint);
            }
            (None, Presence::Viewer) => {
                return Err(Refusal::Unpublished { port: stream.port });
            }
            (None, Presence::Listener) => {}
        }
    }
    Ok(endpoints)
}

fn viewed(endpoints: &BTreeMap<String, Endpoint>) -> impl Iterator<Item = (&String, &Endpoint)> {
    endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.presence == Presence::Viewer)
}
