//! What the service needs of whatever runs containers, owned by the one who needs it.
//!
//! An engine knows how to run one instance of a desktop and how to find its own instances again.
//! It decides nothing: when to start, stop or retry is the business of [`crate::desktop`].

pub mod callback;
pub mod capability;
pub mod docker;
mod error;
pub mod home;
mod instance;
pub mod inventory;
pub mod legacy;
mod logs;
pub mod remote;
pub mod simulated;
mod spec;
mod stream;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

pub use self::capability::{Homes, Images, LogStream, Logs, Meter, Usage};
pub use self::error::EngineError;
pub use self::instance::{Exit, Found, Instance, InstanceId, VncPassword};
pub use self::spec::{
    ContainerSpec, LaunchSpec, Limits, PullPolicy, RemoteSpec, Sandbox, Workload,
};
pub use self::stream::{Endpoint, Presence, Protocol, StreamSpec};

/// Where a start is, as far as its engine is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStep {
    /// It waits for its turn among other starts.
    Queued,
    /// Its image is being fetched; `percent` (0 to 100) of it is there, where that is known. It
    /// never goes down within one start.
    Pulling {
        /// How much is there.
        percent: Option<u8>,
    },
    /// Its turn has come: the container is being started.
    Starting,
}

/// Is told the steps of a start; it must not block.
pub type OnStep<'a> = &'a (dyn Fn(StartStep) + Send + Sync);

/// What an engine reports by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// It answers (again); what happened meanwhile is unknown, so compare everything.
    Connected,
    /// It does not answer; it is asked again until it does.
    Disconnected(String),
    /// An instance ended.
    Exited(InstanceId, Exit),
}

/// Something that runs instances: what every engine can do, and access to what only some can. One contract suite
/// (`tests/engine_contract`) holds every implementation to what is written here and in [`capability`].
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Starts what the spec says and returns when its main process runs and its endpoints are
    /// known; they need not answer yet.
    ///
    /// A main process that ends meanwhile is [`EngineError::Exited`]; one that ends later is an
    /// [`EngineEvent::Exited`]. Another instance of the same desktop is removed first, and asked to end where it runs.
    ///
    /// On an error nothing is left behind as far as the engine answers at all (what is, appears as
    /// [`Found`]); what runs already is asked to end. `cancel` ends it early with [`EngineError::Cancelled`]: a pull at once, an order that the engine is
    /// carrying out when it is carried out. The future is not dropped before it ends.
    ///
    /// `on_step` is told what a start waits for ([`StartStep::Queued`], [`StartStep::Pulling`]),
    /// as often as that changes, and after that, once, [`StartStep::Starting`].
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError>;

    /// Asks the instance to end, kills it after `grace`, and removes it (not the home volume).
    /// Returns when it is gone. An instance that is not there is a success.
    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError>;

    /// All instances of this service, running or not. One that is being started may show as
    /// [`Found::Remains`] until it runs.
    async fn list(&self) -> Result<Vec<Found>, EngineError>;

    /// How the instance ended; `None` while it runs. [`EngineError::Gone`] when it is not there.
    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError>;

    /// What happens to this service's instances, from now on and for ever: the stream reconnects by itself
    /// and says so with [`EngineEvent::Connected`], which is also its first event.
    fn events(&self) -> BoxStream<'static, EngineEvent>;

    /// The logs of instances.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] from an engine that keeps none; so for every capability here.
    fn logs(&self) -> Result<&dyn Logs, EngineError> {
        Err(EngineError::Unsupported("logs"))
    }

    /// Measurements of what instances use.
    ///
    /// # Errors
    /// As [`Engine::logs`].
    fn meter(&self) -> Result<&dyn Meter, EngineError> {
        Err(EngineError::Unsupported("measurements of usage"))
    }

    /// The home volumes of desktops.
    ///
    /// # Errors
    /// As [`Engine::logs`].
    fn homes(&self) -> Result<&dyn Homes, EngineError> {
        Err(EngineError::Unsupported("homes"))
    }

    /// The images that instances are made of.
    ///
    /// # Errors
    /// As [`Engine::logs`].
    fn images(&self) -> Result<&dyn Images, EngineError> {
        Err(EngineError::Unsupported("images"))
    }
}
