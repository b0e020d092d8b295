//! Why a connection ended, and what its client is told.

use std::fmt;
use std::io;

use super::frame::{ControlFrame, FrameError, code};
use crate::desktop::end::EndReason;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The client sent a close frame, with this code.
    ClientClosed(Option<u16>),
    /// The client's TCP connection ended or broke without a close frame.
    ClientGone,
    /// The client did what the protocol forbids.
    ClientBroke(FrameError),
    /// The client gave no sign of life.
    ClientSilent,
    /// The upstream ended its TCP connection.
    UpstreamClosed,
    /// The upstream's TCP connection broke.
    UpstreamFailed(io::Error),
    /// The upstream could not be reached, or the handshake with it failed.
    UpstreamRefused(String),
    /// The viewer's side of the RFB handshake failed.
    ViewerRefused(String),
    /// The client may not steer any more, and this connection cannot be held to that.
    CannotHold,
    /// The desktop ended, or the client has to go.
    Lease(EndReason),
}

impl Ending {
    /// The close frame for the client; `None` when there is nobody to read one.
    pub(super) fn close_frame(&self) -> Option<ControlFrame> {
        let (code, reason) = match self {
            // RFC 6455, 5.5.1: the answer repeats the code.
            Self::ClientClosed(code) => return Some(ControlFrame::close(*code, "")),
            Self::ClientGone | Self::ClientSilent => return None,
            Self::ClientBroke(error) => {
                return Some(ControlFrame::close(Some(error.code()), &error.to_string()));
            }
            Self::UpstreamClosed => (code::NORMAL, "the desktop closed the connection"),
            Self::UpstreamFailed(_) => {
                (code::INTERNAL_ERROR, "the connection to the desktop broke")
            }
            Self::UpstreamRefused(reason) => (code::INTERNAL_ERROR, reason.as_str()),
            Self::ViewerRefused(reason) => (code::PROTOCOL_ERROR, reason.as_str()),
            Self::CannotHold => (
                code::POLICY,
                "you may only look on now, and this connection could still steer; connect again",
            ),
            Self::Lease(EndReason::ShareRevoked) => {
                (code::POLICY, "the address you came by was withdrawn")
            }
            Self::Lease(EndReason::ShareExpired) => {
                (code::POLICY, "the address you came by has expired")
            }
            Self::Lease(EndReason::Stopped) => (code::GOING_AWAY, "the desktop was stopped"),
            Self::Lease(EndReason::MaximumAge) => {
                (code::GOING_AWAY, "the desktop reached its maximum age")
            }
            Self::Lease(EndReason::Idle) => (
                code::GOING_AWAY,
                "the desktop was stopped because nobody looked at it",
            ),
            Self::Lease(EndReason::Exited) => (code::GOING_AWAY, "the desktop ended by itself"),
            Self::Lease(EndReason::ServiceShutdown) => (
                code::SERVICE_RESTART,
                "the service restarts; connect again in a moment",
            ),
        };
        Some(ControlFrame::close(Some(code), reason))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientClosed(Some(code)) => write!(formatter, "the client closed with {code}"),
            Self::ClientClosed(None) => formatter.write_str("the client closed"),
            Self::ClientGone => formatter.write_str("the client hung up"),
            Self::ClientBroke(error) => write!(formatter, "the client broke the protocol: {error}"),
            Self::ClientSilent => formatter.write_str("the client answered no ping"),
            Self::UpstreamClosed => formatter.write_str("the desktop closed the connection"),
            Self::UpstreamFailed(error) => write!(formatter, "the upstream failed: {error}"),
            Self::UpstreamRefused(reason) | Self::ViewerRefused(reason) => {
                formatter.write_str(reason)
            }
            Self::CannotHold => {
                formatter.write_str("the client's right to steer ended, and its connection with it")
            }
            Self::Lease(reason) => write!(formatter, "the desktop ended: {reason:?}"),
        }
    }
}
