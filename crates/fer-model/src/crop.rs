//! From a detected box to the face that the network gets: the one crop rule.
//!
//! FER-2013 faces are square and tight, brow or hairline to chin. So: the square about the box's centre with
//! its longer side, grey by Rec. 601, the picture's border repeated outside of it, resized with antialiasing.

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::spec::InputSpec;

/// Grey levels of one face, row-major, of a network's input size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceCrop(Vec<u8>);

impl FaceCrop {
    /// Takes pixels that are a face already; `None` where their number does not fit.
    pub fn from_luma(luma: &[u8], input: InputSpec) -> Option<Self> {
        (luma.len() == input.height * input.width).then(|| Self(luma.to_vec()))
    }

    /// Cuts the face in the box at `x, y` with `width` and `height` (pixels, may reach over the border) out
    /// of a picture. `None` where the box is empty or not finite, or the picture has no pixel.
    pub fn extract(image: &RgbImage, [x, y, width, height]: [f32; 4], input: InputSpec) -> Option<Self> {
        let finite = [x, y, width, height].iter().all(|value| value.is_finite());
        let (most_x, most_y) = (i64::from(image.width()) - 1, i64::from(image.height()) - 1);
        if !finite || width <= 0.0 || height <= 0.0 || most_x < 0 || most_y < 0 {
            return None;
        }
        // No box that reaches further than the picture is large says more than one that does.
        let most_side = 3.0 * image.width().max(image.height()) as f32;
        let side = width.max(height).round().clamp(1.0, most_side);
        let far = 2.0 * most_side;
        let left = (x + 0.5 * (width - side)).round().clamp(-far, far) as i64;
        let top = (y + 0.5 * (height - side)).round().clamp(-far, far) as i64;
        let side = side as u32;
        let mut square = Vec::with_capacity((side * side) as usize);
        for row in 0..i64::from(side) {
            let source_y = (top + row).clamp(0, most_y) as u32;
            for column in 0..i64::from(side) {
                let source_x = (left + column).clamp(0, most_x) as u32;
                square.push(luma(image.get_pixel(source_x, source_y).0));
            }
        }
        let square = Image::from_vec_u8(side, side, square, PixelType::U8).ok()?;
        let mut face = Image::new(input.width as u32, input.height as u32, PixelType::U8);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new().resize(&square, &mut face, &options).ok()?;
        Some(Self(face.into_vec()))
    }

    /// The pixels.
    pub fn luma(&self) -> &[u8] {
        &self.0
    }
}

/// Rec. 601 luma in integers, as PIL and OpenCV compute it.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: InputSpec = InputSpec { channels: 1, height: 48, width: 48 };

    #[test]
    fn a_box_of_the_input_size_is_copied_as_grey() {
        let image = RgbImage::from_fn(100, 80, |x, y| image::Rgb([x as u8, x as u8, y as u8]));
        let crop = FaceCrop::extract(&image, [20.0, 10.0, 48.0, 48.0], INPUT).unwrap();
        assert_eq!(crop.luma()[0], luma([20, 20, 10]));
        assert_eq!(crop.luma()[48 * 48 - 1], luma([67, 67, 57]));
    }

    #[test]
    fn tall_boxes_become_squares_about_their_centre() {
        let image = RgbImage::from_fn(200, 200, |x, _| image::Rgb([x as u8; 3]));
        let crop = FaceCrop::extract(&image, [90.0, 50.0, 20.0, 96.0], INPUT).unwrap();
        let middle = f32::from(crop.luma()[24 * 48 + 23]).midpoint(f32::from(crop.luma()[24 * 48 + 24]));
        assert!((middle - 99.5).abs() <= 1.0, "{middle}");
        assert!(crop.luma()[0] < 60 && crop.luma()[47] > 140);
    }

    #[test]
    fn the_border_is_repeated_and_nonsense_is_refused() {
        let image = RgbImage::from_pixel(10, 10, image::Rgb([77; 3]));
        let outside = FaceCrop::extract(&image, [-500.0, 300.0, 40.0, 60.0], INPUT).unwrap();
        assert!(outside.luma().iter().all(|&pixel| pixel == 77));
        assert!(FaceCrop::extract(&image, [0.0, 0.0, 1e30, 1e30], INPUT).is_some());
        assert!(FaceCrop::extract(&image, [f32::NAN, 0.0, 1.0, 1.0], INPUT).is_none());
        assert!(FaceCrop::extract(&image, [0.0, 0.0, 0.0, 5.0], INPUT).is_none());
        assert!(FaceCrop::extract(&RgbImage::new(0, 0), [0.0, 0.0, 5.0, 5.0], INPUT).is_none());
    }

    #[test]
    fn luma_weights() {
        assert_eq!(
            [luma([255; 3]), luma([255, 0, 0]), luma([0, 255, 0]), luma([0, 0, 255])],
            [255, 76, 150, 29]
        );
    }
}
