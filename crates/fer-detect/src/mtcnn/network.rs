//! One of the three networks as a session, and the crops that it looks at.

use std::time::{Duration, Instant};

use fer_engine::{Engine, Outputs, Session, Tensor};
use fer_image::area::{self, Normalization};
use image::RgbImage;

use super::Candidate;
use crate::DetectError;

/// Largest number of crops in one pass through R-Net or O-Net, which bounds the memory.
const MAX_CROPS: usize = 32;

/// A stage of the cascade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// P-Net.
    Proposal,
    /// R-Net.
    Refinement,
    /// O-Net.
    Output,
}

impl Stage {
    /// All stages, first to last.
    pub const ALL: [Self; 3] = [Self::Proposal, Self::Refinement, Self::Output];

    /// Side of the network's square input in pixels. P-Net takes larger pictures and looks at every window of this side.
    pub const fn side(self) -> usize {
        match self {
            Self::Proposal => 12,
            Self::Refinement => 24,
            Self::Output => 48,
        }
    }

    /// The name of the stage's network.
    pub const fn net(self) -> &'static str {
        match self {
            Self::Proposal => "P-Net",
            Self::Refinement => "R-Net",
            Self::Output => "O-Net",
        }
    }

    /// The network's file in a detector's folder.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Proposal => "pnet.onnx",
            Self::Refinement => "rnet.onnx",
            Self::Output => "onet.onnx",
        }
    }
}

/// Appends what a network sees of a box: planes `[3, side, side]` of the stage's side, normalised. The part of the box
/// beyond the picture's border is cut off before the rest is resized. Returns `false` and appends nothing if the box
/// covers no pixel.
pub fn append_crop(
    stage: Stage,
    image: &RgbImage,
    candidate: &Candidate,
    normalization: Normalization,
    out: &mut Vec<f32>,
) -> bool {
    let mut candidate = *candidate;
    if stage == Stage::Proposal {
        // P-Net's boxes begin one of its pixels after its window, as in facenet-pytorch.
        let [x0, y0, x1, y1] = candidate.corners;
        let begin = |low: f32, high: f32| low - (high - low) / 11.0 + 1.0;
        candidate.corners = [begin(x0, x1), begin(y0, y1), x1, y1];
    }
    let Some(part) = candidate.pixels(image.width() as usize, image.height() as usize) else { return false };
    area::append(image, part, [stage.side(); 2], normalization, out);
    true
}

/// One of the three networks.
pub(super) struct Network {
    stage: Stage,
    session: Box<dyn Session>,
    inference_time: Duration,
}

impl Network {
    pub(super) fn open(stage: Stage, engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        match engine.open(onnx) {
            Ok(session) => Ok(Self { stage, session, inference_time: Duration::ZERO }),
            Err(cause) => Err(DetectError::Engine { net: stage.net(), cause }),
        }
    }

    pub(super) fn take_inference_time(&mut self) -> Duration {
        std::mem::take(&mut self.inference_time)
    }

    /// Runs the network over the candidates that cover at least one pixel, in batches.
    pub(super) fn batches<'a>(
        &'a mut self,
        image: &'a RgbImage,
        candidates: &'a [Candidate],
        normalization: Normalization,
    ) -> impl Iterator<Item = Result<(Vec<Candidate>, NetOutput), DetectError>> + 'a {
        candidates.chunks(MAX_CROPS).filter_map(move |chunk| {
            let side = self.stage.side();
            let (mut batch, mut pixels) = (chunk.to_vec(), Vec::with_capacity(chunk.len() * 3 * side * side));
            batch.retain(|candidate| append_crop(self.stage, image, candidate, normalization, &mut pixels));
            let shape = [batch.len(), 3, side, side];
            (!batch.is_empty()).then(|| Ok((batch, self.run(shape, pixels)?)))
        })
    }

    pub(super) fn run(&mut self, shape: [usize; 4], pixels: Vec<f32>) -> Result<NetOutput, DetectError> {
        let failed = |cause| DetectError::Engine { net: self.stage.net(), cause };
        let input = Tensor::new(shape, pixels).map_err(failed)?;
        let started = Instant::now();
        let outputs = self.session.run(&input);
        self.inference_time += started.elapsed();
        Ok(NetOutput { stage: self.stage, outputs: outputs.map_err(failed)? })
    }
}

/// A network's outputs. Their shapes are checked as they are taken.
pub(super) struct NetOutput {
    stage: Stage,
    outputs: Outputs,
}

impl NetOutput {
    /// Takes an output of any shape.
    pub(super) fn take(&mut self, output: &'static str) -> Result<Tensor, DetectError> {
        let net = self.stage.net();
        self.outputs.take(output).map_err(|cause| DetectError::Engine { net, cause })
    }

    /// Takes an output of the shape `[rows, N]`. A value that is not finite becomes 0: as a score it passes no threshold,
    /// as a box regression it moves nothing.
    pub(super) fn rows<const N: usize>(
        &mut self,
        output: &'static str,
        rows: usize,
    ) -> Result<Vec<[f32; N]>, DetectError> {
        let tensor = self.take(output)?;
        if tensor.shape() != [rows, N] {
            return Err(self.layout(output, &tensor));
        }
        let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
        Ok(tensor.data().as_chunks::<N>().0.iter().map(|row| row.map(finite)).collect())
    }

    /// Returns the error for an output of an unexpected shape.
    pub(super) fn layout(&self, output: &'static str, tensor: &Tensor) -> DetectError {
        DetectError::Layout { net: self.stage.net(), output, shape: tensor.shape().to_vec() }
    }
}
