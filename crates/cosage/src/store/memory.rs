//! Records that end with the process: for tests and measurements.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Store, StoreError};
use crate::desktop::access::Share;
use crate::desktop::rights::Role;
use crate::desktop::{DesktopRecord, Uid};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    owner: String,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<Uid, DesktopRecord>,
    shares: BTreeMap<String, Share>,
    roles: BTreeMap<Uid, Role>,
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
        kept.roles.remove(uid);
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

    async fn load_roles(&self) -> Result<Vec<(Uid, Role)>, StoreError> {
        let kept = self.kept();
        Ok(kept
            .roles
            .iter()
            .map(|(uid, role)| (uid.clone(), *role))
            .collect())
    }

    async fn set_role(&self, uid: &Uid, role: Role) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if role == Role::Control {
            kept.roles.remove(uid);
            return Ok(());
        }
        kept.require(uid)?;
        kept.roles.insert(uid.clone(), role);
        Ok(())
    }
}
