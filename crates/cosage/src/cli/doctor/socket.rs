//! A WebSocket through whatever is in front of the service.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{Method, Response, StatusCode, Upgraded};
use serde_json::Value;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::checks::Answer;
use crate::cli::client::{CallError, Client};
use crate::delivery::cause;

/// How long an answer may take.
const ANSWER_BOUND: Duration = Duration::from_secs(15);

/// A stream that no desktop has: port 1 is in no range of stream keys.
const NOBODY: [&str; 3] = ["stream", "1", "vnc"];

/// Asks for a WebSocket that there cannot be; who says so is what matters.
pub(super) async fn knock(client: &Client, origin: Option<&str>) -> Answer {
    let response = match ask(client, NOBODY, origin).await {
        Ok(response) => response,
        Err(reason) => return Answer::Nothing(reason),
    };
    let status = response.status().as_u16();
    let text = timeout(ANSWER_BOUND, response.text()).await;
    let body = text.ok().and_then(Result::ok);
    let body = body.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let word = |key: &str| {
        let word = body.as_ref()?.get(key)?.as_str()?;
        Some(word.to_owned())
    };
    match word("code").zip(word("details")) {
        Some((code, details)) => Answer::Service {
            status,
            code,
            details,
        },
        None => Answer::Other(status),
    }
}

/// Holds a stream of a desktop as a viewer to which nothing new is shown.
///
/// # Errors
/// After how long it ended, and why; before it was there, after no time.
pub(super) async fn hold<'a>(
    client: &Client,
    path: impl IntoIterator<Item = &'a str>,
    length: Duration,
) -> Result<(), (Duration, String)> {
    let at_once = |reason: String| (Duration::ZERO, reason);
    let response = ask(client, path, None).await.map_err(at_once)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(at_once(format!(
            "it was answered with {}",
            response.status()
        )));
    }
    let upgraded = response
        .upgrade()
        .await
        .map_err(|error| at_once(cause(&error)))?;
    let mut socket = ClientBuilder::new().take_over(upgraded);
    let began = Instant::now();
    let ended = |reason: String| (began.elapsed(), reason);
    timeout(ANSWER_BOUND, shake_hands(&mut socket))
        .await
        .unwrap_or_else(|_| Err("the desktop says nothing".to_owned()))
        .map_err(ended)?;
    let still = async {
        loop {
            // A ping is answered by being read.
            match socket.next().await {
                Some(Ok(message)) if message.is_close() => {
                    return "the service closed it".to_owned();
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "it ended".to_owned(),
            }
        }
    };
    match timeout(length, still).await {
        Err(_) => Ok(()),
        Ok(reason) => Err(ended(reason)),
    }
}

async fn ask<'a>(
    client: &Client,
    path: impl IntoIterator<Item = &'a str>,
    origin: Option<&str>,
) -> Result<Response, String> {
    let mut request = client
        .request(Method::GET, path)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(
            SEC_WEBSOCKET_KEY,
            STANDARD.encode(rand::random::<[u8; 16]>()),
        );
    if let Some(origin) = origin {
        request = request.header(ORIGIN, origin);
    }
    match timeout(ANSWER_BOUND, client.send_any(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(CallError::Unreachable(text) | CallError::Broken(text))) => Err(text),
        Ok(Err(CallError::Refused(refusal))) => Err(refusal.details),
        Err(_) => Err("it does not answer in time".to_owned()),
    }
}

/// A viewer's part of RFB's handshake (RFC 6143, 7.1 to 7.3), up to the size of the screen.
async fn shake_hands(socket: &mut WebSocketStream<Upgraded>) -> Result<(), String> {
    const VERSION: &[u8] = b"RFB 003.008\n";
    const NO_PASSWORD: &[u8] = &[1];
    const SHARED: &[u8] = &[1];
    // The service has answered the desktop's password by itself and offers one security type, none.
    for (expected, reply) in [
        (VERSION.len(), VERSION),
        (2, NO_PASSWORD),
        (4, SHARED),
        (24, &[]),
    ] {
        let mut seen = 0;
        while seen < expected {
            let message = socket.next().await.ok_or("it ended")?;
            let message = message.map_err(|error| error.to_string())?;
            if message.is_binary() {
                seen += message.as_payload().len();
            } else if message.is_close() {
                return Err("the service closed it".to_owned());
            }
        }
        if !reply.is_empty() {
            let message = Message::binary(reply.to_vec());
            socket
                .send(message)
                .await
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
