//! What all desktops share: the engine, the store, and what the operator set.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Uid;
use super::access::Access;
use super::admission;
use super::camera::Camera;
use super::endings::Endings;
use super::events::Events;
use super::failure::FailReason;
use super::images::Images;
use super::keys::KeyTable;
use super::notes::Notes;
use super::probe::Probe;
use crate::catalog::{App, CatalogHandle, LaunchContext, Source, Timers, Undeclared};
use crate::engine::Engine;
use crate::store::Store;

/// How many homes are measured at the same time: each costs the host's disk a look at all files.
const MEASUREMENTS: usize = 2;

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For desktops whose app is not in the catalogue any more.
    pub timers: Timers,
    /// What every launch needs.
    pub launch: LaunchContext,
    /// What becomes of environment names that the catalogue does not declare.
    pub undeclared: Undeclared,
    /// How many desktops may run at a time; `None` is as many as there are stream keys.
    pub max_desktops: Option<usize>,
    /// No start below this much available memory of the host, in bytes; 0 is no such check.
    pub memory_reserve: u64,
}

/// What a service of desktops is made of.
pub struct Parts {
    /// What runs instances.
    pub engine: Arc<dyn Engine>,
    /// What should be.
    pub store: Arc<dyn Store>,
    /// The curated list.
    pub catalog: Arc<CatalogHandle>,
    /// How readiness is found out.
    pub probe: Arc<dyn Probe>,
    /// What takes and keeps pictures.
    pub camera: Arc<dyn Camera>,
    /// The stream keys.
    pub keys: Arc<KeyTable>,
    /// What the operator set.
    pub settings: Settings,
}

/// What all desktops share. It knows no desktop.
pub(super) struct Context {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) store: Arc<dyn Store>,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) camera: Arc<dyn Camera>,
    pub(super) keys: Arc<KeyTable>,
    pub(super) settings: Settings,
    pub(super) catalog: Arc<CatalogHandle>,
    pub(super) images: Images,
    /// Who is connected, and may do what.
    pub(super) access: Arc<Access>,
    /// Instances that have to go.
    pub(super) endings: Endings,
    /// Turns at measuring homes.
    pub(super) measurements: Semaphore,
    /// What is seen of desktops and written in batches.
    pub(super) notes: Notes,
    /// What happens to desktops.
    pub(super) events: Arc<Events>,
    /// Ends what is streamed without an end of its own, which would hold up the service's.
    pub(super) closing: CancellationToken,
    /// Ends all drivers.
    pub(super) ended: CancellationToken,
}

impl Context {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            engine,
            store,
            catalog,
            probe,
            camera,
            keys,
            settings,
        } = parts;
        let closing = CancellationToken::new();
        Self {
            endings: Endings::new(Arc::clone(&engine), Arc::clone(&store)),
            notes: Notes::new(Arc::clone(&store)),
            measurements: Semaphore::new(MEASUREMENTS),
            engine,
            store,
            probe,
            camera,
            keys,
            settings,
            catalog,
            images: Images::default(),
            access: Arc::default(),
            events: Arc::new(Events::new(closing.clone())),
            closing,
            ended: CancellationToken::new(),
        }
    }

    /// An app of the catalogue as it is now.
    pub(super) fn app(&self, name: &str) -> Option<Arc<App>> {
        self.catalog.current().app(name).cloned()
    }

    /// The timers of an app, whether it is in the catalogue or not.
    pub(super) fn timers(&self, app: &str) -> Timers {
        self.app(app).map_or(self.settings.timers, |app| app.timers)
    }

    /// How long an instance of a desktop may take to end, whether the desktop is known or not.
    pub(super) async fn stop_grace(&self, uid: Option<&Uid>) -> Duration {
        let stored = match uid {
            Some(uid) => self.store.desktop(uid).await.ok().flatten(),
            None => None,
        };
        let timers = stored.map_or(self.settings.timers, |stored| {
            self.timers(&stored.record.app)
        });
        timers.stop_grace
    }

    /// What was started has its image.
    pub(super) fn image_was_used(&self, app: &str) {
        if let Some(app) = self.app(app)
            && let Source::Container(source) = &app.source
        {
            self.images.note(&source.image, true);
        }
    }

    /// Whether the host has room for one more desktop.
    pub(super) fn admit(&self) -> Result<(), FailReason> {
        admission::memory(self.settings.memory_reserve)
    }
}
