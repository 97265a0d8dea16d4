//! What a caller may choose about detection.

/// Settings of a [`crate::Detector`].
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorConfig {
    /// Side of the smallest face that is looked for, in pixels; at least 12. Time grows with its inverse square.
    pub min_face: f32,
    /// Least face probability after P-, R- and O-Net. The defaults suit the embedded networks: on photos that were kept out
    /// of their training they let 5 % of the faces go and put one box on 100 photos where no face is annotated.
    pub thresholds: [f32; 3],
    /// Ratio of one pyramid level's side to the one before, in (0, 1); the paper's 0.709 halves the area.
    pub pyramid_factor: f32,
    /// At most this many faces, the most confident ones.
    pub max_faces: usize,
    /// A pyramid level has at most this many pixels; on larger pictures small faces are given up for time.
    pub max_level_pixels: usize,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            min_face: 20.0,
            thresholds: [0.4, 0.3, 0.9],
            pyramid_factor: 0.709,
            max_faces: 256,
            max_level_pixels: 2_000_000,
        }
    }
}

impl DetectorConfig {
    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.min_face >= 12.0 && self.min_face.is_finite()) {
            return Err(format!("min_face is {}; expected at least 12 pixels", self.min_face));
        }
        if !(self.pyramid_factor > 0.1 && self.pyramid_factor < 0.99) {
            return Err(format!("pyramid_factor is {}; expected 0.1 to 0.99", self.pyramid_factor));
        }
        match self.thresholds.iter().find(|threshold| !(0.0..=1.0).contains(*threshold)) {
            Some(threshold) => Err(format!("a threshold is {threshold}; expected 0 to 1")),
            None => Ok(()),
        }
    }
}
