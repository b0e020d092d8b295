//! One client of a feed.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};

use super::{Feed, Progress};
use crate::desktop::lease::Lease;
use crate::gateway::Counters;
use crate::gateway::buffer::Pool;
use crate::gateway::ending::Ending;
use crate::gateway::frame::{ControlFrame, Decoder};
use crate::gateway::relay::{self, FLUSH_BOUND, KeepAlive, Listening, Tick};

/// How many bytes the system may queue for a listener: about a second of sound at our images' bit
/// rate. Left to itself it queues minutes for one that is slow.
const SEND_BUFFER_LEN: usize = 8 * 1024;

/// How much is read of a listener at a time; it only sends pongs and its close frame.
const READ_LEN: usize = 256;

/// A client that is sent a feed.
pub(in crate::gateway) struct Listener {
    client: TcpStream,
    decoder: Box<Decoder>,
    feed: Arc<Feed>,
    /// What is left of the frame that is being written.
    outbound: Bytes,
    /// The initialisation segment, until it is being written.
    header: Option<Bytes>,
    /// The answer to a ping of the client.
    pong: Option<ControlFrame>,
    ping_due: bool,
    /// The client took nothing the last time it was offered something.
    full: bool,
    keep_alive: KeepAlive,
    ticks: Interval,
    pool: Pool,
    counters: Arc<Counters>,
}

impl Listener {
    pub(in crate::gateway) fn new(
        client: TcpStream,
        feed: Arc<Feed>,
        ping_interval: Duration,
        pool: Pool,
        counters: Arc<Counters>,
    ) -> Self {
        let mut ticks = tokio::time::interval_at(Instant::now() + ping_interval, ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client,
            decoder: Box::default(),
            feed,
            outbound: Bytes::new(),
            header: None,
            pong: None,
            ping_due: false,
            full: false,
            keep_alive: KeepAlive::default(),
            ticks,
            pool,
            counters,
        }
    }

    /// Sends the feed until the end, closes the connection properly, and says why it ended.
    /// `read_ahead` is what of the connection was read already.
    pub(in crate::gateway) async fn run(
        mut self,
        mut read_ahead: Vec<u8>,
        lease: &Lease,
    ) -> Ending {
        let ending = match self.decode(&mut read_ahead) {
            Ok(()) => self.play(lease).await,
            Err(ending) => ending,
        };
        self.close(&ending).await;
        ending
    }

