//! The sound of desktops: one connection to an instance for any number of listeners.
//!
//! An instance encodes for each of its connections, so the gateway makes one when the first listener
//! comes and ends it when the last one leaves. A [`Feed`] is that connection: it splits the stream and
//! makes each part a WebSocket frame once, which all listeners share.
//!
//! Sound that is late is worth nothing. A listener that takes it more slowly than it is made misses clusters; it
//! holds up nobody, and no more than [`BEHIND_MAX`] clusters queue up for it.

mod listener;
pub mod webm;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::webm::{Part, Splitter};
use super::dial;
use super::ending::Ending;
use super::frame::{self, SERVER_HEADER_MAX_LEN};
use crate::desktop::lease::Lease;
use crate::engine::{InstanceId, VncPassword};
use crate::supervise::caught;

pub(super) use self::listener::{Listener, keep_short};

/// How many clusters a listener may be behind before it misses some. An instance whose sound server was held up sends
/// everything that is due at once, and a listener that keeps up must not lose it: this is 1.3 s of our images' sound.
const BEHIND_MAX: usize = 32;

/// How long an instance may take until its initialisation segment is there, connecting included.
const HEADER_BOUND: Duration = Duration::from_secs(10);

/// How much is read at a time in bytes; a cluster is about a thousand.
const READ_LEN: usize = 16 * 1024;

/// The feeds that somebody listens to.
#[derive(Clone, Default)]
pub(super) struct Feeds(Arc<Mutex<HashMap<Source, Weak<Feed>>>>);

/// Where a feed comes from. The run belongs to it, because addresses are used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    instance: InstanceId,
    address: SocketAddr,
}

/// One instance's sound, for as long as somebody holds it.
pub(super) struct Feed {
    progress: watch::Receiver<Progress>,
    /// Clusters as WebSocket frames.
    clusters: broadcast::Sender<Bytes>,
    _end: DropGuard,
}

/// How far a feed is.
#[derive(Clone, Debug)]
enum Progress {
    /// There is no initialisation segment yet.
    Opening,
    /// This is the initialisation segment, as a WebSocket frame.
    Live(Bytes),
    /// There will be nothing more.
    Over(Over),
}

/// Why a feed is over.
#[derive(Clone, Debug)]
enum Over {
    /// The instance ended the connection.
    Closed,
    /// It did not work, for this reason.
    Failed(String),
}

impl Feeds {
    /// The feed that `lease` gives the right to: the one that others listen to, or a new one, which
    /// becomes one of `tasks`.
    pub(super) fn join(&self, lease: &Lease, tasks: &TaskTracker) -> Arc<Feed> {
        let source = Source {
            instance: lease.instance().id.clone(),
            address: lease.endpoint().address,
        };
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&source).and_then(Weak::upgrade)
            && !feed.is_over()
        {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Feed::start(source.address, lease.instance().password.clone(), tasks);
        feeds.insert(source, Arc::downgrade(&feed));
        feed
    }
}

impl Feed {
    fn start(address: SocketAddr, password: Option<VncPassword>, tasks: &TaskTracker) -> Arc<Self> {
        let (progress, progress_receiver) = watch::channel(Progress::Opening);
        let clusters = broadcast::Sender::new(BEHIND_MAX);
        let end = CancellationToken::new();
        let feed = Self {
            progress: progress_receiver,
            clusters: clusters.clone(),
            _end: end.clone().drop_guard(),
        };
        tasks.spawn(async move {
            let feeding = feed_from(address, password.as_ref(), &progress, &clusters);
            // Nobody is there to be told when the last listener has left.
            if let Some(over) = end.run_until_cancelled(caught(feeding)).await {
                let over = over.unwrap_or_else(|panic| Over::Failed(panic.to_string()));
                progress.send_replace(Progress::Over(over));
            }
        });
        Arc::new(feed)
    }

    fn is_over(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Over(_))
    }
}

/// Feeds the listeners until the instance's end or failure.
async fn feed_from(
    address: SocketAddr,
    password: Option<&VncPassword>,
    progress: &watch::Sender<Progress>,
    clusters: &broadcast::Sender<Bytes>,
) -> Over {
    let mut splitter = Splitter::default();
    let opening = async {
        let mut stream = match dial::tcp(address).await {
            Ok(stream) => stream,
            Err(ending) => return Err(Over::Failed(ending.to_string())),
        };
        if let Some(password) = password {
            let written = stream.write_all(password.reveal().as_bytes()).await;
            written.map_err(|error| Over::Failed(format!("the desktop's sound: {error}")))?;
        }
        // The header ends where the first cluster begins.
        match read_part(&mut stream, &mut splitter).await? {
            Part::Header(header) | Part::Cluster(header) => Ok((stream, header)),
        }
    };
    let mut stream = match timeout(HEADER_BOUND, opening).await {
        Ok(Ok((stream, header))) => {
            progress.send_replace(Progress::Live(framed(&header)));
            stream
        }
        Ok(Err(Over::Closed)) => {
            return Over::Failed("the desktop closed the connection before any sound".to_owned());
        }
        Ok(Err(over)) => return over,
        Err(_) => {
            return Over::Failed(format!(
                "the desktop's sound did not begin within {} s",
                HEADER_BOUND.as_secs()
            ));
        }
    };
    loop {
        match read_part(&mut stream, &mut splitter).await {
            Ok(Part::Cluster(part) | Part::Header(part)) => {
                // An error says that nobody listens at this moment.
                let _ = clusters.send(framed(&part));
            }
            Err(over) => return over,
        }
    }
}

/// Reads until a part is whole.
async fn read_part(
    stream: &mut tokio::net::TcpStream,
    splitter: &mut Splitter,
) -> Result<Part, Over> {
    loop {
        let unusable = |error| Over::Failed(format!("the desktop's sound cannot be used: {error}"));
        if let Some(part) = splitter.next_part().map_err(unusable)? {
            return Ok(part);
        }
        let buffer = splitter.buffer();
        buffer.reserve(READ_LEN);
        match stream.read_buf(buffer).await {
            Ok(1..) => {}
            Ok(0) => return Err(Over::Closed),
            Err(error) => return Err(Over::Failed(format!("the desktop's sound: {error}"))),
        }
    }
}

/// A part as one WebSocket message.
fn framed(part: &[u8]) -> Bytes {
    let payload = SERVER_HEADER_MAX_LEN..SERVER_HEADER_MAX_LEN + part.len();
    let mut message = BytesMut::with_capacity(payload.end);
    message.put_bytes(0, SERVER_HEADER_MAX_LEN);
    message.put_slice(part);
    let frame = frame::frame_in_place(&mut message, payload);
    message.freeze().slice(frame)
}

impl Over {
    fn ending(&self) -> Ending {
        match self {
            Self::Closed => Ending::UpstreamClosed,
            Self::Failed(reason) => Ending::UpstreamRefused(reason.clone()),
        }
    }
}
