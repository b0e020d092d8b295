//! From pixels to a file of the kind and size that is asked for. All of it takes processor time: call it where it may.

use std::io::{Cursor, Write};

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{GenericImageView, ImageFormat, ImageReader, Rgb, imageops};

use super::PictureError;
use super::pages::Pages;

/// Quality of JPEG files, 1 to 100: text stays legible.
const QUALITY: u8 = 80;

/// The length of the chunks that a PNG file's pixels are in, in bytes.
const CHUNK_LEN: usize = 64 * 1024;

/// The kind of a picture's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Every pixel as it is.
    Png,
    /// Smaller, and a little different.
    Jpeg,
}

/// How a picture is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The kind of file.
    pub format: Format,
    /// The most pixels it may be wide; a wider one is scaled down, with its height in proportion.
    pub width: Option<u32>,
}

/// A screen as the encoders look at it, pixel by pixel: no second one of its size is made.
struct Screen<'a> {
    /// Blue, green, red, and one byte that does not count.
    pixels: &'a [[u8; 4]],
    width: u32,
    height: u32,
}

impl GenericImageView for Screen<'_> {
    type Pixel = Rgb<u8>;

    fn dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn get_pixel(&self, x: u32, y: u32) -> Rgb<u8> {
        let [blue, green, red, _] = self.pixels[y as usize * self.width as usize + x as usize];
        Rgb([red, green, blue])
    }
}

/// Makes a file of pixels: rows from the top, 4 bytes each: blue, green, red, and one that does not count. Beside them
/// there is never more in memory than the file and a few rows.
pub(super) fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
    shape: Shape,
) -> Result<Bytes, PictureError> {
    let (pixels, _) = pixels.as_chunks::<4>();
    if pixels.len() < width as usize * height as usize {
        return Err(PictureError::Unpacked("it has too few pixels".to_owned()));
    }
    let screen = Screen {
        pixels,
        width,
        height,
    };
    write_scaled(&screen, shape)
}

/// Makes another file of one that was kept, or gives it back as it is where that will do.
pub(super) fn convert(jpeg: Vec<u8>, shape: Shape) -> Result<Bytes, PictureError> {
    let reader = ImageReader::with_format(Cursor::new(&jpeg), ImageFormat::Jpeg);
    let size = reader.into_dimensions()?;
    if shape.format == Format::Jpeg && scaled(size, shape.width).is_none() {
        return Ok(jpeg.into());
    }
    let whole = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg)?.into_rgb8();
    write_scaled(&whole, shape)
}

fn write_scaled<I: GenericImageView<Pixel = Rgb<u8>>>(
    image: &I,
    shape: Shape,
) -> Result<Bytes, PictureError> {
    match scaled(image.dimensions(), shape.width) {
        None => write(image, shape.format),
        Some((width, height)) => {
            let small = imageops::thumbnail(image, width, height);
            write(&small, shape.format)
        }
    }
}

/// The size of a picture that is wider than it may be.
fn scaled((width, height): (u32, u32), most: Option<u32>) -> Option<(u32, u32)> {
    let smaller = most.filter(|most| *most < width)?;
    let lower = (u64::from(height) * u64::from(smaller) + u64::from(width) / 2) / u64::from(width);
    Some((smaller, u32::try_from(lower).unwrap_or(height).max(1)))
}

fn write<I: GenericImageView<Pixel = Rgb<u8>>>(
    image: &I,
    format: Format,
) -> Result<Bytes, PictureError> {
    let mut file = Pages::new()?;
    match format {
        Format::Png => write_png(image, &mut file)?,
        Format::Jpeg => {
            JpegEncoder::new_with_quality(&mut file, QUALITY).encode_image(image)?;
        }
    }
    Ok(file.into_bytes())
}

