//! A viewer: a WebSocket with an RFB client on top, which knows what the tiny desktop looks like.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use rfb::client::{Client, ClientError, KeyState, Message, Rectangle, Sharing, Update};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_websockets::{
    ClientBuilder, CloseCode, MaybeTlsStream, Message as Frame, WebSocketStream,
};

use super::{PATIENCE, within};

/// Blue, green and red of the squares in the corners: top left and right, bottom left and right.
const CORNERS: [[u8; 3]; 4] = [[0, 0, 255], [0, 255, 0], [255, 0, 0], [0, 255, 255]];

/// Half the side of such a square, in pixels.
const INSIDE: usize = 32;

/// How a WebSocket ended: the close frame, or `None` when the connection broke without one.
pub(crate) type Closed = Option<(CloseCode, String)>;

/// Somebody who looks at a desktop through the gateway.
pub(crate) struct Viewer {
    rfb: Client<DuplexStream>,
    ended: JoinHandle<Closed>,
}

impl Viewer {
    /// Connects and shakes hands; waits for a desktop that the gateway holds the request for.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Result<Self, String> {
        let (near, mut ended) = connect(address, path).await?;
        let start = Client::start(near, None, Sharing::Shared);
        match within(PATIENCE, "the RFB handshake is done", start).await {
            Ok(rfb) => Ok(Self { rfb, ended }),
            Err(error) => Err(format!("{error}; closed with {:?}", (&mut ended).await)),
        }
    }

    /// Gets a full picture, and waits until it is the tiny desktop's, which may still be drawing.
    pub(crate) async fn see(&mut self) {
        let seen = within(PATIENCE, "the desktop's picture is seen", self.try_see()).await;
        if let Err(error) = seen {
            panic!("{error}; closed with {:?}", (&mut self.ended).await);
        }
    }

    async fn try_see(&mut self) -> Result<(), ClientError> {
        self.rfb.full_picture().await?;
        while !self.shows_tiny() {
            self.rfb.request_update(Update::Incremental).await?;
            self.rfb.message().await?;
        }
        Ok(())
    }

    fn shows_tiny(&self) -> bool {
        let (width, height) = self.rfb.size();
        let (width, height) = (usize::from(width), usize::from(height));
        let rows = [INSIDE, height - INSIDE];
        let columns = [INSIDE, width - INSIDE];
        let corners = rows
            .iter()
            .flat_map(|y| columns.iter().map(move |x| (x, y)));
        corners.zip(CORNERS).all(|((x, y), colour)| {
            let at = 4 * (y * width + x);
            self.rfb.pixels()[at..at + 3] == colour
        })
    }

    /// Presses and releases keys by their keysyms, one right after the other.
    pub(crate) async fn keys(&mut self, strokes: &[(u32, KeyState)]) {
        for (keysym, state) in strokes {
            self.rfb.key(*keysym, *state).await.unwrap();
        }
    }

    /// Moves the pointer to a place and holds the buttons of the mask there, such as 1 for the first one.
    pub(crate) async fn pointer(&mut self, x: u16, y: u16, buttons: u8) {
        self.rfb.pointer(x, y, buttons).await.unwrap();
    }

    /// Width and height of the screen, in pixels.
    pub(crate) fn size(&self) -> (u16, u16) {
        self.rfb.size()
    }

    /// Asks for another size of the screen; the status with which that is refused, or `None` once the screen has it.
    pub(crate) async fn resize(&mut self, (width, height): (u16, u16)) -> Option<u16> {
        let answered = async {
            self.rfb.set_desktop_size(width, height).await?;
            loop {
                self.rfb.request_update(Update::Incremental).await?;
                let Message::Update(parts) = self.rfb.message().await? else {
                    continue;
                };
                for part in parts {
                    match part {
                        Rectangle::ResizeRefused { status } => return Ok(Some(status)),
                        Rectangle::Resized {
                            width: now_width,
                            height: now_height,
                        } if (now_width, now_height) == (width, height) => return Ok(None),
                        Rectangle::Resized { .. } | Rectangle::Pixels { .. } => {}
                    }
                }
            }
        };
        let answered: Result<_, ClientError> =
            within(PATIENCE, "the new size is answered", answered).await;
        answered.unwrap()
    }

    /// Reads until the screen has this size.
    pub(crate) async fn until_size(&mut self, size: (u16, u16)) {
        let reached = async {
            while self.rfb.size() != size {
                self.rfb.request_update(Update::Incremental).await?;
                self.rfb.message().await?;
            }
            Ok::<_, ClientError>(())
        };
        within(PATIENCE, "the screen has the size", reached)
            .await
            .unwrap();
    }

    /// How the service closes the connection, which it has to.
    pub(crate) async fn closed(self) -> Closed {
        within(PATIENCE, "the viewer is told of the end", self.ended)
            .await
            .unwrap()
    }
}

/// A connection to a stream, before its handshake.
pub(crate) async fn connect(
    address: SocketAddr,
    path: &str,
) -> Result<(DuplexStream, JoinHandle<Closed>), String> {
    let uri: http::Uri = format!("ws://{address}{path}").parse().unwrap();
    let builder = ClientBuilder::from_uri(uri);
    let (socket, _) = within(PATIENCE, "the WebSocket is opened", builder.connect())
        .await
        .map_err(|error| error.to_string())?;
    let (near, far) = tokio::io::duplex(1 << 20);
    Ok((near, tokio::spawn(pump(socket, far))))
}

/// Carries bytes between a WebSocket and a plain stream, until one of them ends.
async fn pump(socket: WebSocketStream<MaybeTlsStream<TcpStream>>, plain: DuplexStream) -> Closed {
    let (mut plain_read, mut plain_write) = tokio::io::split(plain);
    let (mut sink, mut stream) = socket.split();
    let downwards = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Some((code, reason)) = message.as_close() {
                return Some((code, reason.to_owned()));
            }
            if message.is_binary() && plain_write.write_all(message.as_payload()).await.is_err() {
                break;
            }
        }
        None
    };
    let upwards = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = plain_read.read(&mut buffer).await {
            let message = Frame::binary(buffer[..len].to_vec());
            if sink.send(message).await.is_err() {
                // Why is what the other direction reads.
                return std::future::pending().await;
            }
        }
        None
    };
    tokio::select! { closed = downwards => closed, closed = upwards => closed }
}
