//! Pictures of desktops: one frame that the service fetches by itself as a VNC client, and the last one that is kept for
//! when a desktop sleeps.
//!
//! However many ask at once, a desktop's VNC server is asked once: whoever comes while a frame is fetched, or within a
//! second of it, shares it.

mod album;
mod pages;
mod room;
mod shape;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use image::ImageError;
use jiff::Timestamp;
use rfb::client::{Client, ClientError, Pixels, Sharing, Transfer};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

pub use self::album::{Album, AlbumError};
use self::room::{Room, Space};
pub use self::shape::{Format, Shape};

use crate::desktop::Uid;
use crate::desktop::camera::{Camera, Occasion};
use crate::desktop::lease::{Lease, Release};
use crate::engine::InstanceId;
use crate::gateway::{Gateway, Unreachable};
use crate::text::{SCREEN_AREA_MAX, SCREEN_SIDE_MAX};

// What a screen may have, so that a picture can be taken of it.
const _: () = assert!(
    SCREEN_SIDE_MAX == rfb::client::DIMENSION_MAX && SCREEN_AREA_MAX == rfb::client::AREA_MAX
);

/// The width of pictures that are kept, in pixels at most.
pub const KEPT_WIDTH: u32 = 640;

/// How long a frame may take, from dialling to its last pixel.
const FRAME_BOUND: Duration = Duration::from_secs(5);

/// How long a frame is given to others who ask.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// What the pixels of all frames may take together, in bytes: one of 3840 × 2160 and a few small ones. A larger frame has
/// all of it to itself.
const FRAMES_SIZE: u32 = 48 << 20;

/// How many files are made at a time; each takes a processor.
const PACKED_AT_A_TIME: usize = 2;

/// How long to wait for a turn.
const TURN_BOUND: Duration = Duration::from_secs(3);

/// What the files of one frame may take that are kept for others who ask for the same, in bytes, beside the last one.
const FILES_SIZE: usize = 4 << 20;

/// All pictures. Clones are the same.
#[derive(Clone)]
pub struct Pictures {
    inner: Arc<Inner>,
}

struct Inner {
    gateway: Gateway,
    album: Album,
    frames: Mutex<HashMap<InstanceId, Pending>>,
    room: Room,
    packing: Semaphore,
}

/// A frame that comes, or has come a moment ago.
type Pending = Shared<BoxFuture<'static, Result<Arc<Frame>, PictureError>>>;

/// The screen of a desktop at one moment.
struct Frame {
    width: u16,
    height: u16,
    pixels: Pixels,
    /// Given back with the pixels.
    _space: Space,
    taken_at: Timestamp,
    /// What was made of it. Locked while more is made, so that nothing is made twice.
    files: tokio::sync::Mutex<Vec<(Shape, Bytes)>>,
}

/// A picture as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// PNG or JPEG.
    pub file: Bytes,
    /// When it was taken.
    pub taken_at: Timestamp,
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Its VNC server cannot be reached, or does not let the service in.
    #[error("the desktop's VNC server cannot be looked at: {0}")]
    Unreachable(#[from] Unreachable),
    /// Its VNC server sent no picture but something else, or hung up.
    #[error("the desktop's VNC server gave no picture: {0}")]
    Broken(String),
    /// It took too long.
    #[error("the desktop gave no picture within {} s", FRAME_BOUND.as_secs())]
    Timeout,
    /// Others are in front.
    #[error("too many pictures are being taken; ask again in a moment")]
    Busy,
    /// The desktop ended meanwhile.
    #[error("the desktop ended while its picture was taken")]
    Ended,
    /// It could not be packed.
    #[error("the picture could not be packed: {0}")]
    Unpacked(String),
}

impl Pictures {
    /// Pictures that are fetched by way of `gateway`'s dial and kept in `album`.
    pub fn new(gateway: Gateway, album: Album) -> Self {
        Self {
            inner: Arc::new(Inner {
                gateway,
                album,
                frames: Mutex::default(),
                room: Room::new(FRAMES_SIZE),
                packing: Semaphore::new(PACKED_AT_A_TIME),
            }),
        }
    }

