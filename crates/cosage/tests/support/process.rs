//! The service as a process of its own on a real Docker Engine, and a client that sees it from
//! outside. Everything a test makes has the test's own name, and goes when the test ends, however
//! it ends.

#![allow(dead_code, reason = "each test program uses another part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

#[path = "viewer.rs"]
pub(crate) mod viewer;
#[path = "wait.rs"]
mod wait;
pub(crate) use viewer::Viewer;
pub(crate) use wait::*;

/// The desktop that the images' build makes for tests.
pub(crate) const TINY: &str = "cosage/tiny:latest";

/// How long anything may take that has no limit of its own: much, because the machine may be busy
/// with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The apps of every scene.
const CATALOG: &str = r#"
[app.tiny]
title = "Tiny"
description = "A drawing."
image = "cosage/tiny:latest"
pull = "never"
password = true
sandbox = "user-namespaces"
stop_grace = "5s"

[app.tiny.stream.vnc]
port = 5900
protocol = "rfb"

[app.tiny.env.NOTE]
type = "text"
title = "Note"

[app.homely]
title = "Homely"
description = "Has a home, and goes soon when its last viewer has left."
image = "cosage/tiny:latest"
pull = "never"
password = true
sandbox = "user-namespaces"
home = "/home/user"
idle = "1s"
first_viewer = "10m"
stop_grace = "5s"

[app.homely.stream.vnc]
port = 5900
protocol = "rfb"
"#;

/// The setting that has desktops simulated.
const SIMULATE: &str = "COSAGE_ENGINE";

/// Ports of scenes: below those that the kernel hands out, in blocks, one for each scene.
const PORTS: Range<u16> = 24_000..32_000;
const BLOCK: u16 = 64;

/// What outlives a process of the service: its data, its name and its share of the engine.
pub(crate) struct Scene {
    /// What the names of containers and volumes start with, and the network's name.
    pub(crate) name: String,
    /// The stream keys' range.
    pub(crate) ports: Range<u16>,
    /// Where the service is told to listen.
    pub(crate) address: SocketAddr,
    /// The same for streams.
    pub(crate) stream_address: SocketAddr,
    /// Words before the service's command line, for a service that runs elsewhere.
    pub(crate) launcher: Vec<String>,
    /// `DOCKER_HOST`, where it is not the machine's own engine.
    pub(crate) docker_host: Option<String>,
    directory: TempDir,
    settings: BTreeMap<&'static str, String>,
    /// Keeps other test programs off this block of ports.
    _block: TcpListener,
}

/// A container as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Container {
    pub(crate) uid: String,
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) key: String,
    pub(crate) owner: String,
}

impl Scene {
    /// A new one, or `None`, loudly, where no engine answers and none is required.
    pub(crate) fn new() -> Option<Self> {
        if !run(Command::new("docker").arg("version")).0 {
            skip("no container engine answers");
            return None;
        }
        Some(Self::with_settings(BTreeMap::new()))
    }

    /// A new one on the engine in memory, which needs nothing.
    pub(crate) fn simulated() -> Self {
        Self::with_settings(BTreeMap::from([(SIMULATE, "fake".to_owned())]))
    }

