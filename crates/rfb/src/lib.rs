//! The RFB protocol (RFC 6143, and rfbproto for what came after it): the handshake as a client
//! and as a server, where the messages of a client and of a server begin and end, and a small client. No policy and no HTTP.
//!
//! The handshake works over any `AsyncRead + AsyncWrite` and reads exactly the bytes of the message
//! it waits for, never more: whoever comes next, such as a relay that passes the rest on as it
//! is, finds the stream just before `ClientInit`, which is the same in all versions.

pub mod authentication;
pub mod client;
mod error;
mod framebuffer;
mod handshake;
pub mod messages;
pub mod updates;
mod version;
mod zrle;

pub use handshake::{HandshakeError, REASON_MAX_LEN, accept, connect, probe};
pub use version::{BANNER_LEN, Version, VersionError};
