//! What only some engines can do. [`super::Engine`] gives access to each capability, or says that it is missing.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::error::EngineError;
use super::home::{HomeAccess, HomeError};
use super::instance::InstanceId;
use crate::desktop::Uid;

/// What an instance writes, in pieces as the engine gives them; not necessarily whole lines.
pub type LogStream = BoxStream<'static, Result<Bytes, EngineError>>;

/// The logs of instances: what they write to their standard output and error.
#[async_trait]
pub trait Logs: Send + Sync {
    /// The last `lines` lines, oldest first; at most 64 KiB.
    ///
    /// # Errors
    /// [`EngineError::Gone`] when the instance does not exist.
    async fn last(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError>;

    /// The last `lines` lines that [`Logs::last`] gives, and then whatever the instance writes, as it writes it.
    /// The stream ends with the instance; to drop it is to stop listening.
    ///
    /// # Errors
    /// [`EngineError::Gone`] when the instance does not exist.
    async fn follow(&self, instance: &InstanceId, lines: usize) -> Result<LogStream, EngineError>;
}

/// What an instance uses of its host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Processors, in cores: 1.0 is all of one.
    pub cpu: f64,
    /// Memory in bytes, without file pages that the kernel can take back at once.
    pub memory: u64,
    /// The most memory it may use, in bytes: its own limit, or what the host has.
    pub memory_limit: Option<u64>,
    /// Bytes per second that it receives over the network.
    pub received: u64,
    /// Bytes per second that it sends.
    pub sent: u64,
}

/// Measurements of what instances use.
pub trait Meter: Send + Sync {
    /// What the instance uses, measured about once a second until the stream is dropped. The stream ends when
    /// the instance does not exist (any more), has nothing that could be measured, or the engine does not answer.
    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage>;
}

/// The home volumes of desktops.
#[async_trait]
pub trait Homes: Send + Sync {
    /// Access to the files of the desktop's home, for one request, whether the desktop runs or not. Nothing
    /// of a desktop waits for it, and it reaches nothing but the home: no link leads out.
    ///
    /// # Errors
    /// [`HomeError::NoHome`] when there is none (yet).
    async fn open(&self, uid: &Uid) -> Result<HomeAccess, HomeError>;

    /// The names of all desktops of this service that have a home volume, in no order, whether such a desktop exists or not.
    ///
    /// # Errors
    /// The engine does not answer.
    async fn list(&self) -> Result<Vec<Uid>, EngineError>;

    /// Deletes the desktop's home volume, and ends what is being done to its files. To delete a volume that does not
    /// exist is a success.
    ///
    /// # Errors
    /// The volume is in use, or the engine does not answer.
    async fn delete(&self, uid: &Uid) -> Result<(), EngineError>;
}

/// The images that instances are made of.
#[async_trait]
pub trait Images: Send + Sync {
    /// Whether the image is present, so that a start need not pull it.
    ///
    /// # Errors
    /// The engine does not answer.
    async fn is_present(&self, image: &str) -> Result<bool, EngineError>;
}