    fn with_settings(settings: BTreeMap<&'static str, String>) -> Self {
        // What a second call finds is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let run_name =
            std::env::var("COSAGE_TEST_RUN").unwrap_or_else(|_| "cosage-test".to_owned());
        let (block, first) = block();
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let scene = Self {
            name: format!("{run_name}-{}", &uuid::Uuid::new_v4().to_string()[..8]),
            ports: first + 3..first + BLOCK,
            address: local(first + 1),
            stream_address: local(first + 2),
            launcher: Vec::new(),
            docker_host: None,
            directory: tempfile::tempdir().unwrap(),
            settings,
            _block: block,
        };
        scene.write_catalog("");
        scene
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Adds apps to the catalogue that every scene has; taken at the next start of the service.
    pub(crate) fn write_catalog(&self, more: &str) {
        std::fs::write(self.path("catalog.toml"), format!("{CATALOG}{more}")).unwrap();
    }

    pub(crate) fn set(&mut self, variable: &'static str, value: &str) {
        self.settings.insert(variable, value.to_owned());
    }

    /// Starts the service on this scene's data and waits until it is ready.
    pub(crate) async fn serve(&self) -> Service {
        let service = self.start();
        service.wait_until_ready().await;
        service
    }

    /// Starts the service and waits for nothing.
    pub(crate) fn start(&self) -> Service {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("service.log"))
            .unwrap();
        let program = env!("CARGO_BIN_EXE_cosage").to_owned();
        let mut line = self
            .launcher
            .iter()
            .cloned()
            .chain([program, "serve".to_owned()]);
        let mut command = Command::new(line.next().unwrap());
        command
            .args(line)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("COSAGE_LISTEN", self.address.to_string())
            .env("COSAGE_STREAM_LISTEN", self.stream_address.to_string())
            .env("COSAGE_DATA_DIR", self.path("data"))
            .env("COSAGE_CATALOG", self.path("catalog.toml"))
            .env("COSAGE_NETWORK", &self.name)
            .env("CONTAINER_BASE_NAME", format!("{}-", self.name))
            .env("PORT_RANGE_START", self.ports.start.to_string())
            .env("PORT_RANGE_END", self.ports.end.to_string())
            .env("CONTAINER_NO_CLIENT_TIMEOUT", "10m")
            .env("COSAGE_LOG_FORMAT", "text")
            .envs(&self.settings)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(host) = &self.docker_host {
            command.env("DOCKER_HOST", host);
        }
        Service {
            child: command.spawn().unwrap(),
            address: self.address,
            stream_address: self.stream_address,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
        }
    }

    /// What a `docker` command prints, or its complaint.
    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        if let Some(host) = &self.docker_host {
            command.args(["--host", host]);
        }
        match run(command.args(arguments)) {
            (true, text) => Ok(text),
            (false, text) => Err(text),
        }
    }

    #[track_caller]
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments)
            .unwrap_or_else(|text| panic!("docker {arguments:?}: {text}"))
    }

    /// The name of a desktop's container, and of its home volume.
    pub(crate) fn container_name(&self, uid: &str) -> String {
        format!("{}-{uid}", self.name)
    }

    /// All containers that a filter of `docker ps` finds, in no matter which state.
    #[track_caller]
    pub(crate) fn containers_by(&self, filter: &str) -> Vec<Container> {
        let format = r#"{{.Label "cosage.uid"}} {{.ID}} {{.State}} {{.Label "cosage.key"}} {{.Label "cosage.owner"}}"#;
        let listed = self.docker(&[
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            filter,
            "--format",
            format,
        ]);
        let mut containers: Vec<Container> = listed
            .lines()
            .map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                let mut word = || words.next().unwrap_or_default();
                Container {
                    uid: word(),
                    id: word(),
                    state: word(),
                    key: word(),
                    owner: word(),
                }
            })
            .collect();
        containers.sort();
        containers
    }

    /// All containers of this scene.
    #[track_caller]
    pub(crate) fn containers(&self) -> Vec<Container> {
        self.containers_by(&format!("name=^/?{}-", self.name))
    }

    /// All volumes of this scene, by name.
    #[track_caller]
    pub(crate) fn volumes(&self) -> Vec<String> {
        let filter = format!("name=^{}-", self.name);
        let listed = self.docker(&["volume", "ls", "--quiet", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }

    fn remove_everything(&self) {
        let containers: Vec<String> = self.containers().into_iter().map(|c| c.id).collect();
        for (verb, names) in [
            (&["rm", "--force", "--volumes"][..], containers),
            (&["volume", "rm", "--force"][..], self.volumes()),
            (&["network", "rm"][..], vec![self.name.clone()]),
        ] {
            if !names.is_empty() {
                let words: Vec<&str> = verb
                    .iter()
                    .copied()
                    .chain(names.iter().map(String::as_str))
                    .collect();
                // What is not there need not be removed.
                let _ = self.try_docker(&words);
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("service.log")).unwrap_or_default();
            eprintln!("the service's log:\n{log}");
        }
        // An engine of its own goes with all that is in it.
        if self.docker_host.is_none() && !self.settings.contains_key(SIMULATE) {
            self.remove_everything();
        }
    }
}

/// A running process of the service; killed when this is dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) stream_address: SocketAddr,
    client: Client,
}

/// An answer: status, headers and JSON.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) json: Value,
}

