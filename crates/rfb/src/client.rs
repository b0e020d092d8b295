//! A small RFB client: it asks for pictures, keeps the framebuffer, and can type, point, resize and paste.
//!
//! It understands the encodings Raw, ZRLE, DesktopSize (RFC 6143, 7.7.1, 7.7.6 and 7.8.2), ExtendedDesktopSize
//! and LastRect (rfbproto). Whatever a server sends ends in a picture or an error, within the memory that
//! [`AREA_MAX`] and [`TEXT_MAX_LEN`] allow; how long it may take is the caller's to bound.
//!
//! More than 500 lines because its greeting and its updates share one connection's state.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

pub use crate::error::ClientError;
pub use crate::framebuffer::{AREA_MAX, DIMENSION_MAX, Pixels};
use crate::framebuffer::{Area, Framebuffer};
use crate::handshake;
use crate::zrle::Zrle;

/// The longest name that is believed, and the most of a clipboard text that is kept, in bytes.
pub const TEXT_MAX_LEN: u32 = 1 << 20;

/// Encodings (RFC 6143, 7.7; rfbproto for the last one).
const RAW: i32 = 0;
const ZRLE: i32 = 16;
const LAST_RECT: i32 = -224;

/// The encoding by which a viewer can be told that the screen's size has changed (RFC 6143, 7.8.2).
pub const DESKTOP_SIZE: i32 = -223;

/// The one by which it may also change the size itself (rfbproto).
pub const EXTENDED_DESKTOP_SIZE: i32 = -308;

/// `SetEncodings` (RFC 6143, 7.5.2) for Raw pictures, and for a screen whose size may change
/// (DesktopSize and ExtendedDesktopSize).
pub const RESIZABLE: [u8; 16] = {
    let [a, b, c, d] = RAW.to_be_bytes();
    let [e, f, g, h] = DESKTOP_SIZE.to_be_bytes();
    let [i, j, k, l] = EXTENDED_DESKTOP_SIZE.to_be_bytes();
    [2, 0, 0, 3, a, b, c, d, e, f, g, h, i, j, k, l]
};

/// What [`Transfer::Compressed`] asks for, the preferred one first.
const COMPRESSED: [i32; 5] = [ZRLE, RAW, DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE, LAST_RECT];

/// Whether other clients stay connected (`ClientInit`, RFC 6143, 7.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They do.
    Shared,
    /// The server may disconnect them.
    Exclusive,
}

/// How pictures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// As they are, with what [`RESIZABLE`] asks for.
    Raw,
    /// In ZRLE where the server knows it: from servers that may be far away.
    Compressed,
}

/// What is asked for (`FramebufferUpdateRequest`, RFC 6143, 7.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The whole picture, at once.
    Full,
    /// What has changed, when something has.
    Incremental,
}

/// What happened to a key (`KeyEvent`, RFC 6143, 7.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It was pressed.
    Down,
    /// It was let go.
    Up,
}

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Part of the picture, the size of the screen, or both have changed.
    Update(Vec<Rectangle>),
    /// It rang.
    Bell,
    /// Something was copied (Latin-1 bytes): its first [`TEXT_MAX_LEN`] bytes.
    CutText(Vec<u8>),
}

/// What one rectangle of an update was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rectangle {
    /// These pixels were drawn into the framebuffer.
    Pixels {
        /// Left edge.
        x: u16,
        /// Upper edge.
        y: u16,
        /// Width in pixels.
        width: u16,
        /// Height in pixels.
        height: u16,
    },
    /// The screen has this size now; the framebuffer was cleared.
    Resized {
        /// Width in pixels.
        width: u16,
        /// Height in pixels.
        height: u16,
    },
    /// A `SetDesktopSize` was refused with this status (rfbproto, ExtendedDesktopSize).
    ResizeRefused {
        /// 1 prohibited, 2 out of resources, 3 invalid layout.
        status: u16,
    },
}

/// Why a screen keeps its size (rfbproto, ExtendedDesktopSize).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ResizeStatus {
    /// The client may not ask for it.
    Prohibited = 1,
    /// There is not enough for it.
    OutOfResources = 2,
    /// No screen, or one that lies outside.
    InvalidLayout = 3,
}

/// `ServerInit` (RFC 6143, 7.3.2), without the pixel format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInit {
    /// Width of the screen in pixels.
    pub width: u16,
    /// Its height.
    pub height: u16,
    /// The desktop's name.
    pub name: String,
}

