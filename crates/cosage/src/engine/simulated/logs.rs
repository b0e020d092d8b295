//! What an instance writes, for those who follow it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::{Life, Shared};
use crate::engine::{EngineError, InstanceId, LogStream};

/// Somebody who reads what an instance writes.
struct Follower {
    shared: Arc<Shared>,
    instance: InstanceId,
    /// How many bytes of its log were given already.
    seen: usize,
    written: watch::Receiver<()>,
}

/// The last `lines` lines and all that follows.
pub(super) fn follow(
    shared: &Arc<Shared>,
    instance: &InstanceId,
    lines: usize,
) -> Result<LogStream, EngineError> {
    // Subscribed before the first look: whatever is written after it is seen.
    let written = shared.written.subscribe();
    let seen = {
        let state = shared.up()?;
        let record = state.instances.get(instance).ok_or(EngineError::Gone)?;
        let all = record.logs.split_inclusive('\n').rev();
        all.skip(lines).map(str::len).sum()
    };
    let follower = Follower {
        shared: Arc::clone(shared),
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

impl Follower {
    /// The next piece; `None` at the end of the instance.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            {
                let state = self.shared.lock();
                let record = state.instances.get(&self.instance)?;
                let piece = record.logs.get(self.seen..).unwrap_or_default();
                if !piece.is_empty() {
                    self.seen = record.logs.len();
                    return Some(Bytes::copy_from_slice(piece.as_bytes()));
                }
                if let Life::Ended(_) = record.life {
                    return None;
                }
            }
            self.written.changed().await.ok()?;
        }
    }
}
