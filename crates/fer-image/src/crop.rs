//! From a detected box to the face that the network sees: the one crop rule.
//!
//! FER-2013 faces are square and tight, from the brow or the hairline to the chin. The crop therefore takes a square around
//! the box's centre, converts it to grey, repeats the picture's border where the square reaches beyond it, and resizes with
//! antialiasing.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::sample::bilinear;
use crate::{BoundingBox, Luma, resize};

/// Eyes that are further from level than this, in radians, are taken for a mistake of the detector.
const MAX_ROLL: f32 = std::f32::consts::FRAC_PI_3;

/// The grey levels of one face, row-major, in the size that a network expects
/// (`Preprocessing::face_size` in fer-model).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceCrop(Vec<u8>);

/// Which part of the picture around a detected box becomes the face.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropRule {
    /// Side of the square, as a fraction of the box's longer side.
    pub scale: f32,
    /// Distance from the box's centre down to the square's centre, as a fraction of the box's longer side.
    pub shift_down: f32,
    /// Whether the square is rotated until the eyes are level. Eyes more than 60° off are left as they are, because then
    /// the detector has most likely misplaced them.
    pub level_eyes: bool,
}

impl Default for CropRule {
    /// The rule that costs the least accuracy on PublicTest faces that were detected in larger pictures, compared with
    /// the original crops (`fer-train evaluate --detected`; the figures are in `docs/benchmarks.md`).
    fn default() -> Self {
        Self { scale: 0.88, shift_down: -0.025, level_eyes: false }
    }
}

impl CropRule {
    /// For a picture that is a face as a whole: the square around its box, unchanged.
    pub const WHOLE: Self = Self { scale: 1.0, shift_down: 0.0, level_eyes: false };

    /// Checks that the rule selects a usable square.
    ///
    /// # Errors
    /// Says which value is out of range, and what the range is.
    pub fn check(self) -> Result<(), String> {
        if !(self.scale > 0.0 && self.scale <= 10.0) {
            return Err(format!("crop.scale is {}; expected a number above 0, at most 10", self.scale));
        }
        if !(-10.0..=10.0).contains(&self.shift_down) {
            return Err(format!("crop.shift_down is {}; expected a number from -10 to 10", self.shift_down));
        }
        Ok(())
    }
}

/// Where a face lies in a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceLocation {
    /// Bounding box; it may reach beyond the picture.
    pub bounding_box: BoundingBox,
    /// The eye on the left and the eye on the right, as seen in the picture.
    pub eyes: [[f32; 2]; 2],
}

impl FaceLocation {
    /// The angle of the line through the eyes, in radians from level; positive where the right eye is lower.
    ///
    /// Returns `None` when the eyes coincide or are not finite, because the angle is then undefined.
    pub fn roll(&self) -> Option<f32> {
        let [left, right] = self.eyes;
        let (across, down) = (right[0] - left[0], right[1] - left[1]);
        let defined = across.is_finite() && down.is_finite() && (across, down) != (0.0, 0.0);
        defined.then(|| down.atan2(across))
    }
}

impl FaceCrop {
    /// Takes `side * side` row-major grey levels that are a face already and resizes them to `size` (height, width).
    ///
    /// Returns `None` if `luma` does not have `side * side` values.
    pub fn from_square(luma: &[u8], side: usize, size: [usize; 2]) -> Option<Self> {
        resize::grey(luma, [side, side], size).map(Self)
    }

