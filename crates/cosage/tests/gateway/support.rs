//! A service that consists of the gateway only, and instances to put behind it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cosage::desktop::StreamKey;
use cosage::desktop::end::EndReason;
use cosage::desktop::lease::{Lease, Release, Successor};
use cosage::desktop::rights::Standing;
use cosage::engine::{Endpoint, Instance, InstanceId, Presence, Protocol, VncPassword};
use cosage::gateway::{Gateway, GatewaySettings, Upgrade};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, CloseCode, MaybeTlsStream, Message, WebSocketStream};

/// Longer than anything here takes, so that a test that hangs fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The gateway on a port, with every request leading to one endpoint.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) gateway: Gateway,
    ended: watch::Sender<Option<EndReason>>,
    leases: Arc<Leases>,
    /// What the holders of the next leases may do.
    standing: Arc<Mutex<Arc<Standing>>>,
    /// Where whoever is connected goes on, once the instance has ended by itself.
    next: Arc<Mutex<Option<Lease>>>,
    instance: Arc<Instance>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Leases {
    held: AtomicUsize,
    changed: Notify,
}

pub(crate) fn endpoint(address: SocketAddr, protocol: Protocol) -> Endpoint {
    Endpoint {
        address,
        protocol,
        path: "/vnc".to_owned(),
        presence: Presence::Viewer,
    }
}

impl Service {
    pub(crate) async fn start(endpoint: Endpoint) -> Self {
        Self::with(endpoint, None, GatewaySettings::default()).await
    }

    pub(crate) async fn with(
        endpoint: Endpoint,
        password: Option<VncPassword>,
        settings: GatewaySettings,
    ) -> Self {
        let instance = Arc::new(Instance {
            id: InstanceId::random(),
            uid: "desktop".parse().unwrap(),
            app: "test".to_owned(),
            key: StreamKey(11000),
            endpoints: BTreeMap::new(),
            password,
            callback: None,
            home_is_new: false,
            started_at: "2024-01-01T00:00:00Z".parse().unwrap(),
            own_timeout: None,
        });
        let (ended, ended_receiver) = watch::channel(None);
        let leases = Arc::new(Leases::default());
        let gateway = Gateway::new(settings);
        let standing: Arc<Mutex<Arc<Standing>>> = Arc::default();
        let next: Arc<Mutex<Option<Lease>>> = Arc::default();
        let handler = {
            let (gateway, leases) = (gateway.clone(), Arc::clone(&leases));
            let (standing, next) = (Arc::clone(&standing), Arc::clone(&next));
            let instance = Arc::clone(&instance);
            async move |upgrade: Upgrade| {
                let release = leases.hold();
                let lease = Lease::new(instance, endpoint, ended_receiver, release);
                let standing = Arc::clone(&standing.lock().unwrap());
                let lease =
                    lease
                        .held_by(standing, Release::nothing())
                        .followed_by(Successor::new(async move || {
                            next.lock().unwrap().take().ok_or(EndReason::Exited)
                        }));
                gateway.connect(upgrade, lease).await
            }
        };
        let router = Router::new().route("/stream/11000/vnc", get(handler));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            gateway,
            ended,
            leases,
            standing,
            next,
            instance,
            server,
        }
    }

    /// Where the next one goes on who is connected when the instance has ended by itself; and what ends that,
    /// at the latest when it is dropped.
    pub(crate) fn follow(&self, endpoint: Endpoint) -> watch::Sender<Option<EndReason>> {
        let (ended, receiver) = watch::channel(None);
        let release = self.leases.hold();
        let lease = Lease::new(Arc::clone(&self.instance), endpoint, receiver, release);
        *self.next.lock().unwrap() = Some(lease);
        ended
    }

    pub(crate) async fn client(&self) -> Client {
        let uri = format!("ws://{}/stream/11000/vnc", self.address);
        let builder = ClientBuilder::new().uri(&uri).unwrap();
        timeout(PATIENCE, builder.connect())
            .await
            .unwrap()
            .unwrap()
            .0
    }

    /// A client that speaks by hand, past its 101.
    pub(crate) async fn raw_client(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let head = response_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }

    /// From now on, whoever connects may do what this says.
    pub(crate) fn hold(&self, standing: Arc<Standing>) {
        *self.standing.lock().unwrap() = standing;
    }

    pub(crate) fn end(&self, reason: EndReason) {
        self.ended.send_replace(Some(reason));
    }

    /// Waits until so many leases are held.
    pub(crate) async fn leases(&self, count: usize) {
        let reached = async {
            loop {
                let mut changed = std::pin::pin!(self.leases.changed.notified());
                changed.as_mut().enable();
                if self.leases.held.load(Ordering::SeqCst) == count {
                    return;
                }
                changed.await;
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            panic!("{:?} leases, not {count}", self.leases.held);
        }
    }
}

