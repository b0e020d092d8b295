//! An engine that has no capabilities: what is left of another one without them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cosage::engine::{
    Engine, EngineError, EngineEvent, Exit, Found, Instance, InstanceId, LaunchSpec, OnStep,
};
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

pub(crate) struct Bare(pub(crate) Arc<dyn Engine>);

#[async_trait]
impl Engine for Bare {
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        self.0.start(spec, cancel, on_step).await
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        self.0.stop(instance, grace).await
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        self.0.list().await
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        self.0.exit(instance).await
    }

    fn events(&self) -> BoxStream<'static, EngineEvent> {
        self.0.events()
    }
}