    /// Cuts a face of `size` (height, width) out of a picture.
    ///
    /// Returns `None` if the box is empty or not finite, or if the picture has no pixels.
    pub fn extract(
        image: &RgbImage,
        face: &FaceLocation,
        rule: CropRule,
        luma: Luma,
        size: [usize; 2],
    ) -> Option<Self> {
        let BoundingBox { x, y, width, height } = face.bounding_box;
        let finite = [x, y, width, height].iter().all(|value| value.is_finite());
        let (last_x, last_y) = (image.width().checked_sub(1)?, image.height().checked_sub(1)?);
        if !finite || width <= 0.0 || height <= 0.0 {
            return None;
        }
        // Squares are clamped to three picture sizes: larger ones show the same repeated border.
        let max_side = 3.0 * image.width().max(image.height()) as f32;
        let longer = width.max(height);
        let side = (rule.scale * longer).round().clamp(1.0, max_side);
        let far = 2.0 * max_side;
        let left = (x + 0.5 * (width - side)).round().clamp(-far, far);
        let top = (y + 0.5 * (height - side) + rule.shift_down * longer).round().clamp(-far, far);
        let roll = if rule.level_eyes { face.roll() } else { None };
        let roll = roll.filter(|roll| roll.abs() < MAX_ROLL).unwrap_or(0.0);
        let (sin, cos) = roll.sin_cos();
        let middle = 0.5 * (side - 1.0);
        let pixel = |x: f32, y: f32| {
            let (x, y) = (x.max(0.0) as u32, y.max(0.0) as u32);
            f32::from(luma.grey(image.get_pixel(x.min(last_x), y.min(last_y)).0))
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

    /// The grey levels, row-major.
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
        FaceCrop::extract(image, &face, CropRule::WHOLE, Luma::REC_601, SIZE)
    }

    #[test]
    fn a_box_of_the_input_size_is_copied_as_grey() {
        let image = RgbImage::from_fn(100, 80, |x, y| image::Rgb([x as u8, x as u8, y as u8]));
        let crop = extract(&image, [20.0, 10.0, 48.0, 48.0]).unwrap();
        assert_eq!(crop.luma()[0], Luma::REC_601.grey([20, 20, 10]));
        assert_eq!(crop.luma()[48 * 48 - 1], Luma::REC_601.grey([67, 67, 57]));
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
            let crop = FaceCrop::extract(&image, &face, rule, Luma::REC_601, SIZE).unwrap();
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

    #[test]
    fn the_roll_is_undefined_only_where_the_eyes_coincide() {
        let bounding_box = BoundingBox { x: 0.0, y: 0.0, width: 10.0, height: 10.0 };
        let roll = |eyes| FaceLocation { bounding_box, eyes }.roll();
        let degrees = roll([[0.0, 0.0], [1.0, 3.0]]).unwrap().to_degrees();
        assert!((degrees - 71.565).abs() < 1e-3, "{degrees}");
        assert_eq!(roll([[3.0, 4.0], [8.0, 4.0]]), Some(0.0));
        assert_eq!(roll([[3.0, 4.0]; 2]), None);
        assert_eq!(roll([[3.0, 4.0], [f32::NAN, 4.0]]), None);
    }

    #[test]
    fn eyes_beyond_sixty_degrees_are_not_levelled() {
        let image = RgbImage::from_fn(200, 200, |x, y| image::Rgb([(x / 2 + y / 2) as u8; 3]));
        let bounding_box = BoundingBox { x: 76.0, y: 52.0, width: 48.0, height: 96.0 };
        let crop = |degrees: f32, level_eyes| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let face =
                FaceLocation { bounding_box, eyes: [[90.0, 90.0], [90.0 + 20.0 * cos, 90.0 + 20.0 * sin]] };
            let rule = CropRule { level_eyes, ..CropRule::WHOLE };
            FaceCrop::extract(&image, &face, rule, Luma::REC_601, SIZE).unwrap()
        };
        assert_eq!(crop(61.0, true), crop(61.0, false));
        assert_ne!(crop(59.0, true), crop(59.0, false));
    }

    #[test]
    fn the_luma_is_the_callers() {
        let image = RgbImage::from_pixel(60, 60, image::Rgb([200, 100, 0]));
        let bounding_box = BoundingBox { x: 6.0, y: 6.0, width: 48.0, height: 48.0 };
        let face = FaceLocation { bounding_box, eyes: [[0.0; 2]; 2] };
        for (luma, expected) in [(Luma::REC_601, 118), (Luma::new(1.0, 0.0, 0.0).unwrap(), 200)] {
            let crop = FaceCrop::extract(&image, &face, CropRule::default(), luma, SIZE).unwrap();
            assert!(crop.luma().iter().all(|&pixel| pixel == expected), "{luma:?}");
        }
    }

    #[test]
    fn rules_out_of_range_are_named() {
        let message = |rule: CropRule| rule.check().unwrap_err();
        let rule = CropRule::default();
        assert_eq!(rule.check(), Ok(()));
        assert!(message(CropRule { scale: 0.0, ..rule }).contains("crop.scale is 0"));
        assert!(message(CropRule { scale: f32::NAN, ..rule }).contains("crop.scale is NaN"));
        assert!(message(CropRule { scale: 1e9, ..rule }).contains("at most 10"));
        assert!(message(CropRule { shift_down: f32::INFINITY, ..rule }).contains("crop.shift_down is inf"));
    }
}
