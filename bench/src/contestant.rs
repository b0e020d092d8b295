//! What is measured side by side.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Failure;
use crate::process::Process;
use crate::stream::Dialect;

/// The site that is deployed, and what of it is of the machine.
const SITE: &str = include_str!("../../deploy/nginx/cosage.conf");
const SITE_SERVICE: &str = "127.0.0.1:4024";
const SITE_LISTEN: &str = "listen 4033;";

/// A relay that runs in front of one upstream.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    processes: Vec<Process>,
    _directory: Option<TempDir>,
}

impl Contestant {
    pub(crate) fn gateway(upstream: SocketAddr) -> Result<Self, Failure> {
        Self::own("CoSage's gateway", "gateway", Dialect::WebSocket, upstream)
    }

    /// The gateway in front of VNC servers, whose viewers' messages it follows.
    pub(crate) fn following_gateway(upstream: SocketAddr) -> Result<Self, Failure> {
        Self::own(
            "CoSage's gateway, RFB",
            "gateway-rfb",
            Dialect::WebSocket,
            upstream,
        )
    }

    pub(crate) fn plain(upstream: SocketAddr) -> Result<Self, Failure> {
        Self::own(
            "plain tokio TCP relay, 64 KiB",
            "plain",
            Dialect::Plain,
            upstream,
        )
    }

    /// No relay at all: what the two ends cost by themselves.
    pub(crate) fn direct(upstream: SocketAddr) -> Self {
        Self {
            name: "no relay",
            address: upstream,
            dialect: Dialect::Plain,
            processes: Vec::new(),
            _directory: None,
        }
    }

    /// Debian's nginx in front of Debian's websockify, as the old containers have them.
    pub(crate) fn nginx_and_websockify(upstream: SocketAddr) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let websockify_address = unused()?;
        let websockify = Process::start(
            Command::new("websockify")
                .args([websockify_address.to_string(), upstream.to_string()])
                .stdout(Stdio::null()),
        )?;
        let address = unused()?;
        let site = format!(
            "server {{\n  listen {address};\n  location / {{\n    proxy_pass http://{websockify_address};\n    \
             proxy_http_version 1.1;\n    proxy_set_header Upgrade $http_upgrade;\n    \
             proxy_set_header Connection \"upgrade\";\n    proxy_read_timeout 600s;\n  }}\n}}\n",
        );
        let nginx = nginx(directory.path(), &site)?;
        listening(websockify_address)?;
        listening(address)?;
        Ok(Self {
            name: "nginx + websockify",
            address,
            dialect: Dialect::WebSocket,
            processes: vec![websockify, nginx],
            _directory: Some(directory),
        })
    }

    /// Debian's nginx, with the site that `deploy/` has, in front of the gateway.
    pub(crate) fn nginx_and_gateway(upstream: SocketAddr) -> Result<Self, Failure> {
        let mut gateway = Self::gateway(upstream)?;
        let directory = tempfile::tempdir()?;
        let address = unused()?;
        let site = SITE
            .replace(SITE_SERVICE, &gateway.address.to_string())
            .replace(SITE_LISTEN, &format!("listen {address};"));
        gateway.processes.push(nginx(directory.path(), &site)?);
        listening(address)?;
        Ok(Self {
            name: "nginx + CoSage's gateway",
            address,
            _directory: Some(directory),
            ..gateway
        })
    }

    /// CPU time of all its processes so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// Memory of all its processes in bytes.
    pub(crate) fn memory(&self) -> Result<u64, Failure> {
        self.processes.iter().map(Process::memory).sum()
    }

    fn own(
        name: &'static str,
        kind: &str,
        dialect: Dialect,
        upstream: SocketAddr,
    ) -> Result<Self, Failure> {
        let mut process = Process::start(
            Command::new(std::env::current_exe()?)
                .args(["serve", kind, &upstream.to_string()])
                .stdout(Stdio::piped()),
        )?;
        let address = process.first_line()?.parse()?;
        Ok(Self {
            name,
            address,
            dialect,
            processes: vec![process],
            _directory: None,
        })
    }
}

/// Starts Debian's nginx with one site.
fn nginx(directory: &Path, site: &str) -> Result<Process, Failure> {
    let configuration = directory.join("nginx.conf");
    fs::write(
        &configuration,
        format!(
            "worker_processes auto;\nerror_log stderr crit;\npid {path}/pid;\ndaemon off;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {path}/body;\n  proxy_temp_path {path}/proxy;\n  \
             fastcgi_temp_path {path}/f;\n  uwsgi_temp_path {path}/u;\n  scgi_temp_path {path}/s;\n{site}}}\n",
            path = directory.display(),
        ),
    )?;
    Process::start(
        Command::new("nginx")
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(&configuration)
            .stdout(Stdio::null()),
    )
}

/// A port that nothing uses at the moment.
fn unused() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until something listens there.
fn listening(address: SocketAddr) -> Result<(), Failure> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(format!("nothing listens on {address} after 10 s").into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
