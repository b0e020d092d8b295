//! Simulated desktops: a VNC server of one colour (RFC 6143), a live stream of silence, and an echo.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use rfb::authentication::{CHALLENGE_LEN, respond};
use rfb::messages::Messages;
use rfb::{HandshakeError, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::descriptors::explain;
use crate::engine::{ContainerSpec, Endpoint, EngineError, Protocol, VncPassword};

/// Width of the picture, in pixels.
pub const WIDTH: u16 = 64;

/// Height of the picture, in pixels.
pub const HEIGHT: u16 = 48;

/// Its one colour: red, green and blue, 0 to 255.
pub const COLOUR: [u8; 3] = [0x20, 0x60, 0xa0];

/// The initialisation segment of its sound: an EBML header and the beginning of a segment (RFC 9559).
pub const HEADER: &[u8] = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\xff";

/// Each of its clusters: a timestamp and a block without sound.
pub const CLUSTER: &[u8] = b"\x1f\x43\xb6\x75\x8a\xe7\x81\x00\xa3\x85\x81\x00\x00\x80\xf8";

/// How long a cluster lasts.
const CLUSTER_TIME: Duration = Duration::from_millis(40);

/// The security type of VNC Authentication (RFC 6143, 7.1.2).
const SECURITY_VNC: u8 = 2;

// Messages of a client (RFC 6143, 7.5).
const SET_PIXEL_FORMAT: u8 = 0;
const SET_ENCODINGS: u8 = 2;
const UPDATE_REQUEST: u8 = 3;
const KEY_EVENT: u8 = 4;
const POINTER_EVENT: u8 = 5;
const CUT_TEXT: u8 = 6;

/// What a client may skip in one message; nothing that it sends here is kept.
const SKIP_MAX: usize = 1024 * 1024;

/// Serves the streams of a desktop until the tasks are dropped.
pub(super) async fn serve(
    container: &ContainerSpec,
) -> Result<(BTreeMap<String, Endpoint>, JoinSet<()>), EngineError> {
    let mut servers = JoinSet::new();
    let mut endpoints = BTreeMap::new();
    for (name, stream) in &container.streams {
        let failed = |error: io::Error| EngineError::OutOfResources(explain(&error));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let endpoint = Endpoint {
            address: listener.local_addr().map_err(failed)?,
            protocol: stream.protocol,
            path: stream.path.clone(),
            presence: stream.presence,
        };
        let password = container.password.clone();
        match stream.protocol {
            Protocol::Rfb => {
                servers.spawn(accept(listener, move |client| {
                    show(client, password.clone())
                }));
            }
            Protocol::Tcp => {
                servers.spawn(accept(listener, |client| echo(client, None)));
            }
            Protocol::Display => {
                servers.spawn(accept(listener, move |client| {
                    echo(client, password.clone())
                }));
            }
            Protocol::Webm => {
                servers.spawn(accept(listener, move |client| {
                    play(client, password.clone())
                }));
            }
            Protocol::Websocket => {
                return Err(EngineError::Refused(format!(
                    "no WebSocket desktops are simulated, and stream '{name}' is one; use an app with another protocol"
                )));
            }
        }
        endpoints.insert(name.clone(), endpoint);
    }
    Ok((endpoints, servers))
}

/// Sends a live stream of silence to a client that knows the password.
async fn play(mut client: TcpStream, password: Option<VncPassword>) -> io::Result<()> {
    if !admits(&mut client, password.as_ref()).await? {
        return Ok(());
    }
    client.write_all(HEADER).await?;
    let mut clock = tokio::time::interval(CLUSTER_TIME);
    loop {
        clock.tick().await;
        client.write_all(CLUSTER).await?;
    }
}

/// Sends back what it gets from a client that knows the password.
async fn echo(mut client: TcpStream, password: Option<VncPassword>) -> io::Result<()> {
    if admits(&mut client, password.as_ref()).await? {
        let (mut reader, mut writer) = client.split();
        tokio::io::copy(&mut reader, &mut writer).await?;
    }
    Ok(())
}

/// Whether the client begins with the password, where there is one.
async fn admits(stream: &mut TcpStream, password: Option<&VncPassword>) -> io::Result<bool> {
    let Some(password) = password else {
        return Ok(true);
    };
    let mut given = vec![0; password.reveal().len()];
    stream.read_exact(&mut given).await?;
    Ok(given == password.reveal().as_bytes())
}

/// Serves each client until it is dropped.
async fn accept<F>(listener: TcpListener, session: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // What fails to be accepted is the client's to notice.
                if let Ok((stream, _)) = accepted {
                    sessions.spawn(session(stream));
                }
            }
            // How a session ends is the client's to notice, too.
            Some(_) = sessions.join_next() => {}
        }
    }
}