impl Leases {
    fn hold(self: &Arc<Self>) -> Release {
        self.held.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        let released = Arc::clone(self);
        Release::new(move || {
            released.held.fetch_sub(1, Ordering::SeqCst);
            released.changed.notify_waiters();
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The example of RFC 6455, 1.3.
pub(crate) const REQUEST: &str = "GET /stream/11000/vnc HTTP/1.1\r\nHost: test\r\n\
    Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub(crate) async fn response_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A masked frame, as a client sends it. At most 125 bytes.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xa1, 0xb2, 0xc3, 0xd4];
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    frame.extend_from_slice(&mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// An instance that is a listener of the test's own.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(PATIENCE, listener.accept())
        .await
        .unwrap()
        .unwrap()
        .0
}

/// A service in front of a listener, a client, and the instance's end of the same connection.
pub(crate) async fn connected() -> (Service, Client, TcpStream) {
    let (listener, address) = listener().await;
    let service = Service::start(endpoint(address, Protocol::Tcp)).await;
    let client = service.client().await;
    let upstream = accept(&listener).await;
    (service, client, upstream)
}

/// The next message, which there must be.
pub(crate) async fn next(client: &mut Client) -> Message {
    timeout(PATIENCE, client.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

/// The payload of the next message, which must be a binary one.
pub(crate) async fn next_payload(client: &mut Client) -> Vec<u8> {
    let message = next(client).await;
    assert!(message.is_binary(), "{message:?}");
    message.as_payload().to_vec()
}

/// So many bytes of payload, in whatever messages they come.
pub(crate) async fn read_payload(client: &mut Client, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend(next_payload(client).await);
    }
    bytes
}

/// The close frame that comes next.
pub(crate) async fn closed(client: &mut Client) -> (CloseCode, String) {
    let message = next(client).await;
    let (code, reason) = message.as_close().unwrap_or_else(|| panic!("{message:?}"));
    (code, reason.to_owned())
}

/// A WebSocket as the plain stream that an RFB client wants.
pub(crate) fn plain(client: Client) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let (mut sink, mut stream) = client.split();
        let downwards = async {
            while let Some(Ok(message)) = stream.next().await {
                if message.is_binary() && far_write.write_all(message.as_payload()).await.is_err() {
                    return;
                }
            }
        };
        let upwards = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(len @ 1..) = far_read.read(&mut buffer).await {
                let message = Message::binary(buffer[..len].to_vec());
                if sink.send(message).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! { () = downwards => {}, () = upwards => {} }
    });
    near
}

/// A process of the system, which ends with the test.
pub(crate) struct Program(Child);

impl Program {
    /// `None`, loudly, when it is not installed.
    pub(crate) fn start(command: &mut Command) -> Option<Self> {
        let name = command.as_std().get_program().to_owned();
        match command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
        {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                let required = std::env::var_os("COSAGE_REQUIRE_DOCKER").is_some();
                assert!(!required, "{} is needed: {error}", name.display());
                eprintln!("SKIPPED: {} cannot be started: {error}", name.display());
                None
            }
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.0.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// An X server with VNC, on a display and a port that nobody else uses.
pub(crate) struct Xvnc {
    pub(crate) process: Program,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Xvnc {
    pub(crate) async fn start(password: Option<&str>) -> Option<Self> {
        // Freed at once, and taken by the server before the system hands it out again.
        let address = listener().await.1;
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("Xvnc");
        command
            .arg(format!(":{}", address.port()))
            .args(["-rfbport", &address.port().to_string()])
            .args(["-localhost", "-geometry", "320x200", "-depth", "24"])
            // It is killed at the end, and would leave its lock and its socket in /tmp.
            .args(["-nolock", "-nolisten", "unix"]);
        match password {
            None => command.args(["-SecurityTypes", "None"]),
            Some(password) => {
                let file = directory.path().join("password");
                std::fs::write(&file, obfuscated(password)).unwrap();
                command
                    .args(["-SecurityTypes", "VncAuth", "-PasswordFile"])
                    .arg(file)
            }
        };
        Some(Self {
            process: Program::start(&mut command)?,
            address,
            _directory: directory,
        })
    }
}

/// The format of VNC's password files: 8 bytes, DES with a key that everybody knows. The response to a challenge
/// is the same cipher, and the key is given as the password it would be.
fn obfuscated(password: &str) -> Vec<u8> {
    const KEY: [u8; 8] = [0x17, 0x52, 0x6b, 0x06, 0x23, 0x4e, 0x58, 0x07];
    let mut block = [0; 16];
    block[..password.len()].copy_from_slice(password.as_bytes());
    let key = std::str::from_utf8(&KEY).unwrap();
    rfb::authentication::respond(&block, key)[..8].to_vec()
}
