//! Grey levels to network input: the one preprocessing, which training and serving share.

use serde::{Deserialize, Serialize};

use crate::spec::InputSpec;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// How grey levels are normalised and which part of the face the network sees. It is stored with the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Mean of the training pixels, on a scale from 0 to 1.
    pub mean: f32,
    /// Standard deviation of the training pixels, on the same scale.
    pub std: f32,
    /// Pixels on each side of the face that are not part of the input: training shifts the window within them, serving
    /// takes the middle.
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

    /// Height and width in pixels of a face with its margin.
    pub fn face_size(self, input: InputSpec) -> [usize; 2] {
        [input.height, input.width].map(|side| side + 2 * self.margin)
    }

    /// Normalises one grey level from 0 to 255, which augmentation may have made a fraction.
    #[inline]
    pub fn normalise(self, luma: f32) -> f32 {
        (luma / 255.0 - self.mean) / self.std
    }

    /// Appends one face to `out`: the same `[height, width]` plane of normalised values for each input channel, from the
    /// row-major grey levels of a face of [`Self::face_size`].
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
        // The margin is cut off on every side.
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