/// Serves the picture to a VNC client.
async fn show(mut stream: TcpStream, password: Option<VncPassword>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    handshake(&mut stream, password.as_ref()).await?;

    // ClientInit says whether others may stay, and they always may.
    stream.read_u8().await?;
    let mut format = PixelFormat::default();
    let mut server_init = Vec::new();
    server_init.extend(WIDTH.to_be_bytes());
    server_init.extend(HEIGHT.to_be_bytes());
    server_init.extend(format.to_wire());
    let name = b"simulated desktop";
    server_init.extend(u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
    server_init.extend(name);
    stream.write_all(&server_init).await?;

    loop {
        match stream.read_u8().await? {
            SET_PIXEL_FORMAT => {
                let mut message = [0; 19];
                stream.read_exact(&mut message).await?;
                format = PixelFormat::from_wire(&message)?;
            }
            SET_ENCODINGS => {
                stream.read_u8().await?;
                let count = usize::from(stream.read_u16().await?);
                skip(&mut stream, count * 4).await?;
            }
            UPDATE_REQUEST => {
                let incremental = stream.read_u8().await? != 0;
                let mut region = [0; 4];
                for side in &mut region {
                    *side = stream.read_u16().await?;
                }
                // Nothing ever changes, so only what is asked for anew has an answer.
                if !incremental {
                    stream.write_all(&update(region, &format)).await?;
                }
            }
            KEY_EVENT => skip(&mut stream, 7).await?,
            POINTER_EVENT => skip(&mut stream, 5).await?,
            CUT_TEXT => {
                skip(&mut stream, 3).await?;
                // A negative length is that of the extended clipboard (rfbproto).
                let length = stream.read_i32().await?.unsigned_abs();
                skip(&mut stream, usize::try_from(length).unwrap_or(usize::MAX)).await?;
            }
            other => pass_over(&mut stream, other).await?,
        }
    }
}

async fn handshake(stream: &mut TcpStream, password: Option<&VncPassword>) -> io::Result<()> {
    match password {
        None => rfb::accept(stream).await.map(drop),
        Some(password) => ask(stream, password.reveal()).await,
    }
    .map_err(io::Error::other)
}

/// The handshake of a server that wants a password (RFC 6143, 7.1 and 7.2.2), in version 3.8 only.
async fn ask(stream: &mut TcpStream, password: &str) -> Result<(), HandshakeError> {
    stream.write_all(Version::V3_8.banner()).await?;
    if rfb::probe(stream).await? != Version::V3_8 {
        return Err(invalid("only version 3.8 has passwords here").into());
    }
    stream.write_all(&[1, SECURITY_VNC]).await?;
    let chosen = stream.read_u8().await?;
    if chosen != SECURITY_VNC {
        return Err(HandshakeError::NotOffered(chosen));
    }
    let challenge: [u8; CHALLENGE_LEN] = rand::random();
    stream.write_all(&challenge).await?;
    let mut response = [0; CHALLENGE_LEN];
    stream.read_exact(&mut response).await?;
    if response == respond(&challenge, password) {
        stream.write_all(&[0; 4]).await?;
        return Ok(());
    }
    let reason = b"wrong password";
    stream.write_all(&[0, 0, 0, 1, 0, 0, 0, 14]).await?;
    stream.write_all(reason).await?;
    Err(invalid("wrong password").into())
}

/// An update of one raw rectangle (RFC 6143, 7.6.1 and 7.7.1): what of the region is in the picture.
fn update([x, y, width, height]: [u16; 4], format: &PixelFormat) -> Vec<u8> {
    let width = width.min(WIDTH.saturating_sub(x));
    let height = height.min(HEIGHT.saturating_sub(y));
    let pixels = usize::from(width) * usize::from(height);
    let mut message = vec![0, 0, 0, u8::from(pixels > 0)];
    if pixels > 0 {
        for side in [x, y, width, height] {
            message.extend(side.to_be_bytes());
        }
        message.extend([0; 4]);
        message.extend(format.pixel(COLOUR).repeat(pixels));
    }
    message
}

/// How a client wants its pixels (RFC 6143, 7.4).
struct PixelFormat {
    bits: u8,
    depth: u8,
    big_endian: bool,
    maxima: [u16; 3],
    shifts: [u8; 3],
}

impl Default for PixelFormat {
    fn default() -> Self {
        Self {
            bits: 32,
            depth: 24,
            big_endian: false,
            maxima: [255; 3],
            shifts: [16, 8, 0],
        }
    }
}

impl PixelFormat {
    fn to_wire(&self) -> [u8; 16] {
        let [red, green, blue] = self.maxima.map(u16::to_be_bytes);
        let [red_shift, green_shift, blue_shift] = self.shifts;
        [
            self.bits,
            self.depth,
            u8::from(self.big_endian),
            1,
            red[0],
            red[1],
            green[0],
            green[1],
            blue[0],
            blue[1],
            red_shift,
            green_shift,
            blue_shift,
            0,
            0,
            0,
        ]
    }

    /// Reads the message after its type: three bytes of padding, then the format.
    fn from_wire(message: &[u8; 19]) -> io::Result<Self> {
        let [_, _, _, bits, depth, big_endian, true_colour, rest @ ..] = *message;
        let [
            r1,
            r0,
            g1,
            g0,
            b1,
            b0,
            red_shift,
            green_shift,
            blue_shift,
            ..,
        ] = rest;
        let shifts = [red_shift, green_shift, blue_shift];
        if true_colour == 0 || !matches!(bits, 8 | 16 | 32) || shifts.iter().any(|at| *at > 31) {
            return Err(invalid("a pixel format that is not spoken here"));
        }
        Ok(Self {
            bits,
            depth,
            big_endian: big_endian != 0,
            maxima: [[r1, r0], [g1, g0], [b1, b0]].map(u16::from_be_bytes),
            shifts,
        })
    }

    fn pixel(&self, colour: [u8; 3]) -> Vec<u8> {
        let mut pixel = 0;
        for ((value, maximum), shift) in colour.into_iter().zip(self.maxima).zip(self.shifts) {
            pixel |= (u32::from(value) * u32::from(maximum) / 255) << shift;
        }
        let bytes = usize::from(self.bits / 8);
        if self.big_endian {
            pixel.to_be_bytes()[4 - bytes..].to_vec()
        } else {
            pixel.to_le_bytes()[..bytes].to_vec()
        }
    }
}

/// Reads to the end of a message that has begun with this byte and changes nothing here.
async fn pass_over(stream: &mut TcpStream, first: u8) -> io::Result<()> {
    let mut messages = Messages::default();
    let mut byte = first;
    loop {
        messages.advance(&[byte]).map_err(io::Error::other)?;
        if messages.at_boundary() {
            return Ok(());
        }
        byte = stream.read_u8().await?;
    }
}

async fn skip(stream: &mut TcpStream, mut bytes: usize) -> io::Result<()> {
    if bytes > SKIP_MAX {
        return Err(invalid("a message that is too long"));
    }
    let mut waste = [0; 256];
    while bytes > 0 {
        let part = bytes.min(waste.len());
        stream.read_exact(&mut waste[..part]).await?;
        bytes -= part;
    }
    Ok(())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
