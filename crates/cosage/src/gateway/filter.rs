//! What of a client's bytes goes on to the desktop, by what the client may do at that moment.
//!
//! A desktop's VNC server takes every client at its word, so what a viewer may not do has to be kept from it. For that,
//! the viewer's messages are followed from the first to the last, also those of a viewer who may do everything: its
//! rights may change while it is connected, and only whoever has always followed knows where a message begins.
//!
//! A message is judged once, when it can be told what it is; what has begun to pass passes to its end, so that the
//! server never gets half a message. Only between two messages that pass, the gateway says something in the viewer's
//! stead: it lets go of what a viewer held down that may not control any more, and asks for screen sizes.

use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use rfb::client::ResizeStatus;
use rfb::messages::{Kind, Messages, Part};
use tokio::time::Instant;

use super::ending::Ending;
use super::held::Held;
use super::keyboard::Keyboard;
use super::screen::{self, Seat, Size};
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
    /// Whether the message that has begun was meant for a server that is gone.
    stale: bool,
    /// A message has passed of which only client and server know how long it is, see [`Kind::ExtendedPointerEvent`].
    uncertain: bool,
}

/// What the client said so far, and what is to be said for it and to it.
struct Said {
    messages: Messages,
    wishes: Wishes,
    held: Held,
    keyboard: Arc<Keyboard>,
    seat: Seat,
    /// The most pixels that the screen may have.
    area_max: u32,
    /// The size that the client was told last.
    size: Size,
    /// The rights by which the seat was looked at last.
    rights: Rights,
    /// The client's last `SetDesktopSize` may pass, and has not yet.
    resize_due: bool,
    /// Why a size that the client asked for was refused, until it is told.
    refused: Option<ResizeStatus>,
}

/// What of a client's bytes goes on.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    /// What passes now.
    pub(super) passed: Range<usize>,
    /// What has not been looked at yet, and when it may be.
    pub(super) later: Option<(Range<usize>, Instant)>,
    /// How the connection ends after what passes.
    pub(super) ending: Option<Ending>,
}

impl Sifted {
    fn passed(passed: Range<usize>) -> Self {
        Self {
            passed,
            ..Self::default()
        }
    }

    fn ended(passed: Range<usize>, ending: Ending) -> Self {
        Self {
            ending: Some(ending),
            ..Self::passed(passed)
        }
    }
}

/// What the client's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// RFB after its handshake.
    Rfb,
    /// Anything: the connection ends unless the client may do everything.
    Opaque,
    /// Anything beside what is seen: it passes with the role control.
    Beside,
    /// Lines about the client's display, of which the last one is in force as long as the connection lasts: it ends with the
    /// role control.
    Display,
    /// WebSocket frames that pass through untouched: the connection ends unless the client may do everything.
    Frames,
    /// Frames of one who only listens, which change nothing.
    Listening,
}

impl Filter {
    /// For a connection that begins, whose screen may have `area_max` pixels.
    pub(super) fn new(
        endpoint: &Endpoint,
        standing: Arc<Standing>,
        seat: Seat,
        keyboard: Arc<Keyboard>,
        area_max: u32,
    ) -> Self {
        let rights = standing.rights();
        Self {
            standing,
            content: match (endpoint.protocol, endpoint.presence) {
                (Protocol::Rfb, _) => Content::Rfb,
                (Protocol::Tcp, Presence::Viewer) => Content::Opaque,
                (Protocol::Tcp, Presence::Listener) => Content::Beside,
                (Protocol::Display, _) => Content::Display,
                (Protocol::Websocket, Presence::Viewer) => Content::Frames,
                (Protocol::Webm, _) | (Protocol::Websocket, Presence::Listener) => {
                    Content::Listening
                }
            },
            said: Box::new(Said {
                messages: Messages::default(),
                wishes: Wishes::default(),
                held: Held::default(),
                keyboard,
                seat,
                area_max,
                size: (0, 0),
                rights,
                resize_due: false,
                refused: None,
            }),
            passes: true,
            stale: false,
            uncertain: false,
        }
    }

