//! Stream requests: a client's WebSocket on one side, an instance on the other, and a [`Lease`]
//! that is held for exactly as long.
//!
//! The route's handler takes the [`Upgrade`] out of the request, obtains the lease, and calls
//! [`Gateway::connect`]; everything after that happens in a task of its own.

pub mod audio;
mod buffer;
mod dial;
mod ending;
mod filter;
pub mod frame;
mod held;
mod keyboard;
mod passthrough;
pub mod probe;
mod registry;
mod relay;
mod screen;
mod socket;
mod upgrade;
mod wishes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

pub use self::dial::{Duplex, Unreachable};
pub use self::upgrade::{Refusal, Upgrade};

use self::audio::{Feeds, Listener};
use self::buffer::Pool;
use self::dial::Turns;
use self::ending::Ending;
use self::filter::Filter;
use self::frame::Tracker;
use self::keyboard::Keyboards;
use self::passthrough::Agreed;
use self::relay::{Framing, Relay, Start};
use self::screen::Screens;
use self::socket::{ClientSocket, Parts};
use self::upgrade::{Pending, UpgradeError};
use crate::desktop::Uid;
use crate::desktop::end::EndReason;
use crate::desktop::lease::Lease;
use crate::desktop::rights::Role;
use crate::engine::{Presence, Protocol};

/// What an operator can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// A client to which nothing was sent for this long gets a ping, so that proxies let a still screen
    /// live; one that gives no sign of life for three times as long is given up.
    pub ping_interval: Duration,
    /// How long a request for an instance that is a WebSocket server is held until that agrees.
    pub websocket_bound: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(20),
            websocket_bound: Duration::from_secs(30),
        }
    }
}

/// What went through, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections at present.
    pub connected: AtomicU64,
    /// Bytes of payload from clients to instances; of whole frames where they pass through untouched.
    pub bytes_to_upstream: AtomicU64,
    /// Bytes of payload from instances to clients; of whole frames where they pass through untouched.
    pub bytes_to_client: AtomicU64,
}

/// All connections of clients to instances. Clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    settings: GatewaySettings,
    pool: Pool,
    counters: Arc<Counters>,
    turns: Turns,
    screens: Screens,
    keyboards: Keyboards,
    feeds: Feeds,
    relays: TaskTracker,
}

/// A desktop ended before a request for one of its streams was answered.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// The request.
    pub upgrade: Upgrade,
}

impl IntoResponse for Ended {
    fn into_response(self) -> Response {
        let details = format!("{}; ask for the desktop again", Ending::Lease(self.reason));
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "desktop_ended", details).into_response()
    }
}

/// Counts a connection for as long as it lives.
struct Connected(Arc<Counters>);

impl Gateway {
    /// A gateway without connections.
    pub fn new(settings: GatewaySettings) -> Self {
        Self {
            settings,
            pool: Pool::default(),
            counters: Arc::default(),
            turns: Turns::default(),
            screens: Screens::default(),
            keyboards: Keyboards::default(),
            feeds: Feeds::default(),
            relays: TaskTracker::new(),
        }
    }