impl ServerInit {
    /// Reads it, and not a byte more where the stream has no buffer.
    ///
    /// # Errors
    /// The connection broke, or the name is longer than [`TEXT_MAX_LEN`].
    pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Self, ClientError> {
        let mut head = [0; 20];
        stream.read_exact(&mut head).await?;
        let name = text(stream).await?;
        Ok(Self {
            width: u16::from_be_bytes([head[0], head[1]]),
            height: u16::from_be_bytes([head[2], head[3]]),
            name: String::from_utf8_lossy(&name).into_owned(),
        })
    }
}

/// One connection, past its `ServerInit`.
#[derive(Debug)]
pub struct Client<S> {
    stream: BufReader<S>,
    name: String,
    frame: Framebuffer,
    zrle: Option<Box<Zrle>>,
    /// The first screen's id and flags, which `SetDesktopSize` has to repeat.
    screen: (u32, u32),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Shakes hands, and asks for raw 32-bit pixels.
    ///
    /// # Errors
    /// As the handshake's and [`Client::introduce`]'s.
    pub async fn start(
        mut stream: S,
        password: Option<&str>,
        sharing: Sharing,
    ) -> Result<Self, ClientError> {
        handshake::connect(&mut stream, password).await?;
        Self::introduce(stream, sharing, Transfer::Raw).await
    }

    /// Goes on after the handshake: asks for 32-bit pixels in the encodings that `transfer` stands for.
    ///
    /// # Errors
    /// The connection broke, or the server announces a screen beyond [`DIMENSION_MAX`] or [`AREA_MAX`].
    pub async fn introduce(
        mut stream: S,
        sharing: Sharing,
        transfer: Transfer,
    ) -> Result<Self, ClientError> {
        // In one write: TigerVNC drops a client that has not said that its screen's size may change when another
        // one resizes the screen, also one that has had no time to.
        let mut message = vec![u8::from(sharing == Sharing::Shared)];
        match transfer {
            Transfer::Raw => message.extend(RESIZABLE),
            Transfer::Compressed => {
                message.extend([2, 0, 0, COMPRESSED.len() as u8]);
                message.extend(
                    COMPRESSED
                        .iter()
                        .flat_map(|encoding| encoding.to_be_bytes()),
                );
            }
        }
        stream.write_all(&message).await?;
        stream.flush().await?;

        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        let ServerInit {
            width,
            height,
            name,
        } = ServerInit::read(&mut stream).await?;
        let mut client = Self {
            stream,
            name,
            frame: Framebuffer::new(width, height)?,
            zrle: None,
            screen: (0, 0),
        };
        client.set_pixel_format().await?;
        Ok(client)
    }

    /// The desktop's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Width and height of the screen in pixels.
    pub fn size(&self) -> (u16, u16) {
        self.frame.size()
    }

    /// The framebuffer: rows from the top, 4 bytes a pixel: blue, green, red, and 255; all 0 where nothing was
    /// drawn yet.
    pub fn pixels(&self) -> &[u8] {
        self.frame.bytes()
    }

    /// The framebuffer, when nothing else is wanted any more.
    pub fn into_pixels(self) -> Pixels {
        self.frame.into_bytes()
    }

    /// The stream, to look at what lies below. Bytes may have been read ahead of it.
    pub fn get_ref(&self) -> &S {
        self.stream.get_ref()
    }

    /// `SetPixelFormat` (RFC 6143, 7.5.1): 32 bits, little-endian, blue in the lowest byte.
    async fn set_pixel_format(&mut self) -> Result<(), ClientError> {
        #[rustfmt::skip]
        let message = [
            0, 0, 0, 0,
            // bits per pixel, depth, big-endian, true colour
            32, 24, 0, 1,
            // the greatest red, green and blue
            0, 255, 0, 255, 0, 255,
            // their shifts
            16, 8, 0,
            0, 0, 0,
        ];
        self.send(&message).await
    }