    /// Takes out of `buffer[payload]`, which is what the client sent next, what may not pass; the rest is moved
    /// together in place. What was held back goes in front of it, so there have to be
    /// [`rfb::messages::HEAD_MAX_LEN`] bytes before any payload but the first, and those that were left for later.
    ///
    /// The connection ends where the client sent what is no RFB, or cannot be held to what it may do.
    pub(super) fn apply(&mut self, buffer: &mut [u8], payload: Range<usize>) -> Sifted {
        if payload.is_empty() {
            return Sifted::passed(payload);
        }
        let nothing = payload.start..payload.start;
        let rights = self.standing.rights();
        match self.content {
            Content::Rfb if self.uncertain && !rights.are_full() => {
                Sifted::ended(nothing, Ending::CannotHold)
            }
            Content::Rfb => self.sift(buffer, payload, rights),
            Content::Listening => Sifted::passed(payload),
            Content::Opaque | Content::Frames if rights.are_full() => Sifted::passed(payload),
            Content::Beside | Content::Display if rights.role == Role::Control => {
                Sifted::passed(payload)
            }
            Content::Beside => Sifted::passed(nothing),
            Content::Opaque | Content::Frames | Content::Display => {
                Sifted::ended(nothing, Ending::CannotHold)
            }
        }
    }

    /// What the client said so far of the pictures it wants.
    pub(super) fn wishes(&mut self) -> &mut Wishes {
        &mut self.said.wishes
    }

    /// Registers the task that is woken when there is something to [`Self::speak`] of.
    pub(super) fn register(&self, waker: &Waker) {
        self.standing.register(waker);
    }

    /// What goes to the server in the client's stead, right now; empty while there is nothing.
    ///
    /// # Errors
    /// How the connection ends: the client cannot be held to what it may do any more.
    pub(super) fn speak(&mut self) -> Result<Vec<u8>, Ending> {
        let rights = self.standing.rights();
        match self.content {
            Content::Rfb => {}
            Content::Beside | Content::Listening => return Ok(Vec::new()),
            Content::Opaque | Content::Frames if rights.are_full() => return Ok(Vec::new()),
            Content::Display if rights.role == Role::Control => return Ok(Vec::new()),
            Content::Opaque | Content::Frames | Content::Display => {
                return Err(Ending::CannotHold);
            }
        }
        if !rights.are_full() && self.uncertain {
            return Err(Ending::CannotHold);
        }
        let between = self.is_between_messages();
        let said = &mut *self.said;
        if rights != said.rights {
            said.rights = rights;
            said.seat.reconsider();
        }
        let mut messages = Vec::new();
        if !between {
            return Ok(messages);
        }
        if rights.role == Role::View {
            said.held.release(&mut messages);
        }
        let takes_sizes = said.wishes.takes_sizes();
        if mem::take(&mut said.resize_due) {
            // It was judged when it came, and both may have changed while it waited.
            if rights.role == Role::View {
                said.wishes.give_up_resize();
                said.refused = Some(ResizeStatus::Prohibited);
            } else if takes_sizes {
                messages.extend_from_slice(said.wishes.unanswered());
            } else {
                said.wishes.give_up_resize();
            }
        }
        if said.seat.take_due() && rights.role == Role::Control && takes_sizes {
            messages.extend_from_slice(said.wishes.size());
        }
        Ok(messages)
    }

    /// Whether the client holds something down that it may not, because it does not end the message that it has begun.
    pub(super) fn owes_release(&self) -> bool {
        self.standing.rights().role == Role::View && !self.said.held.is_empty()
    }

    /// What lets go of everything that the client holds down, because it leaves; empty where nothing is held, and in the
    /// middle of a message, which only the end of the connection ends.
    pub(super) fn let_go(&mut self) -> Vec<u8> {
        let mut messages = Vec::new();
        if self.is_between_messages() && !self.uncertain {
            self.said.held.release(&mut messages);
        }
        messages
    }

    /// Whether the server has whole messages only.
    fn is_between_messages(&self) -> bool {
        !(self.passes && self.said.messages.in_body())
    }

    /// Why a size that the client asked for was refused, once.
    pub(super) fn take_refused(&mut self) -> Option<ResizeStatus> {
        self.said.refused.take()
    }

    /// The server has answered a `SetDesktopSize`.
    pub(super) fn resize_was_answered(&mut self, status: u16) {
        let was_granted = self.said.wishes.resize_was_answered(status);
        if was_granted && self.standing.rights().role == Role::Control {
            self.said.seat.asked();
        }
    }

