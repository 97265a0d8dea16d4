//! Settings of the cascade.

use fer_image::area::Normalization;

use crate::DetectorOptions;

/// Settings of an [`Mtcnn`](super::Mtcnn). A manifest gives most of them.
#[derive(Clone, Debug, PartialEq)]
pub struct MtcnnConfig {
    /// Side of the smallest face to look for, in pixels; at least 12. The time grows with its inverse square.
    pub min_face: f32,
    /// Least face probability after P-Net, R-Net and O-Net. The defaults suit networks that `fer-train detector train`
    /// makes: on the embedded ones' validation photos they miss 5 % of the faces and put one false box on 100 photos.
    pub thresholds: [f32; 3],
    /// Ratio of one pyramid level's side to the one before, in (0, 1). The paper's 0.709 halves the area.
    pub pyramid_factor: f32,
    /// What happens to pixel values before the networks see them.
    pub normalization: Normalization,
    /// Largest number of faces to return; the most confident ones are kept.
    pub max_faces: usize,
    /// Largest number of pixels of a pyramid level. On larger pictures the smallest faces are missed to bound the time.
    pub max_level_pixels: usize,
}

impl Default for MtcnnConfig {
    fn default() -> Self {
        Self {
            min_face: 20.0,
            thresholds: [0.4, 0.3, 0.9],
            pyramid_factor: 0.709,
            normalization: Normalization::default(),
            max_faces: 256,
            max_level_pixels: 2_000_000,
        }
    }
}

impl MtcnnConfig {
    /// Returns the settings of facenet-pytorch 2.6.0, for its networks.
    pub fn facenet_pytorch() -> Self {
        Self { thresholds: [0.6, 0.7, 0.7], ..Self::default() }
    }

    /// Returns these settings, replaced by the caller's choices where there are any.
    #[must_use]
    pub fn with(self, options: &DetectorOptions) -> Self {
        let [proposal, refinement, output] = self.thresholds;
        Self {
            thresholds: [proposal, refinement, options.min_score.unwrap_or(output)],
            min_face: options.min_face.unwrap_or(self.min_face),
            max_faces: options.max_faces.unwrap_or(self.max_faces),
            ..self
        }
    }

    /// Checks all ranges. The error says which setting is wrong and what is expected.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.min_face >= 12.0 && self.min_face.is_finite()) {
            return Err(format!("min_face is {}; expected at least 12 pixels", self.min_face));
        }
        if !(self.pyramid_factor > 0.1 && self.pyramid_factor < 0.99) {
            return Err(format!("pyramid_factor is {}; expected 0.1 to 0.99", self.pyramid_factor));
        }
        let Normalization { mean, scale } = self.normalization;
        if !(mean.is_finite() && scale.is_finite() && scale > 0.0) {
            return Err(format!("normalization is ({mean}, {scale}); expected a mean and a positive scale"));
        }
        match self.thresholds.iter().find(|threshold| !(0.0..=1.0).contains(*threshold)) {
            Some(threshold) => Err(format!("a threshold is {threshold}; expected 0 to 1")),
            None => Ok(()),
        }
    }
}
