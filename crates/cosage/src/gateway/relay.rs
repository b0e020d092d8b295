//! Bytes between a client's WebSocket and an upstream TCP connection, both ways, until one of the
//! two or the lease ends.
//!
//! One task polls both directions, because they meet in what is written to the client: pongs and
//! pings go between two data frames. A direction first waits until its sender has something and
//! only then borrows a buffer, which it gives back when the receiver has taken it all: an idle connection
//! holds no buffer, and a slow receiver holds one and makes its sender wait.
//!
//! More than 500 lines because the two directions of one connection share its state.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rfb::client;
use rfb::messages::HEAD_MAX_LEN;
use rfb::updates::Updates;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, sleep_until};

use super::Counters;
use super::buffer::{Buffer, Pool};
use super::ending::Ending;
use super::filter::Filter;
use super::frame::{self, ControlFrame, Decoder, SERVER_HEADER_MAX_LEN, Tracker};
use crate::desktop::lease::Lease;

mod close;
mod succession;

pub(super) use self::close::{FLUSH_BOUND, refuse};

/// Room for a frame's header in front of a payload, or for what the filter held back; a cache line, so that the payload
/// is aligned.
const HEADROOM: usize = 64;
const _: () = assert!(HEADROOM >= SERVER_HEADER_MAX_LEN && HEADROOM >= HEAD_MAX_LEN);

/// Buffers that one direction may fill before the other direction and other tasks get a turn.
const TURNS: usize = 8;

/// Ping intervals without any sign of life after which a client is given up.
const SILENT_INTERVALS: u32 = 3;

/// Who makes the frames that the client reads.
pub(super) enum Framing {
    /// The gateway: the upstream's bytes are payload.
    Terminated(Box<Decoder>),
    /// The upstream, which is a WebSocket server; frames pass through untouched, and are followed
    /// because the gateway's own may only go between them.
    Passed {
        from_client: Tracker,
        from_upstream: Tracker,
    },
}

/// What a relay starts from.
pub(super) struct Start {
    pub(super) client: TcpStream,
    pub(super) upstream: TcpStream,
    pub(super) framing: Framing,
    /// What of the client's bytes goes on.
    pub(super) filter: Filter,
    /// What is known of the upstream's messages, where they are RFB.
    pub(super) updates: Option<Box<Updates>>,
    /// Bytes that were read ahead and are to go to the upstream first.
    pub(super) to_upstream: Vec<u8>,
    /// Bytes that were read ahead and are to go to the client first: whole or part frames.
    pub(super) to_client: Vec<u8>,
    /// The client has ended the connection already, right behind `to_upstream`.
    pub(super) ending: Option<Ending>,
    pub(super) ping_interval: Duration,
    pub(super) pool: Pool,
    pub(super) counters: Arc<Counters>,
}

pub(super) struct Relay {
    client: TcpStream,
    upstream: TcpStream,
    framing: Framing,
    filter: Filter,
    updates: Option<Box<Updates>>,
    to_upstream: Option<Chunk>,
    /// What the client sent and what has to wait. Meanwhile nothing else of the client is read.
    paused: Option<Box<Paused>>,
    to_client: Option<Chunk>,
    /// A control frame on its way to the client, and how much of it is written.
    control: Option<(ControlFrame, usize)>,
    ping_due: bool,
    /// A tick has passed since it was looked whether the client still holds what it may not.
    release_overdue: bool,
    /// The close frame, which is the last one that the client gets.
    farewell: Option<ControlFrame>,
    said_farewell: bool,
    /// How the connection ended before it was relayed. In a box, because there is hardly ever one.
    ending: Option<Box<Ending>>,
    keep_alive: KeepAlive,
    ticks: Interval,
    /// The client took nothing the last time it was offered something.
    client_full: bool,
    /// The upstream takes no more bytes; it may still send some.
    upstream_deaf: bool,
    pool: Pool,
    counters: Arc<Counters>,
}

/// Bytes on their way, in a borrowed buffer.
struct Chunk {
    buffer: Buffer,
    /// What may be written now.
    ready: Range<usize>,
    /// The end of all that is there.
    end: usize,
}

/// Bytes of the client that were not looked at yet.
struct Paused {
    buffer: Buffer,
    rest: Range<usize>,
    /// How the connection ends behind them.
    ending: Option<Ending>,
    /// `None` where they need not wait any more.
    pause: Option<Pin<Box<Sleep>>>,
}

/// When to ping, and when a client counts as gone.
#[derive(Debug, Default)]
pub(super) struct KeepAlive {
    pub(super) sent: bool,
    pub(super) heard: bool,
    silent_intervals: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    Ping,
    GiveUp,
}

/// Whether bytes of the client would have been noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    Yes,
    /// The upstream takes nothing for now, so the client is not read.
    No,
}