    /// Answers a request for the stream that `lease` gives the right to. The lease is dropped when
    /// the connection is over, or at once when there is none.
    ///
    /// An instance that is a WebSocket server has to agree before the client is answered; one that
    /// does not in time is a 502 or 504. Every other failure closes the WebSocket with a reason.
    ///
    /// # Errors
    /// [`Ended`], with the request to be tried on another lease, when the desktop ends before the client was answered.
    pub async fn connect(&self, upgrade: Upgrade, lease: Lease) -> Result<Response, Ended> {
        let gateway = self.clone();
        match lease.endpoint().protocol {
            // What is in it is not understood, so nothing could be kept out of it.
            Protocol::Websocket | Protocol::Tcp
                if lease.endpoint().presence == Presence::Viewer
                    && !lease.standing().rights().are_full() =>
            {
                Ok(Refusal::new(
                    StatusCode::CONFLICT,
                    "role_unsupported",
                    "viewers of this app cannot be held to the role 'view', because its stream is not of the protocol \
                     'rfb'; only viewers who may do everything can connect",
                )
                .into_response())
            }
            Protocol::Display if lease.standing().rights().role == Role::View => Ok(Refusal::new(
                StatusCode::CONFLICT,
                "role_unsupported",
                "the desktop's scale follows viewers with the role 'control' only; connect again with that role",
            )
            .into_response()),
            Protocol::Rfb | Protocol::Tcp | Protocol::Display => {
                let (response, pending) = upgrade.accept();
                self.relays
                    .spawn(async move { gateway.terminate(pending, lease).await });
                Ok(response)
            }
            Protocol::Webm => {
                let (response, pending) = upgrade.accept();
                self.relays
                    .spawn(async move { gateway.listen(pending, lease).await });
                Ok(response)
            }
            Protocol::Websocket => {
                let bound = self.settings.websocket_bound;
                let agreed = tokio::select! {
                    agreed = passthrough::open(lease.endpoint(), &upgrade, bound) => agreed,
                    reason = lease.ended() => return Err(Ended { reason, upgrade }),
                };
                Ok(match agreed {
                    Ok(mut agreed) => {
                        let (response, pending) = upgrade.accept_with(agreed.protocol.take());
                        self.relays
                            .spawn(async move { gateway.pass(pending, agreed, lease).await });
                        response
                    }
                    Err(refusal) => refusal.into_response(),
                })
            }
        }
    }

    /// Connects to the VNC server that `lease` gives the right to look at, past its handshake: for the service's own
    /// eyes. It counts as no client's connection.
    ///
    /// # Errors
    /// It cannot be reached within a few seconds, is no VNC server, or does not let the service in.
    pub async fn look(&self, lease: &Lease) -> Result<Box<dyn Duplex>, Unreachable> {
        dial::vnc(lease, &self.turns)
            .await
            .map_err(|ending| Unreachable(ending.to_string()))
    }

    /// What went through.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Waits until all connections are over, which their leases' end brings about within a few seconds.
    pub async fn drained(&self) {
        self.relays.close();
        self.relays.wait().await;
    }

    /// The gateway is the WebSocket server.
    async fn terminate(self, pending: Pending, lease: Lease) {
        let _connected = Connected::new(&self.counters);
        let uid = lease.instance().uid.clone();
        // In a box of its own, so that the task does not keep room for it while it relays.
        let opened = Box::pin(self.open(pending, lease)).await;
        let Some((start, mut lease)) = opened else {
            return;
        };
        let mut relay = Relay::new(start);
        let ending = loop {
            let ending = relay.run(&lease).await;
            match Box::pin(relay.outlive(ending, lease, &self.turns)).await {
                Ok(next) => lease = next,
                Err(ending) => break ending,
            }
        };
        relay.close(&ending).await;
        report(&uid, &ending);
    }

    /// Everything before the first byte is relayed, and the lease that it is relayed by; `None` when it ended before.
    async fn open(&self, pending: Pending, lease: Lease) -> Option<(Start, Lease)> {
        let uid = lease.instance().uid.clone();
        let (client, read_ahead) = connection(pending, &lease).await?;
        let mut socket = ClientSocket::new(client, read_ahead);
        let opened = match lease.endpoint().protocol {
            Protocol::Rfb => dial::rfb(&mut socket, lease, &self.turns).await,
            Protocol::Tcp | Protocol::Display | Protocol::Webm | Protocol::Websocket => {
                let dialed = async {
                    match lease.endpoint().protocol {
                        Protocol::Display => dial::with_password(&lease).await,
                        _ => dial::tcp(lease.endpoint().address).await,
                    }
                };
                let opened = tokio::select! {
                    opened = dialed => opened,
                    reason = lease.ended() => Err(Ending::Lease(reason)),
                };
                opened.map(|upstream| (upstream, lease))
            }
        };
        let Parts {
            stream,
            decoder,
            payload,
            ending,
        } = socket.into_parts();
        match opened {
            Ok((upstream, lease)) => {
                let start = Start {
                    to_upstream: payload,
                    ending,
                    ..self.start(stream, upstream, Framing::Terminated(decoder), &lease)
                };
                Some((start, lease))
            }
            Err(ending) => {
                report(&uid, &ending);
                relay::refuse(stream, decoder, &ending, &self.pool).await;
                None
            }
        }
    }

