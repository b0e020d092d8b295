//! What outlives the process: the records of desktops, and who may do what to them.

pub mod memory;
pub mod sqlite;

use async_trait::async_trait;

use crate::desktop::access::{Share, Takeover};
use crate::desktop::{DesktopRecord, Uid};
use crate::engine::InstanceId;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the store of desktops failed: {0}")]
pub struct StoreError(pub String);

/// Where records are kept. Reads are served from memory, so a store is read once at the start
/// and written through. One contract suite holds every implementation to what is written here.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// A name for this store that no other store has, made with it and kept in it. It labels the
    /// service's containers, so that two services on one engine never touch each other's.
    fn owner(&self) -> &str;

    /// All records.
    async fn load(&self) -> Result<Vec<DesktopRecord>, StoreError>;

    /// Keeps a record; when it returns, the record survives a power cut. A record of the same uid
    /// stays as it is (the first one counts), which is a success.
    async fn insert(&self, record: &DesktopRecord) -> Result<(), StoreError>;

    /// Deletes a record, with the desktop's shares and its takeover. One that is not there is a success.
    async fn delete(&self, uid: &Uid) -> Result<(), StoreError>;

    /// The instances whose run has ended although the engine could not be made to remove them.
    async fn load_orphans(&self) -> Result<Vec<InstanceId>, StoreError>;

    /// Keeps that an instance is one of them; when it returns, that survives a power cut. One that is kept is a success.
    async fn put_orphan(&self, instance: &InstanceId) -> Result<(), StoreError>;

    /// Deletes an orphan, because it is removed. One that is not there is a success.
    async fn delete_orphan(&self, instance: &InstanceId) -> Result<(), StoreError>;

    /// All shares.
    async fn load_shares(&self) -> Result<Vec<Share>, StoreError>;

    /// Keeps a share of a desktop whose record is kept, instead of an older one of the same id. One of a desktop that
    /// is not there is an error.
    async fn put_share(&self, share: &Share) -> Result<(), StoreError>;

    /// Deletes a share. One that is not there is a success.
    async fn delete_share(&self, id: &str) -> Result<(), StoreError>;

    /// The takeovers, by desktop.
    async fn load_takeovers(&self) -> Result<Vec<(Uid, Takeover)>, StoreError>;

    /// Keeps a desktop's takeover instead of an older one, or with `None` that there is none. A takeover of a desktop that
    /// is not there is an error.
    async fn set_takeover(&self, uid: &Uid, takeover: Option<&Takeover>) -> Result<(), StoreError>;
}
