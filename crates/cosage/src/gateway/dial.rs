//! The way from the gateway to an instance.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, future};
use rfb::{HandshakeError, client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_websockets::{ClientBuilder, Message};

use super::ending::Ending;
use super::registry::Registry;
use super::socket::ClientSocket;
use crate::descriptors;
use crate::desktop::end::EndReason;
use crate::desktop::lease::Lease;
use crate::desktop::rights::{Rights, Role};
use crate::engine::{Endpoint, Protocol, VncPassword};

/// How long connecting may take, retries included.
const DIAL_BOUND: Duration = Duration::from_secs(5);

/// How long each of the parts of an RFB handshake may take, connecting included.
const HANDSHAKE_BOUND: Duration = Duration::from_secs(10);

/// A desktop that has just started may be a moment late.
const RETRY: Duration = Duration::from_millis(20);

/// A VNC server that has too many connections of others takes the next when one of them is through.
const REFUSED_RETRY: Duration = Duration::from_millis(200);

/// Handshakes that one VNC server is asked for at a time; viewers that come together take turns.
///
/// A VNC server's queue of connections is short (Xvnc's has five places), and one that overflows loses connections without
/// a sign; and TigerVNC counts a connection as a failed one until it is through its handshake, and refuses the sixth.
const HANDSHAKES_AT_A_TIME: usize = 2;

/// A connection, whatever carries it.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Why a VNC server cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub(super) String);

/// The turns of viewers at each VNC server's handshake, for as long as somebody is there.
#[derive(Clone, Default)]
pub(super) struct Turns(Registry<SocketAddr, Semaphore>);

impl Turns {
    fn at(&self, address: SocketAddr) -> Arc<Semaphore> {
        self.0.at(&address, || Semaphore::new(HANDSHAKES_AT_A_TIME))
    }
}

/// Connects to an instance; retries for a while where nothing listens yet.
pub(super) async fn tcp(address: SocketAddr) -> Result<TcpStream, Ending> {
    let connect = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream.set_nodelay(true).map(|()| stream),
                Err(error) if may_pass(&error) => sleep(RETRY).await,
                Err(error) => return Err(error),
            }
        }
    };
    match timeout(DIAL_BOUND, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Ending::UpstreamRefused(format!(
            "the desktop cannot be reached: {}",
            descriptors::explain(&error)
        ))),
        Err(_) => Err(Ending::UpstreamRefused(format!(
            "the desktop took no connection within {} s",
            DIAL_BOUND.as_secs()
        ))),
    }
}

/// Connects to an instance whose stream begins with its password, where it has one.
pub(super) async fn with_password(lease: &Lease) -> Result<TcpStream, Ending> {
    let mut stream = tcp(lease.endpoint().address).await?;
    if let Some(password) = &lease.instance().password {
        stream
            .write_all(password.reveal().as_bytes())
            .await
            .map_err(|error| Ending::UpstreamRefused(error.to_string()))?;
    }
    Ok(stream)
}

/// Connects to the VNC server that `lease` gives the right to, and shakes hands with it and, at the same time, with the
/// viewer. The viewer's `ClientInit` has been passed on then. Where the instance ends by itself meanwhile and is started
/// again, it is the next one's server, and its lease.
pub(super) async fn rfb(
    viewer: &mut ClientSocket,
    lease: Lease,
    turns: &Turns,
) -> Result<(TcpStream, Lease), Ending> {
    let ((mut server, lease), ()) = tokio::try_join!(
        next_rfb_server(lease, turns),
        bounded(async {
            rfb::accept(&mut *viewer).await.map_err(|error| {
                let refused = || Ending::ViewerRefused(error.to_string());
                viewer.ending().unwrap_or_else(refused)
            })?;
            Ok(())
        })
    )?;
    let rights = lease.standing().rights();
    bounded(introduce(viewer, &mut server, rights)).await?;
    Ok((server, lease))
}

/// As [`rfb_server`], of the first instance that does not end by itself meanwhile.
async fn next_rfb_server(mut lease: Lease, turns: &Turns) -> Result<(TcpStream, Lease), Ending> {
    loop {
        let reached = tokio::select! {
            reached = bounded(rfb_server(&lease, turns)) => reached,
            reason = lease.ended() => Err(Ending::Lease(reason)),
        };
        match reached {
            Ok(server) => return Ok((server, lease)),
            Err(Ending::Lease(EndReason::Exited)) => {
                lease = lease.succeed().await.map_err(Ending::Lease)?;
            }
            Err(ending) => return Err(ending),
        }
    }
}

/// One part of an RFB handshake, within its bound.
pub(super) async fn bounded<T>(part: impl Future<Output = Result<T, Ending>>) -> Result<T, Ending> {
    timeout(HANDSHAKE_BOUND, part).await.unwrap_or_else(|_| {
        Err(Ending::UpstreamRefused(format!(
            "the RFB handshake took longer than {} s",
            HANDSHAKE_BOUND.as_secs()
        )))
    })
}

