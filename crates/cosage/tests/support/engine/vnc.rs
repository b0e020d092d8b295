//! What stands between a simulated VNC server and its clients: it writes down what they send, and holds back or spoils
//! what they get. Handshakes are those of RFB 3.8 (RFC 6143, 7.1 to 7.3).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::take;

/// What a VNC server does when it is asked for a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Painting {
    /// It sends it.
    #[default]
    Whole,
    /// It sends nothing.
    Silent,
    /// It sends what is no RFB.
    Garbled,
}

#[derive(Clone, Default)]
pub(super) struct Watch {
    /// How long a client waits for the banner.
    pub(super) banner_delay: Duration,
    pub(super) painting: Painting,
    /// Shared by all watches of an engine.
    recordings: Arc<Mutex<Vec<Recording>>>,
}

/// What a client has sent after its `ClientInit`.
type Recording = Arc<Mutex<Vec<u8>>>;

/// How many bytes each side sends up to `ClientInit` and before `ServerInit`.
#[derive(Clone, Copy)]
struct Handshake {
    client: usize,
    server: usize,
}

impl Handshake {
    /// Version, type of security, response, `ClientInit`; version, types of security, challenge, result.
    fn new(password: bool) -> Self {
        let response = if password { 16 } else { 0 };
        Self {
            client: 12 + 1 + response + 1,
            server: 12 + 2 + response + 4,
        }
    }
}

impl Watch {
    /// Where a server is reached through a watch, which ends with its task.
    pub(super) fn put_before(
        &self,
        server: SocketAddr,
        password: bool,
        tasks: &mut JoinSet<()>,
    ) -> SocketAddr {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (watch, handshake) = (self.clone(), Handshake::new(password));
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        sessions.spawn(watch.clone().pass(client, server, handshake));
                    }
                    Some(_) = sessions.join_next() => {}
                }
            }
        });
        address
    }

    pub(super) fn recordings(&self) -> Vec<Vec<u8>> {
        let recordings = self.recordings.lock().unwrap();
        let bytes = |recording: &Recording| recording.lock().unwrap().clone();
        recordings.iter().map(bytes).collect()
    }

    async fn pass(
        self,
        mut client: TcpStream,
        server: SocketAddr,
        handshake: Handshake,
    ) -> io::Result<()> {
        take(self.banner_delay).await;
        let mut server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            sent = self.record(&mut from_client, &mut to_server, handshake.client) => sent,
            answered = self.paint(&mut from_server, &mut to_client, handshake.server) => answered,
        }
    }

    async fn record(
        &self,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        handshake: usize,
    ) -> io::Result<()> {
        hand_on(from, to, handshake).await?;
        let recording = Recording::default();
        self.recordings.lock().unwrap().push(recording.clone());
        let mut part = vec![0; 16 * 1024];
        loop {
            let len = from.read(&mut part).await?;
            if len == 0 {
                return Ok(());
            }
            recording.lock().unwrap().extend_from_slice(&part[..len]);
            to.write_all(&part[..len]).await?;
        }
    }

    async fn paint(
        &self,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        handshake: usize,
    ) -> io::Result<()> {
        if self.painting == Painting::Whole {
            return copy(from, to).await.map(drop);
        }
        hand_on(from, to, handshake).await?;
        let mut server_init = [0; 24];
        from.read_exact(&mut server_init).await?;
        to.write_all(&server_init).await?;
        let [.., a, b, c, d] = server_init;
        hand_on(from, to, u32::from_be_bytes([a, b, c, d]) as usize).await?;
        if self.painting == Painting::Garbled {
            from.read_u8().await?;
            to.write_all(&[0xff; 16]).await?;
        }
        copy(from, &mut sink()).await.map(drop)
    }
}

/// Passes so many bytes on, as they come.
async fn hand_on(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, len: usize) -> io::Result<()> {
    let passed = copy(&mut from.take(len as u64), to).await?;
    if passed < len as u64 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