    /// The desktops of which a picture is kept.
    pub async fn uids(&self) -> Vec<Uid> {
        let inner = Arc::clone(&self.inner);
        let uids = spawn_blocking(move || inner.album.uids().map(Iterator::collect));
        match uids.await {
            Ok(Ok(uids)) => uids,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the pictures of desktops could not be listed");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    /// What the desktop shows now, or has shown within the last second.
    ///
    /// # Errors
    /// See [`PictureError`].
    pub async fn live(&self, lease: Lease, shape: Shape) -> Result<Picture, PictureError> {
        let lease = Arc::new(lease);
        let frame = self.frame(Arc::clone(&lease)).await;
        // Its address may have become another's.
        if lease.has_ended() {
            return Err(PictureError::Ended);
        }
        let frame = frame?;
        Ok(Picture {
            file: self.file(&frame, shape).await?,
            taken_at: frame.taken_at,
        })
    }

    /// The picture that is kept of a desktop; `None` when there is none.
    ///
    /// # Errors
    /// [`PictureError::Unpacked`] when its file cannot be read.
    pub async fn last(&self, uid: &Uid, shape: Shape) -> Result<Option<Picture>, PictureError> {
        let _turn = turn(&self.inner.packing).await?;
        let (inner, uid) = (Arc::clone(&self.inner), uid.clone());
        let read = move || {
            let Some((jpeg, taken_at)) = inner.album.read(&uid)? else {
                return Ok(None);
            };
            let file = shape::convert(jpeg, shape)?;
            Ok(Some(Picture { file, taken_at }))
        };
        aside(read).await
    }

    /// The frame that is being fetched already, was fetched a moment ago, or is fetched now.
    fn frame(&self, lease: Arc<Lease>) -> Pending {
        let mut frames = self.frames();
        let id = lease.instance().id.clone();
        if let Some(frame) = frames.get(&id) {
            return frame.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let frame: Pending = async { receiver.await.unwrap_or(Err(PictureError::Ended)) }
            .boxed()
            .shared();
        frames.insert(id.clone(), frame.clone());
        drop(frames);
        let pictures = self.clone();
        // However the task ends.
        let forget = {
            let pictures = self.clone();
            Release::new(move || drop(pictures.frames().remove(&id)))
        };
        // In a task of its own, so that it does not end with the one who asked first.
        tokio::spawn(async move {
            let fetched = timeout(FRAME_BOUND, pictures.fetch(&lease));
            let fetched = fetched.await.unwrap_or(Err(PictureError::Timeout));
            // Nobody may be waiting any more.
            let is_frame = fetched.is_ok();
            let _ = sender.send(fetched.map(Arc::new));
            if is_frame {
                pictures.inner.room.idle(SHARED_FOR).await;
            } else {
                // A failure takes no room, and a server that has just refused is not asked again at once.
                sleep(SHARED_FOR).await;
            }
            drop(forget);
        });
        frame
    }

    async fn fetch(&self, lease: &Lease) -> Result<Frame, PictureError> {
        let stream = self.inner.gateway.look(lease).await?;
        let mut client = Client::introduce(stream, Sharing::Shared, Transfer::Compressed).await?;
        let mut space = self.inner.room.take(size_of_pixels(client.size())).await?;
        client.full_picture().await?;
        let (width, height) = client.size();
        if width == 0 || height == 0 {
            return Err(PictureError::Broken("its screen is empty".to_owned()));
        }
        let bytes = size_of_pixels((width, height));
        self.inner.room.extend(&mut space, bytes)?;
        Ok(Frame {
            width,
            height,
            pixels: client.into_pixels(),
            _space: space,
            taken_at: Timestamp::now(),
            files: tokio::sync::Mutex::default(),
        })
    }

    async fn file(&self, frame: &Arc<Frame>, shape: Shape) -> Result<Bytes, PictureError> {
        let mut files = frame.files.lock().await;
        if let Some((_, file)) = files.iter().find(|(made, _)| *made == shape) {
            return Ok(file.clone());
        }
        let _turn = turn(&self.inner.packing).await?;
        let pixels = Arc::clone(frame);
        let pack = move || {
            let size = (pixels.width.into(), pixels.height.into());
            shape::encode(&pixels.pixels, size, shape)
        };
        let file = aside(pack).await?;
        files.push((shape, file.clone()));
        while files.len() > 1
            && files.iter().map(|(_, file)| file.len()).sum::<usize>() > FILES_SIZE
        {
            files.remove(0);
        }
        Ok(file)
    }

    /// Everything of keeping a picture that may be given up half-way.
    async fn small(&self, lease: Arc<Lease>, occasion: Occasion) -> Result<Bytes, PictureError> {
        let frame = self.frame(Arc::clone(&lease)).await?;
        // As above; one that is stopped is there until its picture was taken.
        if lease.has_ended() && occasion != Occasion::Stopping {
            return Err(PictureError::Ended);
        }
        let shape = Shape {
            format: Format::Jpeg,
            width: Some(KEPT_WIDTH),
        };
        self.file(&frame, shape).await
    }

    async fn write(&self, uid: &Uid, jpeg: &Bytes) -> Result<Timestamp, PictureError> {
        let (inner, uid, jpeg) = (Arc::clone(&self.inner), uid.clone(), jpeg.clone());
        aside(move || Ok(inner.album.keep(&uid, &jpeg)?)).await
    }

    // Nothing panics half-way through a change of the map.
    fn frames(&self) -> MutexGuard<'_, HashMap<InstanceId, Pending>> {
        self.inner
            .frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Camera for Pictures {
    async fn keep(
        &self,
        lease: Lease,
        occasion: Occasion,
        patience: Duration,
    ) -> Option<Timestamp> {
        let lease = Arc::new(lease);
        let uid = &lease.instance().uid;
        let small = timeout(patience, self.small(Arc::clone(&lease), occasion)).await;
        let kept = async {
            self.write(uid, &small.unwrap_or(Err(PictureError::Timeout))?)
                .await
        };
        match kept.await {
            Ok(at) => Some(at),
            Err(error) => {
                tracing::info!(%uid, ?occasion, %error, "no picture is kept");
                None
            }
        }
    }

    fn kept(&self, uid: &Uid) -> Option<Timestamp> {
        self.inner.album.kept(uid)
    }

    async fn forget(&self, uid: &Uid) {
        let (inner, uid) = (Arc::clone(&self.inner), uid.clone());
        // A panic is in the log already, by the panic hook.
        let _ = spawn_blocking(move || inner.album.forget(&uid)).await;
    }
}

impl From<ClientError> for PictureError {
    fn from(error: ClientError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<png::EncodingError> for PictureError {
    fn from(error: png::EncodingError) -> Self {
        Self::Unpacked(error.to_string())
    }
}

impl From<std::io::Error> for PictureError {
    fn from(error: std::io::Error) -> Self {
        Self::Unpacked(error.to_string())
    }
}

impl From<ImageError> for PictureError {
    fn from(error: ImageError) -> Self {
        Self::Unpacked(error.to_string())
    }
}

/// What the pixels of a screen take, in bytes.
fn size_of_pixels((width, height): (u16, u16)) -> u32 {
    // Without an overflow: no screen is larger than `rfb::client::AREA_MAX`.
    4 * u32::from(width) * u32::from(height)
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, PictureError> {
    match timeout(TURN_BOUND, turns.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => Err(PictureError::Busy),
    }
}

/// Runs what takes processor time or blocks where it holds up nobody else.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PictureError> + Send + 'static,
) -> Result<T, PictureError> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(PictureError::Unpacked(error.to_string())))
}
