//! A whole service in this process, on the simulated engine, and a client that sees it from outside.

#![allow(dead_code, reason = "each test program uses another part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

pub(crate) mod engine;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use cosage::api::{AllowedHosts, AllowedOrigins, Routes};
use cosage::callback::{Callbacks, Sage3};
use cosage::catalog::{Catalog, CatalogDefaults, CatalogHandle, LaunchContext, Timers, Undeclared};
use cosage::desktop::context::Settings;
use cosage::engine::Engine;
use cosage::engine::remote::WithRemotes;
use cosage::gateway::GatewaySettings;
use cosage::pictures::Album;
use cosage::server::{self, Listeners, Service};
use cosage::store::Store;
use cosage::store::memory::MemoryStore;
use cosage::webhook::{self, Webhooks};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{MaybeTlsStream, WebSocketStream};

use self::engine::TestEngine;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Apps of every kind there is. Times are short, so that nobody waits for long; no test depends on
/// how short.
pub(crate) const CATALOG: &str = r#"
[app.desk]
title = "Desk"
description = "A desktop for tests."
aliases = ["old-desk"]
image = "test/desk:latest"
password = true
home = "/home/user"
start = "5s"
stop_grace = "1s"

[app.desk.stream.vnc]
port = 5900
protocol = "rfb"

[app.desk.stream.audio]
port = 5901
protocol = "webm"

[app.desk.env.THEME]
type = "integer"
min = 0
max = 2
title = "Theme"

[app.desk.env.URLS]
type = "urls"
title = "Addresses"

[app.teller]
title = "Teller"
description = "Reports what it does."
image = "test/teller:latest"
callbacks = true

[app.teller.stream.vnc]
port = 5900
protocol = "rfb"

[app.old-teller]
title = "Old teller"
description = "Reports as old images do."
image = "test/old-teller:latest"
legacy_callbacks = true

[app.old-teller.stream.vnc]
port = 5900
protocol = "rfb"

[app.brief]
title = "Brief"
description = "Goes soon when nobody looks."
icon = "data:image/svg+xml,%3Csvg/%3E"
image = "test/brief:latest"
idle = "1s"
first_viewer = "1s"

[app.brief.stream.vnc]
port = 5900
protocol = "rfb"

[app.hasty]
title = "Hasty"
description = "Has to answer at once."
image = "test/hasty:latest"
start = "1s"

[app.hasty.stream.vnc]
port = 5900
protocol = "rfb"

[app.elsewhere]
title = "Elsewhere"
description = "A VNC server elsewhere."

[app.elsewhere.remote]
host = "TARGET_IP"
port = "TARGET_PORT"

[app.elsewhere.stream.vnc]
protocol = "tcp"

[app.elsewhere.env.TARGET_IP]
type = "host"
title = "Host"
required = true

[app.elsewhere.env.TARGET_PORT]
type = "integer"
min = 1
max = 65535
title = "Port"
default = 5900
"#;

/// Ranges of stream keys, so that tests that run side by side have different ones.
static NEXT_RANGE: AtomicU16 = AtomicU16::new(22_000);

pub(crate) fn port_range(keys: u16) -> Range<u16> {
    let start = NEXT_RANGE.fetch_add(keys, Ordering::Relaxed);
    start..start + keys
}

/// What a test can vary.
pub(crate) struct Options {
    pub(crate) ports: Range<u16>,
    pub(crate) idle: Duration,
    pub(crate) max_desktops: Option<usize>,
    pub(crate) memory_reserve: u64,
    /// Further apps of the catalogue.
    pub(crate) apps: &'static str,
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) undeclared: Undeclared,
    pub(crate) remote_networks: Vec<String>,
    pub(crate) upload_max: u64,
    pub(crate) sage3: Option<SocketAddr>,
    pub(crate) webhooks: Option<webhook::Settings>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ports: port_range(50),
            idle: Duration::from_secs(600),
            max_desktops: None,
            memory_reserve: 0,
            apps: "",
            hosts: Vec::new(),
            origins: Vec::new(),
            undeclared: Undeclared::Refuse,
            remote_networks: Vec::new(),
            upload_max: 1 << 32,
            sage3: None,
            webhooks: None,
        }
    }
}

/// What outlives a service: its engine, its store and its data directory.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) engine: TestEngine,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) data: Arc<TempDir>,
}

