//! Desktops without HTTP in front of them.

#![allow(dead_code, reason = "each test program uses another part of this")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cosage::catalog::{Catalog, CatalogDefaults, CatalogHandle, LaunchContext, Timers, Undeclared};
use cosage::desktop::Uid;
use cosage::desktop::camera::{Camera, Occasion};
use cosage::desktop::context::{Parts, Settings};
use cosage::desktop::keys::KeyTable;
use cosage::desktop::lease::Lease;
use cosage::desktop::manager::Manager;
use cosage::desktop::probe::Probe;
use cosage::engine::{Endpoint, Engine, VncPassword};
use cosage::store::Store;
use cosage::store::memory::MemoryStore;
use jiff::Timestamp;

use crate::support::engine::TestEngine;
use crate::support::{CATALOG, port_range};

/// Everything answers at once.
struct Eager;

#[async_trait]
impl Probe for Eager {
    async fn ready(&self, _: &Endpoint, _: Option<&VncPassword>) {}
}

/// No picture is ever taken.
struct Blind;

#[async_trait]
impl Camera for Blind {
    async fn keep(&self, _: Lease, _: Occasion, _: Duration) -> Option<Timestamp> {
        None
    }

    fn kept(&self, _: &Uid) -> Option<Timestamp> {
        None
    }

    async fn forget(&self, _: &Uid) {}
}

/// The desktops of a service that has none yet, without HTTP in front of them.
pub(crate) async fn manager(engine: &TestEngine) -> Manager {
    let keys = KeyTable::new(port_range(10));
    let manager = manager_of(Arc::new(engine.clone()), Arc::new(MemoryStore::new()), keys);
    manager.reconcile().await.unwrap();
    manager
}

/// The desktops of a service that has not reconciled yet.
pub(crate) fn manager_of(
    engine: Arc<dyn Engine>,
    store: Arc<dyn Store>,
    keys: Arc<KeyTable>,
) -> Manager {
    let defaults = CatalogDefaults {
        idle: None,
        ..CatalogDefaults::default()
    };
    let catalog = Catalog::parse(CATALOG, "catalog.toml", &defaults).unwrap();
    Manager::new(Parts {
        engine,
        store,
        catalog: Arc::new(CatalogHandle::fixed(catalog)),
        probe: Arc::new(Eager),
        camera: Arc::new(Blind),
        keys,
        settings: Settings {
            timers: Timers {
                idle: None,
                first_viewer: None,
                max_age: None,
                start: Duration::from_secs(5),
                stop_grace: Duration::from_secs(1),
            },
            launch: LaunchContext {
                container_base_name: "collab-vm-".to_owned(),
                callback_base: "http://localhost/".to_owned(),
            },
            undeclared: Undeclared::Refuse,
            max_desktops: None,
            memory_reserve: 0,
        },
    })
}
