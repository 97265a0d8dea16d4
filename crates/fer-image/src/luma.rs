//! Colour to grey.

use image::{GrayImage, Luma as Grey, RgbImage};
use serde::{Deserialize, Serialize};

/// One, in the 16-bit fixed point in which the weights are applied.
const ONE: u32 = 1 << 16;

/// How far from one the sum of the three weights may be: room for weights that are rounded to three decimals.
const ROUNDING: f64 = 2e-3;

/// The weights of red, green and blue in a grey level.
///
/// Invariant: each weight is finite and not negative, and they sum to one within rounding. The grey level of a pixel is
/// computed in 16-bit fixed point, as PIL and OpenCV do, and the fixed-point weights sum to exactly one: a pixel that is
/// grey already keeps its level.
///
/// In JSON: `{ "red": 0.299, "green": 0.587, "blue": 0.114 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Weights", into = "Weights")]
pub struct Luma {
    weights: Weights,
    fixed: [u32; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    red: f64,
    green: f64,
    blue: f64,
}

/// Weights that do not make a grey level out of a colour.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("luma weights are red {red}, green {green}, blue {blue}; expected numbers from 0 to 1 that sum to 1")]
pub struct LumaError {
    /// Weight of red.
    pub red: f64,
    /// Weight of green.
    pub green: f64,
    /// Weight of blue.
    pub blue: f64,
}

impl Luma {
    /// ITU-R Rec. 601, the weights of JPEG, PIL and OpenCV.
    pub const REC_601: Self =
        Self { weights: Weights { red: 0.299, green: 0.587, blue: 0.114 }, fixed: [19_595, 38_470, 7_471] };

    /// Weights of red, green and blue.
    ///
    /// # Errors
    /// If a weight is negative or not finite, or if they do not sum to one.
    pub fn new(red: f64, green: f64, blue: f64) -> Result<Self, LumaError> {
        let weights = [red, green, blue];
        let valid = weights.iter().all(|weight| (0.0..=1.0).contains(weight));
        if !valid || (weights.iter().sum::<f64>() - 1.0).abs() > ROUNDING {
            return Err(LumaError { red, green, blue });
        }
        let mut fixed = weights.map(|weight| (weight * f64::from(ONE)).round() as u32);
        // The largest weight takes what rounding left over, so that the sum is exact.
        let largest = (0..3).fold(0, |best, next| if fixed[next] > fixed[best] { next } else { best });
        let others: u32 = (0..3).filter(|&index| index != largest).map(|index| fixed[index]).sum();
        fixed[largest] = ONE - others;
        Ok(Self { weights: Weights { red, green, blue }, fixed })
    }

    /// The grey level of one RGB pixel.
    #[inline]
    pub fn grey(self, [red, green, blue]: [u8; 3]) -> u8 {
        let [of_red, of_green, of_blue] = self.fixed;
        let sum = of_red * u32::from(red) + of_green * u32::from(green) + of_blue * u32::from(blue);
        ((sum + ONE / 2) >> 16) as u8
    }

    /// The grey levels of a picture.
    pub fn picture(self, image: &RgbImage) -> GrayImage {
        GrayImage::from_fn(image.width(), image.height(), |x, y| Grey([self.grey(image.get_pixel(x, y).0)]))
    }
}

impl Default for Luma {
    fn default() -> Self {
        Self::REC_601
    }
}

impl TryFrom<Weights> for Luma {
    type Error = LumaError;

    fn try_from(Weights { red, green, blue }: Weights) -> Result<Self, LumaError> {
        Self::new(red, green, blue)
    }
}

impl From<Luma> for Weights {
    fn from(luma: Luma) -> Self {
        luma.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_weights() {
        let luma = |pixel| Luma::REC_601.grey(pixel);
        assert_eq!(
            [luma([255; 3]), luma([255, 0, 0]), luma([0, 255, 0]), luma([0, 0, 255])],
            [255, 76, 150, 29]
        );
    }

    #[test]
    fn the_weights_of_rec_601_are_its_constant() {
        assert_eq!(Luma::new(0.299, 0.587, 0.114), Ok(Luma::REC_601));
    }

    #[test]
    fn grey_pixels_keep_their_level_with_any_weights() {
        let weights =
            [[0.299, 0.587, 0.114], [0.2126, 0.7152, 0.0722], [0.3333, 0.3333, 0.3333], [0.0, 1.0, 0.0]];
        for [red, green, blue] in weights {
            let luma = Luma::new(red, green, blue).unwrap();
            assert!((0..=255).all(|level| luma.grey([level; 3]) == level), "{luma:?}");
        }
    }

    #[test]
    fn weights_that_make_no_grey_are_refused() {
        for [red, green, blue] in
            [[0.3, 0.6, 0.2], [1.2, -0.1, -0.1], [f64::NAN, 0.5, 0.5], [f64::INFINITY, 0.0, 0.0], [0.0; 3]]
        {
            let message = Luma::new(red, green, blue).unwrap_err().to_string();
            assert!(message.contains("sum to 1"), "{message}");
        }
    }

    #[test]
    fn a_picture_is_its_pixels() {
        let image = RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8 * 90, 200, y as u8 * 50]));
        let grey = Luma::REC_601.picture(&image);
        assert_eq!(grey.dimensions(), (3, 2));
        assert_eq!(grey.get_pixel(2, 1).0, [Luma::REC_601.grey([180, 200, 50])]);
    }
}
