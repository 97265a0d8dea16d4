//! The one decoder: bytes to upright RGB pixels, with a bound on the memory that a photo can take.
//!
//! Whatever the file holds, the result is opaque 8-bit RGB. Grey and palette images become RGB, 16-bit values are rounded
//! to 8 bits, transparent pixels are laid over white, and CMYK and YCCK JPEGs are converted as Adobe stores them (inverted,
//! `red = cyan · key / 255`), which is also what Pillow assumes. ICC profiles are ignored.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

/// Bounds on the size of a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest number of pixels, width times height. The header is checked before any pixel is decoded. A pixel of more than
    /// four bytes counts as several.
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_pixels: 40_000_000 }
    }
}

/// Why bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the image is empty")]
    Empty,
    /// The bytes are of another file type.
    #[error("this is not a JPEG, PNG or WebP image")]
    NotAnImage,
    /// The file is truncated or damaged.
    #[error("the image is damaged or cut off: {0}")]
    Corrupt(String),
    /// The image is larger than the limits allow.
    #[error(
        "the image has {width}×{height} pixels; at most {max_pixels} are allowed, half as many of 16 bits a channel"
    )]
    TooManyPixels {
        /// Width by the header.
        width: u32,
        /// Height by the header.
        height: u32,
        /// The limit, [`DecodeLimits::max_pixels`].
        max_pixels: u64,
    },
}

/// Decodes a JPEG, PNG or WebP, which it recognises by the first bytes, and turns it upright by its EXIF orientation.
///
/// # Errors
/// Returns a [`DecodeError`] that says what is wrong with the bytes.
pub fn decode(bytes: &[u8], limits: DecodeLimits) -> Result<RgbImage, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => format,
        _ => return Err(DecodeError::NotAnImage),
    };
    if format == ImageFormat::Jpeg && !has_end_of_image(bytes) {
        return Err(DecodeError::Corrupt("its end is missing".to_owned()));
    }
    let corrupt = |error: ImageError| DecodeError::Corrupt(error.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The pixel limit bounds the output. The rest is for the decoder's own tables.
    let mut allocation = Limits::default();
    allocation.max_alloc = Some(limits.max_pixels.saturating_mul(4).saturating_add(64 << 20));
    reader.limits(allocation);
    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels.max(decoder.total_bytes().div_ceil(4)) > limits.max_pixels {
        return Err(DecodeError::TooManyPixels { width, height, max_pixels: limits.max_pixels });
    }
    if width == 0 || height == 0 {
        return Err(DecodeError::Corrupt("it has no pixels".to_owned()));
    }
    let orientation = decoder.orientation().map_err(corrupt)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(corrupt)?;
    image.apply_orientation(orientation);
    Ok(if image.color().has_alpha() { opaque(image) } else { image.into_rgb8() })
}

/// Returns whether a JPEG has an end-of-image marker. The decoder fills missing parts with grey and reports nothing.
///
/// Header segments are skipped, because a thumbnail inside them has its own marker. Within a scan these two bytes have no
/// other meaning (ITU-T T.81, B.1.1).
fn has_end_of_image(jpeg: &[u8]) -> bool {
    let mut rest = jpeg.get(2..).unwrap_or_default();
    loop {
        rest = match rest {
            [0xff, 0xda, scans @ ..] => return scans.windows(2).any(|pair| pair == [0xff, 0xd9]),
            [0xff, 0xff, ..] => &rest[1..],
            [0xff, _, high, low, ..] => {
                rest.get(2 + usize::from(u16::from_be_bytes([*high, *low]))..).unwrap_or_default()
            }
            [_, rest @ ..] => rest,
            [] => return false,
        }
    }
}

fn opaque(image: DynamicImage) -> RgbImage {
    let rgba = image.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| image::Rgb(on_white(rgba.get_pixel(x, y).0)))
}

