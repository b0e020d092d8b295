//! A running service with everything it needs to itself, and what a client does with it.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rfb::client::{Client, Sharing};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use crate::Failure;
use crate::process::Process;

/// How long anything may take before the measurement is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the service runs desktops on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    Docker,
    Simulated,
}

/// A service of its own; what it has made on the engine is removed when this is dropped.
pub(crate) struct Scene {
    /// What the names of its containers start with, and its network's name.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<Process>,
    engine: EngineKind,
    pub(crate) directory: TempDir,
}

impl Scene {
    /// Starts the release build of the service that lies beside this program, and waits until it is ready.
    pub(crate) async fn start(engine: EngineKind) -> Result<Self, Failure> {
        Self::start_with(engine, None).await
    }

    /// The same with a catalogue other than the one that is built in.
    pub(crate) async fn start_with(
        engine: EngineKind,
        catalog: Option<&str>,
    ) -> Result<Self, Failure> {
        Self::start_in(engine, catalog, tempfile::tempdir()?).await
    }

    /// The same with a data directory in `directory` that may be filled already.
    pub(crate) async fn start_in(
        engine: EngineKind,
        catalog: Option<&str>,
        directory: TempDir,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe()?.with_file_name("cosage");
        if !program.exists() {
            return Err(
                "there is no service to measure; build it with: cargo build --release -p cosage"
                    .into(),
            );
        }
        if let Some(catalog) = catalog {
            std::fs::write(directory.path().join("catalog.toml"), catalog)?;
        }
        let name = format!("cosage-bench-{}-{engine:?}", std::process::id()).to_lowercase();
        let address = unused()?;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .env_clear()
            .env("COSAGE_LISTEN", address.to_string())
            .env("COSAGE_STREAM_LISTEN", unused()?.to_string())
            .env("COSAGE_DATA_DIR", directory.path().join("data"))
            .env("COSAGE_NETWORK", &name)
            .env("CONTAINER_BASE_NAME", format!("{name}-"))
            .env("PORT_RANGE_START", "13100")
            .env("PORT_RANGE_END", "13300")
            .env("CONTAINER_NO_CLIENT_TIMEOUT", "30m")
            .env("COSAGE_LOG", "warn")
            .env("COSAGE_ALLOWED_HOSTS", "bench")
            .current_dir(directory.path())
            .stdout(Stdio::null());
        for inherited in ["PATH", "HOME", "DOCKER_HOST"] {
            if let Some(value) = std::env::var_os(inherited) {
                command.env(inherited, value);
            }
        }
        if engine == EngineKind::Simulated {
            command.env("COSAGE_ENGINE", "fake");
        }
        let scene = Self {
            name,
            address,
            process: Some(Process::start(&mut command)?),
            engine,
            directory,
        };
        let begun = Instant::now();
        while !matches!(scene.call("GET", "/readyz", "").await, Ok((200, _))) {
            if begun.elapsed() > PATIENCE {
                return Err(
                    "the service does not become ready; see why with: cosage doctor".into(),
                );
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(scene)
    }

    /// Asks for a new tiny desktop; its uid and its stream's path.
    pub(crate) async fn allocate(&self) -> Result<(String, String), Failure> {
        let body = r#"{"vm":"tiny"}"#;
        let (status, answer) = self.call("POST", "/api/vm/any/allocate", body).await?;
        match (status, answer["uid"].as_str(), answer["url"].as_str()) {
            (200, Some(uid), Some(url)) => Ok((uid.to_owned(), url.to_owned())),
            _ => Err(format!("no desktop was allocated: {status} {answer}").into()),
        }
    }

    /// Stops a desktop and forgets it.
    pub(crate) async fn delete(&self, uid: &str) -> Result<(), Failure> {
        let path = format!("/api/vm/{uid}?forget=true");
        match self.call("DELETE", &path, "").await? {
            (200..300, _) => Ok(()),
            (status, answer) => Err(format!("{uid} was not stopped: {status} {answer}").into()),
        }
    }

    /// One call on a connection of its own.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, Value), Failure> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or("the service hung up in the middle of an answer")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or("the service's answer is not HTTP")?;
        Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    /// Opens a stream through the gateway and waits for the whole first picture.
    pub(crate) async fn see(&self, path: &str) -> Result<(), Failure> {
        let look = async |client: &mut Client<_>| Ok(client.full_picture().await?);
        self.look(path, look).await
    }

    /// Opens a stream through the gateway and does something there.
    pub(crate) async fn look(
        &self,
        path: &str,
        look: impl AsyncFnOnce(&mut Client<DuplexStream>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let uri = format!("ws://{}{path}", self.address);
        let (socket, _) = ClientBuilder::new().uri(&uri)?.connect().await?;
        let (near, far) = tokio::io::duplex(1 << 20);
        let viewed = async {
            let mut client = Client::start(near, None, Sharing::Shared).await?;
            look(&mut client).await
        };
        tokio::select! {
            viewed = viewed => viewed,
            () = pump(socket, far) => Err("the gateway hung up".into()),
            () = sleep(PATIENCE) => Err("it took too long".into()),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The service first, or it would see its containers vanish and act on it.
        self.process = None;
        if self.engine == EngineKind::Docker {
            let filter = format!("name=^/?{}-", self.name);
            let containers = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
            for id in containers.unwrap_or_default().lines() {
                report_failure(docker(&["rm", "--force", "--volumes", id]));
            }
            let filter = format!("name=^{}-", self.name);
            let volumes = docker(&["volume", "ls", "--quiet", "--filter", &filter]);
            for name in volumes.unwrap_or_default().lines() {
                report_failure(docker(&["volume", "rm", name]));
            }
            report_failure(docker(&["network", "rm", &self.name]));
        }
    }
}

fn report_failure(removed: Result<String, Failure>) {
    if let Err(error) = removed {
        eprintln!("something of this measurement is left behind: {error}");
    }
}

/// What a `docker` command prints.
pub(crate) fn docker(arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("docker").args(arguments).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("docker {}: {}", arguments.join(" "), complaint.trim()).into())
    }
}

/// Carries bytes between a WebSocket and a plain stream, until one of them ends.
async fn pump(socket: WebSocketStream<MaybeTlsStream<TcpStream>>, plain: DuplexStream) {
    let (mut plain_read, mut plain_write) = tokio::io::split(plain);
    let (mut sink, mut stream) = socket.split();
    let downwards = async {
        while let Some(Ok(message)) = stream.next().await {
            if message.is_close() {
                return;
            }
            if message.is_binary() && plain_write.write_all(message.as_payload()).await.is_err() {
                return;
            }
        }
    };
    let upwards = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = plain_read.read(&mut buffer).await {
            if sink
                .send(Message::binary(buffer[..len].to_vec()))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::select! { () = downwards => {}, () = upwards => {} }
}

/// A port that nothing uses at the moment.
fn unused() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
