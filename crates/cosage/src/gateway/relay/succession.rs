//! A viewer stays while its desktop, which has ended by itself, is started again: another VNC server takes the place of
//! the one that is gone, in the middle of the viewer's connection. SAGE3's viewer never tries again once it is closed.
//!
//! It works between two messages of the server only, and when the pictures so far are not such that only the same server
//! can go on with them ([`Updates::can_be_succeeded`](rfb::updates::Updates::can_be_succeeded)). Otherwise the viewer is
//! told that the desktop ended, as are clients of streams that are not RFB.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rfb::client::{
    self, Client, ClientError, Message, Rectangle, ServerInit, Sharing, Transfer, Update,
};
use rfb::updates::PIXEL_FORMAT_LEN;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{HEADROOM, Relay, TURNS};
use crate::desktop::end::EndReason;
use crate::desktop::lease::Lease;
use crate::desktop::lifecycle::BREAK_BOUND;
use crate::desktop::rights::Role;
use crate::gateway::dial::{self, Turns};
use crate::gateway::ending::Ending;
use crate::gateway::screen::Size;

/// How long what the instance still had to say may take to arrive, once the engine has said that it ended.
const LAST_WORDS_BOUND: Duration = Duration::from_secs(1);

/// How long giving the screen its size may take.
const RESIZE_BOUND: Duration = Duration::from_secs(2);

/// What a server is told in the viewer's stead.
struct Told {
    pixel_format: [u8; PIXEL_FORMAT_LEN],
    /// `SetEncodings`, the whole message.
    encodings: Vec<u8>,
    /// The size that the screen is to have, where the viewer can choose one.
    size: Option<Size>,
}

impl Told {
    fn introduction(&self) -> Vec<u8> {
        // `ClientInit`: viewers that come back together do not send each other away. All in one write, because
        // TigerVNC drops a client that has not said that the screen's size may change when another one changes it.
        let mut message = vec![1];
        message.extend(set_pixel_format(&self.pixel_format));
        message.extend(&self.encodings);
        message
    }
}

/// `SetPixelFormat` (RFC 6143, 7.5.1).
fn set_pixel_format(format: &[u8; PIXEL_FORMAT_LEN]) -> Vec<u8> {
    [&[0; 4], format.as_slice()].concat()
}

/// The server that takes the place of another one, past its `ServerInit`.
struct Successor {
    lease: Lease,
    stream: TcpStream,
    size: (u16, u16),
}

impl Relay {
    /// Keeps the client over the end of its instance, if that ended by itself and is started again: returns the lease of
    /// the next one, from which the relay goes on.
    ///
    /// # Errors
    /// How the connection ends: as `ending` says, because it cannot be kept or there is no next instance, or because the
    /// client left meanwhile.
    pub(in crate::gateway) async fn outlive(
        &mut self,
        ending: Ending,
        lease: Lease,
        turns: &Turns,
    ) -> Result<Lease, Ending> {
        match ending {
            ending if self.updates.is_none() => return Err(ending),
            Ending::Lease(EndReason::Exited) => self.drain_upstream().await?,
            Ending::UpstreamClosed | Ending::UpstreamFailed(_) => {}
            ending => return Err(ending),
        }
        let size = self.filter.server_is_gone();
        let Some(wishes) = self.wishes(size) else {
            return Err(ending);
        };
        let uid = lease.instance().uid.clone();
        match self.hold(successor(lease, &wishes, turns)).await? {
            Ok(next) => {
                let now = self.wishes(size).filter(|_| self.can_take(next.size));
                let Some(now) = now else {
                    return Err(ending);
                };
                tracing::info!(%uid, "a viewer stayed while its desktop was started again");
                let mut orders = Vec::new();
                if now.pixel_format != wishes.pixel_format {
                    orders.extend(set_pixel_format(&now.pixel_format));
                }
                if now.encodings != wishes.encodings {
                    orders.extend(now.encodings);
                }
                self.go_on(next.stream, next.size, orders)?;
                Ok(next.lease)
            }
            // The connection ended before the instance, or only the connection.
            Err(None) => Err(ending),
            Err(Some(ending)) => Err(ending),
        }
    }

    /// Passes on what the instance has sent before it ended.
    async fn drain_upstream(&mut self) -> Result<(), Ending> {
        let rest = poll_fn(|context| self.poll_downwards(context));
        match timeout(LAST_WORDS_BOUND, rest).await {
            Ok(Ending::UpstreamClosed | Ending::UpstreamFailed(_)) | Err(_) => Ok(()),
            Ok(ending) => Err(ending),
        }
    }

    /// What the viewer would say to another server, which is to have this size; `None` when another one cannot go on.
    fn wishes(&mut self, size: Option<Size>) -> Option<Told> {
        let updates = self.updates.as_ref()?;
        let wishes = self.filter.wishes();
        let encodings = wishes.encodings()?;
        updates.can_be_succeeded().then(|| Told {
            pixel_format: *updates.pixel_format(),
            encodings: encodings.to_vec(),
            size: wishes
                .takes(client::EXTENDED_DESKTOP_SIZE)
                .then_some(size)
                .flatten(),
        })
    }

