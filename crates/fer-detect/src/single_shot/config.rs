//! Settings of the single-shot detector.

use fer_image::area::Normalization;

use crate::DetectorOptions;

/// Settings of a [`SingleShot`](super::SingleShot). A manifest gives most of them.
#[derive(Clone, Debug, PartialEq)]
pub struct SingleShotConfig {
    /// Least score of a face, above 0 and below 1.
    pub threshold: f32,
    /// Least score of a box that goes on to the refinement network, if the detector has one. A box whose score is below the square
    /// of `threshold` cannot become a face, and does not go on either.
    pub proposal_threshold: f32,
    /// Width of the smallest face to look for, in pixels of the picture. Pictures are reduced if the network finds smaller
    /// ones.
    pub min_face: f32,
    /// Widths in pixels of the smallest and the largest face that the network finds on its input.
    pub face_sizes: [f32; 2],
    /// Intersection over union from which the less certain one of two boxes is dropped, in (0, 1).
    pub max_overlap: f32,
    /// What happens to pixel values before the network sees them.
    pub normalization: Normalization,
    /// Largest number of faces to return; the most confident ones are kept.
    pub max_faces: usize,
    /// Largest number of pixels of the network's input. Larger pictures are reduced, so that the smallest faces are missed.
    pub max_pixels: usize,
}

impl Default for SingleShotConfig {
    fn default() -> Self {
        Self {
            threshold: 0.55,
            proposal_threshold: 0.05,
            min_face: 12.0,
            face_sizes: [12.0, 320.0],
            max_overlap: 0.45,
            normalization: Normalization::default(),
            max_faces: 256,
            max_pixels: 1_500_000,
        }
    }
}

impl SingleShotConfig {
    /// Returns these settings, replaced by the caller's choices where there are any.
    #[must_use]
    pub fn with(self, options: &DetectorOptions) -> Self {
        Self {
            threshold: options.min_score.unwrap_or(self.threshold),
            min_face: options.min_face.unwrap_or(self.min_face),
            max_faces: options.max_faces.unwrap_or(self.max_faces),
            ..self
        }
    }

    /// Checks all ranges. The error says which setting is wrong and what is expected.
    pub(crate) fn check(&self) -> Result<(), String> {
        let [smallest, largest] = self.face_sizes;
        if !(self.min_face >= 1.0 && self.min_face.is_finite()) {
            return Err(format!("min_face is {}; expected at least 1 pixel", self.min_face));
        }
        if !(smallest >= 1.0 && largest >= 4.0 * smallest && largest.is_finite()) {
            return Err(format!(
                "face_sizes is ({smallest}, {largest}); expected at least 1 pixel, and a largest face of at least four \
                 times the smallest"
            ));
        }
        for (name, value) in [
            ("threshold", self.threshold),
            ("proposal_threshold", self.proposal_threshold),
            ("max_overlap", self.max_overlap),
        ] {
            if !(value > 0.0 && value < 1.0) {
                return Err(format!("{name} is {value}; expected a number between 0 and 1"));
            }
        }
        let Normalization { mean, scale } = self.normalization;
        if !(mean.is_finite() && scale.is_finite() && scale > 0.0) {
            return Err(format!("normalization is ({mean}, {scale}); expected a mean and a positive scale"));
        }
        Ok(())
    }
}