    /// The client is told that the screen has this size, with a layout as in `SetDesktopSize`.
    pub(super) fn note_size(&mut self, size: Size, layout: &[u8]) {
        let said = &mut *self.said;
        if size != said.size {
            said.size = size;
            said.seat.note_size(size);
        }
        if said.wishes.found_size(size, layout) {
            said.seat.resizes();
        }
    }

    /// The server is gone. What it was asked for was perhaps what ended it: the client is told that it does not get that.
    /// Returns the size that a next server is given.
    pub(super) fn server_is_gone(&mut self) -> Option<Size> {
        let said = &mut *self.said;
        said.resize_due = false;
        if said.wishes.give_up_resize() {
            said.refused = Some(ResizeStatus::OutOfResources);
        }
        said.wishes.forget_size_above(said.seat.carried_area());
        said.seat.carried()
    }

    /// The bytes go to another server from now on: it gets nothing of a message that began before, and nothing is held down
    /// on it, neither from the server before nor from what came in between.
    pub(super) fn turn(&mut self) {
        self.passes = false;
        self.uncertain = false;
        self.stale = !self.said.messages.beginning().is_empty();
        self.said.held.forget();
        self.said.keyboard.reset();
    }

    fn sift(&mut self, buffer: &mut [u8], payload: Range<usize>, rights: Rights) -> Sifted {
        let said = &mut *self.said;
        let held = said.messages.beginning();
        let start = payload.start - held.len();
        buffer[start..payload.start].copy_from_slice(held);
        let mut passed = start..start;
        let mut part_start = start;
        let mut at = payload.start;
        while at < payload.end {
            let (len, part) = match said.messages.advance(&buffer[at..payload.end]) {
                Ok(told) => told,
                // What came before it was judged, and goes on.
                Err(error) => {
                    return Sifted::ended(passed, Ending::ViewerRefused(error.to_string()));
                }
            };
            said.wishes.note(part, &buffer[at..at + len]);
            at += len;
            let mut later = None;
            let passes = match part {
                // Held back until it can be judged.
                Part::Beginning => false,
                Part::Head(kind) => {
                    self.passes = !mem::take(&mut self.stale)
                        && may_pass(kind, rights)
                        && said.held.note(kind, &buffer[part_start..at]);
                    self.uncertain |= self.passes && kind == Kind::ExtendedPointerEvent;
                    if self.passes {
                        later = said.keyboard.note(kind, &buffer[part_start..at]);
                    }
                    self.passes
                }
                Part::Body => self.passes,
            };
            if let Some(request) = said.wishes.take_request() {
                said.resize(request, rights);
            }
            if passes {
                if passed.end != part_start {
                    buffer.copy_within(part_start..at, passed.end);
                }
                passed.end += at - part_start;
            }
            part_start = at;
            if let Some(until) = later {
                return Sifted {
                    later: Some((at..payload.end, until)),
                    ..Sifted::passed(passed)
                };
            }
        }
        Sifted::passed(passed)
    }
}

impl Said {
    /// Judges a whole `SetDesktopSize`. One of a client that takes no sizes is dropped: Xvnc closes such a client while it
    /// still handles the request, and crashes.
    fn resize(&mut self, request: Vec<u8>, rights: Rights) {
        if !self.wishes.takes_sizes() {
            return;
        }
        let verdict = match rights.role {
            Role::Control => screen::check(&request, self.area_max),
            Role::View => Err(ResizeStatus::Prohibited),
        };
        match verdict {
            Ok(()) => {
                self.wishes.pass_resize(request);
                self.resize_due = true;
            }
            Err(status) => self.refused = Some(status),
        }
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
        | Kind::Gii
        | Kind::QemuKeyEvent
        | Kind::QemuAudio => rights.role == Role::Control,
        Kind::ClientCutText | Kind::ClipboardOffer => rights.paste(),
        // It is judged as a whole, and passed on by the gateway.
        Kind::SetDesktopSize => false,
        // Its length is not certain, so nothing could be kept out after it.
        Kind::ExtendedPointerEvent => rights.are_full(),
    }
}

#[cfg(test)]
mod tests;