impl Relay {
    pub(super) fn new(start: Start) -> Self {
        let pool = start.pool;
        let chunk = |bytes: Vec<u8>, ready: Range<usize>, end: usize| {
            (end > ready.start).then(|| Chunk {
                ready,
                end,
                buffer: pool.adopt(bytes),
            })
        };
        let read_ahead = start.to_upstream;
        let len = start.to_client.len();
        let to_client = chunk(start.to_client, 0..0, len);
        let mut ticks =
            tokio::time::interval_at(Instant::now() + start.ping_interval, start.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut relay = Self {
            client: start.client,
            upstream: start.upstream,
            framing: start.framing,
            filter: start.filter,
            updates: start.updates,
            to_upstream: None,
            paused: None,
            to_client,
            control: None,
            ping_due: false,
            release_overdue: false,
            farewell: None,
            said_farewell: false,
            ending: None,
            keep_alive: KeepAlive::default(),
            ticks,
            client_full: false,
            upstream_deaf: false,
            pool,
            counters: start.counters,
        };
        let whole = 0..read_ahead.len();
        let buffer = relay.pool.adopt(read_ahead);
        let (to_upstream, ending) = relay.sift(buffer, whole, start.ending);
        relay.to_upstream = to_upstream;
        relay.ending = ending.map(Box::new);
        relay
    }

    /// Relays until the end, and says why it ended. The connections are still to be closed, with [`Self::close`].
    pub(super) async fn run(&mut self, lease: &Lease) -> Ending {
        let mut ended = pin!(lease.ended());
        poll_fn(|context| {
            if let Poll::Ready(reason) = ended.as_mut().poll(context) {
                return Poll::Ready(Ending::Lease(reason));
            }
            self.poll(context)
        })
        .await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        if let Some(ending) = self.ending.take() {
            return Poll::Ready(*ending);
        }
        if let Some(ending) = self.look_at_clock(context) {
            return Poll::Ready(ending);
        }
        // Before anything is looked at that this is to be woken for.
        self.filter.register(context.waker());
        // The client's direction first: what it asks for, such as a pong, is written by the other one.
        if let Poll::Ready(ending) = self.poll_upwards(context) {
            return Poll::Ready(ending);
        }
        // Behind what could have released it.
        if mem::take(&mut self.release_overdue) && self.filter.owes_release() {
            return Poll::Ready(Ending::CannotHold);
        }
        self.poll_downwards(context)
    }

    /// What the clock says of the client: that it has to be pinged, or is gone.
    fn look_at_clock(&mut self, context: &mut Context<'_>) -> Option<Ending> {
        if self.ticks.poll_tick(context).is_ready() {
            // Polled again, so that the next tick wakes this task.
            let _ = self.ticks.poll_tick(context);
            self.release_overdue = true;
            let listening = match (&self.to_upstream, &self.paused) {
                (None, None) => Listening::Yes,
                _ => Listening::No,
            };
            match self.keep_alive.tick(listening) {
                Tick::Nothing => {}
                Tick::Ping => self.ping_due = true,
                Tick::GiveUp => return Some(Ending::ClientSilent),
            }
        }
        None
    }

    /// From the client to the upstream.
    fn poll_upwards(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        for _ in 0..TURNS {
            ready!(self.poll_write_upstream(context));
            match self.filter.speak() {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => {
                    self.to_upstream = Some(self.own_words(messages));
                    continue;
                }
                Err(ending) => return Poll::Ready(ending),
            }
            let (chunk, ending) = ready!(self.poll_read_client(context));
            if let Some(chunk) = chunk {
                self.counters
                    .bytes_to_upstream
                    .fetch_add(chunk.ready.len() as u64, Ordering::Relaxed);
                self.to_upstream = Some(chunk);
            }
            // At once, so that an upstream that takes nothing cannot hide that the client has left.
            if let Some(ending) = ending {
                return Poll::Ready(ending);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// What the client sent next, as far as it may pass, and whether that was the last of it.
    fn poll_read_client(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(Option<Chunk>, Option<Ending>)> {
        if let Some(pause) = self.paused.as_mut().and_then(|it| it.pause.as_mut()) {
            ready!(pause.as_mut().poll(context));
        }
        if let Some(paused) = self.paused.take() {
            return Poll::Ready(self.sift(paused.buffer, paused.rest, paused.ending));
        }
        if ready!(self.client.poll_read_ready(context)).is_err() {
            return Poll::Ready((None, Some(Ending::ClientGone)));
        }
        let mut buffer = self.pool.borrow();
        let read = poll_read(&mut self.client, context, &mut buffer[HEADROOM..]);
        let len = match ready!(read) {
            Ok(len @ 1..) => len,
            Ok(0) | Err(_) => return Poll::Ready((None, Some(Ending::ClientGone))),
        };
        self.keep_alive.heard = true;
        let read = HEADROOM..HEADROOM + len;
        let (payload, ending) = match &mut self.framing {
            Framing::Terminated(decoder) => match decoder.decode(&mut buffer, read) {
                Ok(decoded) => (
                    decoded.payload,
                    decoded.close.map(|close| Ending::ClientClosed(close.code)),
                ),
                Err(error) => (0..0, Some(Ending::ClientBroke(error))),
            },
            Framing::Passed { from_client, .. } => {
                from_client.advance(&buffer[read.clone()]);
                let ending = from_client.closed().then_some(Ending::ClientClosed(None));
                (read, ending)
            }
        };
        Poll::Ready(self.sift(buffer, payload, ending))
    }

    /// What of the client's bytes may pass now, and how the connection ends behind it. What has to wait is kept.
    fn sift(
        &mut self,
        mut buffer: Buffer,
        payload: Range<usize>,
        ending: Option<Ending>,
    ) -> (Option<Chunk>, Option<Ending>) {
        let sifted = self.filter.apply(&mut buffer, payload);
        self.note_format();
        let passed = sifted.passed;
        let Some((rest, until)) = sifted.later else {
            let chunk = (!passed.is_empty()).then(|| Chunk {
                end: passed.end,
                ready: passed,
                buffer,
            });
            return (chunk, sifted.ending.or(ending));
        };
        let chunk = self.own_words(buffer[passed].to_vec());
        self.paused = Some(Box::new(Paused {
            buffer,
            rest,
            ending,
            pause: Some(Box::pin(sleep_until(until))),
        }));
        (Some(chunk), None)
    }

    /// The upstream's pictures have another form, once the client has asked for that.
    fn note_format(&mut self) {
        if let Some(updates) = &mut self.updates
            && let Some((format, asked)) = self.filter.wishes().take_format()
        {
            updates.set_pixel_format(format, asked);
        }
    }

    /// Messages of the gateway's own for the upstream.
    fn own_words(&self, messages: Vec<u8>) -> Chunk {
        Chunk {
            ready: 0..messages.len(),
            end: messages.len(),
            buffer: self.pool.adopt(messages),
        }
    }

    /// Tells the client that the screen keeps its size, between two messages of the upstream. Whether there was
    /// something to tell.
    fn tell_refusal(&mut self) -> bool {
        let Some(updates) = self
            .updates
            .as_ref()
            .filter(|updates| updates.at_boundary())
        else {
            return false;
        };
        if !self.filter.wishes().takes(client::EXTENDED_DESKTOP_SIZE) {
            return false;
        }
        let Some(status) = self.filter.take_refused() else {
            return false;
        };
        let message = client::resize_refused(status, updates.size(), updates.layout());
        let payload = HEADROOM..HEADROOM + message.len();
        let mut buffer = self.pool.borrow();
        buffer[payload.clone()].copy_from_slice(&message);
        self.frame_for_client(buffer, payload);
        true
    }

    /// From the upstream to the client.
    fn poll_downwards(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        for _ in 0..TURNS {
            if let Err(ending) = ready!(self.poll_write_client(context)) {
                return Poll::Ready(ending);
            }
            if self.tell_refusal() {
                continue;
            }
            if let Err(error) = ready!(self.upstream.poll_read_ready(context)) {
                return Poll::Ready(Ending::UpstreamFailed(error));
            }
            let mut buffer = self.pool.borrow();
            match ready!(poll_read(
                &mut self.upstream,
                context,
                &mut buffer[HEADROOM..]
            )) {
                Ok(0) => return Poll::Ready(Ending::UpstreamClosed),
                Ok(len) => {
                    if let Err(ending) = self.offer_to_client(buffer, len) {
                        return Poll::Ready(ending);
                    }
                }
                Err(error) => return Poll::Ready(Ending::UpstreamFailed(error)),
            }
        }
        // What was read last is offered in the next turn, which is due at once.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn offer_to_client(&mut self, mut buffer: Buffer, len: usize) -> Result<(), Ending> {
        self.counters
            .bytes_to_client
            .fetch_add(len as u64, Ordering::Relaxed);
        let mut passed = len;
        if let Some(updates) = &mut self.updates {
            passed = updates.advance(&mut buffer[HEADROOM..HEADROOM + len]);
            if updates.is_broken() {
                return Err(Ending::UpstreamRefused(
                    "the pictures of the desktop, which was started again, do not go on from those before; connect again"
                        .to_owned(),
                ));
            }
            if let Some(status) = updates.take_resize_answer() {
                self.filter.resize_was_answered(status);
            }
            if updates.at_boundary() {
                self.filter.note_size(updates.size(), updates.layout());
            }
        }
        if passed > 0 {
            self.frame_for_client(buffer, HEADROOM..HEADROOM + passed);
        }
        Ok(())
    }

    fn frame_for_client(&mut self, mut buffer: Buffer, payload: Range<usize>) {
        let end = payload.end;
        let ready = match self.framing {
            Framing::Terminated(_) => frame::frame_in_place(&mut buffer, payload),
            Framing::Passed { .. } => payload.start..payload.start,
        };
        self.to_client = Some(Chunk { buffer, ready, end });
    }

    fn poll_write_upstream(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(chunk) = &mut self.to_upstream {
            // A failure is told by the other direction, which reads what the upstream still had to say.
            if !self.upstream_deaf && ready!(chunk.poll_write(&mut self.upstream, context)).is_err()
            {
                self.upstream_deaf = true;
            }
            self.to_upstream = None;
        }
        Poll::Ready(())
    }

    /// Writes all that is there for the client, control frames between the others.
    fn poll_write_client(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        let result = self.poll_write_frames(context);
        match result {
            Poll::Pending => self.client_full = true,
            Poll::Ready(_) => self.client_full = false,
        }
        result.map_err(|_| Ending::ClientGone)
    }

    fn poll_write_frames(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(chunk) = &mut self.to_client {
                let before = chunk.ready.len();
                let result = chunk.poll_write(&mut self.client, context);
                if chunk.ready.len() < before {
                    self.keep_alive.sent = true;
                    // Room where there was none: the client, or at least its system, has taken bytes.
                    self.keep_alive.heard |= self.client_full;
                }
                ready!(result)?;
                if chunk.ready.end == chunk.end {
                    self.to_client = None;
                }
            }
            if self.framing.at_boundary() {
                if self.control.is_none() {
                    self.control = self.next_control().map(|frame| (frame, 0));
                }
                if let Some((frame, written)) = &mut self.control {
                    let bytes = frame.bytes();
                    while *written < bytes.len() {
                        *written +=
                            ready!(poll_write(&mut self.client, context, &bytes[*written..]))?;
                    }
                    self.control = None;
                    if self.said_farewell {
                        self.to_client = None;
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
            }
            let control_due = self.ping_due || self.farewell.is_some();
            let (Some(chunk), Framing::Passed { from_upstream, .. }) =
                (&mut self.to_client, &mut self.framing)
            else {
                return Poll::Ready(Ok(()));
            };
            let bytes = &chunk.buffer[chunk.ready.end..chunk.end];
            chunk.ready.end += if control_due {
                from_upstream.advance_to_boundary(bytes)
            } else {
                from_upstream.advance(bytes);
                bytes.len()
            };
        }
    }

    fn next_control(&mut self) -> Option<ControlFrame> {
        if let Framing::Terminated(decoder) = &mut self.framing
            && let Some(pong) = decoder.take_pong()
        {
            return Some(pong);
        }
        if let Some(farewell) = self.farewell.take() {
            self.said_farewell = true;
            return Some(farewell);
        }
        std::mem::take(&mut self.ping_due).then(ControlFrame::ping)
    }
}

impl Framing {
    /// Whether a frame of the gateway's own may go to the client now, once everything that is
    /// ready is written.
    fn at_boundary(&self) -> bool {
        match self {
            Self::Terminated(_) => true,
            Self::Passed { from_upstream, .. } => from_upstream.at_boundary(),
        }
    }
}

impl Chunk {
    /// Writes what is ready, to its end.
    fn poll_write(
        &mut self,
        stream: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.ready.is_empty() {
            let bytes = &self.buffer[self.ready.clone()];
            self.ready.start += ready!(poll_write(stream, context, bytes))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl KeepAlive {
    pub(super) fn tick(&mut self, listening: Listening) -> Tick {
        if self.heard {
            self.silent_intervals = 0;
        } else if listening == Listening::Yes {
            self.silent_intervals += 1;
        }
        let tick = if self.silent_intervals >= SILENT_INTERVALS {
            Tick::GiveUp
        } else if self.sent && self.heard {
            Tick::Nothing
        } else {
            // Nothing was sent, so a proxy may take the connection for dead; or nothing was heard,
            // so the client has to be asked whether it is there.
            Tick::Ping
        };
        self.sent = false;
        self.heard = false;
        tick
    }
}

/// One read. Through `AsyncRead` rather than `try_read`, because that one knows that a read which
/// did not fill the buffer has emptied the socket, and saves the system call that would find out.
fn poll_read(
    stream: &mut TcpStream,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// One write; never of nothing.
fn poll_write(
    stream: &mut TcpStream,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(stream).poll_write(context, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        len => Poll::Ready(Ok(len)),
    }
}

#[cfg(test)]
mod tests;
