//! What of a client's bytes goes on to the desktop, by what the client may do at that moment.
//!
//! A desktop's VNC server takes every client at its word, so what a viewer may not do has to be kept from it. For that,
//! the viewer's messages are followed from the first to the last, also those of a viewer who may do everything: its
//! rights may change while it is connected, and only whoever has always followed knows where a message begins.
//!
//! A message is judged once, when it can be told what it is; what has begun to pass passes to its end, so that the
//! server never gets half a message.

use std::ops::Range;
use std::sync::Arc;

use rfb::messages::{Kind, Messages, Part};

use super::ending::Ending;
use super::wishes::Wishes;
use crate::desktop::rights::{Rights, Role, Standing};
use crate::engine::{Endpoint, Presence, Protocol};

/// Stands between one client and its desktop.
pub(super) struct Filter {
    standing: Arc<Standing>,
    content: Content,
    /// In a place of its own, which an idle relay has no need to be near to.
    said: Box<Said>,
    /// Whether the message whose head was told last passes.
    passes: bool,
    /// Whether what there is of the next message's head has passed already.
    begun: bool,
    /// A message has passed of which only client and server know how long it is, see [`Kind::ExtendedPointerEvent`].
    uncertain: bool,
}

/// What the client said so far.
#[derive(Default)]
struct Said {
    messages: Messages,
    wishes: Wishes,
}

/// What the client's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// RFB after its handshake.
    Rfb,
    /// Anything: nothing of it passes unless the client may do everything.
    Opaque,
    /// Lines about the client's display: they pass with the role control.
    Display,
    /// WebSocket frames that pass through untouched: the connection ends unless the client may do everything.
    Frames,
    /// Frames of one who only listens, which change nothing.
    Listening,
}

impl Filter {
    /// For a connection that begins.
    pub(super) fn new(endpoint: &Endpoint, standing: Arc<Standing>) -> Self {
        Self {
            standing,
            content: match (endpoint.protocol, endpoint.presence) {
                (Protocol::Rfb, _) => Content::Rfb,
                (Protocol::Tcp, _) => Content::Opaque,
                (Protocol::Display, _) => Content::Display,
                (Protocol::Websocket, Presence::Viewer) => Content::Frames,
                (Protocol::Webm, _) | (Protocol::Websocket, Presence::Listener) => {
                    Content::Listening
                }
            },
            said: Box::default(),
            passes: true,
            begun: false,
            uncertain: false,
        }
    }

    /// Takes out of `buffer[payload]`, which is what the client sent next, what may not pass; the rest is moved
    /// together in place. What was held back goes in front of it, so there have to be
    /// [`rfb::messages::HEAD_MAX_LEN`] bytes before any payload but the first.
    ///
    /// # Errors
    /// How the connection ends: the client sent what is no RFB, or it cannot be held to what it may do.
    pub(super) fn apply(
        &mut self,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, Ending> {
        if payload.is_empty() {
            return Ok(payload);
        }
        let rights = self.standing.rights();
        match self.content {
            Content::Rfb if self.uncertain && !rights.are_full() => Err(Ending::CannotHold),
            Content::Rfb => self.sift(buffer, payload, rights),
            Content::Listening => Ok(payload),
            Content::Opaque | Content::Frames if rights.are_full() => Ok(payload),
            Content::Display if rights.role == Role::Control => Ok(payload),
            Content::Opaque | Content::Display => Ok(payload.start..payload.start),
            Content::Frames => Err(Ending::CannotHold),
        }
    }

    /// What the client said so far of the pictures it wants.
    pub(super) fn wishes(&mut self) -> &mut Wishes {
        &mut self.said.wishes
    }

    /// What the client is to do.
    pub(super) fn rights(&self) -> Rights {
        self.standing.rights()
    }

    /// The bytes go to another server from now on: it gets nothing of a message of which it did not get the beginning.
    pub(super) fn turn(&mut self) {
        self.passes = false;
        self.begun = false;
    }

    fn sift(
        &mut self,
        buffer: &mut [u8],
        payload: Range<usize>,
        rights: Rights,
    ) -> Result<Range<usize>, Ending> {
        let held = if self.begun {
            &[]
        } else {
            self.said.messages.beginning()
        };
        let start = payload.start - held.len();
        buffer[start..payload.start].copy_from_slice(held);
        let mut passed = start..start;
        let mut part_start = start;
        let mut at = payload.start;
        while at < payload.end {
            let (len, part) = self
                .said
                .messages
                .advance(&buffer[at..payload.end])
                .map_err(|error| Ending::ViewerRefused(error.to_string()))?;
            self.said.wishes.note(part, &buffer[at..at + len]);
            at += len;
            let passes = match part {
                Part::Beginning => {
                    // Held back until it can be judged, unless there is nothing to judge.
                    self.begun |= rights.are_full();
                    self.begun
                }
                Part::Head(kind) => {
                    self.passes = self.begun || may_pass(kind, rights);
                    self.begun = false;
                    self.uncertain |= self.passes && kind == Kind::ExtendedPointerEvent;
                    self.passes
                }
                Part::Body => self.passes,
            };
            if passes {
                if passed.end != part_start {
                    buffer.copy_within(part_start..at, passed.end);
                }
                passed.end += at - part_start;
            }
            part_start = at;
        }
        Ok(passed)
    }
}

/// Whether somebody with these rights may send this. Who only looks on may say how they want their picture, and no more.
fn may_pass(kind: Kind, rights: Rights) -> bool {
    match kind {
        Kind::SetPixelFormat
        | Kind::SetEncodings
        | Kind::FramebufferUpdateRequest
        | Kind::EnableContinuousUpdates
        | Kind::ClientFence
        | Kind::ClipboardInquiry => true,
        Kind::KeyEvent
        | Kind::PointerEvent
        | Kind::Xvp
        | Kind::SetDesktopSize
        | Kind::Gii
        | Kind::QemuKeyEvent
        | Kind::QemuAudio => rights.role == Role::Control,
        Kind::ClientCutText | Kind::ClipboardOffer => rights.paste(),
        // Its length is not certain, so nothing could be kept out after it.
        Kind::ExtendedPointerEvent => rights.are_full(),
    }
}

#[cfg(test)]
mod tests;
