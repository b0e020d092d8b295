//! From an HTTP request to a WebSocket (RFC 6455, 4.2).

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;

/// RFC 6455, 1.3.
const ACCEPT_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only sub-protocol that means something here: what the first WebSocket viewers of RFB called
/// binary frames.
const BINARY: &str = "binary";

/// A request that asks properly for a WebSocket, as an axum extractor: it refuses any other
/// before the handler does anything for it.
#[derive(Debug)]
pub struct Upgrade {
    on: OnUpgrade,
    key: HeaderValue,
    protocols: Vec<HeaderValue>,
}

/// A request that is not answered with a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    details: String,
}

/// A connection that changes over to WebSocket once the 101 is sent.
pub(super) struct Pending(OnUpgrade);

/// Why there is no connection behind a 101.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("the client hung up: {0}")]
    Gone(#[from] hyper::Error),
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the listener does not hand out plain TCP connections, so nothing can be relayed")]
    NotTcp,
}

impl Upgrade {
    /// Answers with 101 and the sub-protocol `binary` where it was offered.
    pub(super) fn accept(self) -> (Response, Pending) {
        let offered = self
            .protocols
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|protocol| protocol.trim() == BINARY);
        let protocol = offered.then_some(const { HeaderValue::from_static(BINARY) });
        self.accept_with(protocol)
    }

    /// Answers with 101 and the sub-protocol that somebody else chose.
    pub(super) fn accept_with(self, protocol: Option<HeaderValue>) -> (Response, Pending) {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::UPGRADE,
            const { HeaderValue::from_static("websocket") },
        );
        headers.insert(
            header::CONNECTION,
            const { HeaderValue::from_static("Upgrade") },
        );
        headers.insert(
            header::SEC_WEBSOCKET_ACCEPT,
            accept_key(self.key.as_bytes()),
        );
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        (response, Pending(self.on))
    }

    /// The client's nonce, as it sent it.
    pub(super) fn key(&self) -> &HeaderValue {
        &self.key
    }

    /// The sub-protocols that the client offers, as it sent them.
    pub(super) fn protocols(&self) -> &[HeaderValue] {
        &self.protocols
    }

    fn from_parts(parts: &mut Parts) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        if parts.method != Method::GET
            || parts.version != Version::HTTP_11
            || !has_token(headers, &header::UPGRADE, "websocket")
            || !has_token(headers, &header::CONNECTION, "upgrade")
        {
            return Err(Refusal::websocket_required(
                "this is a stream: open it as a WebSocket",
            ));
        }
        if headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .map(HeaderValue::as_bytes)
            != Some(b"13")
        {
            return Err(Refusal::websocket_required(
                "only version 13 of the WebSocket protocol is spoken here",
            ));
        }
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16))
            .cloned()
            .ok_or_else(|| {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "bad_websocket_request",
                    "Sec-WebSocket-Key must be 16 bytes in base64",
                )
            })?;
        let protocols = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .cloned()
            .collect();
        let on = parts.extensions.remove::<OnUpgrade>().ok_or_else(|| {
            Refusal::websocket_required("this connection cannot change over to WebSocket")
        })?;
        Ok(Self { on, key, protocols })
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Self::from_parts(parts)
    }
}

impl Refusal {
    /// `code` is for programs, `details` for people.
    pub fn new(status: StatusCode, code: &'static str, details: impl Into<String>) -> Self {
        Self {
            status,
            code,
            details: details.into(),
        }
    }

    fn websocket_required(details: &str) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "websocket_required", details)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "details": self.details, "code": self.code });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110, 15.5.22, and RFC 6455, 4.4.
            let headers = response.headers_mut();
            headers.insert(
                header::UPGRADE,
                const { HeaderValue::from_static("websocket") },
            );
            headers.insert(
                header::CONNECTION,
                const { HeaderValue::from_static("Upgrade") },
            );
            headers.insert(
                header::SEC_WEBSOCKET_VERSION,
                const { HeaderValue::from_static("13") },
            );
        }
        response
    }
}

impl Pending {
    /// Waits until the 101 is sent; the connection, and what of it was read ahead.
    pub(super) async fn connection(self) -> Result<(TcpStream, Vec<u8>), UpgradeError> {
        let upgraded = self.0.await?;
        // A server that speaks HTTP/1 and HTTP/2 wraps the connection once more.
        let (io, read_ahead) = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => (parts.io, parts.read_buf),
            Err(upgraded) => {
                let parts = upgraded
                    .downcast::<TokioIo<TcpStream>>()
                    .map_err(|_| UpgradeError::NotTcp)?;
                (parts.io, parts.read_buf)
            }
        };
        // Copied, because a few bytes would keep the whole buffer they lie in.
        Ok((io.into_inner(), read_ahead.to_vec()))
    }
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455, 4.2.2).
pub(super) fn accept_key(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(ACCEPT_SALT)
        .finalize();
    #[expect(
        clippy::expect_used,
        reason = "base64 is made of visible ASCII characters"
    )]
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is a header value")
}

/// Whether a header that is a list of tokens has this one; case does not count (RFC 9110, 7.6.1 and 7.8).
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests;
