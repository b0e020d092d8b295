//! ZRLE (RFC 6143, 7.7.6): tiles of 64 × 64 pixels, each packed as suits it, in one zlib stream that
//! goes on through all rectangles of a connection.

use std::io;

use flate2::{Decompress, FlushDecompress};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::task::consume_budget;

use crate::error::ClientError;
use crate::framebuffer::{Area, Framebuffer, Pixel, pixel};

/// The side of a tile in pixels; those at the right and lower edge are smaller.
const TILE: u16 = 64;

/// The most bytes a tile can have: a byte for its kind, and three for the colour and one for the length of a run of
/// one pixel. (Longer lengths belong to longer runs.)
const TILE_MAX_LEN: usize = 1 + TILE as usize * TILE as usize * 4;

/// How much is inflated at a time at most, in bytes.
const WINDOW_LEN: usize = 64 * 1024;

/// What is inflated and not yet drawn, and the state of the zlib stream.
#[derive(Debug)]
pub(crate) struct Zrle {
    inflater: Decompress,
    window: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Zrle {
    pub(crate) fn new() -> Self {
        Self {
            inflater: Decompress::new(true),
            window: vec![0; WINDOW_LEN].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// Reads one rectangle and draws it. Memory does not depend on what the server claims, and the thread is given
    /// back from time to time.
    pub(crate) async fn draw<S: AsyncBufRead + Unpin>(
        &mut self,
        stream: &mut S,
        area: Area,
        frame: &mut Framebuffer,
    ) -> Result<(), ClientError> {
        frame.require(area)?;
        let mut coming = stream.read_u32().await?;
        for y in (0..area.height).step_by(TILE.into()) {
            for x in (0..area.width).step_by(TILE.into()) {
                let tile = Area {
                    x: area.x + x,
                    y: area.y + y,
                    width: TILE.min(area.width - x),
                    height: TILE.min(area.height - y),
                };
                while self.end - self.start < TILE_MAX_LEN
                    && self.inflate(stream, &mut coming).await?
                {}
                self.start += draw_tile(&self.window[self.start..self.end], tile, frame)?;
                consume_budget().await;
            }
        }
        while coming > 0 && self.start == self.end && self.inflate(stream, &mut coming).await? {}
        if self.start < self.end {
            return Err(broken("more than the rectangle takes"));
        }
        Ok(())
    }

    /// Inflates some of what is `coming`; whether there may be more.
    async fn inflate<S: AsyncBufRead + Unpin>(
        &mut self,
        stream: &mut S,
        coming: &mut u32,
    ) -> Result<bool, ClientError> {
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let available: &[u8] = if *coming == 0 {
            // The inflater may hold back what had no room.
            &[]
        } else {
            let available = stream.fill_buf().await?;
            if available.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            &available[..available.len().min(*coming as usize)]
        };
        let (taken, given) = (self.inflater.total_in(), self.inflater.total_out());
        self.inflater
            .decompress(
                available,
                &mut self.window[self.end..],
                FlushDecompress::None,
            )
            .map_err(|_| broken("no zlib stream"))?;
        let taken = small(self.inflater.total_in() - taken);
        let given = small(self.inflater.total_out() - given);
        let stuck = taken == 0 && given == 0;
        if stuck && *coming > 0 {
            return Err(broken("a zlib stream that has ended"));
        }
        stream.consume(taken);
        *coming -= u32::try_from(taken).unwrap_or(*coming);
        self.end += given;
        Ok(!stuck)
    }
}

/// What one call takes and gives is no more than the buffers hold.
fn small(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn broken(what: &str) -> ClientError {
    ClientError::Unexpected(format!("ZRLE data with {what}"))
}

/// What of a tile was not looked at yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ClientError> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| broken("less than the rectangle takes"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ClientError> {
        Ok(self.take(1)?[0])
    }

    /// A CPIXEL: of our pixel format, the three bytes that are used.
    fn pixel(&mut self) -> Result<Pixel, ClientError> {
        let bytes = self.take(3)?;
        Ok(pixel(bytes[0], bytes[1], bytes[2]))
    }

    fn palette(&mut self, len: u8) -> Result<Vec<Pixel>, ClientError> {
        (0..len).map(|_| self.pixel()).collect()
    }

    /// The length of a run: 1 and the sum of bytes, of which only the last is less than 255.
    fn run(&mut self) -> Result<usize, ClientError> {
        let mut run = 1;
        loop {
            let byte = self.byte()?;
            run += usize::from(byte);
            if byte < u8::MAX {
                return Ok(run);
            }
        }
    }
}

/// Draws the tile that `bytes` begin with; how many bytes that were.
fn draw_tile(bytes: &[u8], tile: Area, frame: &mut Framebuffer) -> Result<usize, ClientError> {
    let width = usize::from(tile.width);
    let mut buffer = [Pixel::default(); TILE as usize * TILE as usize];
    let pixels = &mut buffer[..width * usize::from(tile.height)];
    let mut rest = Rest(bytes);
    match rest.byte()? {
        0 => {
            for place in pixels.iter_mut() {
                *place = rest.pixel()?;
            }
        }
        1 => pixels.fill(rest.pixel()?),
        colours @ 2..=16 => {
            let palette = rest.palette(colours)?;
            packed(&mut rest, &palette, pixels.chunks_exact_mut(width))?;
        }
        128 => runs(&mut rest, pixels, |rest| Ok((rest.pixel()?, rest.run()?)))?,
        colours @ 130.. => {
            let palette = rest.palette(colours - 128)?;
            runs(&mut rest, pixels, |rest| {
                let index = rest.byte()?;
                let run = if index < 128 { 1 } else { rest.run()? };
                Ok((colour(&palette, index & 0x7f)?, run))
            })?;
        }
        kind => return Err(broken(&format!("a tile of the kind {kind}"))),
    }
    for (row, pixels) in (0..).zip(pixels.chunks_exact(width)) {
        frame.row(tile, row).copy_from_slice(pixels.as_flattened());
    }
    Ok(bytes.len() - rest.0.len())
}

fn colour(palette: &[Pixel], index: u8) -> Result<Pixel, ClientError> {
    palette
        .get(usize::from(index))
        .copied()
        .ok_or_else(|| broken("a colour that is not in the palette"))
}

/// Indices of 1, 2 or 4 bits, the first in the highest ones; every row begins with a new byte.
fn packed<'a>(
    rest: &mut Rest<'_>,
    palette: &[Pixel],
    rows: impl Iterator<Item = &'a mut [Pixel]>,
) -> Result<(), ClientError> {
    let bits = match palette.len() {
        ..=2 => 1,
        3..=4 => 2,
        _ => 4,
    };
    let per_byte = 8 / bits;
    for row in rows {
        for places in row.chunks_mut(per_byte) {
            let mut indices = rest.byte()?;
            for place in places {
                indices = indices.rotate_left(bits as u32);
                *place = colour(palette, indices & ((1 << bits) - 1))?;
            }
        }
    }
    Ok(())
}

fn runs(
    rest: &mut Rest<'_>,
    pixels: &mut [Pixel],
    mut next: impl FnMut(&mut Rest<'_>) -> Result<(Pixel, usize), ClientError>,
) -> Result<(), ClientError> {
    let mut drawn = 0;
    while drawn < pixels.len() {
        let (colour, run) = next(rest)?;
        let places = pixels
            .get_mut(drawn..drawn + run)
            .ok_or_else(|| broken("a run beyond the tile"))?;
        places.fill(colour);
        drawn += run;
    }
    Ok(())
}
