//! Pixels to network input: the one preprocessing, for training and for serving alike.

use serde::{Deserialize, Serialize};

/// Normalisation of grey levels, stored with the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Mean of the training pixels on the scale 0 to 1.
    pub mean: f32,
    /// Their standard deviation on the same scale.
    pub std: f32,
}

impl Preprocessing {
    pub(crate) fn check(self) -> Result<(), String> {
        if !self.mean.is_finite() {
            return Err(format!("preprocessing.mean is {}; expected a finite number", self.mean));
        }
        if !(self.std.is_finite() && self.std > 0.0) {
            return Err(format!("preprocessing.std is {}; expected a finite number above 0", self.std));
        }
        Ok(())
    }

    /// One grey level, 0 to 255, as the network sees it. Fractions come from augmentation and resizing.
    #[inline]
    pub fn normalise(self, luma: f32) -> f32 {
        (luma / 255.0 - self.mean) / self.std
    }

    /// Row-major grey pixels in, `channels` equal planes of normalised values appended to `out`.
    pub fn apply(self, luma: &[u8], channels: usize, out: &mut Vec<f32>) {
        for _ in 0..channels {
            out.extend(luma.iter().map(|&pixel| self.normalise(f32::from(pixel))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_pixels() {
        let preprocessing = Preprocessing { mean: 0.508, std: 0.255 };
        let mut out = Vec::new();
        preprocessing.apply(&[0, 128, 255], 2, &mut out);
        let expected = [-1.992_156_9, -0.023_683_2, 1.929_411_8];
        assert_eq!(out.len(), 6);
        for (value, wanted) in out.iter().zip(expected.iter().chain(&expected)) {
            assert!((value - wanted).abs() < 1e-5, "{value} is not {wanted}");
        }
    }
}