/// Lays a pixel over white: red, green, blue and alpha in, red, green and blue out.
pub fn on_white(pixel: [u8; 4]) -> [u8; 3] {
    let [red, green, blue, alpha] = pixel.map(u32::from);
    [red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn picture() -> DynamicImage {
        RgbImage::from_fn(40, 20, |x, _| image::Rgb([if x < 20 { 250 } else { 0 }, 0, 0])).into()
    }

    /// Returns a JPEG with an EXIF orientation.
    fn turned(orientation: u8) -> Vec<u8> {
        let jpeg = encoded(&picture(), ImageFormat::Jpeg);
        let tiff = [
            b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(),
            &[orientation],
            b"\0\0\0\0\0\0",
        ]
        .concat();
        let length = (2 + 6 + tiff.len()) as u16;
        [&jpeg[..2], b"\xff\xe1", &length.to_be_bytes(), b"Exif\0\0", &tiff, &jpeg[2..]].concat()
    }

    #[test]
    fn three_formats_decode() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let image = decode(&encoded(&picture(), format), DecodeLimits::default()).unwrap();
            assert_eq!(image.dimensions(), (40, 20));
            assert!(image.get_pixel(2, 2).0[0] > 200 && image.get_pixel(38, 2).0[0] < 50);
        }
    }

    #[test]
    fn exif_orientation_is_obeyed() {
        let image = decode(&turned(6), DecodeLimits::default()).unwrap();
        assert_eq!(image.dimensions(), (20, 40));
        assert!(image.get_pixel(10, 2).0[0] > 200 && image.get_pixel(10, 38).0[0] < 50);
        let mirrored = decode(&turned(2), DecodeLimits::default()).unwrap();
        assert!(mirrored.get_pixel(2, 2).0[0] < 50 && mirrored.get_pixel(38, 2).0[0] > 200);
    }

    #[test]
    fn transparent_is_white() {
        let clear = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(3, 3, image::Rgba([9, 9, 9, 0])));
        let image = decode(&encoded(&clear, ImageFormat::Png), DecodeLimits::default()).unwrap();
        assert_eq!(image.get_pixel(1, 1).0, [255; 3]);
    }

    /// The pixels 4 from the left and from the right, at a height of 4.
    fn left_and_right(bytes: &[u8]) -> [[u8; 3]; 2] {
        let image = decode(bytes, DecodeLimits::default()).unwrap();
        [4, image.width() - 5].map(|x| image.get_pixel(x, 4).0)
    }

    #[test]
    fn cmyk_and_ycck_become_the_rgb_that_pillow_gives() {
        // Left cyan 0, magenta 255, yellow 255, key 0; right 255, 255, 0, 64. Pillow 12 gives (255, 0, 0) and (0, 0, 191).
        for photo in [
            include_bytes!("../tests/photos/cmyk.jpg").as_slice(),
            include_bytes!("../tests/photos/ycck.jpg"),
        ] {
            let found = left_and_right(photo);
            let near = |found: [u8; 3], wanted: [u8; 3]| (0..3).all(|i| found[i].abs_diff(wanted[i]) <= 4);
            assert!(near(found[0], [255, 0, 0]) && near(found[1], [0, 0, 191]), "{found:?}");
        }
    }

    #[test]
    fn every_kind_of_pixel_becomes_rgb() {
        let palette = include_bytes!("../tests/photos/palette.png");
        assert_eq!(left_and_right(palette), [[200, 30, 60], [255; 3]], "the second colour is transparent");
        let png = |image: DynamicImage| left_and_right(&encoded(&image, ImageFormat::Png))[0];
        assert_eq!(png(image::GrayImage::from_pixel(10, 10, image::Luma([77])).into()), [77; 3]);
        let half = image::GrayAlphaImage::from_pixel(10, 10, image::LumaA([100, 51]));
        assert_eq!(png(half.into()), [224; 3], "100 of 51 and 255 of 204, over 255");
        let deep = image::ImageBuffer::from_pixel(10, 10, image::Luma([0x4d4d_u16]));
        assert_eq!(png(DynamicImage::ImageLuma16(deep)), [77; 3]);
        let deep = image::ImageBuffer::from_pixel(10, 10, image::Rgb([0_u16, 0x7fff, 0xffff]));
        assert_eq!(png(DynamicImage::ImageRgb16(deep)), [0, 127, 255]);
    }

    #[test]
    fn bad_bytes_are_named() {
        let limits = DecodeLimits::default();
        assert_eq!(decode(b"", limits), Err(DecodeError::Empty));
        assert_eq!(decode(b"GIF89a and so on", limits), Err(DecodeError::NotAnImage));
        assert_eq!(decode(b"hello", limits), Err(DecodeError::NotAnImage));
        let noise =
            RgbImage::from_fn(90, 70, |x, y| image::Rgb([(x * 83 + y * y * 7) as u8, y as u8, x as u8]));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let bytes = encoded(&noise.clone().into(), format);
            assert!(decode(&[bytes.as_slice(), b"what follows"].concat(), limits).is_ok(), "{format:?}");
            for part in [30, bytes.len() / 2, bytes.len() * 9 / 10] {
                let cut = decode(&bytes[..part], limits);
                assert!(matches!(cut, Err(DecodeError::Corrupt(_))), "{part} bytes of {format:?}: {cut:?}");
            }
        }
        let thumbnail = [b"\xff\xd8\xff\xe1\0\x06\xff\xd9\0\0".as_slice(), &turned(1)[2..]].concat();
        assert!(decode(&thumbnail, limits).is_ok());
        assert!(decode(&thumbnail[..thumbnail.len() - 20], limits).is_err());
        let deep = encoded(&DynamicImage::ImageRgba16(picture().into_rgba16()), ImageFormat::Png);
        assert!(decode(&deep, DecodeLimits { max_pixels: 1600 }).is_ok());
        let bomb = decode(&deep, DecodeLimits { max_pixels: 1599 });
        assert!(matches!(bomb, Err(DecodeError::TooManyPixels { .. })), "{bomb:?}");
        let small = DecodeLimits { max_pixels: 799 };
        let large = decode(&encoded(&picture(), ImageFormat::Png), small);
        assert_eq!(large, Err(DecodeError::TooManyPixels { width: 40, height: 20, max_pixels: 799 }));
    }
}
