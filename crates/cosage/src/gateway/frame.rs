//! WebSocket frames (RFC 6455, 5.2), as a stream: a payload is passed on as it comes in and never gathered,
//! so a message may be of any size, and only control frames (125 bytes at most) are kept.
//!
//! [`Decoder`] takes what a client sends and holds it to the protocol; [`Tracker`] only follows
//! where frames begin and end in what is passed through untouched.
//!
//! More than 500 lines because it has the whole of RFC 6455's frames, and nothing else.

use std::ops::Range;

use bytes::BufMut;

/// The longest header of a frame in bytes: a 64-bit length and a mask.
pub const HEADER_MAX_LEN: usize = 14;

/// The longest header of a frame without a mask, as a server sends it, in bytes.
pub const SERVER_HEADER_MAX_LEN: usize = 10;

/// The longest payload of a control frame in bytes (RFC 6455, 5.5).
pub const CONTROL_MAX_LEN: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Why a connection ends, as its close frame says it (RFC 6455, 7.4.1).
pub mod code {
    /// It has served its purpose.
    pub const NORMAL: u16 = 1000;
    /// The desktop goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A kind of data that is not spoken here.
    pub const UNSUPPORTED: u16 = 1003;
    /// Text that is not UTF-8.
    pub const INVALID_TEXT: u16 = 1007;
    /// What the client wants is not allowed to it (any more).
    pub const POLICY: u16 = 1008;
    /// Something behind the gateway failed.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The service restarts; try again (registered with IANA).
    pub const SERVICE_RESTART: u16 = 1012;
}

/// What a client may not send. The text is what its close frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// RFC 6455, 5.1.
    #[error("a client's frame was not masked")]
    Unmasked,
    /// RFC 6455, 5.2; no extension is ever agreed on.
    #[error("reserved bits were set, and no extension was agreed on")]
    ReservedBits,
    /// RFC 6455, 5.2.
    #[error("the opcode is reserved")]
    ReservedOpcode,
    /// RFC 6455, 5.2: the highest bit is zero and the shortest form is used.
    #[error("the length is malformed")]
    MalformedLength,
    /// RFC 6455, 5.5.
    #[error("a control frame was fragmented or too long")]
    MalformedControl,
    /// RFC 6455, 5.4.
    #[error("a fragment came out of order")]
    UnexpectedFragment,
    /// RFC 6455, 5.5.1 and 7.4.
    #[error("the close frame is malformed")]
    MalformedClose,
    /// RFC 6455, 8.1.
    #[error("the close frame's reason is not UTF-8")]
    InvalidText,
    /// Streams are binary.
    #[error("text messages are not spoken here; send binary ones")]
    Text,
}

impl FrameError {
    /// The close code that tells the client.
    pub fn code(self) -> u16 {
        match self {
            Self::Text => code::UNSUPPORTED,
            Self::InvalidText => code::INVALID_TEXT,
            Self::Unmasked
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::MalformedLength
            | Self::MalformedControl
            | Self::UnexpectedFragment
            | Self::MalformedClose => code::PROTOCOL_ERROR,
        }
    }
}

/// A control frame as a server sends it, ready to be written.
#[derive(Clone, Copy)]
pub struct ControlFrame {
    bytes: [u8; 2 + CONTROL_MAX_LEN],
    len: u8,
}

impl ControlFrame {
    /// A ping without payload.
    pub fn ping() -> Self {
        Self::new(PING, &[])
    }

    /// The answer to a ping; `payload` is the ping's, at most [`CONTROL_MAX_LEN`] bytes.
    pub fn pong(payload: &[u8]) -> Self {
        Self::new(PONG, payload)
    }

    /// The end of the connection. `code` `None` is a close frame without payload. A reason that
    /// is too long is cut at a character.
    pub fn close(code: Option<u16>, reason: &str) -> Self {
        let mut payload = [0; CONTROL_MAX_LEN];
        let Some(code) = code else {
            return Self::new(CLOSE, &[]);
        };
        let reason = &reason[..reason.floor_char_boundary(CONTROL_MAX_LEN - 2)];
        payload[..2].copy_from_slice(&code.to_be_bytes());
        payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
        Self::new(CLOSE, &payload[..2 + reason.len()])
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn new(opcode: u8, payload: &[u8]) -> Self {
        let mut bytes = [0; 2 + CONTROL_MAX_LEN];
        let len = payload.len().min(CONTROL_MAX_LEN);
        bytes[0] = FIN | opcode;
        #[expect(clippy::cast_possible_truncation, reason = "at most 125")]
        let short = len as u8;
        bytes[1] = short;
        bytes[2..2 + len].copy_from_slice(&payload[..len]);
        Self {
            bytes,
            len: 2 + short,
        }
    }
}

/// Makes `buffer[payload]` the payload of one unmasked binary frame by writing the header right in
/// front of it, so that both go out in one write. Returns what is to be written.
///
/// At least [`SERVER_HEADER_MAX_LEN`] bytes must lie before the payload.
pub fn frame_in_place(buffer: &mut [u8], payload: Range<usize>) -> Range<usize> {
    let mut header = [0_u8; SERVER_HEADER_MAX_LEN];
    let mut rest = &mut header[..];
    rest.put_u8(FIN | BINARY);
    let len = payload.len();
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => rest.put_u8(len),
        (_, Ok(len)) => {
            rest.put_u8(126);
            rest.put_u16(len);
        }
        _ => {
            rest.put_u8(127);
            rest.put_u64(len as u64);
        }
    }
    let header_len = SERVER_HEADER_MAX_LEN - rest.len();
    let start = payload.start - header_len;
    buffer[start..payload.start].copy_from_slice(&header[..header_len]);
    start..payload.end
}

