//! What an instance writes, also for those who follow it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::{Life, Shared, Simulated};
use crate::engine::logs::last_lines;
use crate::engine::{EngineError, InstanceId, LogStream, Logs};

/// A reader of what an instance writes.
struct Follower {
    shared: Arc<Shared>,
    instance: InstanceId,
    /// How many bytes of its log were given already.
    seen: usize,
    written: watch::Receiver<()>,
}

#[async_trait]
impl Logs for Simulated {
    async fn last(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError> {
        let runs = self.shared.runs();
        let log = &runs.get(instance).ok_or(EngineError::Gone)?.log;
        Ok(last_lines(
            log.as_bytes()
                .get(before_last(log, lines)..)
                .unwrap_or_default(),
        ))
    }

    async fn follow(&self, instance: &InstanceId, lines: usize) -> Result<LogStream, EngineError> {
        // Subscribed before the first look: whatever is written after it is seen.
        let written = self.shared.written.subscribe();
        let seen = {
            let runs = self.shared.runs();
            before_last(&runs.get(instance).ok_or(EngineError::Gone)?.log, lines)
        };
        let follower = Follower {
            shared: Arc::clone(&self.shared),
            instance: instance.clone(),
            seen,
            written,
        };
        Ok(stream::unfold(follower, |mut follower| async {
            let piece = follower.next().await?;
            Some((Ok(piece), follower))
        })
        .boxed())
    }
}

/// How many bytes are before the last `lines` lines.
fn before_last(log: &str, lines: usize) -> usize {
    log.split_inclusive('\n')
        .rev()
        .skip(lines)
        .map(str::len)
        .sum()
}

impl Follower {
    /// The next piece; `None` at the end of the instance.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            {
                let runs = self.shared.runs();
                let run = runs.get(&self.instance)?;
                let piece = run.log.get(self.seen..).unwrap_or_default();
                if !piece.is_empty() {
                    self.seen = run.log.len();
                    return Some(Bytes::copy_from_slice(piece.as_bytes()));
                }
                if let Life::Ended(_) = run.life {
                    return None;
                }
            }
            self.written.changed().await.ok()?;
        }
    }
}
