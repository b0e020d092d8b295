//! What applications inside desktops report, passed on to SAGE3: `POST /api/vm/cb/{uid}` becomes
//! `PUT {SAGE3_SERVER}/api/apps/{uid}` with the bearer token, the same JSON.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use tokio::sync::mpsc;

use crate::desktop::Uid;

/// How many reports may wait for SAGE3. A report can have a picture in it, so this bounds memory.
const WAITING_MAX: usize = 32;

/// How long SAGE3 may take to answer one report.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// Where reports go.
pub struct Sage3 {
    /// Base address, such as `https://sage3.example.org`.
    pub server: Url,
    /// Bearer token; never logged.
    pub token: Option<String>,
}

/// The way to SAGE3. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Callbacks {
    queue: Option<mpsc::Sender<Report>>,
}

#[derive(Debug)]
struct Report {
    uid: Uid,
    body: Bytes,
}

/// Whether a report was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It will be delivered, or dropped with a line in the log.
    Queued,
    /// There is nobody to deliver it to: `SAGE3_SERVER` is not set.
    NobodyListens,
    /// Too many wait already.
    Full,
}

impl Callbacks {
    /// Without SAGE3, reports are taken and go nowhere.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(sage3: Option<Sage3>) -> Result<Self, reqwest::Error> {
        let Some(sage3) = sage3 else {
            return Ok(Self { queue: None });
        };
        // Only the first call of a process sets it; what a second one finds is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(ANSWER_BOUND)
            // The token is for the configured server and nobody it may point to.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(deliver(client, sage3, waiting));
        Ok(Self { queue: Some(queue) })
    }

    /// Takes a report without waiting for its delivery. `body` is a JSON object.
    pub fn take(&self, uid: Uid, body: Bytes) -> Taken {
        match &self.queue {
            None => Taken::NobodyListens,
            Some(queue) => match queue.try_send(Report { uid, body }) {
                Ok(()) => Taken::Queued,
                Err(_) => Taken::Full,
            },
        }
    }
}

async fn deliver(client: Client, sage3: Sage3, mut waiting: mpsc::Receiver<Report>) {
    while let Some(Report { uid, body }) = waiting.recv().await {
        let mut url = sage3.server.clone();
        match url.path_segments_mut() {
            Ok(mut path) => {
                path.pop_if_empty().extend(["api", "apps", uid.as_str()]);
            }
            // An address such as `mailto:`, which the configuration refuses.
            Err(()) => return,
        }
        let mut request = client
            .put(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(token) = &sage3.token {
            request = request.bearer_auth(token);
        }
        let outcome = request
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        if let Err(error) = outcome {
            tracing::warn!(%uid, error = %error.without_url(), "SAGE3 did not take a report");
        }
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
        assert_eq!(callbacks.take(uid, body), Taken::Queued);

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

    #[tokio::test]
    async fn a_sage3_that_does_not_answer_fills_a_bounded_queue() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callbacks = Callbacks::new(Some(Sage3 {
            server: format!("http://{}", silent.local_addr().unwrap())
                .parse()
                .unwrap(),
            token: None,
        }))
        .unwrap();
        let uid: Uid = "app-1".parse().unwrap();
        // One may be on its way already beside those that wait.
        let outcomes: Vec<_> = (0..WAITING_MAX + 2)
            .map(|_| callbacks.take(uid.clone(), Bytes::from_static(b"{}")))
            .collect();
        assert_eq!(outcomes.first(), Some(&Taken::Queued));
        assert_eq!(outcomes.last(), Some(&Taken::Full));
    }
}
