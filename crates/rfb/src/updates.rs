//! What a server sends after `ClientInit` (RFC 6143, 7.3.2 and 7.6, and rfbproto's extensions), as a stream: where its
//! messages begin and end, so that whoever passes it on knows when another server could go on in this one's place.
//!
//! Pictures are passed over and not decoded. The encodings followed are those that viewers prefer today; with any other
//! one, as with whatever a server may not send, the stream is lost sight of. That harms nobody who only passes it on, but for a
//! viewer whose zlib streams are still to go on with another server's ([`Updates::is_broken`]).
//!
//! More than 500 lines because it knows where each encoding of the protocol ends.

/// The most bytes that have to be seen together: `ServerInit` without its name.
const HEAD_MAX_LEN: usize = 24;

/// A `PIXEL_FORMAT` (RFC 6143, 7.4).
pub const PIXEL_FORMAT_LEN: usize = 16;

// Types of messages: RFC 6143, 7.6, and below the line rfbproto.
const FRAMEBUFFER_UPDATE: u8 = 0;
const SET_COLOUR_MAP_ENTRIES: u8 = 1;
const BELL: u8 = 2;
const SERVER_CUT_TEXT: u8 = 3;
const END_OF_CONTINUOUS_UPDATES: u8 = 150;
const SERVER_FENCE: u8 = 248;
const XVP: u8 = 250;

// Encodings: RFC 6143, 7.7 and 7.8, and below the line rfbproto.
const RAW: i32 = 0;
const COPY_RECT: i32 = 1;
const ZRLE: i32 = 16;
const CURSOR: i32 = -239;
const DESKTOP_SIZE: i32 = -223;
const ZLIB: i32 = 6;
const TIGHT: i32 = 7;
const TIGHT_PNG: i32 = -260;
const X_CURSOR: i32 = -240;
const LAST_RECT: i32 = -224;
const QEMU_EXTENDED_KEY_EVENT: i32 = -258;
const QEMU_LED_STATE: i32 = -261;
const DESKTOP_NAME: i32 = -307;
const EXTENDED_DESKTOP_SIZE: i32 = -308;
const EXTENDED_MOUSE_BUTTONS: i32 = -316;
const VMWARE_CURSOR: i32 = 0x574d_5664;
const VMWARE_LED_STATE: i32 = 0x574d_5668;

/// An update with so many rectangles ends with a [`LAST_RECT`].
const UNTIL_LAST_RECT: u16 = u16::MAX;

// Tight's compression control (rfbproto): the lower four bits reset its zlib streams, the upper four are one of the
// following, or a basic compression, of which two bits are the stream and one says that a filter follows.
const TIGHT_STREAM: u8 = 0x3;
const TIGHT_FILL: u8 = 0x8;
const TIGHT_JPEG: u8 = 0x9;
const TIGHT_PNG_DATA: u8 = 0xa;
const TIGHT_EXPLICIT_FILTER: u8 = 0x4;
const FILTER_COPY: u8 = 0;
const FILTER_PALETTE: u8 = 1;
const FILTER_GRADIENT: u8 = 2;
/// Shorter data is not compressed, and has no length in front of it.
const TIGHT_UNCOMPRESSED: u64 = 12;

/// A screen of a layout: id, position, size and flags (rfbproto, ExtendedDesktopSize).
const SCREEN_LEN: usize = 16;

/// How long the head of a zlib stream is, in bytes (RFC 1950, 2.2).
const ZLIB_HEAD_LEN: u8 = 2;

/// Follows what one server sends, in whatever pieces it comes.
#[derive(Clone, Debug)]
pub struct Updates {
    head: [u8; HEAD_MAX_LEN],
    gathered: u8,
    /// How many bytes of a head the place needs.
    wanted: u8,
    place: Place,
    /// How many bytes are to be left out, before everything else.
    left_out: u8,
    /// How many bytes are to be passed over before the place is reached.
    body: u64,
    /// Of the update that is under way, without the one that is.
    rectangles: u16,
    rectangle: Rectangle,
    size: (u16, u16),
    pixel_format: [u8; PIXEL_FORMAT_LEN],
    /// Something was sent that only goes on with what the same server keeps in mind.
    entangled: bool,
    /// The status with which a `SetDesktopSize` of the viewer was answered, until it is taken.
    resize_answer: Option<u16>,
    /// How many screens of the layout are still to come, and whether they are the layout that counts.
    screens: u8,
    layout_counts: bool,
    /// The screens, as an `ExtendedDesktopSize` lists them; empty while the server told none.
    layout: Vec<u8>,
    /// Tight's zlib streams.
    streams: [Stream; 4],
    /// Which of them the data belongs to whose length is read, where it is compressed with one.
    stream: Option<u8>,
    /// What is still to be taken off the length that is read, in units of its next byte.
    owed: u8,
}