impl World {
    pub(crate) fn new() -> Self {
        // The clients of these tests want one; what a second call finds is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            engine: TestEngine::new(),
            store: Arc::new(MemoryStore::new()),
            data: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    pub(crate) fn control(&self) -> &TestEngine {
        &self.engine
    }

    pub(crate) async fn serve(&self, options: Options) -> Running {
        self.serve_on(Arc::new(self.engine.clone()), options).await
    }

    /// A service on another engine, such as this one with less of it to be seen.
    pub(crate) async fn serve_on(&self, engine: Arc<dyn Engine>, options: Options) -> Running {
        let defaults = CatalogDefaults {
            idle: Some(options.idle),
            ..CatalogDefaults::default()
        };
        let catalog = format!("{CATALOG}{}", options.apps);
        let catalog = Catalog::parse(&catalog, "catalog.toml", &defaults).unwrap();
        let engine = WithRemotes::new(
            engine,
            options
                .remote_networks
                .iter()
                .map(|network| network.parse().unwrap())
                .collect(),
        );
        let sage3 = options.sage3.map(|address| Sage3 {
            server: format!("http://{address}").parse().unwrap(),
            token: Some("a-token".to_owned()),
        });
        let origins = || options.origins.iter().map(String::as_str);
        let service = Service {
            engine: Arc::new(engine),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            album: Album::open(self.data.path()).unwrap(),
            catalog: Arc::new(CatalogHandle::fixed(catalog)),
            ports: options.ports,
            settings: Settings {
                timers: Timers {
                    idle: Some(options.idle),
                    first_viewer: Some(options.idle),
                    max_age: None,
                    start: Duration::from_secs(5),
                    stop_grace: Duration::from_secs(1),
                },
                launch: LaunchContext {
                    container_base_name: "collab-vm-".to_owned(),
                    callback_base: "http://host.docker.internal:4024/api/vm/cb/".to_owned(),
                },
                undeclared: options.undeclared,
                max_desktops: options.max_desktops,
                memory_reserve: options.memory_reserve,
            },
            gateway: GatewaySettings::default(),
            callbacks: Callbacks::new(sage3).unwrap(),
            webhooks: Webhooks::new(options.webhooks).unwrap(),
            stream_url_template: "/stream/{port}/vnc".to_owned(),
            hosts: AllowedHosts::new(options.hosts.iter().map(String::as_str), origins()),
            origins: AllowedOrigins::new(origins()),
            upload_max: options.upload_max,
            shutdown_grace: Duration::from_secs(5),
        };
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let streams = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stream_address) = (api.local_addr().unwrap(), streams.local_addr().unwrap());
        let callbacks = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callback_address = callbacks.local_addr().unwrap();
        let listeners = Listeners {
            api,
            callbacks: Some(callbacks),
            streams: Some((streams, Routes::Streams)),
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(server::run(service, listeners, shutdown.clone()));
        Running {
            address,
            stream_address,
            callback_address,
            client: Client::new(),
            shutdown,
            task: Some(task),
        }
    }
}

/// A service that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stream_address: SocketAddr,
    pub(crate) callback_address: SocketAddr,
    client: Client,
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// An answer: status, headers and JSON.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) json: Value,
}

impl Running {
    /// Ends the service in good order.
    pub(crate) async fn shut_down(mut self) {
        self.shutdown.cancel();
        self.task.take().unwrap().await.unwrap();
    }

    /// Ends the service at once, as a crash would: nothing is told to anybody.
    pub(crate) async fn crash(mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&str>) -> Reply {
        let mut request = self
            .client
            .request(method, format!("http://{}{path}", self.address));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        Self::reply(request).await
    }

    pub(crate) async fn reply(request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let status = response.status();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Reply {
            status,
            headers,
            json,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, uid: &str, body: &str) -> Reply {
        self.call(Method::POST, &format!("/api/vm/any/{uid}"), Some(body))
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, None).await
    }

    /// Asks for a desktop that has to come; answers its stream's path.
    pub(crate) async fn ensure(&self, uid: &str, app: &str) -> String {
        let reply = self.post(uid, &format!(r#"{{"vm": "{app}"}}"#)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json["uid"], uid);
        reply.json["url"].as_str().unwrap().to_owned()
    }

    /// Opens a WebSocket on the stream port.
    pub(crate) async fn open(&self, path: &str) -> Result<Socket, tokio_websockets::Error> {
        let uri: http::Uri = format!("ws://{}{path}", self.stream_address)
            .parse()
            .unwrap();
        let (socket, _) = tokio_websockets::ClientBuilder::from_uri(uri)
            .connect()
            .await?;
        Ok(socket)
    }

    /// Waits until the desktop's description satisfies `is_so`.
    pub(crate) async fn wait_until(&self, uid: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let looked = async {
            loop {
                let reply = self.get(&format!("/api/vm/{uid}")).await;
                if is_so(&reply.json) {
                    return reply.json;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looked)
            .await
            .unwrap_or_else(|_| panic!("'{uid}' did not become what it should"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
