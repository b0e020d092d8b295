//! Records that end with the process: for tests and measurements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Store, StoreError};
use crate::desktop::access::{Share, Takeover};
use crate::desktop::{DesktopRecord, Uid};
use crate::engine::InstanceId;

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    owner: String,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<Uid, DesktopRecord>,
    orphans: BTreeSet<InstanceId>,
    shares: BTreeMap<String, Share>,
    takeovers: BTreeMap<Uid, Takeover>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            owner: uuid::Uuid::new_v4().to_string(),
            kept: Mutex::default(),
        }
    }

    /// No operation on the maps can be interrupted half-way, so that a poisoned lock is sound.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn require(&self, uid: &Uid) -> Result<(), StoreError> {
        if self.records.contains_key(uid) {
            Ok(())
        } else {
            Err(StoreError(format!("no desktop '{uid}' is kept")))
        }
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
        Ok(self.kept().records.values().cloned().collect())
    }

    async fn insert(&self, record: &DesktopRecord) -> Result<(), StoreError> {
        self.kept()
            .records
            .entry(record.uid.clone())
            .or_insert_with(|| record.clone());
        Ok(())
    }

    async fn delete(&self, uid: &Uid) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.records.remove(uid);
        kept.shares.retain(|_, share| share.uid != *uid);
        kept.takeovers.remove(uid);
        Ok(())
    }

    async fn load_orphans(&self) -> Result<Vec<InstanceId>, StoreError> {
        Ok(self.kept().orphans.iter().cloned().collect())
    }

    async fn put_orphan(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.kept().orphans.insert(instance.clone());
        Ok(())
    }

    async fn delete_orphan(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.kept().orphans.remove(instance);
        Ok(())
    }

    async fn load_shares(&self) -> Result<Vec<Share>, StoreError> {
        Ok(self.kept().shares.values().cloned().collect())
    }

    async fn put_share(&self, share: &Share) -> Result<(), StoreError> {
        let mut kept = self.kept();
        kept.require(&share.uid)?;
        kept.shares.insert(share.id.clone(), share.clone());
        Ok(())
    }

    async fn delete_share(&self, id: &str) -> Result<(), StoreError> {
        self.kept().shares.remove(id);
        Ok(())
    }

    async fn load_takeovers(&self) -> Result<Vec<(Uid, Takeover)>, StoreError> {
        Ok(self.kept().takeovers.clone().into_iter().collect())
    }

    async fn set_takeover(&self, uid: &Uid, takeover: Option<&Takeover>) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let Some(takeover) = takeover else {
            kept.takeovers.remove(uid);
            return Ok(());
        };
        kept.require(uid)?;
        kept.takeovers.insert(uid.clone(), takeover.clone());
        Ok(())
    }
}
