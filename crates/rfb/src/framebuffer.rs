//! The picture as far as it has arrived.

use std::ops::Deref;

use memmap2::MmapMut;

use crate::error::ClientError;

/// The widest and highest screen that is believed, in pixels.
pub const DIMENSION_MAX: u16 = 16_384;

/// The largest screen that is believed, in pixels: 8K, which takes 142 MB.
pub const AREA_MAX: u32 = 8192 * 4320;

/// Blue, green, red, and whether the pixel was drawn: 255, or 0 for one that has not arrived.
pub(crate) type Pixel = [u8; 4];

/// A pixel of this colour that was drawn.
pub(crate) fn pixel(blue: u8, green: u8, red: u8) -> Pixel {
    [blue, green, red, u8::MAX]
}

/// Part of a screen, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) x: u16,
    pub(crate) y: u16,
    pub(crate) width: u16,
    pub(crate) height: u16,
}

/// The pixels of a screen, rows from the top.
#[derive(Debug)]
pub(crate) struct Framebuffer {
    width: u16,
    height: u16,
    pixels: Pixels,
}

/// Rows from the top, 4 bytes a pixel: blue, green, red, and 255. They go back to the operating system when they are
/// dropped: an allocator would keep what many large screens have left behind.
#[derive(Debug)]
pub struct Pixels(MmapMut);

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Framebuffer {
    /// A screen of which nothing has arrived. Its memory is not used before it is drawn to.
    pub(crate) fn new(width: u16, height: u16) -> Result<Self, ClientError> {
        let area = u32::from(width) * u32::from(height);
        if width > DIMENSION_MAX || height > DIMENSION_MAX || area > AREA_MAX {
            return Err(ClientError::Unexpected(format!(
                "a screen of {width} × {height} pixels, which is larger than is believed"
            )));
        }
        Ok(Self {
            width,
            height,
            pixels: Pixels(MmapMut::map_anon(area as usize * size_of::<Pixel>())?),
        })
    }

    pub(crate) fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.pixels
    }

    pub(crate) fn into_bytes(self) -> Pixels {
        self.pixels
    }

    /// Whether every pixel has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        let (pixels, _) = self.pixels.as_chunks::<4>();
        pixels.iter().all(|[.., drawn]| *drawn == u8::MAX)
    }

    /// An error when the area reaches beyond the screen.
    pub(crate) fn require(&self, area: Area) -> Result<(), ClientError> {
        let within = |start: u16, len: u16, end: u16| {
            start.checked_add(len).is_some_and(|reached| reached <= end)
        };
        if within(area.x, area.width, self.width) && within(area.y, area.height, self.height) {
            return Ok(());
        }
        Err(ClientError::Unexpected(
            "a rectangle beyond the screen".to_owned(),
        ))
    }

    /// The bytes of the `row`th row of an area that is within the screen.
    pub(crate) fn row(&mut self, area: Area, row: u16) -> &mut [u8] {
        let line = usize::from(area.y) + usize::from(row);
        let start = line * usize::from(self.width) + usize::from(area.x);
        let end = start + usize::from(area.width);
        &mut self.pixels.0[start * size_of::<Pixel>()..end * size_of::<Pixel>()]
    }
}
