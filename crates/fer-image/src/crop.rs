//! From a detected box to the face that the network gets: the one crop rule.
//!
//! FER-2013 faces are square and tight, brow or hairline to chin. So: a square about the box's centre, grey by Rec. 601,
//! the picture's border repeated outside of it, resized with antialiasing.

use image::RgbImage;

use crate::luma::luma;
use crate::sample::bilinear;
use crate::{BoundingBox, resize};

/// Grey levels of one face, row-major, of the size that a network wants faces in
/// (`Preprocessing::face_size` in fer-model).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceCrop(Vec<u8>);

/// How much of the picture about a detected box becomes the face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropRule {
    /// Side of the square, as a share of the box's longer side.
    pub scale: f32,
    /// By how much the square lies lower than the box, as a share of the box's longer side.
    pub shift_down: f32,
    /// Whether the square is turned until the eyes are level.
    pub level_eyes: bool,
}

impl Default for CropRule {
    /// What loses the fewest points on PublicTest faces that were found in larger pictures, beside the original crops
    /// (`fer-train evaluate --detected`; the figures are in `docs/benchmarks.md`).
    fn default() -> Self {
        Self { scale: 0.88, shift_down: -0.025, level_eyes: false }
    }
}

/// Where a face lies in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceLocation {
    /// Bounding box; it may reach beyond the picture.
    pub bounding_box: BoundingBox,
    /// Left and right eye as seen in the picture.
    pub eyes: [[f32; 2]; 2],
}

impl FaceLocation {
    /// Radians from level to the line through the eyes; 0 where they say nothing: eyes that stand on each other belong to
    /// no face that is recognised.
    pub fn roll(&self) -> f32 {
        let [left, right] = self.eyes;
        let angle = (right[1] - left[1]).atan2(right[0] - left[0]);
        if angle.abs() < std::f32::consts::FRAC_PI_3 { angle } else { 0.0 }
    }
}

impl FaceCrop {
    /// Takes the pixels of a square that is a face already; `None` where there are not `side` times `side`.
    pub fn from_square(luma: &[u8], side: usize, size: [usize; 2]) -> Option<Self> {
        resize::grey(luma, [side, side], size).map(Self)
    }

    /// Cuts a face of `size` (height, width) out of a picture. `None` where the box is empty or not finite, or the picture has no pixel.
    pub fn extract(image: &RgbImage, face: &FaceLocation, rule: CropRule, size: [usize; 2]) -> Option<Self> {
        let BoundingBox { x, y, width, height } = face.bounding_box;
        let finite = [x, y, width, height].iter().all(|value| value.is_finite());
        let (most_x, most_y) = (image.width().checked_sub(1)?, image.height().checked_sub(1)?);
        if !finite || width <= 0.0 || height <= 0.0 {
            return None;
        }
        // No box that reaches further than the picture is large says more than one that does.
        let most_side = 3.0 * image.width().max(image.height()) as f32;
        let longer = width.max(height);
        let side = (rule.scale * longer).round().clamp(1.0, most_side);
        let far = 2.0 * most_side;
        let left = (x + 0.5 * (width - side)).round().clamp(-far, far);
        let top = (y + 0.5 * (height - side) + rule.shift_down * longer).round().clamp(-far, far);
        let roll = if rule.level_eyes { face.roll() } else { 0.0 };
        let (sin, cos) = roll.sin_cos();
        let middle = 0.5 * (side - 1.0);
        let pixel = |x: f32, y: f32| {
            let (x, y) = (x.max(0.0) as u32, y.max(0.0) as u32);
            f32::from(luma(image.get_pixel(x.min(most_x), y.min(most_y)).0))
        };
        let mut square = Vec::with_capacity((side * side) as usize);
        for row in 0..side as u32 {
            for column in 0..side as u32 {
                let (across, down) = (column as f32 - middle, row as f32 - middle);
                let x = left + middle + cos * across - sin * down;
                let y = top + middle + sin * across + cos * down;
                let value = if roll == 0.0 { pixel(x, y) } else { bilinear(x, y, pixel) };
                square.push(value.round() as u8);
            }
        }
        let side = side as usize;
        resize::grey(&square, [side, side], size).map(Self)
    }

