//! The ways into an instance: as the catalog declares them, and as the gateway dials them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How a stream is spoken between the gateway and the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Plain RFB over TCP: the gateway makes the WebSocket and answers the VNC server's password.
    Rfb,
    /// Raw bytes over TCP: the gateway makes the WebSocket and looks at nothing.
    Tcp,
    /// A live WebM stream over TCP, after the instance's password where it has one: the gateway
    /// makes the WebSocket, and shares one connection among all listeners.
    Webm,
    /// The scale of a viewer's display, in lines over TCP after the instance's password where it has one: the gateway
    /// makes the WebSocket, and passes on what clients with the role control send.
    Display,
    /// The instance is a WebSocket server itself.
    Websocket,
}

/// Whether somebody connected to a stream counts as looking at the desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A connection is a viewer: it keeps the desktop alive.
    Viewer,
    /// A connection only listens: it keeps nothing alive and starts nothing.
    Listener,
}

/// A way into an instance, as the catalogue declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// The container's TCP port, 1 to 65535.
    pub port: u16,
    /// How it is spoken.
    pub protocol: Protocol,
    /// For [`Protocol::Websocket`], the path of the upgrade request, such as `/vnc`.
    pub path: String,
    /// Whether a connection is a viewer.
    pub presence: Presence,
}

/// A way into a running instance, as the gateway dials it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it answers.
    pub address: SocketAddr,
    /// How it is spoken.
    pub protocol: Protocol,
    /// For [`Protocol::Websocket`], the path of the upgrade request.
    pub path: String,
    /// Whether a connection is a viewer.
    pub presence: Presence,
}
