//! A client of server-sent events.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::Value;

/// Longer than anything takes that a test waits for here.
const PATIENCE: Duration = Duration::from_secs(60);

/// One server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// A connection to the events.
pub(crate) struct Listening {
    response: Response,
    text: String,
}

impl Listening {
    pub(crate) async fn start(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next block of lines; `None` when the service has ended the stream in good order.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = self.response.chunk();
            let chunk = tokio::time::timeout(PATIENCE, chunk).await;
            let chunk = chunk.unwrap().unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    pub(crate) async fn next(&mut self) -> Event {
        let block = self.block().await.unwrap();
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim_start().to_owned()
        };
        Event {
            id: field("id:"),
            name: field("event:"),
            data: serde_json::from_str(&field("data:")).unwrap(),
        }
    }

    /// The events up to and with the first of this name.
    pub(crate) async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut heard = vec![self.next().await];
        while heard.last().unwrap().name != name {
            heard.push(self.next().await);
        }
        heard
    }
}
