//! Records that end with the process: for tests and measurements.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Store, StoreError};
use crate::desktop::{DesktopRecord, Uid};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    owner: String,
    records: Mutex<BTreeMap<Uid, DesktopRecord>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            owner: uuid::Uuid::new_v4().to_string(),
            records: Mutex::default(),
        }
    }

    /// No operation on the map can be interrupted half-way, so that a poisoned lock is sound.
    fn records(&self) -> MutexGuard<'_, BTreeMap<Uid, DesktopRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn owner(&self) -> &str {
        &self.owner
    }

    async fn load(&self) -> Result<Vec<DesktopRecord>, StoreError> {
        Ok(self.records().values().cloned().collect())
    }

    async fn insert(&self, record: &DesktopRecord) -> Result<(), StoreError> {
        self.records()
            .entry(record.uid.clone())
            .or_insert_with(|| record.clone());
        Ok(())
    }

    async fn delete(&self, uid: &Uid) -> Result<(), StoreError> {
        self.records().remove(uid);
        Ok(())
    }
}
