//! Why a client of a VNC server gives up.

use std::io;

use crate::handshake::HandshakeError;

/// Why the client gave up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The connection broke or ended.
    #[error("the connection to the VNC server broke: {0}")]
    Io(#[from] io::Error),
    /// The server sent what this client does not understand or did not ask for.
    #[error("the VNC server sent {0}")]
    Unexpected(String),
}