    /// `FramebufferUpdateRequest` for the whole screen.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn request_update(&mut self, update: Update) -> Result<(), ClientError> {
        self.send(&update_request(update, self.size())).await
    }

    /// `KeyEvent` with an X11 keysym.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn key(&mut self, keysym: u32, state: KeyState) -> Result<(), ClientError> {
        let mut message = [4, u8::from(state == KeyState::Down), 0, 0, 0, 0, 0, 0];
        message[4..].copy_from_slice(&keysym.to_be_bytes());
        self.send(&message).await
    }

    /// `PointerEvent` (RFC 6143, 7.5.5): bit 0 of `buttons` is the left one.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn pointer(&mut self, x: u16, y: u16, buttons: u8) -> Result<(), ClientError> {
        let mut message = [5, buttons, 0, 0, 0, 0];
        message[2..4].copy_from_slice(&x.to_be_bytes());
        message[4..].copy_from_slice(&y.to_be_bytes());
        self.send(&message).await
    }

    /// `ClientCutText` (RFC 6143, 7.5.6): Latin-1 bytes.
    ///
    /// # Errors
    /// The connection broke, or the text is 4 GiB or longer.
    pub async fn cut_text(&mut self, text: &[u8]) -> Result<(), ClientError> {
        let len = u32::try_from(text.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the text is too long"))?;
        let mut message = vec![6, 0, 0, 0];
        message.extend_from_slice(&len.to_be_bytes());
        message.extend_from_slice(text);
        self.send(&message).await
    }

    /// `SetDesktopSize` (rfbproto) with a single screen. The server answers with a
    /// [`Rectangle::Resized`] or a [`Rectangle::ResizeRefused`].
    ///
    /// # Errors
    /// The connection broke.
    pub async fn set_desktop_size(&mut self, width: u16, height: u16) -> Result<(), ClientError> {
        let (id, flags) = self.screen;
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        let mut message = vec![251, 0];
        message.extend_from_slice(&size);
        message.extend_from_slice(&[1, 0]);
        message.extend_from_slice(&id.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&size);
        message.extend_from_slice(&flags.to_be_bytes());
        self.send(&message).await
    }

    /// The next message of the server; pixels of an update are in the framebuffer then.
    ///
    /// # Errors
    /// The connection broke, or the server sent what this client cannot follow. Not safe to be
    /// cancelled: part of a message may be read then.
    pub async fn message(&mut self) -> Result<Message, ClientError> {
        match self.stream.read_u8().await? {
            0 => self.update().await.map(Message::Update),
            2 => Ok(Message::Bell),
            3 => {
                self.stream.read_exact(&mut [0; 3]).await?;
                Ok(Message::CutText(copied(&mut self.stream).await?))
            }
            other => Err(ClientError::Unexpected(format!("message type {other}"))),
        }
    }

    /// Asks for the whole picture and reads until every pixel of the screen has arrived.
    ///
    /// # Errors
    /// As [`Client::message`].
    pub async fn full_picture(&mut self) -> Result<(), ClientError> {
        self.request_update(Update::Full).await?;
        let mut size = self.size();
        loop {
            let Message::Update(_) = self.message().await? else {
                continue;
            };
            if self.size() != size {
                // What arrived before is of no use any more.
                size = self.size();
                self.request_update(Update::Full).await?;
            } else if self.frame.is_complete() {
                return Ok(());
            } else {
                self.request_update(Update::Incremental).await?;
            }
        }
    }

    async fn update(&mut self) -> Result<Vec<Rectangle>, ClientError> {
        self.stream.read_u8().await?;
        let count = self.stream.read_u16().await?;
        let mut rectangles = Vec::new();
        for _ in 0..count {
            let [x, y, width, height] = [
                self.stream.read_u16().await?,
                self.stream.read_u16().await?,
                self.stream.read_u16().await?,
                self.stream.read_u16().await?,
            ];
            let area = Area {
                x,
                y,
                width,
                height,
            };
            let pixels = Rectangle::Pixels {
                x,
                y,
                width,
                height,
            };
            rectangles.push(match self.stream.read_i32().await? {
                RAW => {
                    self.raw(area).await?;
                    pixels
                }
                ZRLE => {
                    self.zrle(area).await?;
                    pixels
                }
                LAST_RECT => break,
                DESKTOP_SIZE => {
                    self.resize(width, height)?;
                    Rectangle::Resized { width, height }
                }
                EXTENDED_DESKTOP_SIZE => {
                    self.screens().await?;
                    // Of such a rectangle, x is who asked for the change (1 is this client) and y the status.
                    if x == 1 && y != 0 {
                        Rectangle::ResizeRefused { status: y }
                    } else {
                        self.resize(width, height)?;
                        Rectangle::Resized { width, height }
                    }
                }
                other => {
                    return Err(ClientError::Unexpected(format!("encoding {other}")));
                }
            });
        }
        Ok(rectangles)
    }

    async fn raw(&mut self, area: Area) -> Result<(), ClientError> {
        self.frame.require(area)?;
        for row in 0..area.height {
            let row = self.frame.row(area, row);
            self.stream.read_exact(row).await?;
            let (pixels, _) = row.as_chunks_mut::<4>();
            for [.., drawn] in pixels {
                *drawn = u8::MAX;
            }
        }
        Ok(())
    }

    async fn zrle(&mut self, area: Area) -> Result<(), ClientError> {
        let zrle = self.zrle.get_or_insert_with(|| Box::new(Zrle::new()));
        zrle.draw(&mut self.stream, area, &mut self.frame).await
    }

    async fn screens(&mut self) -> Result<(), ClientError> {
        let count = self.stream.read_u8().await?;
        self.stream.read_exact(&mut [0; 3]).await?;
        for index in 0..count {
            let id = self.stream.read_u32().await?;
            self.stream.read_u64().await?;
            let flags = self.stream.read_u32().await?;
            if index == 0 {
                self.screen = (id, flags);
            }
        }
        Ok(())
    }

    fn resize(&mut self, width: u16, height: u16) -> Result<(), ClientError> {
        // Some servers answer every request for a whole picture with the size first, which changes nothing.
        if (width, height) != self.size() {
            self.frame = Framebuffer::new(width, height)?;
        }
        Ok(())
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(message).await?;
        Ok(self.stream.flush().await?)
    }
}

