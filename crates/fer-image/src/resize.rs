//! Antialiased resizing of pictures.
//!
//! The pixel types are named at compile time: where they are chosen at run time, the compiler generates every filter for
//! every type that `fast_image_resize` knows, which takes a minute.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Resizes row-major grey pixels from `from` (height, width) to `to` (height, width) with a triangle filter, whose support
/// grows with the reduction. Returns `None` if the number of pixels is not height × width, or if a side is 0.
pub fn grey(pixels: &[u8], from: [usize; 2], to: [usize; 2]) -> Option<Vec<u8>> {
    if from.contains(&0) || to.contains(&0) || pixels.len() != from[0] * from[1] {
        return None;
    }
    if from == to {
        return Some(pixels.to_vec());
    }
    let mut resized = vec![0; to[0] * to[1]];
    let source = TypedImageRef::<U8>::from_buffer(from[1] as u32, from[0] as u32, pixels).ok()?;
    let mut target = TypedImage::<U8>::from_buffer(to[1] as u32, to[0] as u32, &mut resized).ok()?;
    let options = ResizeOptions::new().resize_alg(TRIANGLE);
    Resizer::new().resize_typed(&source, &mut target, &options).ok()?;
    Some(resized)
}

/// Reduces a picture until its longer side is at most `longest`. Returns the copy and, for each axis, the factor from its
/// coordinates to the picture's. Returns `None` if the picture is small enough already, or if `longest` is 0.
pub fn limited(image: &RgbImage, longest: u32) -> Option<(RgbImage, [f32; 2])> {
    let (width, height) = image.dimensions();
    let longer = width.max(height);
    if longer <= longest || longest == 0 {
        return None;
    }
    let side = |length: u32| {
        ((u64::from(length) * u64::from(longest) + u64::from(longer) / 2) / u64::from(longer)).max(1) as u32
    };
    let (small_width, small_height) = (side(width), side(height));
    let mut small = RgbImage::new(small_width, small_height);
    rgb(&mut Resizer::new(), image, [small_width, small_height], &mut small, SUPERSAMPLED)?;
    Some((small, [width as f32 / small_width as f32, height as f32 / small_height as f32]))
}

/// A triangle filter whose support grows with the reduction.
pub(crate) const TRIANGLE: ResizeAlg = ResizeAlg::Convolution(FilterType::Bilinear);

/// The same after a reduction to twice the size by nearest neighbour, so that a large photo costs little.
pub(crate) const SUPERSAMPLED: ResizeAlg = ResizeAlg::SuperSampling(FilterType::Bilinear, 2);

/// Resizes a picture into the interleaved pixels of another one of `width`×`height`. Returns `None` if a side is 0 or the number
/// of pixels is not width × height.
pub(crate) fn rgb(
    resizer: &mut Resizer,
    image: &RgbImage,
    [width, height]: [u32; 2],
    pixels: &mut [u8],
    algorithm: ResizeAlg,
) -> Option<()> {
    if image.is_empty() || width == 0 || height == 0 {
        return None;
    }
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw()).ok()?;
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, pixels).ok()?;
    resizer.resize_typed(&source, &mut target, &ResizeOptions::new().resize_alg(algorithm)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_reduced_to_the_longest_side() {
        let image = RgbImage::from_fn(2000, 1000, |x, _| image::Rgb([(x / 8) as u8; 3]));
        let (small, ratio) = limited(&image, 800).unwrap();
        assert_eq!((small.dimensions(), ratio), ((800, 400), [2.5, 2.5]));
        assert!((i32::from(small.get_pixel(400, 7).0[0]) - 125).abs() <= 1);
        assert!(limited(&image, 2000).is_none());
        let (strip, _) = limited(&RgbImage::new(20_000, 3), 800).unwrap();
        assert_eq!(strip.dimensions(), (800, 1));
    }

    #[test]
    fn sides_must_fit_the_pixels() {
        assert_eq!(grey(&[7; 6], [2, 3], [2, 3]).unwrap(), [7; 6]);
        assert_eq!(grey(&[7; 6], [2, 3], [1, 5]).unwrap(), [7; 5]);
        assert!(grey(&[7; 5], [2, 3], [1, 5]).is_none());
        assert!(grey(&[], [0, 0], [1, 1]).is_none());
    }
}
