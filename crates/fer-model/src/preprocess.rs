//! Pixels to network input: the one preprocessing, for training and for serving alike.

use serde::{Deserialize, Serialize};

use crate::spec::InputSpec;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// Normalisation of grey levels and the part of the face that is looked at, stored with the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Mean of the training pixels on the scale 0 to 1.
    pub mean: f32,
    /// Their standard deviation on the same scale.
    pub std: f32,
    /// Pixels of the face on each side that are outside of the input: training shifts the window, serving takes the
    /// middle.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub margin: usize,
}

impl Preprocessing {
    pub(crate) fn check(self) -> Result<(), String> {
        if !self.mean.is_finite() {
            return Err(format!("preprocessing.mean is {}; expected a finite number", self.mean));
        }
        if !(self.std.is_finite() && self.std > 0.0) {
            return Err(format!("preprocessing.std is {}; expected a finite number above 0", self.std));
        }
        if self.margin > 512 {
            return Err(format!("preprocessing.margin is {}; expected at most 512", self.margin));
        }
        Ok(())
    }

    /// Height and width of a face before its margin is cut.
    pub fn face_size(self, input: InputSpec) -> [usize; 2] {
        [input.height, input.width].map(|side| side + 2 * self.margin)
    }

    /// One grey level, 0 to 255, as the network sees it. Fractions come from augmentation and resizing.
    #[inline]
    pub fn normalise(self, luma: f32) -> f32 {
        (luma / 255.0 - self.mean) / self.std
    }

    /// Row-major grey pixels of [`Self::face_size`] in, equal planes of normalised values appended to `out`.
    pub fn apply(self, luma: &[u8], input: InputSpec, out: &mut Vec<f32>) {
        let [_, width] = self.face_size(input);
        for _ in 0..input.channels {
            for row in luma.chunks_exact(width).skip(self.margin).take(input.height) {
                let row = &row[self.margin..][..input.width];
                out.extend(row.iter().map(|&pixel| self.normalise(f32::from(pixel))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_pixels() {
        let preprocessing = Preprocessing { mean: 0.508, std: 0.255, margin: 0 };
        let input = InputSpec { channels: 2, height: 1, width: 3 };
        let mut out = Vec::new();
        preprocessing.apply(&[0, 128, 255], input, &mut out);
        // A margin is cut off all around.
        let mut inner = Vec::new();
        let framed = [7, 7, 7, 7, 7, 7, 0, 128, 255, 7, 7, 7, 7, 7, 7];
        Preprocessing { margin: 1, ..preprocessing }.apply(&framed, input, &mut inner);
        assert_eq!(inner, out);
        let expected = [-1.992_156_9, -0.023_683_2, 1.929_411_8];
        assert_eq!(out.len(), 6);
        for (value, wanted) in out.iter().zip(expected.iter().chain(&expected)) {
            assert!((value - wanted).abs() < 1e-5, "{value} is not {wanted}");
        }
    }
}