    async fn play(&mut self, lease: &Lease) -> Ending {
        let mut ended = pin!(lease.ended());
        let mut progress = self.feed.progress.clone();
        progress.mark_changed();
        // Set with the header, so that the first cluster is one that begins after it.
        let mut clusters: Option<broadcast::Receiver<Bytes>> = None;
        loop {
            let step = tokio::select! {
                reason = &mut ended => Err(Ending::Lease(reason)),
                _ = self.ticks.tick() => self.tick(),
                readable = self.client.readable() => match readable {
                    Ok(()) => self.read(),
                    Err(_) => Err(Ending::ClientGone),
                },
                writable = self.client.writable(), if self.has_something_to_write() => match writable {
                    Ok(()) => self.write(),
                    Err(_) => Err(Ending::ClientGone),
                },
                changed = progress.changed() => match changed {
                    Ok(()) => self.follow(&mut progress, &mut clusters),
                    Err(_) => Err(Ending::UpstreamClosed),
                },
                cluster = next(&mut clusters), if !self.has_something_to_write() => {
                    self.offer(cluster);
                    self.write()
                }
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    fn follow(
        &mut self,
        progress: &mut watch::Receiver<Progress>,
        clusters: &mut Option<broadcast::Receiver<Bytes>>,
    ) -> Result<(), Ending> {
        match &*progress.borrow_and_update() {
            Progress::Opening => return Ok(()),
            Progress::Over(over) => return Err(over.ending()),
            Progress::Live(header) => self.header = Some(header.clone()),
        }
        *clusters = Some(self.feed.clusters.subscribe());
        self.write()
    }

    fn offer(&mut self, part: Bytes) {
        self.counters
            .bytes_to_client
            .fetch_add(part.len() as u64, Ordering::Relaxed);
        self.outbound = part;
    }

    fn tick(&mut self) -> Result<(), Ending> {
        match self.keep_alive.tick(Listening::Yes) {
            Tick::Nothing => Ok(()),
            Tick::Ping => {
                self.ping_due = true;
                self.write()
            }
            Tick::GiveUp => Err(Ending::ClientSilent),
        }
    }

    fn read(&mut self) -> Result<(), Ending> {
        let mut bytes = [0; READ_LEN];
        match self.client.try_read(&mut bytes) {
            Ok(len @ 1..) => {
                self.keep_alive.heard = true;
                self.decode(&mut bytes[..len])?;
                self.write()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(0) | Err(_) => Err(Ending::ClientGone),
        }
    }

    /// What a listener sends is of no use but for what the protocol wants answered.
    fn decode(&mut self, bytes: &mut [u8]) -> Result<(), Ending> {
        let len = bytes.len();
        let decoded = self
            .decoder
            .decode(bytes, 0..len)
            .map_err(Ending::ClientBroke)?;
        if let Some(pong) = self.decoder.take_pong() {
            self.pong = Some(pong);
        }
        match decoded.close {
            Some(close) => Err(Ending::ClientClosed(close.code)),
            None => Ok(()),
        }
    }

    fn has_something_to_write(&self) -> bool {
        !self.outbound.is_empty() || self.header.is_some() || self.pong.is_some() || self.ping_due
    }

    /// Writes as much as the client takes now, what is due between two frames included.
    fn write(&mut self) -> Result<(), Ending> {
        loop {
            if self.outbound.is_empty() {
                if let Some(header) = self.header.take() {
                    self.offer(header);
                } else if let Some(pong) = self.pong.take() {
                    self.outbound = Bytes::copy_from_slice(pong.bytes());
                } else if std::mem::take(&mut self.ping_due) {
                    self.outbound = Bytes::copy_from_slice(ControlFrame::ping().bytes());
                } else {
                    return Ok(());
                }
            }
            match self.client.try_write(&self.outbound) {
                Ok(len @ 1..) => {
                    self.outbound.advance(len);
                    self.keep_alive.sent = true;
                    // Room where there was none: the client, or at least its system, has taken bytes.
                    self.keep_alive.heard |= std::mem::take(&mut self.full);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = true;
                    return Ok(());
                }
                Ok(0) | Err(_) => return Err(Ending::ClientGone),
            }
        }
    }

    /// The close frame may only follow a whole frame.
    async fn close(mut self, ending: &Ending) {
        if matches!(ending, Ending::ClientGone | Ending::ClientSilent) {
            return;
        }
        self.ping_due = false;
        self.pong = None;
        self.header = None;
        let finish = async {
            while !self.outbound.is_empty() {
                if self.client.writable().await.is_err() || self.write().is_err() {
                    return Err(());
                }
            }
            Ok(())
        };
        if timeout(FLUSH_BOUND, finish).await == Ok(Ok(())) {
            relay::refuse(self.client, self.decoder, ending, &self.pool).await;
        }
    }
}

/// Keeps the system from queueing up what nobody takes.
pub(in crate::gateway) fn keep_short(client: &TcpStream) -> io::Result<()> {
    SockRef::from(client).set_send_buffer_size(SEND_BUFFER_LEN)
}

/// The next cluster; the newest, where some were missed.
async fn next(clusters: &mut Option<broadcast::Receiver<Bytes>>) -> Bytes {
    let Some(clusters) = clusters else {
        return std::future::pending().await;
    };
    loop {
        match clusters.recv().await {
            Ok(cluster) => return cluster,
            Err(RecvError::Lagged(_)) => *clusters = clusters.resubscribe(),
            // The feed's own sender is held as long as the listener itself.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
