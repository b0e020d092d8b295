//! How it is found out that a desktop answers.

use async_trait::async_trait;

use crate::engine::{Endpoint, VncPassword};

/// Finds out whether a stream of an instance answers.
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// Returns when it does. Never fails: the caller gives up on it by dropping the future.
    async fn ready(&self, endpoint: &Endpoint, password: Option<&VncPassword>);
}
