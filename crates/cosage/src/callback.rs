//! What applications inside desktops report, passed on to SAGE3: `POST /api/vm/cb/{uid}` becomes
//! `PUT {SAGE3_SERVER}/api/apps/{uid}` with the bearer token, the same JSON; and told as an event to webhooks.

mod pace;
mod queue;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde_json::json;

use self::pace::Pace;
use self::queue::{Destination, Queue};
use crate::delivery::{self, DeliveryError};
use crate::desktop::Uid;
use crate::desktop::events::{Heard, Kind, Listener};
use crate::desktop::manager::Manager;
use crate::desktop::view::Phase;
use crate::pictures::{Format, Pictures, Shape};
use crate::segment;

/// How long SAGE3 may take to answer one report.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// How often SAGE3 is called by all desktops together: it takes 400 calls a minute from one address and answers 429 to
/// more. In no minute there are more than 60 s / `CALL_EVERY` + `CALLS_AT_ONCE` = 320.
const CALL_EVERY: Duration = Duration::from_millis(200);
const CALLS_AT_ONCE: u32 = 20;

/// Where reports go.
pub struct Sage3 {
    /// Base address, such as `https://sage3.example.org`.
    pub server: Url,
    /// Bearer token; never logged.
    pub token: Option<String>,
}

/// The ways of reports to whoever wants them. Cheap to clone.
#[derive(Clone)]
pub struct Callbacks {
    sage3: Option<Queue>,
    events: Option<Queue>,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Callbacks")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// Whether a report was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It will be delivered, or dropped with a line in the log.
    Queued,
    /// There is nobody to deliver it to: neither `SAGE3_SERVER` nor a webhook.
    NobodyListens,
    /// Too many wait already, somewhere.
    Full,
}

impl Callbacks {
    /// Without SAGE3, reports are taken and go nowhere.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(sage3: Option<Sage3>) -> Result<Self, reqwest::Error> {
        let sage3 = match sage3 {
            Some(sage3) => {
                let client = delivery::client(ANSWER_BOUND)?;
                let pace = Pace::new(CALL_EVERY, CALLS_AT_ONCE);
                Some(Queue::new(Api { client, sage3 }, pace))
            }
            None => None,
        };
        Ok(Self {
            sage3,
            events: None,
        })
    }

    /// Reports become events of these desktops as well. They are merged before that, as for SAGE3: what an application
    /// reports is its state, and one that reports without end must not push everybody's events out of the memory.
    #[must_use]
    pub fn with_events(self, manager: Manager) -> Self {
        Self {
            // Only memory, which is as fast as anybody.
            events: Some(Queue::new(Told(manager), Pace::unlimited())),
            ..self
        }
    }

    /// Takes a report without waiting for its delivery. `body` is a JSON object.
    pub fn take(&self, uid: &Uid, body: &Bytes) -> Taken {
        let queues = [&self.sage3, &self.events].into_iter().flatten();
        // Each gets it, also when another one is full: a report that is made again says nothing new to who has it.
        let taken: Vec<_> = queues
            .map(|queue| queue.take(uid.clone(), body.clone()))
            .collect();
        if taken.is_empty() {
            Taken::NobodyListens
        } else if taken.iter().all(Result::is_ok) {
            Taken::Queued
        } else {
            Taken::Full
        }
    }

    /// Reports the last picture of a desktop as `state.lastImage`, once for each of its ends and only where a new picture
    /// was taken before it. Returns when the listener is let go.
    pub async fn report_pictures(self, pictures: Pictures, mut events: Listener) {
        let Some(sage3) = self.sage3 else {
            return;
        };
        // Bounded by the number of desktops that have run: each end takes its desktop out.
        let mut unreported = HashSet::new();
        while let Some(heard) = events.next().await {
            // What is missed is reported with the next end.
            let Heard::Event(event) = heard else { continue };
            let uid = &event.view.record.uid;
            match event.kind {
                Kind::Picture => drop(unreported.insert(uid.clone())),
                Kind::Gone | Kind::Failed
                    if unreported.remove(uid) && event.view.phase != Phase::Forgotten =>
                {
                    report_picture(&sage3, &pictures, uid).await;
                }
                _ => {}
            }
        }
    }

    /// Returns when nothing waits for SAGE3 any more: for the end of the service, when reports are tried again at once.
    pub async fn drained(&self) {
        if let Some(sage3) = &self.sage3 {
            sage3.drained().await;
        }
    }

    /// Returns when all reports have become events: for the end of the service.
    pub async fn told(&self) {
        if let Some(events) = &self.events {
            events.drained().await;
        }
    }

    /// Of how many desktops reports wait for SAGE3.
    pub fn waiting(&self) -> usize {
        self.sage3.as_ref().map_or(0, Queue::len)
    }
}

async fn report_picture(sage3: &Queue, pictures: &Pictures, uid: &Uid) {
    let as_kept = Shape {
        format: Format::Jpeg,
        width: None,
    };
    let picture = match pictures.last(uid, as_kept).await {
        Ok(Some(picture)) => picture,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%uid, %error, "the last picture is not reported");
            return;
        }
    };
    let image = format!("data:image/jpeg;base64,{}", STANDARD.encode(&picture.file));
    let report = json!({ "state.lastImage": image }).to_string();
    if sage3.take(uid.clone(), report.into()).is_err() {
        tracing::warn!(%uid, "the last picture is not reported: too many reports wait for SAGE3");
    }
}

/// SAGE3's API.
struct Api {
    client: Client,
    sage3: Sage3,
}

#[async_trait]
impl Destination for Api {
    async fn put(&self, uid: &Uid, report: Bytes) -> Result<(), DeliveryError> {
        let url = segment::below(&self.sage3.server, ["api", "apps", uid.as_str()]);
        let mut request = self
            .client
            .put(url)
            .header(CONTENT_TYPE, "application/json")
            .body(report);
        if let Some(token) = &self.sage3.token {
            request = request.bearer_auth(token);
        }
        delivery::send(request).await
    }
}

/// The memory of events.
struct Told(Manager);

#[async_trait]
impl Destination for Told {
    async fn put(&self, uid: &Uid, report: Bytes) -> Result<(), DeliveryError> {
        self.0.tell_report(uid, report);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_report_reaches_sage3_with_the_token() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let callbacks = Callbacks::new(Some(Sage3 {
            server: format!("http://{address}/base/").parse().unwrap(),
            token: Some("secret".into()),
        }))
        .unwrap();
        let uid: Uid = "app-1".parse().unwrap();
        let body = Bytes::from_static(b"{\"state.urls\":[]}");
        assert_eq!(callbacks.take(&uid, &body), Taken::Queued);

        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"{\"state.urls\":[]}") {
            assert_ne!(socket.read_buf(&mut seen).await.unwrap(), 0);
        }
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        let text = String::from_utf8(seen).unwrap().to_ascii_lowercase();
        assert!(
            text.starts_with("put /base/api/apps/app-1 http/1.1\r\n"),
            "{text}"
        );
        assert!(text.contains("authorization: bearer secret\r\n"), "{text}");
        assert!(
            text.contains("content-type: application/json\r\n"),
            "{text}"
        );
    }
}