impl Service {
    pub(crate) async fn wait_until_ready(&self) {
        eventually(PATIENCE, "the service is ready", async || {
            let reply = self.try_call(Method::GET, "/readyz", None).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// Ends the process as a power cut would, and waits for its end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells the process to end.
    pub(crate) fn terminate(&self) {
        send(self.child.id(), Signal::TERM);
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        eventually(PATIENCE, "the service ends", async || {
            self.child.try_wait().unwrap()
        })
        .await
    }

    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Reply, reqwest::Error> {
        call(&self.client, self.address, method, path, body).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.try_call(Method::GET, path, None).await.unwrap()
    }

    /// A picture of a desktop; `query` begins with a question mark where there is one. `None` where there is none.
    pub(crate) async fn picture(&self, uid: &str, query: &str) -> Option<image::RgbImage> {
        let path = format!("/api/vm/{uid}/screenshot{query}");
        let request = self.client.get(format!("http://{}{path}", self.address));
        let response = request.send().await.unwrap();
        let file = response.error_for_status().ok()?.bytes().await.unwrap();
        Some(image::load_from_memory(&file).unwrap().into_rgb8())
    }

    pub(crate) async fn post(&self, uid: &str, body: &str) -> Reply {
        let path = format!("/api/vm/any/{uid}");
        self.try_call(Method::POST, &path, Some(body))
            .await
            .unwrap()
    }

    /// Stops a desktop; `uid` may carry a query.
    pub(crate) async fn delete(&self, uid: &str) -> Reply {
        let path = format!("/api/vm/{uid}");
        self.try_call(Method::DELETE, &path, None).await.unwrap()
    }

    /// Asks for a desktop that has to come; answers its stream's path.
    pub(crate) async fn ensure(&self, uid: &str, app: &str) -> String {
        let reply = self.post(uid, &format!(r#"{{"vm": "{app}"}}"#)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json["uid"], uid);
        reply.json["url"].as_str().unwrap().to_owned()
    }

    /// Waits until a desktop's description is as it should be.
    pub(crate) async fn until(
        &self,
        uid: &str,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(PATIENCE, what, async || {
            let reply = self.get(&format!("/api/vm/{uid}")).await;
            is_so(&reply.json).then_some(reply.json)
        })
        .await
    }

    /// Opens a desktop's stream and sees its whole picture.
    pub(crate) async fn see(&self, path: &str) -> Viewer {
        let mut viewer = Viewer::open(self.stream_address, path).await.unwrap();
        viewer.see().await;
        viewer
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One call to a service that may be gone.
pub(crate) async fn call(
    client: &Client,
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&str>,
) -> Result<Reply, reqwest::Error> {
    let mut request = client.request(method, format!("http://{address}{path}"));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
    }
    reply(request).await
}

pub(crate) async fn reply(request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Reply {
        status,
        headers,
        json,
    })
}

/// Every error is a JSON object with `details` and `code`, and never with `url`.
#[track_caller]
pub(crate) fn assert_error(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.json["code"], code, "{reply:?}");
    assert!(!reply.json["details"].as_str().unwrap().is_empty());
    assert!(reply.json.get("url").is_none(), "{reply:?}");
}

pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Says that a test is not run, or fails where it has to be.
pub(crate) fn skip(reason: &str) {
    assert!(
        std::env::var_os("COSAGE_REQUIRE_DOCKER").is_none(),
        "{reason}, and COSAGE_REQUIRE_DOCKER is set"
    );
    eprintln!("SKIPPED: {reason}");
}

/// Runs a command; whether it succeeded, and what it wrote: its output, or its complaint.
pub(crate) fn run(command: &mut Command) -> (bool, String) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let success = output.status.success();
            let text = if success {
                output.stdout
            } else {
                output.stderr
            };
            (
                success,
                String::from_utf8_lossy(&text).trim_end().to_owned(),
            )
        }
        Err(error) => (false, format!("{command:?}: {error}")),
    }
}

/// A block of ports that no other test uses: whoever listens on its first port has it.
fn block() -> (TcpListener, u16) {
    let blocks = (PORTS.end - PORTS.start) / BLOCK;
    let start = u16::try_from(std::process::id() % u32::from(blocks)).unwrap();
    (0..blocks)
        .map(|step| PORTS.start + (start + step) % blocks * BLOCK)
        .find_map(|first| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
            Some((listener, first))
        })
        .unwrap_or_else(|| panic!("every port of {PORTS:?} is taken"))
}
