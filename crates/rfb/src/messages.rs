//! The messages of a client after the handshake (RFC 6143, 7.5, and rfbproto's extensions), as a stream: where each
//! begins, what it is and where it ends. A message of a fixed length is told once it is whole; the body of any other one is
//! never gathered, so a text may be of any length.
//!
//! A stream of RFB has no marks between messages: whoever does not know one message's length knows nothing of what
//! follows. So a message of an unknown type is an error and not something to pass over.

/// The longest head in bytes: the longest message of a fixed length, `SetPixelFormat`.
pub const HEAD_MAX_LEN: usize = 20;

/// The longest payload of a `ClientFence` in bytes (rfbproto).
pub const FENCE_MAX_LEN: u8 = 64;

// Types of messages: RFC 6143, 7.5, and below the line rfbproto.
const SET_PIXEL_FORMAT: u8 = 0;
const SET_ENCODINGS: u8 = 2;
const FRAMEBUFFER_UPDATE_REQUEST: u8 = 3;
const KEY_EVENT: u8 = 4;
const POINTER_EVENT: u8 = 5;
const CLIENT_CUT_TEXT: u8 = 6;
const ENABLE_CONTINUOUS_UPDATES: u8 = 150;
const CLIENT_FENCE: u8 = 248;
const XVP: u8 = 250;
const SET_DESKTOP_SIZE: u8 = 251;
const GII: u8 = 253;
const QEMU: u8 = 255;

// Sub-types of QEMU's message, and operations of its audio.
const QEMU_EXTENDED_KEY_EVENT: u8 = 0;
const QEMU_AUDIO: u8 = 1;
const QEMU_AUDIO_ENABLE: u16 = 0;
const QEMU_AUDIO_DISABLE: u16 = 1;
const QEMU_AUDIO_SET_FORMAT: u16 = 2;

/// In a gii message's first byte after the type: what follows is big-endian.
const GII_BIG_ENDIAN: u8 = 0x80;

/// The pseudo-encoding by which a client says that its `PointerEvent` may have a seventh byte, and the bit of the
/// button mask that says that one has.
const EXTENDED_MOUSE_BUTTONS: [u8; 4] = (-316_i32).to_be_bytes();
const EXTENDED_MARKER: u8 = 0x80;

/// Actions of an extended clipboard message, as bits of its flags.
const CLIPBOARD_ACTIONS: u32 = 0x1f00_0000;
const CLIPBOARD_CAPS: u32 = 1 << 24;
const CLIPBOARD_REQUEST: u32 = 1 << 25;
const CLIPBOARD_PEEK: u32 = 1 << 26;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// How the client wants its pixels (RFC 6143, 7.5.1).
    SetPixelFormat,
    /// Which encodings it understands (7.5.2).
    SetEncodings,
    /// It wants a picture (7.5.3).
    FramebufferUpdateRequest,
    /// A key (7.5.4).
    KeyEvent,
    /// The pointer (7.5.5).
    PointerEvent,
    /// The pointer with a seventh byte for further buttons (rfbproto, Extended Mouse Buttons). A server that has not
    /// agreed to the extension takes it for six bytes, so whoever only sees the client cannot be sure of what follows.
    ExtendedPointerEvent,
    /// A text for the desktop's clipboard (7.5.6).
    ClientCutText,
    /// The extended clipboard: what the client can take, or that it would like to have what the desktop has
    /// (`caps`, `request` and `peek`).
    ClipboardInquiry,
    /// The extended clipboard: that the client has something, or what it is (`notify` and `provide`, and whatever
    /// else).
    ClipboardOffer,
    /// Pictures without a request for each (rfbproto).
    EnableContinuousUpdates,
    /// A mark that the server sends back (rfbproto).
    ClientFence,
    /// Shut down, reboot or reset (rfbproto, xvp).
    Xvp,
    /// Another size of the screen (rfbproto).
    SetDesktopSize,
    /// Devices beyond keyboard and mouse (rfbproto, gii).
    Gii,
    /// A key with its position on the keyboard (rfbproto, QEMU).
    QemuKeyEvent,
    /// The sound of a virtual machine (rfbproto, QEMU).
    QemuAudio,
}

