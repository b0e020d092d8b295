//! What is done from time to time so that nothing grows for ever: shares that have expired are deleted, and the store does its own.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::context::Context;
use super::registry::Registry;
use crate::supervise::caught;

/// How often.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Does it again and again, for as long as it is polled.
pub(super) async fn keep_house(context: &Context, _registry: &Arc<Registry>) {
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        // A panic is in the log already.
        let _ = caught(keep_house_once(context)).await;
    }
}

async fn keep_house_once(context: &Context) {
    let store = &context.store;
    if let Err(error) = store.delete_expired_shares(Timestamp::now()).await {
        tracing::error!(%error, "expired shares could not be deleted");
    }
    if let Err(error) = store.maintain().await {
        tracing::error!(%error, "the store could not be maintained");
    }
}
