//! The way to an instance that is a WebSocket server itself: the client's own request is made
//! once more, so that the client's and the server's frames fit each other and pass through untouched.

use std::io;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::upgrade::{Refusal, Upgrade, accept_key};
use crate::engine::Endpoint;

/// How long one request may take; nothing that serves a desktop thinks for long.
const ATTEMPT_BOUND: Duration = Duration::from_secs(5);

/// How often it is looked whether something listens.
const LISTENING_STEP: Duration = Duration::from_millis(10);

/// The pause after a refused request. An nginx in front of a server that is not up yet answers 502 for 10 s after one
/// request that came too early, so a tight loop would make it later, not sooner.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The longest head of a response in bytes.
const HEAD_MAX_LEN: usize = 8 * 1024;

/// The most header fields of a response.
const HEADERS_MAX: usize = 64;

/// A WebSocket server that has agreed.
pub(super) struct Agreed {
    pub(super) stream: TcpStream,
    /// The sub-protocol it chose.
    pub(super) protocol: Option<HeaderValue>,
    /// Frames that came right behind its answer.
    pub(super) read_ahead: Vec<u8>,
}

/// Why one request was not agreed to.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error("nothing listens yet: {0}")]
    NotListening(io::Error),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("it did not answer within {} s", ATTEMPT_BOUND.as_secs())]
    Slow,
    #[error("it answered with HTTP status {0}")]
    Status(u16),
    #[error("it did not answer as a WebSocket server does: {0}")]
    Malformed(&'static str),
}

/// Asks until the instance agrees or `within` is over.
pub(super) async fn open(
    endpoint: &Endpoint,
    upgrade: &Upgrade,
    within: Duration,
) -> Result<Agreed, Refusal> {
    let deadline = Instant::now() + within;
    loop {
        let error = match attempt(endpoint, upgrade.key(), upgrade.protocols()).await {
            Ok(agreed) => return Ok(agreed),
            Err(error) => error,
        };
        let pause = error.pause();
        if Instant::now() + pause >= deadline {
            tracing::warn!(address = %endpoint.address, %error, "a WebSocket desktop did not agree in time");
            return Err(error.into_refusal(within));
        }
        sleep(pause).await;
    }
}

/// One request.
pub(super) async fn attempt(
    endpoint: &Endpoint,
    key: &HeaderValue,
    protocols: &[HeaderValue],
) -> Result<Agreed, AttemptError> {
    let attempt = async {
        let mut stream = TcpStream::connect(endpoint.address)
            .await
            .map_err(AttemptError::NotListening)?;
        stream.set_nodelay(true)?;
        stream.write_all(&request(endpoint, key, protocols)).await?;
        let mut read_ahead = Vec::with_capacity(1024);
        let protocol = loop {
            if stream.read_buf(&mut read_ahead).await? == 0 {
                return Err(AttemptError::Malformed("it hung up"));
            }
            if let Some((len, protocol)) = parse(&read_ahead, key)? {
                read_ahead.drain(..len);
                break protocol;
            }
            if read_ahead.len() > HEAD_MAX_LEN {
                return Err(AttemptError::Malformed("its answer has no end"));
            }
        };
        Ok(Agreed {
            stream,
            protocol,
            read_ahead,
        })
    };
    timeout(ATTEMPT_BOUND, attempt)
        .await
        .unwrap_or(Err(AttemptError::Slow))
}

impl AttemptError {
    /// How long to wait before the next request.
    pub(super) fn pause(&self) -> Duration {
        match self {
            Self::NotListening(_) => LISTENING_STEP,
            Self::Io(_) | Self::Slow | Self::Status(_) | Self::Malformed(_) => REFUSED_PAUSE,
        }
    }

    fn into_refusal(self, within: Duration) -> Refusal {
        let details = format!(
            "the desktop's stream was not ready within {} s: {self}; ask again, or look at the desktop's log",
            within.as_secs()
        );
        match self {
            Self::NotListening(_) | Self::Slow => {
                Refusal::new(StatusCode::GATEWAY_TIMEOUT, "stream_timeout", details)
            }
            Self::Io(_) | Self::Status(_) | Self::Malformed(_) => {
                Refusal::new(StatusCode::BAD_GATEWAY, "stream_refused", details)
            }
        }
    }
}

/// No extensions are asked for: what a desktop sends is compressed already.
fn request(endpoint: &Endpoint, key: &HeaderValue, protocols: &[HeaderValue]) -> Vec<u8> {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
        endpoint.path, endpoint.address
    )
    .into_bytes();
    request.extend_from_slice(key.as_bytes());
    for protocol in protocols {
        request.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        request.extend_from_slice(protocol.as_bytes());
    }
    request.extend_from_slice(b"\r\n\r\n");
    request
}

/// The length of a complete head that agrees, and the sub-protocol; `None` while there is more to come.
fn parse(
    head: &[u8],
    key: &HeaderValue,
) -> Result<Option<(usize, Option<HeaderValue>)>, AttemptError> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let len = match response.parse(head) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(AttemptError::Malformed("that is not HTTP")),
    };
    let status = response.code.unwrap_or_default();
    if status != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        return Err(AttemptError::Status(status));
    }
    let value = |name: header::HeaderName| {
        response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name.as_str()))
            .map(|header| header.value)
    };
    if value(header::SEC_WEBSOCKET_ACCEPT) != Some(accept_key(key.as_bytes()).as_bytes()) {
        return Err(AttemptError::Malformed("Sec-WebSocket-Accept is wrong"));
    }
    let protocol = value(header::SEC_WEBSOCKET_PROTOCOL)
        .map(HeaderValue::from_bytes)
        .transpose()
        .map_err(|_| AttemptError::Malformed("Sec-WebSocket-Protocol is malformed"))?;
    Ok(Some((len, protocol)))
}