/// What no client may send. What follows it cannot be understood any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No message of this type is known.
    #[error("the viewer sent an RFB message of the unknown type {0}")]
    UnknownType(u8),
    /// No message of QEMU's is known that has this sub-type.
    #[error("the viewer sent a QEMU message of the unknown sub-type {0}")]
    UnknownQemuType(u8),
    /// QEMU's audio has no such operation.
    #[error("the viewer sent a QEMU audio message with the unknown operation {0}")]
    UnknownAudioOperation(u16),
    /// A fence carries at most [`FENCE_MAX_LEN`] bytes.
    #[error("the viewer sent a fence of {0} bytes, and 64 are allowed")]
    FenceTooLong(u8),
    /// An extended clipboard message has at least its four bytes of flags.
    #[error(
        "the viewer sent an extended clipboard message of {0} bytes, which has no room for its flags"
    )]
    ClipboardTooShort(u32),
}

/// What the front of the input was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The beginning of a message that cannot be told yet: there was no more input.
    Beginning,
    /// All that was missing of a message's head, which is of this kind. Its body, if it has one, follows. A message of a
    /// fixed length is all head.
    Head(Kind),
    /// Bytes of the body of the message that was told last.
    Body,
}

/// Follows the messages of one client, in whatever pieces they come.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    /// While a list of encodings is read, its last four bytes, otherwise what there is of a head.
    head: [u8; HEAD_MAX_LEN],
    /// How much of a head was gathered, because it came in pieces.
    gathered: u8,
    /// Of the message that was told last.
    remaining: u32,
    /// Whether the list of encodings that is read, or was read last, has [`EXTENDED_MOUSE_BUTTONS`].
    extended_mouse_buttons: bool,
    in_encodings: bool,
}

/// What the first bytes of a message tell.
struct Head {
    kind: Kind,
    /// How long the head is, and how long what follows it.
    len: usize,
    body: u32,
}

impl Messages {
    /// The bytes of a head that is not complete yet.
    pub fn beginning(&self) -> &[u8] {
        &self.head[..usize::from(self.gathered)]
    }

    /// Whether part of a body is still to come.
    pub fn in_body(&self) -> bool {
        self.remaining > 0
    }

    /// Whether all messages so far are whole.
    pub fn at_boundary(&self) -> bool {
        self.gathered == 0 && self.remaining == 0
    }

    /// Takes one part off the front of `input`, which is not empty; how many bytes it has, and what it is.
    ///
    /// # Errors
    /// What no client may send; this is of no use any more then.
    pub fn advance(&mut self, input: &[u8]) -> Result<(usize, Part), MessageError> {
        if self.remaining > 0 {
            return Ok((self.body(input), Part::Body));
        }
        if self.gathered == 0
            && let Some(head) = self.tell(input)?
        {
            self.begin(&head);
            return Ok((head.len, Part::Head(head.kind)));
        }
        for (taken, byte) in input.iter().enumerate() {
            self.head[usize::from(self.gathered)] = *byte;
            self.gathered += 1;
            if let Some(head) = self.tell(self.beginning())? {
                self.gathered = 0;
                self.begin(&head);
                return Ok((taken + 1, Part::Head(head.kind)));
            }
        }
        Ok((input.len(), Part::Beginning))
    }

    fn begin(&mut self, head: &Head) {
        self.remaining = head.body;
        self.in_encodings = head.kind == Kind::SetEncodings;
        if self.in_encodings {
            self.extended_mouse_buttons = false;
        }
    }