/// Gathers a header that may come in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct HeaderReader {
    bytes: [u8; HEADER_MAX_LEN],
    filled: u8,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    fin: bool,
    reserved: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    len: u64,
    /// Whether the shortest form was used for the length, and its highest bit is not set.
    well_formed: bool,
}

impl HeaderReader {
    /// Takes from the front of `input` what belongs to the header; how many bytes that were, and
    /// the header once it is complete.
    fn read(&mut self, input: &[u8]) -> (usize, Option<Header>) {
        let mut taken = 0;
        loop {
            let filled = usize::from(self.filled);
            let needed = self.needed();
            if filled == needed && filled >= 2 {
                let header = self.parse();
                self.filled = 0;
                return (taken, Some(header));
            }
            let piece = (needed - filled).min(input.len() - taken);
            if piece == 0 {
                return (taken, None);
            }
            self.bytes[filled..filled + piece].copy_from_slice(&input[taken..taken + piece]);
            taken += piece;
            #[expect(clippy::cast_possible_truncation, reason = "at most 14")]
            {
                self.filled += piece as u8;
            }
        }
    }

    /// The header's length as far as its first bytes tell.
    fn needed(&self) -> usize {
        if self.filled < 2 {
            return 2;
        }
        let extended = match self.bytes[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.bytes[1] & MASKED == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    fn parse(&self) -> Header {
        let [first, second, rest @ ..] = &self.bytes;
        let (len, well_formed, extended) = match second & !MASKED {
            126 => {
                let len = u64::from(u16::from_be_bytes([rest[0], rest[1]]));
                (len, len >= 126, 2)
            }
            127 => {
                let mut len = [0; 8];
                len.copy_from_slice(&rest[..8]);
                let len = u64::from_be_bytes(len);
                (len, len > u64::from(u16::MAX) && len >> 63 == 0, 8)
            }
            len => (u64::from(len), true, 0),
        };
        let mask = (second & MASKED != 0).then(|| {
            let mut mask = [0; 4];
            mask.copy_from_slice(&rest[extended..extended + 4]);
            mask
        });
        Header {
            fin: first & FIN != 0,
            reserved: first & RESERVED != 0,
            opcode: first & 0x0f,
            mask,
            len,
            well_formed,
        }
    }
}

/// What a [`Decoder`] found in a piece of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Where in the buffer the payloads of all data frames of the piece lie now, one after the other.
    pub payload: Range<usize>,
    /// The client closes the connection; nothing after it was looked at.
    pub close: Option<Close>,
}

/// A client's close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Its code, if it carries one.
    pub code: Option<u16>,
}

/// Reads the frames of a client, in whatever pieces they come.
#[derive(Debug)]
pub struct Decoder {
    header: HeaderReader,
    /// What is inside, between two headers: the opcode and how much of its payload is still to come.
    opcode: u8,
    remaining: u64,
    /// Rotated so that its first byte is the one for the next byte of the payload.
    mask: u32,
    /// Whether a data message has begun whose last fragment is still to come.
    in_message: bool,
    control: [u8; CONTROL_MAX_LEN],
    control_len: u8,
    /// The payload of the latest ping that is not answered yet. Older ones need no answer (RFC 6455, 5.5.3), so a
    /// flood of pings makes no queue.
    ping_len: Option<u8>,
    ping: [u8; CONTROL_MAX_LEN],
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            header: HeaderReader::default(),
            opcode: CONTINUATION,
            remaining: 0,
            mask: 0,
            in_message: false,
            control: [0; CONTROL_MAX_LEN],
            control_len: 0,
            ping_len: None,
            ping: [0; CONTROL_MAX_LEN],
        }
    }
}

