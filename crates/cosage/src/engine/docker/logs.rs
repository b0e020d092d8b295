//! What containers write, from the engine's own log.

use std::sync::Arc;

use async_trait::async_trait;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::stream::{StreamExt, TryStreamExt};

use super::super::logs::{LOGS_MAX_LEN, last_lines};
use super::super::{EngineError, InstanceId, LogStream, Logs};
use super::Docker;
use super::client::{READ_LIMIT, is_not_found, limited};

#[async_trait]
impl Logs for Docker {
    async fn last(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError> {
        let container = self.container_of(instance).await?;
        self.logs_of(&container, lines).await
    }

    async fn follow(&self, instance: &InstanceId, lines: usize) -> Result<LogStream, EngineError> {
        let container = self.container_of(instance).await?;
        self.follow_logs_of(&container, lines)
    }
}

impl Docker {
    pub(super) async fn logs_of(
        &self,
        container: &str,
        lines: usize,
    ) -> Result<String, EngineError> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let docker = self.client.get()?;
        let read = docker.logs(container, Some(options)).try_fold(
            Vec::new(),
            |mut text: Vec<u8>, part| async move {
                text.extend_from_slice(part.as_ref());
                // The newest are what is wanted; what is before them need not be held.
                if text.len() > 2 * LOGS_MAX_LEN {
                    text.drain(..text.len() - LOGS_MAX_LEN - 1);
                }
                Ok(text)
            },
        );
        match limited(READ_LIMIT, read).await {
            Ok(text) => Ok(last_lines(&text)),
            Err(error) if is_not_found(&error) => Err(EngineError::Gone),
            Err(error) => Err(self.client.explain(error)),
        }
    }

    /// No limit of time holds for it: an instance may write nothing for days.
    fn follow_logs_of(&self, container: &str, lines: usize) -> Result<LogStream, EngineError> {
        let options = LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let client = Arc::clone(&self.client);
        let written = self.client.get()?.logs(container, Some(options));
        Ok(written
            .map(move |part| match part {
                Ok(part) => Ok(part.into_bytes()),
                Err(error) if is_not_found(&error) => Err(EngineError::Gone),
                Err(error) => Err(client.explain(error)),
            })
            .boxed())
    }
}