/// Row by row, which the encoder of `image` does not.
fn write_png<I: GenericImageView<Pixel = Rgb<u8>>>(
    image: &I,
    file: &mut Pages,
) -> Result<(), png::EncodingError> {
    let (width, height) = image.dimensions();
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Adaptive);
    let mut writer = encoder.write_header()?;
    let mut rows = writer.stream_writer_with_size(CHUNK_LEN)?;
    let mut row = Vec::with_capacity(width as usize * 3);
    for y in 0..height {
        row.clear();
        for x in 0..width {
            row.extend_from_slice(&image.get_pixel(x, y).0);
        }
        rows.write_all(&row)?;
    }
    rows.finish()?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE_GREEN_RED: [u8; 4] = [0xa0, 0x60, 0x20, 0xff];
    const COLOUR: [u8; 3] = [0x20, 0x60, 0xa0];

    fn shape(format: Format, width: Option<u32>) -> Shape {
        Shape { format, width }
    }

    fn decoded(file: &[u8]) -> image::RgbImage {
        image::load_from_memory(file).unwrap().into_rgb8()
    }

    /// Red, green, blue and yellow quarters of 40 × 20 pixels each, on a picture of 80 × 40.
    fn quarters() -> Vec<u8> {
        let mut pixels = Vec::new();
        for y in 0..40 {
            for x in 0..80 {
                pixels.extend(match (x < 40, y < 20) {
                    (true, true) => [0, 0, 255, 255],
                    (false, true) => [0, 255, 0, 255],
                    (true, false) => [255, 0, 0, 255],
                    (false, false) => [0, 255, 255, 255],
                });
            }
        }
        pixels
    }

    #[test]
    fn a_png_has_every_pixel() {
        let file = encode(&quarters(), (80, 40), shape(Format::Png, None)).unwrap();
        assert!(file.starts_with(b"\x89PNG"));
        let image = decoded(&file);
        assert_eq!(image.dimensions(), (80, 40));
        for (x, y, pixel) in image.enumerate_pixels() {
            let expected = match (x < 40, y < 20) {
                (true, true) => [255, 0, 0],
                (false, true) => [0, 255, 0],
                (true, false) => [0, 0, 255],
                (false, false) => [255, 255, 0],
            };
            assert_eq!(pixel.0, expected, "{x} {y}");
        }
    }

    #[test]
    fn scaling_keeps_the_proportions_and_never_enlarges() {
        for (width, size) in [
            (None, (80, 40)),
            (Some(16), (16, 8)),
            (Some(33), (33, 17)),
            (Some(80), (80, 40)),
            (Some(1000), (80, 40)),
        ] {
            for format in [Format::Png, Format::Jpeg] {
                let file = encode(&quarters(), (80, 40), shape(format, width)).unwrap();
                let image = decoded(&file);
                assert_eq!(image.dimensions(), size);
                // In the middle of each quarter its colour is what it was.
                let (x, y) = (size.0 / 4, size.1 / 4);
                assert!(close(image.get_pixel(x, y).0, [255, 0, 0]));
                assert!(close(image.get_pixel(3 * x, 3 * y).0, [255, 255, 0]));
            }
        }
        let line = BLUE_GREEN_RED.repeat(1000);
        let file = encode(&line, (1000, 1), shape(Format::Png, Some(16))).unwrap();
        assert_eq!(decoded(&file).dimensions(), (16, 1));
    }

    #[test]
    fn a_kept_picture_becomes_what_is_asked_for() {
        let pixels = BLUE_GREEN_RED.repeat(64 * 48);
        let jpeg = encode(&pixels, (64, 48), shape(Format::Jpeg, None)).unwrap();
        assert!(jpeg.starts_with(b"\xff\xd8"));
        let jpeg = jpeg.to_vec();
        let same = convert(jpeg.clone(), shape(Format::Jpeg, Some(64))).unwrap();
        assert!(same == jpeg, "nothing is lost by packing it again");
        for (wanted, size) in [
            (shape(Format::Png, None), (64, 48)),
            (shape(Format::Png, Some(32)), (32, 24)),
            (shape(Format::Jpeg, Some(32)), (32, 24)),
        ] {
            let image = decoded(&convert(jpeg.clone(), wanted).unwrap());
            assert_eq!(image.dimensions(), size);
            assert!(image.pixels().all(|pixel| close(pixel.0, COLOUR)));
        }
        assert!(convert(b"no picture".to_vec(), shape(Format::Png, None)).is_err());
        assert!(convert(jpeg[..200].to_vec(), shape(Format::Png, None)).is_err());
    }

    fn close(colour: [u8; 3], expected: [u8; 3]) -> bool {
        colour.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 6)
    }
}