/// `FramebufferUpdateRequest` (RFC 6143, 7.5.3) for a whole screen of that width and height.
pub fn update_request(update: Update, (width, height): (u16, u16)) -> [u8; 10] {
    let [a, b] = width.to_be_bytes();
    let [c, d] = height.to_be_bytes();
    [
        3,
        u8::from(update == Update::Incremental),
        0,
        0,
        0,
        0,
        a,
        b,
        c,
        d,
    ]
}

/// A server's word that the screen has this width and height now: `FramebufferUpdate` (RFC 6143, 7.6.1) with a single
/// rectangle, of [`DESKTOP_SIZE`].
pub fn size_update((width, height): (u16, u16)) -> [u8; 16] {
    let [a, b] = width.to_be_bytes();
    let [c, d] = height.to_be_bytes();
    let [e, f, g, h] = DESKTOP_SIZE.to_be_bytes();
    [0, 0, 0, 1, 0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

/// A server's word that it does not give the screen another size: `FramebufferUpdate` with a single rectangle of
/// [`EXTENDED_DESKTOP_SIZE`], whose x is 1 for the viewer's own request and whose y is the status (rfbproto). The size and
/// the layout, which has 16 bytes for each screen, are those that the screen keeps.
pub fn resize_refused(status: ResizeStatus, (width, height): (u16, u16), layout: &[u8]) -> Vec<u8> {
    let single;
    let layout = if layout.is_empty() {
        single = screen((width, height));
        &single[..]
    } else {
        layout
    };
    let mut message = vec![0, 0, 0, 1, 0, 1];
    message.extend((status as u16).to_be_bytes());
    message.extend(width.to_be_bytes());
    message.extend(height.to_be_bytes());
    message.extend(EXTENDED_DESKTOP_SIZE.to_be_bytes());
    message.extend([(layout.len() / 16) as u8, 0, 0, 0]);
    message.extend(layout);
    message
}

/// `SetDesktopSize` (rfbproto) for a screen of that width and height with this layout, which has 16 bytes for each screen.
pub fn set_desktop_size((width, height): (u16, u16), layout: &[u8]) -> Vec<u8> {
    let mut message = vec![251, 0];
    message.extend(width.to_be_bytes());
    message.extend(height.to_be_bytes());
    message.extend([(layout.len() / 16) as u8, 0]);
    message.extend(layout);
    message
}

/// One screen that fills a size.
fn screen((width, height): (u16, u16)) -> [u8; 16] {
    let [a, b] = width.to_be_bytes();
    let [c, d] = height.to_be_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0]
}

/// `EnableContinuousUpdates` (rfbproto) for a whole screen of that width and height.
pub fn continuous_updates((width, height): (u16, u16)) -> [u8; 10] {
    let [a, b] = width.to_be_bytes();
    let [c, d] = height.to_be_bytes();
    [150, 1, 0, 0, 0, 0, a, b, c, d]
}

/// A text that was copied. People copy texts of any length, so what is too much is passed over.
async fn copied<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ClientError> {
    let len = stream.read_u32().await?;
    let kept = len.min(TEXT_MAX_LEN);
    let mut text = vec![0; kept as usize];
    stream.read_exact(&mut text).await?;
    let mut rest = stream.take((len - kept).into());
    let passed_over = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    if passed_over < (len - kept).into() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(text)
}

async fn text<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ClientError> {
    let len = stream.read_u32().await?;
    if len > TEXT_MAX_LEN {
        return Err(ClientError::Unexpected(format!("a text of {len} bytes")));
    }
    let mut text = vec![0; len as usize];
    stream.read_exact(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests;
