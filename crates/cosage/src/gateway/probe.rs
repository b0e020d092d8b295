//! Whether an instance that has started answers.

use std::io;
use std::time::Duration;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rfb::HandshakeError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::passthrough;
use crate::descriptors::Exhausted;
use crate::engine::{Endpoint, Protocol, VncPassword};

/// The pause between two looks.
const STEP: Duration = Duration::from_millis(10);

/// How long one connect may take; what starts is near.
const CONNECT_BOUND: Duration = Duration::from_millis(250);

/// How long a VNC server that has taken the connection may take for its handshake.
const HANDSHAKE_BOUND: Duration = Duration::from_secs(1);

/// The pause after a server has said no, which it may count.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The pause between the port and the first request of a WebSocket server that is made of several
/// programs: one request that comes too early makes some of them refuse for 10 s.
const WEBSOCKET_PAUSE: Duration = Duration::from_secs(1);

/// How long a probed WebSocket server has to end the connection.
const CLOSE_BOUND: Duration = Duration::from_secs(1);

/// Resolves when the instance really answers on this endpoint; never, if it does not, so the caller sets
/// a bound. Nothing is left behind when it is dropped.
///
/// A VNC server's handshake is completed, with `password` where it asks for one: TigerVNC blocks an
/// address after five connections that hang up before, and the address is the gateway's own.
pub async fn ready(endpoint: &Endpoint, password: Option<&VncPassword>) {
    match endpoint.protocol {
        Protocol::Tcp | Protocol::Webm | Protocol::Display => drop(connect(endpoint).await),
        Protocol::Rfb => rfb_server(endpoint, password).await,
        Protocol::Websocket => websocket_server(endpoint).await,
    }
}

async fn connect(endpoint: &Endpoint) -> TcpStream {
    let mut short = false;
    loop {
        match timeout(CONNECT_BOUND, TcpStream::connect(endpoint.address)).await {
            Ok(Ok(stream)) => return stream,
            Ok(Err(error)) => {
                // The start goes on: descriptors may come back in time.
                if !short && let Some(exhausted) = Exhausted::from_error(&error) {
                    short = true;
                    tracing::error!(error = %exhausted, "a desktop that starts cannot be looked at");
                }
                sleep(STEP).await;
            }
            Err(_) => sleep(STEP).await,
        }
    }
}

async fn rfb_server(endpoint: &Endpoint, password: Option<&VncPassword>) {
    loop {
        let mut stream = connect(endpoint).await;
        let handshake = rfb::connect(&mut stream, password.map(VncPassword::reveal));
        let pause = match timeout(HANDSHAKE_BOUND, handshake).await {
            Ok(Ok(_)) => return,
            // A proxy that takes connections for a server that is not up yet hangs up at once.
            Ok(Err(HandshakeError::Io(_))) | Err(_) => STEP,
            Ok(Err(error)) => {
                tracing::debug!(address = %endpoint.address, %error, "the VNC server is not ready");
                REFUSED_PAUSE
            }
        };
        sleep(pause).await;
    }
}

async fn websocket_server(endpoint: &Endpoint) {
    drop(connect(endpoint).await);
    sleep(WEBSOCKET_PAUSE).await;
    loop {
        let nonce: [u8; 16] = rand::random();
        #[expect(
            clippy::expect_used,
            reason = "base64 is made of visible ASCII characters"
        )]
        let key = HeaderValue::try_from(STANDARD.encode(nonce)).expect("base64 is a header value");
        match passthrough::attempt(endpoint, &key, &[]).await {
            Ok(agreed) => {
                // The server has agreed, which is all that was asked; how the end goes does not matter.
                let _ = timeout(CLOSE_BOUND, close(agreed.stream)).await;
                return;
            }
            Err(error) => {
                tracing::debug!(address = %endpoint.address, %error, "the WebSocket server is not ready");
                sleep(error.pause()).await;
            }
        }
    }
}

/// Ends a WebSocket as its client: a masked close frame with code 1000, then the server's end of TCP.
async fn close(mut stream: TcpStream) -> io::Result<()> {
    let mask: [u8; 4] = rand::random();
    let [high, low] = super::frame::code::NORMAL.to_be_bytes();
    let frame = [
        0x88,
        0x82,
        mask[0],
        mask[1],
        mask[2],
        mask[3],
        high ^ mask[0],
        low ^ mask[1],
    ];
    stream.write_all(&frame).await?;
    let mut ignored = [0; 256];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