    /// Keeps the client until the future is ready and everything has been written. What it sends is followed and goes
    /// nowhere: nobody wants the keys that were meant for what is gone.
    async fn hold<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Ending> {
        let mut future = pin!(future);
        let mut outcome = None;
        poll_fn(|context| {
            if outcome.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                outcome = Some(ready);
            }
            if let Poll::Ready(ending) = self.poll_held(context) {
                return Poll::Ready(Err(ending));
            }
            match outcome.take() {
                Some(ready) if self.to_client.is_none() && self.control.is_none() => {
                    Poll::Ready(Ok(ready))
                }
                not_yet => {
                    outcome = not_yet;
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        if let Some(ending) = self.look_at_clock(context) {
            return Poll::Ready(ending);
        }
        self.to_upstream = None;
        let mut turns = 0;
        loop {
            // Nobody reads the keys that would have to wait.
            if let Some(paused) = &mut self.paused {
                paused.pause = None;
            }
            let Poll::Ready((_, ending)) = self.poll_read_client(context) else {
                break;
            };
            if let Some(ending) = ending {
                return Poll::Ready(ending);
            }
            turns += 1;
            if turns == TURNS {
                context.waker().wake_by_ref();
                break;
            }
        }
        loop {
            match ready!(self.poll_write_client(context)) {
                Ok(()) if self.tell_refusal() => {}
                Ok(()) => return Poll::Pending,
                Err(ending) => return Poll::Ready(ending),
            }
        }
    }

    /// Puts the next server in the place of the one that is gone, and begins with `orders`.
    fn go_on(
        &mut self,
        stream: TcpStream,
        size: (u16, u16),
        mut orders: Vec<u8>,
    ) -> Result<(), Ending> {
        self.upstream = stream;
        self.upstream_deaf = false;
        self.filter.turn();
        let Some(updates) = &mut self.updates else {
            return Ok(());
        };
        updates.succeed();
        let before = updates.size();
        if size != before {
            self.tell_size(size)?;
        }
        // Whole, because what the viewer has is of another server; the viewer goes on asking by itself.
        orders.extend(client::update_request(Update::Full, size));
        if self.filter.wishes().continuous() {
            orders.extend(client::continuous_updates(size));
        }
        self.to_upstream = Some(self.own_words(orders));
        Ok(())
    }

    /// Whether the viewer goes on with a screen of this size.
    fn can_take(&mut self, size: (u16, u16)) -> bool {
        let same = self
            .updates
            .as_ref()
            .is_some_and(|updates| updates.size() == size);
        let resizable = [client::DESKTOP_SIZE, client::EXTENDED_DESKTOP_SIZE];
        let wishes = self.filter.wishes();
        same || resizable.iter().any(|encoding| wishes.takes(*encoding))
    }

    /// Tells the viewer that the screen has another size now.
    fn tell_size(&mut self, size: (u16, u16)) -> Result<(), Ending> {
        if !self.filter.wishes().takes(client::DESKTOP_SIZE) {
            // Whoever takes ExtendedDesktopSize is told by the server.
            return Ok(());
        }
        let message = client::size_update(size);
        let mut buffer = self.pool.borrow();
        buffer[HEADROOM..HEADROOM + message.len()].copy_from_slice(&message);
        self.offer_to_client(buffer, message.len())
    }
}

/// Gives the screen the size that it had, by a connection of its own: a viewer that gets the answer to a request that it did
/// not make, as noVNC does, takes it for that of its own and asks for another size.
async fn resize(
    lease: &Lease,
    (width, height): (u16, u16),
    turns: &Turns,
) -> Result<(), ClientError> {
    let stream = dial::rfb_server(lease, turns)
        .await
        .map_err(|ending| ClientError::Unexpected(ending.to_string()))?;
    let mut client = Client::introduce(stream, Sharing::Shared, Transfer::Raw).await?;
    if client.size() == (width, height) {
        return Ok(());
    }
    client.set_desktop_size(width, height).await?;
    loop {
        client.request_update(Update::Incremental).await?;
        let refused = match client.message().await? {
            Message::Update(rectangles) => rectangles.iter().find_map(|part| match part {
                Rectangle::ResizeRefused { status } => Some(*status),
                Rectangle::Pixels { .. } | Rectangle::Resized { .. } => None,
            }),
            Message::Bell | Message::CutText(_) => None,
        };
        if let Some(status) = refused {
            let reason = format!("status {status} instead of a size of {width} by {height}");
            return Err(ClientError::Unexpected(reason));
        }
        if client.size() == (width, height) {
            return Ok(());
        }
    }
}

fn broke(error: ClientError) -> Ending {
    Ending::UpstreamRefused(error.to_string())
}

/// The desktop's next instance, whose VNC server has been told what the viewer wishes.
///
/// # Errors
/// How the connection ends; `None` when the instance has not ended at all.
async fn successor(
    lease: Lease,
    wishes: &Told,
    turns: &Turns,
) -> Result<Successor, Option<Ending>> {
    match timeout(BREAK_BOUND, lease.ended()).await {
        Ok(EndReason::Exited) => {}
        Ok(reason) => return Err(Some(Ending::Lease(reason))),
        Err(_) => return Err(None),
    }
    let lease = lease.succeed().await.map_err(Ending::Lease)?;
    let greeted = dial::bounded(async {
        if let Some(size) = wishes.size
            && lease.standing().rights().role == Role::Control
            && let Ok(Err(error)) = timeout(RESIZE_BOUND, resize(&lease, size, turns)).await
        {
            tracing::debug!(%error, "the screen has another size than before");
        }
        let mut stream = dial::rfb_server(&lease, turns).await?;
        stream
            .write_all(&wishes.introduction())
            .await
            .map_err(|error| broke(error.into()))?;
        let ServerInit { width, height, .. } =
            ServerInit::read(&mut stream).await.map_err(broke)?;
        Ok((stream, (width, height)))
    });
    let (stream, size) = tokio::select! {
        greeted = greeted => greeted?,
        reason = lease.ended() => return Err(Some(Ending::Lease(reason))),
    };
    Ok(Successor {
        lease,
        stream,
        size,
    })
}
