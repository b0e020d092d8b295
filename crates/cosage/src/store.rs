//! What outlives the process: the records of desktops.

pub mod memory;
pub mod sqlite;

use async_trait::async_trait;

use crate::desktop::{DesktopRecord, Uid};

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

    /// Deletes a record. One that is not there is a success.
    async fn delete(&self, uid: &Uid) -> Result<(), StoreError>;
}
