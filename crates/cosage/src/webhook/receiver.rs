//! One receiver: everything in order, tried again for as long as it makes sense.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Address, Encode, Signer};
use crate::delivery::{self, DeliveryError, ENDING_PAUSE, pause, pause_after};
use crate::desktop::events::{Heard, Kind, Listener};
use crate::supervise::{caught, caught_at_once};

/// How long one event is tried for. A receiver that chokes on one gets the next ones after that time.
const DELIVERY_BOUND: Duration = Duration::from_secs(3600);

/// What tells a receiver that it missed something.
const RESET: &str = "reset";

/// What is posted at once.
pub(super) struct Message {
    /// The same each time it is tried, and of no other message to the same receiver.
    pub(super) id: String,
    /// A JSON object.
    pub(super) body: Bytes,
}

/// The way to a receiver.
#[async_trait]
pub(super) trait Destination: Send + Sync + 'static {
    /// Tries once.
    async fn post(&self, message: &Message) -> Result<(), DeliveryError>;
}

/// A receiver.
pub(super) struct Receiver {
    /// Its number in the list of addresses, from 1, for the log.
    pub(super) number: usize,
    /// Its address as far as it may be shown.
    pub(super) shown: String,
    /// What it hears of.
    pub(super) kinds: Vec<Kind>,
    pub(super) post: Box<dyn Destination>,
    /// When the service ends.
    pub(super) ending: CancellationToken,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was taken, or refused for good.
    Settled,
    /// It was tried for as long as one is tried.
    Lost,
    /// Nothing is wanted any more.
    Gone,
}

impl Receiver {
    /// Posts what the listener hears, until it is let go and has heard everything.
    pub(super) async fn run(&self, mut listener: Listener, boot: &str, encode: &Encode) {
        tracing::info!(
            webhook = self.number,
            server = self.shown,
            "events are posted"
        );
        let mut lost = false;
        loop {
            let heard = if std::mem::take(&mut lost) {
                Heard::Missed
            } else {
                match listener.next().await.or_else(|| listener.next_known()) {
                    Some(heard) => heard,
                    None => return,
                }
            };
            let body = match &heard {
                Heard::Event(event) if !self.kinds.contains(&event.kind) => continue,
                // One that cannot be encoded counts as missed.
                Heard::Event(event) => caught_at_once(|| encode(event)).unwrap_or(None),
                Heard::Missed => None,
            };
            // As `GET /api/events` numbers them.
            let id = format!("{boot}-{}", listener.position());
            let message = match body {
                Some(body) => Message { id, body },
                None => Message {
                    // Of its own, because the event may have been taken without an answer that came through.
                    id: format!("{id}-{RESET}"),
                    body: json!({ "type": RESET, "at": Timestamp::now() })
                        .to_string()
                        .into(),
                },
            };
            match self.deliver(&message).await {
                Outcome::Settled => {}
                Outcome::Lost => lost = true,
                Outcome::Gone => return,
            }
        }
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let (webhook, server) = (self.number, self.shown.as_str());
        let id = message.id.as_str();
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let posted = caught(self.post.post(message)).await;
            match posted.unwrap_or_else(|panic| Err(DeliveryError::Never(panic.to_string()))) {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(webhook, server, id, failures, "an event is taken at last");
                    }
                    return Outcome::Settled;
                }
                Err(DeliveryError::Later { reason, after, .. })
                    if begun.elapsed() < DELIVERY_BOUND =>
                {
                    if failures == 0 {
                        tracing::warn!(
                            webhook,
                            server,
                            id,
                            reason,
                            "an event is not taken, and tried again"
                        );
                    }
                    pause(&self.ending, pause_after(failures, after), ENDING_PAUSE).await;
                    failures += 1;
                }
                Err(DeliveryError::Later { reason, .. }) => {
                    tracing::warn!(
                        webhook,
                        server,
                        id,
                        reason,
                        "an event is dropped: it was tried for an hour"
                    );
                    return Outcome::Lost;
                }
                Err(DeliveryError::Never(reason)) => {
                    tracing::warn!(
                        webhook,
                        server,
                        id,
                        reason,
                        "an event is dropped: it was refused"
                    );
                    return Outcome::Settled;
                }
                Err(DeliveryError::Gone) => {
                    tracing::warn!(
                        webhook,
                        server,
                        "it answered 410 Gone: nothing is posted to it until the service starts again"
                    );
                    return Outcome::Gone;
                }
            }
        }
    }
}

/// The way over HTTP.
pub(super) struct Post {
    pub(super) client: Client,
    pub(super) address: Address,
    pub(super) signer: Signer,
}

#[async_trait]
impl Destination for Post {
    async fn post(&self, Message { id, body }: &Message) -> Result<(), DeliveryError> {
        // Of this attempt: receivers refuse what is old, because somebody may have recorded it.
        let timestamp = Timestamp::now().as_second();
        let request = self
            .client
            .post(self.address.0.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.signer.sign(id, timestamp, body))
            .body(body.clone());
        delivery::send(request).await
    }
}

#[cfg(test)]
mod tests;
