//! The values inside the networks on typical photos, by which ONNX Runtime computes them in 8-bit integers.

use fer_engine::{ActivationRanges, Engine, Tensor};
use fer_image::Letterbox;
use image::RgbImage;

use super::network::tensor;
use super::passes::passes;
use super::{SingleShot, SingleShotModel, engine_error};
use crate::DetectError;
use crate::mtcnn::{Stage, append_crop};

impl SingleShotModel {
    /// Returns the same detector with [`ActivationRanges`] in its graphs, measured on some dozen photos with faces.
    ///
    /// # Errors
    /// Returns an error if a network fails.
    pub fn with_activation_ranges(&self, engine: &Engine, photos: &[RgbImage]) -> Result<Self, DetectError> {
        let mut detector = SingleShot::open(engine, self, self.config())?;
        let normalization = self.config().normalization;
        let mut letterbox = Letterbox::default();
        let (mut pictures, mut squares) = (Vec::new(), Vec::new());
        for photo in photos {
            for pass in passes(photo.width(), photo.height(), &detector.config) {
                let picture = letterbox.resize(photo, pass.content, pass.padded);
                pictures.push(tensor(&picture, normalization, Vec::new()).map_err(engine_error)?);
            }
            squares.extend(squares_of(&mut detector, photo)?);
        }
        let with_ranges = |graph: &[u8], inputs: Vec<Tensor>| {
            ActivationRanges::measure(engine, graph, inputs).and_then(|ranges| ranges.attach(graph))
        };
        let graph = with_ranges(self.graph(), pictures).map_err(engine_error)?;
        let refinement = self.refinement().map(|graph| with_ranges(graph, squares)).transpose();
        Ok(Self::new(self.config(), graph, refinement.map_err(engine_error)?))
    }
}

/// The refinement network's input for a photo; nothing if the first network finds no box.
fn squares_of(detector: &mut SingleShot, photo: &RgbImage) -> Result<Option<Tensor>, DetectError> {
    let side = Stage::Output.side();
    let mut pixels = Vec::new();
    for candidate in detector.propose(photo)? {
        append_crop(Stage::Output, photo, &candidate, detector.config.normalization, &mut pixels);
    }
    let count = pixels.len() / (3 * side * side);
    if count == 0 {
        return Ok(None);
    }
    Tensor::new([count, 3, side, side], pixels).map(Some).map_err(engine_error)
}