impl Decoder {
    /// Takes the headers and masks off `buffer[input]`. The payloads are moved together in place.
    ///
    /// # Errors
    /// What the client may not do; the decoder is of no use any more then.
    pub fn decode(
        &mut self,
        buffer: &mut [u8],
        input: Range<usize>,
    ) -> Result<Decoded, FrameError> {
        let Range { mut start, end } = input;
        let mut payload = start..start;
        loop {
            if self.remaining > 0 {
                let len = usize::try_from(self.remaining)
                    .unwrap_or(usize::MAX)
                    .min(end - start);
                let piece = start..start + len;
                start += len;
                self.remaining -= len as u64;
                self.mask = unmask(&mut buffer[piece.clone()], self.mask);
                if is_control(self.opcode) {
                    let filled = usize::from(self.control_len);
                    self.control[filled..filled + len].copy_from_slice(&buffer[piece]);
                    #[expect(clippy::cast_possible_truncation, reason = "at most 125")]
                    {
                        self.control_len += len as u8;
                    }
                } else if payload.is_empty() {
                    payload = piece;
                } else {
                    // The header that lies between the two is closed up.
                    if payload.end != piece.start {
                        buffer.copy_within(piece, payload.end);
                    }
                    payload.end += len;
                }
                if self.remaining > 0 {
                    return Ok(Decoded {
                        payload,
                        close: None,
                    });
                }
                if let Some(close) = self.end_of_frame()? {
                    return Ok(Decoded {
                        payload,
                        close: Some(close),
                    });
                }
            }
            let (taken, header) = self.header.read(&buffer[start..end]);
            start += taken;
            let Some(header) = header else {
                return Ok(Decoded {
                    payload,
                    close: None,
                });
            };
            self.begin_frame(header)?;
            if self.remaining == 0
                && let Some(close) = self.end_of_frame()?
            {
                return Ok(Decoded {
                    payload,
                    close: Some(close),
                });
            }
        }
    }

    /// The answer to the latest ping, once.
    pub fn take_pong(&mut self) -> Option<ControlFrame> {
        let len = self.ping_len.take()?;
        Some(ControlFrame::pong(&self.ping[..usize::from(len)]))
    }

    fn begin_frame(&mut self, header: Header) -> Result<(), FrameError> {
        if header.reserved {
            return Err(FrameError::ReservedBits);
        }
        let mask = header.mask.ok_or(FrameError::Unmasked)?;
        match header.opcode {
            CONTINUATION if !self.in_message => return Err(FrameError::UnexpectedFragment),
            TEXT | BINARY if self.in_message => return Err(FrameError::UnexpectedFragment),
            TEXT => return Err(FrameError::Text),
            CONTINUATION | BINARY => self.in_message = !header.fin,
            CLOSE | PING | PONG => {
                if !header.fin || header.len > CONTROL_MAX_LEN as u64 {
                    return Err(FrameError::MalformedControl);
                }
                self.control_len = 0;
            }
            _ => return Err(FrameError::ReservedOpcode),
        }
        if !header.well_formed {
            return Err(FrameError::MalformedLength);
        }
        self.opcode = header.opcode;
        self.remaining = header.len;
        self.mask = u32::from_ne_bytes(mask);
        Ok(())
    }

    fn end_of_frame(&mut self) -> Result<Option<Close>, FrameError> {
        let control = &self.control[..usize::from(self.control_len)];
        match self.opcode {
            CLOSE => close(control).map(Some),
            PING => {
                self.ping[..control.len()].copy_from_slice(control);
                self.ping_len = Some(self.control_len);
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

/// Follows where frames begin and end, without a look at what is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracker {
    header: HeaderReader,
    remaining: u64,
    closing: bool,
    closed: bool,
}

impl Tracker {
    /// Whether everything so far was whole frames, so that another one may be put in here.
    pub fn at_boundary(&self) -> bool {
        self.header.filled == 0 && self.remaining == 0
    }

    /// Whether a close frame was among them.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Follows all of `bytes`.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = self.advance_to_boundary(bytes);
            bytes = &bytes[len..];
        }
    }

    /// Follows `bytes` to the end of the first frame that ends in them; how many bytes that were.
    pub fn advance_to_boundary(&mut self, bytes: &[u8]) -> usize {
        let mut start = 0;
        if self.remaining == 0 {
            let (taken, header) = self.header.read(bytes);
            start = taken;
            let Some(header) = header else {
                return start;
            };
            self.remaining = header.len;
            self.closing = header.opcode == CLOSE;
        }
        let len = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(bytes.len() - start);
        self.remaining -= len as u64;
        self.closed |= self.closing && self.remaining == 0;
        start + len
    }
}

fn is_control(opcode: u8) -> bool {
    opcode & 0x8 != 0
}

/// RFC 6455, 5.5.1 and 7.4: nothing, or a code that may be sent and a reason in UTF-8.
fn close(payload: &[u8]) -> Result<Close, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Close { code: None })
        } else {
            Err(FrameError::MalformedClose)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::MalformedClose);
    }
    std::str::from_utf8(reason).map_err(|_| FrameError::InvalidText)?;
    Ok(Close { code: Some(code) })
}

/// Takes the mask off, word by word, and returns it rotated for the bytes that follow.
fn unmask(bytes: &mut [u8], mask: u32) -> u32 {
    let wide = u64::from(mask) << 32 | u64::from(mask);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    let rotation = tail.len() % 4;
    for (byte, mask) in tail.iter_mut().zip(mask.to_ne_bytes().iter().cycle()) {
        *byte ^= mask;
    }
    let mut rotated = mask.to_ne_bytes();
    rotated.rotate_left(rotation);
    u32::from_ne_bytes(rotated)
}

#[cfg(test)]
mod tests;
