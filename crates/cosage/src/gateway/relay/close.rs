//! The end of a relay: what is on its way arrives, the client is told why, and TCP ends without a
//! reset that could overtake the close frame (RFC 6455, 7.1).

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Chunk, Framing, HEADROOM, Relay, poll_read};
use crate::gateway::buffer::Pool;
use crate::gateway::ending::Ending;
use crate::gateway::frame::Decoder;

/// How long what is on its way to the client, the close frame last, may take to be written.
pub(in crate::gateway) const FLUSH_BOUND: Duration = Duration::from_secs(2);

/// How long the client has to answer the close frame and to hang up.
const CLOSE_BOUND: Duration = Duration::from_secs(2);

impl Relay {
    /// Tells the client why, and ends both connections.
    pub(in crate::gateway) async fn close(mut self, ending: &Ending) {
        self.let_go().await;
        let told = match ending {
            Ending::ClientSilent | Ending::ClientGone => Ok(Ok(())),
            Ending::ClientClosed(_) if matches!(self.framing, Framing::Passed { .. }) => {
                timeout(CLOSE_BOUND, self.pass_answer()).await.map(Ok)
            }
            _ => {
                self.farewell = match &self.framing {
                    Framing::Passed { from_upstream, .. } if from_upstream.closed() => None,
                    Framing::Terminated(_) | Framing::Passed { .. } => ending.close_frame(),
                };
                timeout(FLUSH_BOUND, self.write_farewell()).await
            }
        };
        // Where nobody takes the bytes, there is nobody to wait for.
        let listens = matches!(told, Ok(Ok(()))) && !matches!(ending, Ending::ClientSilent);
        let Self {
            client,
            upstream,
            framing,
            to_upstream,
            pool,
            ..
        } = self;
        let hang_up = async {
            tokio::join!(
                async {
                    if listens {
                        hang_up_client(client, framing, ending, &pool).await;
                    }
                },
                hang_up_upstream(upstream, to_upstream, ending, &pool),
            )
        };
        // What is not done within the bound ends when the sockets are dropped.
        let _ = timeout(CLOSE_BOUND, hang_up).await;
    }

    /// Lets go of what the client holds down, behind what is on its way to the upstream: as much as goes at once; the rest
    /// goes when the upstream is hung up.
    async fn let_go(&mut self) {
        let mut rest = match self.to_upstream.take() {
            Some(chunk) => chunk.buffer[chunk.ready].to_vec(),
            None => Vec::new(),
        };
        rest.extend(self.filter.let_go());
        if rest.is_empty() || self.upstream_deaf {
            return;
        }
        self.to_upstream = Some(self.own_words(rest));
        poll_fn(|context| {
            let _ = self.poll_write_upstream(context);
            Poll::Ready(())
        })
        .await;
    }

    /// Writes what is on its way and then the close frame, which may have to wait for the end of
    /// the upstream's frame.
    async fn write_farewell(&mut self) -> io::Result<()> {
        loop {
            poll_fn(|context| self.poll_write_frames(context)).await?;
            if self.farewell.is_none() {
                return Ok(());
            }
            self.upstream.readable().await?;
            let mut buffer = self.pool.borrow();
            let read =
                poll_fn(|context| poll_read(&mut self.upstream, context, &mut buffer[HEADROOM..]));
            match read.await {
                Ok(len @ 1..) => {
                    if self.offer_to_client(buffer, len).is_err() {
                        return Ok(());
                    }
                }
                // Without the frame's end there is no place for another; the client sees TCP end.
                Ok(0) | Err(_) => return Ok(()),
            }
        }
    }

    /// The client's close frame is the upstream's to answer: passes on what comes until that has come.
    async fn pass_answer(&mut self) {
        poll_fn(|context| {
            let _ = self.poll_write_upstream(context);
            let passed = self.poll_downwards(context);
            let answered = match &self.framing {
                Framing::Passed { from_upstream, .. } => {
                    from_upstream.closed() && self.to_client.is_none()
                }
                Framing::Terminated(_) => true,
            };
            if answered || passed.is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// Ends a WebSocket that never got as far as being relayed.
pub(in crate::gateway) async fn refuse(
    mut client: TcpStream,
    decoder: Box<Decoder>,
    ending: &Ending,
    pool: &Pool,
) {
    let Some(frame) = ending.close_frame() else {
        return;
    };
    if !matches!(
        timeout(FLUSH_BOUND, client.write_all(frame.bytes())).await,
        Ok(Ok(()))
    ) {
        return;
    }
    let hang_up = hang_up_client(client, Framing::Terminated(decoder), ending, pool);
    let _ = timeout(CLOSE_BOUND, hang_up).await;
}

async fn hang_up_client(mut client: TcpStream, mut framing: Framing, ending: &Ending, pool: &Pool) {
    let answer_is_due = !matches!(
        ending,
        Ending::ClientClosed(_) | Ending::ClientGone | Ending::ClientBroke(_)
    );
    if answer_is_due {
        read_while(&mut client, pool, |bytes| match &mut framing {
            Framing::Terminated(decoder) => {
                let len = bytes.len();
                matches!(decoder.decode(bytes, 0..len), Ok(decoded) if decoded.close.is_none())
            }
            Framing::Passed { from_client, .. } => {
                from_client.advance(bytes);
                !from_client.closed()
            }
        })
        .await;
    }
    // The server ends TCP first (RFC 6455, 7.1.1); what the client sends meanwhile is read, because
    // unread bytes turn the end into a reset, which may destroy the close frame on its way.
    if client.shutdown().await.is_ok() {
        read_while(&mut client, pool, |_| true).await;
    }
}

/// The upstream gets the last messages and an end of its own, unless it has ended by itself.
async fn hang_up_upstream(
    mut upstream: TcpStream,
    rest: Option<Chunk>,
    ending: &Ending,
    pool: &Pool,
) {
    if matches!(ending, Ending::UpstreamClosed | Ending::UpstreamFailed(_)) {
        return;
    }
    if let Some(mut chunk) = rest
        && poll_fn(|context| chunk.poll_write(&mut upstream, context))
            .await
            .is_err()
    {
        return;
    }
    if upstream.shutdown().await.is_ok() {
        read_while(&mut upstream, pool, |_| true).await;
    }
}

/// Reads and forgets for as long as `more` says so and the stream lasts.
async fn read_while(stream: &mut TcpStream, pool: &Pool, mut more: impl FnMut(&mut [u8]) -> bool) {
    while stream.readable().await.is_ok() {
        let mut buffer = pool.borrow();
        match poll_fn(|context| poll_read(stream, context, &mut buffer)).await {
            Ok(len @ 1..) if more(&mut buffer[..len]) => {}
            _ => return,
        }
    }
}