/// Connects to the VNC server of an RFB stream, up to just before `ClientInit`.
pub(super) async fn rfb_server(lease: &Lease, turns: &Turns) -> Result<TcpStream, Ending> {
    let password = lease.instance().password.as_ref();
    vnc_server(lease.endpoint().address, password, turns).await
}

/// Connects to the VNC server behind a stream of any kind, up to just before `ClientInit`.
pub(super) async fn vnc(lease: &Lease, turns: &Turns) -> Result<Box<dyn Duplex>, Ending> {
    let endpoint = lease.endpoint();
    let password = lease.instance().password.as_ref();
    match endpoint.protocol {
        Protocol::Rfb | Protocol::Tcp => Ok(Box::new(rfb_server(lease, turns).await?)),
        Protocol::Websocket => {
            let turn = turns.at(endpoint.address);
            let _permit = turn.acquire().await;
            let mut stream = websocket(endpoint).await?;
            let password = password.map(VncPassword::reveal);
            match rfb::connect(&mut stream, password).await {
                Ok(_) => Ok(Box::new(stream)),
                Err(error) => Err(Ending::UpstreamRefused(error.to_string())),
            }
        }
        Protocol::Webm | Protocol::Display => Err(Ending::UpstreamRefused(
            "the stream has no VNC server".to_owned(),
        )),
    }
}

/// Connects to an instance that is a WebSocket server, as a client of its own; the payload of the binary messages as a
/// stream of bytes.
async fn websocket(endpoint: &Endpoint) -> Result<impl Duplex + use<>, Ending> {
    let refused = |reason: String| {
        Ending::UpstreamRefused(format!("the desktop took no WebSocket: {reason}"))
    };
    let uri: Uri = format!("ws://{}{}", endpoint.address, endpoint.path)
        .parse()
        .map_err(|error: axum::http::uri::InvalidUri| refused(error.to_string()))?;
    let stream = tcp(endpoint.address).await?;
    let (socket, _) = ClientBuilder::from_uri(uri)
        .connect_on(stream)
        .await
        .map_err(|error| refused(error.to_string()))?;
    let (sink, messages) = socket.split();
    let reader = messages.filter_map(|message| {
        future::ready(match message {
            Ok(message) if message.is_binary() => Some(Ok(Bytes::from(message.into_payload()))),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    let writer = sink
        .sink_map_err(io::Error::other)
        .with(|bytes: Bytes| future::ok::<_, io::Error>(Message::binary(bytes)));
    Ok(tokio::io::join(
        StreamReader::new(reader),
        SinkWriter::new(CopyToBytes::new(writer)),
    ))
}

/// Connects to a VNC server and answers its password, when it is this viewer's turn.
async fn vnc_server(
    address: SocketAddr,
    password: Option<&VncPassword>,
    turns: &Turns,
) -> Result<TcpStream, Ending> {
    let turn = turns.at(address);
    // The semaphore is never closed, so this is a permit.
    let _permit = turn.acquire().await;
    let begun = Instant::now();
    loop {
        let mut stream = tcp(address).await?;
        match rfb::connect(&mut stream, password.map(VncPassword::reveal)).await {
            Ok(_) => return Ok(stream),
            Err(HandshakeError::Refused(_)) if begun.elapsed() < DIAL_BOUND => {
                sleep(REFUSED_RETRY).await;
            }
            Err(error) => return Err(Ending::UpstreamRefused(error.to_string())),
        }
    }
}

/// Passes the viewer's `ClientInit` on, and says in the same breath that the screen's size may change.
///
/// TigerVNC drops a client that has not said so when another one resizes the screen, also one that has
/// had no time to: viewers resize as soon as they connect, so of those that come together some would be
/// lost. The viewer's own `SetEncodings` replaces this one, and nothing is sent before it asks for a picture.
async fn introduce(
    viewer: &mut ClientSocket,
    server: &mut TcpStream,
    rights: Rights,
) -> Result<(), Ending> {
    let mut message = [0; 1 + client::RESIZABLE.len()];
    let (shared, encodings) = message.split_at_mut(1);
    if let Err(error) = viewer.read_exact(shared).await {
        let refused = || Ending::ViewerRefused(error.to_string());
        return Err(viewer.ending().unwrap_or_else(refused));
    }
    if rights.role == Role::View {
        // Who only looks on does not get to send the others away.
        shared[0] = 1;
    }
    encodings.copy_from_slice(&client::RESIZABLE);
    // One write, so that no other client's resizing comes in between.
    server
        .write_all(&message)
        .await
        .map_err(|error| Ending::UpstreamRefused(error.to_string()))
}

/// Whether an instance that starts can be the reason.
fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
    )
}