    /// The gateway is the WebSocket server, and the instance's stream is shared among its clients.
    async fn listen(self, pending: Pending, lease: Lease) {
        let _connected = Connected::new(&self.counters);
        let Some((client, read_ahead)) = Box::pin(connection(pending, &lease)).await else {
            return;
        };
        if let Err(error) = audio::keep_short(&client) {
            tracing::debug!(%error, "a listener's send buffer keeps its length");
        }
        let listener = Listener::new(
            client,
            self.feeds.join(&lease, &self.relays),
            self.settings.ping_interval,
            self.pool.clone(),
            Arc::clone(&self.counters),
        );
        let ending = Box::pin(listener.run(read_ahead, &lease)).await;
        report(&lease.instance().uid, &ending);
    }

    /// The instance is the WebSocket server.
    async fn pass(self, pending: Pending, agreed: Agreed, lease: Lease) {
        let _connected = Connected::new(&self.counters);
        let Some((client, read_ahead)) = Box::pin(connection(pending, &lease)).await else {
            return;
        };
        let mut from_client = Tracker::default();
        from_client.advance(&read_ahead);
        let ending = from_client.closed().then_some(Ending::ClientClosed(None));
        let framing = Framing::Passed {
            from_client,
            from_upstream: Tracker::default(),
        };
        let start = Start {
            to_upstream: read_ahead,
            to_client: agreed.read_ahead,
            ending,
            ..self.start(client, agreed.stream, framing, &lease)
        };
        let mut relay = Relay::new(start);
        let ending = relay.run(&lease).await;
        relay.close(&ending).await;
        report(&lease.instance().uid, &ending);
    }

    fn start(
        &self,
        client: TcpStream,
        upstream: TcpStream,
        framing: Framing,
        lease: &Lease,
    ) -> Start {
        Start {
            filter: Filter::new(
                lease.endpoint(),
                Arc::clone(lease.standing()),
                self.screens
                    .sit(&lease.instance().uid, Arc::clone(lease.standing())),
                self.keyboards.of(&lease.instance().uid),
                lease.area_max(),
            ),
            updates: (lease.endpoint().protocol == Protocol::Rfb).then(Box::default),
            client,
            upstream,
            framing,
            to_upstream: Vec::new(),
            to_client: Vec::new(),
            ending: None,
            ping_interval: self.settings.ping_interval,
            pool: self.pool.clone(),
            counters: Arc::clone(&self.counters),
        }
    }
}

/// The client's connection, set up for small messages that must not wait for each other.
async fn connection(pending: Pending, lease: &Lease) -> Option<(TcpStream, Vec<u8>)> {
    let connection = async {
        let (client, read_ahead) = pending.connection().await?;
        client.set_nodelay(true)?;
        lease
            .standing()
            .came_from(client.peer_addr()?.ip().to_canonical());
        Ok::<_, UpgradeError>((client, read_ahead))
    };
    match connection.await {
        Ok(connection) => Some(connection),
        Err(error @ (UpgradeError::Gone(_) | UpgradeError::Io(_))) => {
            tracing::debug!(%error, "a client left before its WebSocket was open");
            None
        }
        Err(error @ UpgradeError::NotTcp) => {
            tracing::error!(%error, "a stream could not be opened");
            None
        }
    }
}

fn report(uid: &Uid, ending: &Ending) {
    match ending {
        Ending::UpstreamRefused(_) | Ending::UpstreamFailed(_) => {
            tracing::warn!(%uid, %ending, "a stream ended");
        }
        Ending::ClientClosed(_)
        | Ending::ClientGone
        | Ending::ClientBroke(_)
        | Ending::ClientSilent
        | Ending::UpstreamClosed
        | Ending::ViewerRefused(_)
        | Ending::CannotHold
        | Ending::Lease(_) => tracing::info!(%uid, %ending, "a stream ended"),
    }
}

impl Connected {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.connected.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}
