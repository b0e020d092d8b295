//! What a server sends after `ClientInit` (RFC 6143, 7.3.2 and 7.6, and rfbproto's extensions), as a stream: where its
//! messages begin and end, so that whoever passes it on knows when another server could go on in this one's place.
//!
//! Pictures are passed over and not decoded. The encodings followed are those that viewers prefer today; with any other
//! one, as with whatever a server may not send, the stream is lost sight of: that harms nobody who only passes it on.

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
// following, or a basic compression, of which one bit says that a filter follows.
const TIGHT_RESETS: u8 = 0x0f;
const TIGHT_FILL: u8 = 0x8;
const TIGHT_JPEG: u8 = 0x9;
const TIGHT_PNG_DATA: u8 = 0xa;
const TIGHT_EXPLICIT_FILTER: u8 = 0x4;
const FILTER_COPY: u8 = 0;
const FILTER_PALETTE: u8 = 1;
const FILTER_GRADIENT: u8 = 2;
/// Shorter data is not compressed, and has no length in front of it.
const TIGHT_UNCOMPRESSED: u64 = 12;

/// Follows what one server sends, in whatever pieces it comes.
#[derive(Clone, Debug)]
pub struct Updates {
    head: [u8; HEAD_MAX_LEN],
    gathered: u8,
    /// How many bytes of a head the place needs.
    wanted: u8,
    place: Place,
    /// How many bytes are to be passed over before the place is reached.
    body: u64,
    /// Of the update that is under way, without the one that is.
    rectangles: u16,
    rectangle: Rectangle,
    size: (u16, u16),
    pixel_format: [u8; PIXEL_FORMAT_LEN],
    /// Something was sent that only goes on with what the same server keeps in mind.
    entangled: bool,
    /// The next Tight rectangle is the first one of another server.
    reset_tight: bool,
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
            body: 0,
            rectangles: 0,
            rectangle: Rectangle::default(),
            size: (0, 0),
            pixel_format: [0; PIXEL_FORMAT_LEN],
            entangled: false,
            reset_tight: false,
        }
    }
}

impl Updates {
    /// Takes what comes next. It is as it was afterwards, but for the first picture in Tight after [`Self::succeed`].
    pub fn advance(&mut self, mut input: &mut [u8]) {
        while !input.is_empty() && self.place != Place::Lost {
            if self.body > 0 {
                let len =
                    usize::try_from(self.body).map_or(input.len(), |body| body.min(input.len()));
                self.body -= len as u64;
                input = &mut input[len..];
                continue;
            }
            if self.place == Place::TightControl && std::mem::take(&mut self.reset_tight) {
                input[0] |= TIGHT_RESETS;
            }
            let missing = usize::from(self.wanted - self.gathered);
            let len = missing.min(input.len());
            let start = usize::from(self.gathered);
            self.head[start..start + len].copy_from_slice(&input[..len]);
            self.gathered += len as u8;
            input = &mut input[len..];
            if self.gathered == self.wanted {
                self.arrive();
            }
        }
    }

    /// Whether everything so far is whole, and another server could go on from here: the pictures so far were not of
    /// a kind that only the same one can continue.
    pub fn can_be_succeeded(&self) -> bool {
        self.place == Place::Message && self.body == 0 && !self.entangled
    }

    /// What comes next is another server's, after its `ServerInit`.
    ///
    /// Its zlib streams are new ones, and the viewer's have to be, too. For Tight a flag in the stream says so; for Zlib
    /// and ZRLE there is none, which is what [`Self::can_be_succeeded`] looks at.
    pub fn succeed(&mut self) {
        self.reset_tight = true;
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
            Place::Screens => self.next_rectangle(16 * u64::from(head[0])),
            Place::VmwareCursor => match head[0] {
                0 => self.next_rectangle(2 * self.pixel() * self.rectangle.area()),
                1 => self.next_rectangle(4 * self.rectangle.area()),
                _ => self.place = Place::Lost,
            },
            Place::TightControl => self.tight(head[0] >> 4),
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
                self.next_rectangle(0);
            }
            EXTENDED_DESKTOP_SIZE => {
                // x is who asked for the change (1 is this viewer), and y is 0 unless that was refused.
                if x != 1 || y == 0 {
                    self.size = (self.rectangle.width, self.rectangle.height);
                }
                self.await_head(Place::Screens, 4);
            }
            LAST_RECT => self.message(0),
            _ => self.place = Place::Lost,
        }
    }

    fn tight(&mut self, compression: u8) {
        match compression {
            TIGHT_FILL => self.next_rectangle(self.tight_pixel()),
            TIGHT_JPEG | TIGHT_PNG_DATA => self.await_head(Place::TightLength, 1),
            basic if basic < TIGHT_FILL => {
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
            self.next_rectangle(palette + len);
        } else {
            self.await_head(Place::TightLength, 1);
            self.body = palette;
        }
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
        self.next_rectangle(len);
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