    fn body(&mut self, input: &[u8]) -> usize {
        let len = (self.remaining as usize).min(input.len());
        if self.in_encodings {
            for byte in &input[..len] {
                self.head.copy_within(1..4, 0);
                self.head[3] = *byte;
                self.remaining -= 1;
                self.extended_mouse_buttons |=
                    self.remaining.is_multiple_of(4) && self.head[..4] == EXTENDED_MOUSE_BUTTONS;
            }
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "at most `remaining`")]
            {
                self.remaining -= len as u32;
            }
        }
        len
    }

    /// What the message is that begins with these bytes; `None` when they are too few.
    fn tell(&self, bytes: &[u8]) -> Result<Option<Head>, MessageError> {
        let head = |kind, len: usize, body: u32| Ok(Some(Head { kind, len, body }));
        let whole = |kind, len: usize| {
            let head = Head { kind, len, body: 0 };
            Ok((bytes.len() >= len).then_some(head))
        };
        match *bytes {
            [] => Ok(None),
            [FRAMEBUFFER_UPDATE_REQUEST, ..] => whole(Kind::FramebufferUpdateRequest, 10),
            [POINTER_EVENT] => Ok(None),
            [POINTER_EVENT, buttons, ..] => {
                if self.extended_mouse_buttons && buttons & EXTENDED_MARKER != 0 {
                    whole(Kind::ExtendedPointerEvent, 7)
                } else {
                    whole(Kind::PointerEvent, 6)
                }
            }
            [KEY_EVENT, ..] => whole(Kind::KeyEvent, 8),
            [QEMU, QEMU_EXTENDED_KEY_EVENT, ..] => whole(Kind::QemuKeyEvent, 12),
            [QEMU, QEMU_AUDIO, high, low, ..] => match u16::from_be_bytes([high, low]) {
                QEMU_AUDIO_ENABLE | QEMU_AUDIO_DISABLE => whole(Kind::QemuAudio, 4),
                QEMU_AUDIO_SET_FORMAT => whole(Kind::QemuAudio, 10),
                operation => Err(MessageError::UnknownAudioOperation(operation)),
            },
            [QEMU] | [QEMU, QEMU_AUDIO, ..] => Ok(None),
            [QEMU, other, ..] => Err(MessageError::UnknownQemuType(other)),
            [CLIENT_CUT_TEXT, _, _, _, a, b, c, d, ref rest @ ..] => {
                let len = i32::from_be_bytes([a, b, c, d]);
                match (u32::try_from(len), rest) {
                    (Ok(len), _) => head(Kind::ClientCutText, 8, len),
                    (Err(_), _) if len > -4 => {
                        Err(MessageError::ClipboardTooShort(len.unsigned_abs()))
                    }
                    (Err(_), [a, b, c, d, ..]) => {
                        let flags = u32::from_be_bytes([*a, *b, *c, *d]);
                        head(clipboard(flags), 12, len.unsigned_abs() - 4)
                    }
                    (Err(_), _) => Ok(None),
                }
            }
            [CLIENT_FENCE, _, _, _, _, _, _, _, len, ..] => {
                if len > FENCE_MAX_LEN {
                    return Err(MessageError::FenceTooLong(len));
                }
                head(Kind::ClientFence, 9, u32::from(len))
            }
            [SET_ENCODINGS, _, high, low, ..] => {
                let count = u16::from_be_bytes([high, low]);
                head(Kind::SetEncodings, 4, 4 * u32::from(count))
            }
            [SET_DESKTOP_SIZE, _, _, _, _, _, screens, _, ..] => {
                head(Kind::SetDesktopSize, 8, 16 * u32::from(screens))
            }
            [GII, sub_type, a, b, ..] => {
                let len = if sub_type & GII_BIG_ENDIAN == 0 {
                    u16::from_le_bytes([a, b])
                } else {
                    u16::from_be_bytes([a, b])
                };
                head(Kind::Gii, 4, u32::from(len))
            }
            [
                CLIENT_CUT_TEXT | CLIENT_FENCE | SET_ENCODINGS | SET_DESKTOP_SIZE | GII,
                ..,
            ] => Ok(None),
            [SET_PIXEL_FORMAT, ..] => whole(Kind::SetPixelFormat, 20),
            [ENABLE_CONTINUOUS_UPDATES, ..] => whole(Kind::EnableContinuousUpdates, 10),
            [XVP, ..] => whole(Kind::Xvp, 4),
            [other, ..] => Err(MessageError::UnknownType(other)),
        }
    }
}

fn clipboard(flags: u32) -> Kind {
    match flags & CLIPBOARD_ACTIONS {
        action if action & CLIPBOARD_CAPS != 0 => Kind::ClipboardInquiry,
        CLIPBOARD_REQUEST | CLIPBOARD_PEEK => Kind::ClipboardInquiry,
        _ => Kind::ClipboardOffer,
    }
}

#[cfg(test)]
mod tests;