    /// The pixels.
    pub fn luma(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [usize; 2] = [48, 48];

    fn extract(image: &RgbImage, [x, y, width, height]: [f32; 4]) -> Option<FaceCrop> {
        let bounding_box = BoundingBox { x, y, width, height };
        let face = FaceLocation { bounding_box, eyes: [[0.0; 2]; 2] };
        let whole = CropRule { scale: 1.0, shift_down: 0.0, level_eyes: false };
        FaceCrop::extract(image, &face, whole, SIZE)
    }

    #[test]
    fn a_box_of_the_input_size_is_copied_as_grey() {
        let image = RgbImage::from_fn(100, 80, |x, y| image::Rgb([x as u8, x as u8, y as u8]));
        let crop = extract(&image, [20.0, 10.0, 48.0, 48.0]).unwrap();
        assert_eq!(crop.luma()[0], luma([20, 20, 10]));
        assert_eq!(crop.luma()[48 * 48 - 1], luma([67, 67, 57]));
    }

    #[test]
    fn tall_boxes_become_squares_about_their_centre() {
        let image = RgbImage::from_fn(200, 200, |x, _| image::Rgb([x as u8; 3]));
        let crop = extract(&image, [90.0, 50.0, 20.0, 96.0]).unwrap();
        let middle = f32::from(crop.luma()[24 * 48 + 23]).midpoint(f32::from(crop.luma()[24 * 48 + 24]));
        assert!((middle - 99.5).abs() <= 1.0, "{middle}");
        assert!(crop.luma()[0] < 60 && crop.luma()[47] > 140);
    }

    #[test]
    fn the_border_is_repeated_and_nonsense_is_refused() {
        let image = RgbImage::from_pixel(10, 10, image::Rgb([77; 3]));
        let outside = extract(&image, [-500.0, 300.0, 40.0, 60.0]).unwrap();
        assert!(outside.luma().iter().all(|&pixel| pixel == 77));
        assert!(extract(&image, [0.0, 0.0, 1e30, 1e30]).is_some());
        assert!(extract(&image, [f32::NAN, 0.0, 1.0, 1.0]).is_none());
        assert!(extract(&image, [0.0, 0.0, 0.0, 5.0]).is_none());
        assert!(extract(&RgbImage::new(0, 0), [0.0, 0.0, 5.0, 5.0]).is_none());
    }

    #[test]
    fn the_rule_scales_shifts_and_levels() {
        let image = RgbImage::from_fn(200, 200, |x, y| image::Rgb([(x / 2 + y / 2) as u8; 3]));
        let middle = |rule: CropRule, eyes: [[f32; 2]; 2]| {
            let bounding_box = BoundingBox { x: 76.0, y: 52.0, width: 48.0, height: 96.0 };
            let face = FaceLocation { bounding_box, eyes };
            let crop = FaceCrop::extract(&image, &face, rule, SIZE).unwrap();
            (i32::from(crop.luma()[24 * 48 + 24]), i32::from(crop.luma()[24 * 48 + 47]))
        };
        let plain = CropRule { scale: 1.0, shift_down: 0.0, level_eyes: false };
        let level = [[90.0, 90.0], [110.0, 90.0]];
        let (centre, right) = middle(plain, level);
        assert!((centre - 100).abs() <= 1 && (right - 123).abs() <= 1, "{centre} {right}");
        let (_, right) = middle(CropRule { scale: 0.5, ..plain }, level);
        assert!((right - 111).abs() <= 1, "{right}");
        let (centre, _) = middle(CropRule { shift_down: 0.25, ..plain }, level);
        assert!((centre - 112).abs() <= 1, "{centre}");
        // Turned by 45 degrees, the square's right is the picture's lower right.
        let turned = [[90.0, 80.0], [110.0, 100.0]];
        let (centre, right) = middle(CropRule { level_eyes: true, ..plain }, turned);
        assert!((centre - 100).abs() <= 1 && (right - 133).abs() <= 2, "{centre} {right}");
        assert_eq!(middle(CropRule { level_eyes: true, ..plain }, level), middle(plain, level));
    }
}
