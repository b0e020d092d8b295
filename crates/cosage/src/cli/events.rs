//! Server-sent events, as `GET /api/events` gives them.

use reqwest::{Method, Response};
use serde::Deserialize;
use tokio::time::timeout;

use super::client::Client;
use super::desktop::Desktop;
use crate::desktop::Uid;

/// The longest event that is read, in bytes; what is longer is skipped.
const EVENT_MAX_LEN: usize = 1024 * 1024;

/// How long the service may take to begin. A start is not held up for the sake of its progress.
const BEGIN_BOUND: std::time::Duration = std::time::Duration::from_secs(3);

/// The events of one desktop, from now on.
pub(super) struct Events {
    response: Response,
    parser: Parser,
    ready: std::collections::VecDeque<Notice>,
}

/// One event, as far as the command line looks at it.
#[derive(Debug, Deserialize)]
pub(super) struct Notice {
    pub(super) desktop: Option<Desktop>,
}

impl Events {
    /// Those of one desktop; `None` where the service has none to give.
    pub(super) async fn of(client: &Client, uid: &Uid) -> Option<Self> {
        let request = client
            .request(Method::GET, ["api", "events"])
            .query(&[("uid", uid.as_str())]);
        let response = timeout(BEGIN_BOUND, client.send(request))
            .await
            .ok()?
            .ok()?;
        Some(Self {
            response,
            parser: Parser::default(),
            ready: std::collections::VecDeque::new(),
        })
    }

    /// The next one that is about a desktop; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Notice> {
        loop {
            if let Some(notice) = self.ready.pop_front() {
                return Some(notice);
            }
            let piece = self.response.chunk().await.ok()??;
            let data = self.parser.push(&piece);
            // What this program does not know (hello, reset) it has no use for either.
            self.ready.extend(
                data.iter()
                    .filter_map(|data| serde_json::from_str::<Notice>(data).ok())
                    .filter(|notice| notice.desktop.is_some()),
            );
        }
    }
}

/// Puts events together from pieces, by the rules of the HTML standard, 9.2.6 ("Interpreting an
/// event stream"), of which only the data are of interest here.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    data: String,
    after_carriage_return: bool,
}

impl Parser {
    /// The data of the events that end in this piece.
    fn push(&mut self, piece: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for byte in piece {
            let paired = std::mem::replace(&mut self.after_carriage_return, *byte == b'\r');
            match byte {
                b'\n' if paired => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ if self.line.len() < EVENT_MAX_LEN => self.line.push(*byte),
                _ => {}
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then_some(data);
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(value) = text.strip_prefix("data:")
            && self.data.len() + value.len() < EVENT_MAX_LEN
        {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\n\nid: a-1\r\nevent: progress\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nevent: x\n\ndata: 2\r\rdata: cut";

    #[test]
    fn the_data_of_each_event_is_found() {
        assert_eq!(
            Parser::default().push(STREAM.as_bytes()),
            ["{\"a\":\n1}", "2"]
        );
    }

    #[test]
    fn what_never_ends_takes_bounded_memory() {
        let mut parser = Parser::default();
        for _ in 0..3 {
            assert!(parser.push(&vec![b'x'; EVENT_MAX_LEN]).is_empty());
        }
        assert!(parser.line.len() <= EVENT_MAX_LEN);
        for _ in 0..3 {
            let line = format!("\ndata:{}", "x".repeat(EVENT_MAX_LEN / 2));
            parser.push(line.as_bytes());
        }
        assert!(parser.data.len() <= EVENT_MAX_LEN);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_makes_no_difference(cuts in proptest::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let mut events = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([STREAM.len()]) {
                events.extend(parser.push(&STREAM.as_bytes()[from..cut]));
                from = cut;
            }
            prop_assert_eq!(events, ["{\"a\":\n1}", "2"]);
        }
    }
}