/// How far one of Tight's zlib streams is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stream {
    /// What comes next is its beginning.
    #[default]
    New,
    /// Viewer and server are in the middle of it.
    Begun,
    /// The viewer is in the middle of it, and the server begins one of its own.
    Succeeded,
}

/// What the bytes that are gathered are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    ServerInit,
    Message,
    Update,
    ColourMap,
    CutText,
    Fence,
    Rectangle,
    /// The length of Zlib's or ZRLE's data, or of a name.
    Length,
    Screens,
    Screen,
    VmwareCursor,
    TightControl,
    TightFilter,
    TightPalette,
    TightLength,
    /// Nothing is known any more.
    Lost,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rectangle {
    width: u16,
    height: u16,
}

impl Rectangle {
    fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Bytes of a picture with a bit for each pixel, of which each row begins with a new byte.
    fn bitmap(self) -> u64 {
        u64::from(self.width).div_ceil(8) * u64::from(self.height)
    }
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            head: [0; HEAD_MAX_LEN],
            gathered: 0,
            wanted: 24,
            place: Place::ServerInit,
            left_out: 0,
            body: 0,
            rectangles: 0,
            rectangle: Rectangle::default(),
            size: (0, 0),
            pixel_format: [0; PIXEL_FORMAT_LEN],
            entangled: false,
            resize_answer: None,
            screens: 0,
            layout_counts: false,
            layout: Vec::new(),
            streams: [Stream::New; 4],
            stream: None,
            owed: 0,
        }
    }
}

