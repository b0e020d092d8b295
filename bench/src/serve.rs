//! The relays that are measured, each in a process of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use clap::ValueEnum;
use cosage::desktop::StreamKey;
use cosage::desktop::lease::{Lease, Release};
use cosage::engine::{Endpoint, Instance, InstanceId, Presence, Protocol};
use cosage::gateway::{Gateway, GatewaySettings, Upgrade};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Failure;

/// As `tokio::io::copy_bidirectional` is used by whoever has measured it.
const PLAIN_BUFFER_LEN: usize = 64 * 1024;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    kind: Kind,
    /// Where every connection leads.
    upstream: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// CoSage's stream gateway: WebSocket to TCP.
    Gateway,
    /// The same in front of a VNC server.
    GatewayRfb,
    /// `copy_bidirectional` with 64 KiB buffers: TCP to TCP.
    Plain,
}

/// Prints the address it listens on and serves until it is killed.
#[tokio::main]
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    match arguments.kind {
        Kind::Gateway => gateway(listener, arguments.upstream, Protocol::Tcp).await,
        Kind::GatewayRfb => gateway(listener, arguments.upstream, Protocol::Rfb).await,
        Kind::Plain => plain(listener, arguments.upstream).await,
    }
}

async fn gateway(
    listener: TcpListener,
    upstream: SocketAddr,
    protocol: Protocol,
) -> Result<(), Failure> {
    let instance = Arc::new(Instance {
        id: InstanceId::random(),
        uid: "desktop".parse()?,
        app: "bench".to_owned(),
        key: StreamKey(11000),
        endpoints: BTreeMap::new(),
        password: None,
        callback: None,
        home_is_new: false,
        started_at: jiff::Timestamp::now(),
        own_timeout: None,
    });
    let endpoint = Endpoint {
        address: upstream,
        protocol,
        path: String::new(),
        presence: Presence::Viewer,
    };
    let (_living, ended) = watch::channel(None);
    let gateway = Gateway::new(GatewaySettings::default());
    let handler = async move |upgrade: Upgrade| {
        let lease = Lease::new(instance, endpoint, ended, Release::nothing());
        gateway.connect(upgrade, lease).await
    };
    Ok(axum::serve(listener, Router::new().route("/", get(handler))).await?)
}

async fn plain(listener: TcpListener, upstream: SocketAddr) -> Result<(), Failure> {
    loop {
        let (mut client, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut upstream = TcpStream::connect(upstream).await?;
            client.set_nodelay(true)?;
            upstream.set_nodelay(true)?;
            tokio::io::copy_bidirectional_with_sizes(
                &mut client,
                &mut upstream,
                PLAIN_BUFFER_LEN,
                PLAIN_BUFFER_LEN,
            )
            .await
        });
    }
}