impl Updates {
    /// Takes what comes next, and returns how much of it, from its front, is to be passed on: all of it, as it is, but for
    /// the first pictures in Tight after [`Self::succeed`].
    pub fn advance(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut end) = (0, bytes.len());
        while at < end && self.place != Place::Lost {
            if self.left_out > 0 {
                bytes.copy_within(at + 1..end, at);
                end -= 1;
                self.left_out -= 1;
                continue;
            }
            let rest = end - at;
            if self.body > 0 {
                let len = usize::try_from(self.body).map_or(rest, |body| body.min(rest));
                self.body -= len as u64;
                at += len;
                continue;
            }
            if self.place == Place::TightLength {
                self.shorten(&mut bytes[at]);
            }
            let len = usize::from(self.wanted - self.gathered).min(rest);
            let start = usize::from(self.gathered);
            self.head[start..start + len].copy_from_slice(&bytes[at..at + len]);
            self.gathered += len as u8;
            at += len;
            if self.gathered == self.wanted {
                self.arrive();
            }
        }
        end
    }

    /// Whether everything so far is whole, and another server could go on from here: the pictures so far were not of
    /// a kind that only the same one can continue.
    pub fn can_be_succeeded(&self) -> bool {
        self.at_boundary() && !self.entangled
    }

    /// Whether everything so far is whole, so that another message may be put in here.
    pub fn at_boundary(&self) -> bool {
        self.place == Place::Message && self.body == 0 && self.left_out == 0
    }

    /// Whether nothing is known any more of where messages begin.
    pub fn is_lost(&self) -> bool {
        self.place == Place::Lost
    }

    /// What comes next is another server's, after its `ServerInit`.
    ///
    /// Its zlib streams are new ones, while the viewer's go on. What a new one has in front is its head, and what follows
    /// refers to nothing before it; so without the head it is a continuation of any stream that was flushed to a whole byte,
    /// as it is after each rectangle. (Tight also has a flag that resets the viewer's streams, after which noVNC's fail.)
    pub fn succeed(&mut self) {
        for stream in &mut self.streams {
            if *stream == Stream::Begun {
                *stream = Stream::Succeeded;
            }
        }
    }

    /// Whether the viewer cannot make sense of what comes: its zlib streams would have to go on with those of another
    /// server, and where those begin is not known any more.
    pub fn is_broken(&self) -> bool {
        self.place == Place::Lost && (self.owed > 0 || self.streams.contains(&Stream::Succeeded))
    }

    /// The status with which a `SetDesktopSize` of the viewer was answered since this was asked last: 0, or why it was
    /// refused (rfbproto, ExtendedDesktopSize).
    pub fn take_resize_answer(&mut self) -> Option<u16> {
        self.resize_answer.take()
    }

    /// The screens in 16 bytes each, as `ExtendedDesktopSize` and `SetDesktopSize` list them (rfbproto); empty while the
    /// server told none.
    pub fn layout(&self) -> &[u8] {
        &self.layout
    }

    /// Width and height of the screen in pixels, as far as the viewer was told; 0 by 0 before `ServerInit`.
    pub fn size(&self) -> (u16, u16) {
        self.size
    }

    /// How the viewer gets its pixels.
    pub fn pixel_format(&self) -> &[u8; PIXEL_FORMAT_LEN] {
        &self.pixel_format
    }

    /// The viewer's `SetPixelFormat` counts from now on. Before it has asked for a picture that is certain; later nobody
    /// but the server knows from which picture on, and the stream is lost sight of.
    pub fn set_pixel_format(&mut self, format: [u8; PIXEL_FORMAT_LEN], asked: bool) {
        let too_late = asked && format != self.pixel_format;
        // A viewer that speaks before it has heard the server's own format is one that nothing is sure of.
        if too_late || self.place == Place::ServerInit {
            self.place = Place::Lost;
        }
        self.pixel_format = format;
    }

    /// Bytes of a pixel.
    fn pixel(&self) -> u64 {
        u64::from(self.pixel_format[0]) / 8
    }

    /// Bytes of a pixel in Tight, `TPIXEL`: three where all that is in it are three whole bytes.
    fn tight_pixel(&self) -> u64 {
        match self.pixel_format {
            [32, 24, _, true_colour, 0, 255, 0, 255, 0, 255, ..] if true_colour != 0 => 3,
            _ => self.pixel(),
        }
    }

    /// What is gathered is whole.
    fn arrive(&mut self) {
        if self.place == Place::TightLength {
            return self.tight_length();
        }
        self.gathered = 0;
        let head = self.head;
        let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let u32_at =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        match self.place {
            Place::ServerInit => {
                self.size = (u16_at(0), u16_at(2));
                self.pixel_format.copy_from_slice(&head[4..20]);
                self.message(u32_at(20).into());
            }
            Place::Message => match head[0] {
                FRAMEBUFFER_UPDATE => self.await_head(Place::Update, 3),
                SET_COLOUR_MAP_ENTRIES => self.await_head(Place::ColourMap, 5),
                BELL | END_OF_CONTINUOUS_UPDATES => self.message(0),
                SERVER_CUT_TEXT => self.await_head(Place::CutText, 7),
                SERVER_FENCE => self.await_head(Place::Fence, 8),
                XVP => self.message(3),
                _ => self.place = Place::Lost,
            },
            Place::Update => {
                self.rectangles = u16_at(1);
                self.next_rectangle(0);
            }
            Place::ColourMap => self.message(6 * u64::from(u16_at(3))),
            // A negative length is that of an extended clipboard message.
            Place::CutText => self.message(u32_at(3).cast_signed().unsigned_abs().into()),
            Place::Fence => self.message(head[7].into()),
            Place::Rectangle => {
                self.rectangle = Rectangle {
                    width: u16_at(4),
                    height: u16_at(6),
                };
                self.encoded(u32_at(8).cast_signed(), u16_at(0), u16_at(2));
            }
            Place::Length => self.next_rectangle(u32_at(0).into()),
            Place::Screens => {
                self.screens = head[0];
                if self.layout_counts {
                    self.layout.clear();
                }
                self.next_screen();
            }
            Place::Screen => {
                if self.layout_counts {
                    self.layout.extend_from_slice(&head[..SCREEN_LEN]);
                }
                self.next_screen();
            }
            Place::VmwareCursor => match head[0] {
                0 => self.next_rectangle(2 * self.pixel() * self.rectangle.area()),
                1 => self.next_rectangle(4 * self.rectangle.area()),
                _ => self.place = Place::Lost,
            },
            Place::TightControl => {
                for (index, stream) in self.streams.iter_mut().enumerate() {
                    if head[0] >> index & 1 == 1 {
                        *stream = Stream::New;
                    }
                }
                self.tight(head[0] >> 4);
            }
            Place::TightFilter => match head[0] {
                FILTER_COPY | FILTER_GRADIENT => {
                    self.tight_data(0, self.tight_pixel() * self.rectangle.area());
                }
                FILTER_PALETTE => self.await_head(Place::TightPalette, 1),
                _ => self.place = Place::Lost,
            },
            Place::TightPalette => {
                let colours = u64::from(head[0]) + 1;
                let data = match colours {
                    2 => self.rectangle.bitmap(),
                    _ => self.rectangle.area(),
                };
                self.tight_data(colours * self.tight_pixel(), data);
            }
            Place::TightLength | Place::Lost => {}
        }
    }

    /// What follows a rectangle's head.
    fn encoded(&mut self, encoding: i32, x: u16, y: u16) {
        let area = self.rectangle.area();
        match encoding {
            RAW => self.next_rectangle(self.pixel() * area),
            COPY_RECT => self.next_rectangle(4),
            ZLIB | ZRLE => {
                self.entangled = true;
                self.await_head(Place::Length, 4);
            }
            TIGHT | TIGHT_PNG => self.await_head(Place::TightControl, 1),
            CURSOR => self.next_rectangle(self.pixel() * area + self.rectangle.bitmap()),
            X_CURSOR if area == 0 => self.next_rectangle(0),
            X_CURSOR => self.next_rectangle(6 + 2 * self.rectangle.bitmap()),
            VMWARE_CURSOR => self.await_head(Place::VmwareCursor, 2),
            QEMU_EXTENDED_KEY_EVENT | EXTENDED_MOUSE_BUTTONS => self.next_rectangle(0),
            QEMU_LED_STATE => self.next_rectangle(1),
            VMWARE_LED_STATE => self.next_rectangle(4),
            DESKTOP_NAME => self.await_head(Place::Length, 4),
            DESKTOP_SIZE => {
                self.size = (self.rectangle.width, self.rectangle.height);
                // It is not said which screens the new size has.
                self.layout.clear();
                self.next_rectangle(0);
            }
            EXTENDED_DESKTOP_SIZE => {
                // x is who asked for the change (1 is this viewer), and y is 0 unless that was refused.
                if x == 1 {
                    self.resize_answer = Some(y);
                }
                self.layout_counts = x != 1 || y == 0;
                if self.layout_counts {
                    self.size = (self.rectangle.width, self.rectangle.height);
                }
                self.await_head(Place::Screens, 4);
            }
            LAST_RECT => self.message(0),
            _ => self.place = Place::Lost,
        }
    }

    fn tight(&mut self, compression: u8) {
        self.stream = None;
        match compression {
            TIGHT_FILL => self.next_rectangle(self.tight_pixel()),
            TIGHT_JPEG | TIGHT_PNG_DATA => self.await_head(Place::TightLength, 1),
            basic if basic < TIGHT_FILL => {
                self.stream = Some(basic & TIGHT_STREAM);
                if basic & TIGHT_EXPLICIT_FILTER == 0 {
                    self.tight_data(0, self.tight_pixel() * self.rectangle.area());
                } else {
                    self.await_head(Place::TightFilter, 1);
                }
            }
            _ => self.place = Place::Lost,
        }
    }

    /// A palette of so many bytes, and data that has so many when it is not compressed.
    fn tight_data(&mut self, palette: u64, len: u64) {
        if len < TIGHT_UNCOMPRESSED {
            return self.next_rectangle(palette + len);
        }
        self.await_head(Place::TightLength, 1);
        self.body = palette;
        self.owed = match self.current_stream() {
            Some(Stream::Succeeded) => ZLIB_HEAD_LEN,
            _ => 0,
        };
    }

    fn current_stream(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(usize::from(self.stream?))
    }

    /// Takes what is owed off a length, of which this is the next byte. Its last one has eight bits and the others seven.
    fn shorten(&mut self, byte: &mut u8) {
        let bits = if self.gathered == 2 { 0xff } else { 0x7f };
        let (value, borrows) = (*byte & bits).overflowing_sub(self.owed);
        *byte = *byte & !bits | value & bits;
        self.owed = u8::from(borrows);
    }

    /// One to three bytes, the lowest bits first: seven, seven and eight of them (rfbproto, Tight).
    fn tight_length(&mut self) {
        let gathered = usize::from(self.gathered);
        if gathered < 3 && self.head[gathered - 1] & 0x80 != 0 {
            self.wanted += 1;
            return;
        }
        let [low, middle, high, ..] = self.head;
        let len = match gathered {
            1 => u64::from(low),
            2 => u64::from(low & 0x7f) | u64::from(middle) << 7,
            _ => u64::from(low & 0x7f) | u64::from(middle & 0x7f) << 7 | u64::from(high) << 14,
        };
        self.gathered = 0;
        if self.owed > 0 {
            // Too short for the head that it should begin with.
            self.place = Place::Lost;
            return;
        }
        if let Some(stream) = self.current_stream() {
            let before = std::mem::replace(stream, Stream::Begun);
            if before == Stream::Succeeded {
                self.left_out = ZLIB_HEAD_LEN;
            }
        }
        self.next_rectangle(len);
    }

    fn next_screen(&mut self) {
        match self.screens.checked_sub(1) {
            None => self.next_rectangle(0),
            Some(left) => {
                self.screens = left;
                self.await_head(Place::Screen, SCREEN_LEN as u8);
            }
        }
    }

    fn await_head(&mut self, place: Place, wanted: u8) {
        self.place = place;
        self.wanted = wanted;
    }

    /// The next message follows after so many bytes.
    fn message(&mut self, body: u64) {
        self.await_head(Place::Message, 1);
        self.body = body;
    }

    /// The next rectangle follows after so many bytes, or the next message if there is none.
    fn next_rectangle(&mut self, body: u64) {
        match self.rectangles {
            0 => self.message(body),
            count => {
                if count != UNTIL_LAST_RECT {
                    self.rectangles -= 1;
                }
                self.await_head(Place::Rectangle, 12);
                self.body = body;
            }
        }
    }
}

#[cfg(test)]
mod tests;
