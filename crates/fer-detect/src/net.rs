//! One of the three networks as a session, and the crops that it looks at.

use std::time::{Duration, Instant};

use fer_engine::{Engine, EngineError, Outputs, Session, Tensor};
use fer_image::area;
use image::RgbImage;

use crate::face::Candidate;

/// Crops that go through R- or O-Net in one pass at most: bounds the memory.
const MOST_CROPS: usize = 32;

/// A place in the cascade.
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
    /// First to last.
    pub const ALL: [Self; 3] = [Self::Proposal, Self::Refinement, Self::Output];

    /// Side of the net's square input in pixels; P-Net takes larger pictures and looks at every window of it.
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
}

/// Why a detector cannot be built or run.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A setting that makes no sense.
    #[error("detector: {0}")]
    Config(String),
    /// One of the networks.
    #[error("detector, {net}: {cause}")]
    Engine {
        /// Which one.
        net: &'static str,
        /// What the engine says.
        cause: EngineError,
    },
    /// A network whose outputs are not those of an MTCNN.
    #[error("detector, {net}: output '{output}' has shape {shape:?}; see DetectorModel for the layout")]
    Layout {
        /// Which one.
        net: &'static str,
        /// Which output.
        output: &'static str,
        /// As it came.
        shape: Vec<usize>,
    },
}

/// Appends what a net sees of a box: planes `[3, side, side]` of the stage's side, `(x - 127.5) / 128`. What reaches
/// over the border is cut off before the rest is resized. `false`, and nothing appended, where the box covers no pixel.
pub fn append_crop(stage: Stage, image: &RgbImage, candidate: &Candidate, out: &mut Vec<f32>) -> bool {
    let mut candidate = *candidate;
    if stage == Stage::Proposal {
        // P-Net's boxes begin one of its pixels behind its window, as the reference has it.
        let [x0, y0, x1, y1] = candidate.corners;
        let begin = |low: f32, high: f32| low - (high - low) / 11.0 + 1.0;
        candidate.corners = [begin(x0, x1), begin(y0, y1), x1, y1];
    }
    let Some(part) = candidate.pixels(image.width() as usize, image.height() as usize) else { return false };
    area::append(image, part, stage.side(), stage.side(), out);
    true
}

/// One of the three networks.
pub(crate) struct Net {
    stage: Stage,
    session: Box<dyn Session>,
    time: Duration,
}

impl Net {
    pub(crate) fn open(stage: Stage, engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        match engine.open(onnx) {
            Ok(session) => Ok(Self { stage, session, time: Duration::ZERO }),
            Err(cause) => Err(DetectError::Engine { net: stage.net(), cause }),
        }
    }

    /// Time inside the engine since the last call of this.
    pub(crate) fn take_time(&mut self) -> Duration {
        std::mem::take(&mut self.time)
    }

    /// Batches of candidates that cover at least a pixel, with the net's answer about them.
    pub(crate) fn batches<'a>(
        &'a mut self,
        image: &'a RgbImage,
        candidates: &'a [Candidate],
    ) -> impl Iterator<Item = Result<(Vec<Candidate>, Answer), DetectError>> + 'a {
        candidates.chunks(MOST_CROPS).filter_map(move |chunk| {
            let side = self.stage.side();
            let (mut batch, mut pixels) = (chunk.to_vec(), Vec::with_capacity(chunk.len() * 3 * side * side));
            batch.retain(|candidate| append_crop(self.stage, image, candidate, &mut pixels));
            let shape = [batch.len(), 3, side, side];
            (!batch.is_empty()).then(|| Ok((batch, self.run(shape, pixels)?)))
        })
    }

    pub(crate) fn run(&mut self, shape: [usize; 4], pixels: Vec<f32>) -> Result<Answer, DetectError> {
        let failed = |cause| DetectError::Engine { net: self.stage.net(), cause };
        let input = Tensor::new(shape, pixels).map_err(failed)?;
        let started = Instant::now();
        let outputs = self.session.run(input);
        self.time += started.elapsed();
        Ok(Answer { stage: self.stage, outputs: outputs.map_err(failed)? })
    }
}

/// A net's outputs, checked as they are taken.
pub(crate) struct Answer {
    stage: Stage,
    outputs: Outputs,
}

impl Answer {
    /// An output of any shape.
    pub(crate) fn take(&mut self, output: &'static str) -> Result<Tensor, DetectError> {
        let net = self.stage.net();
        self.outputs.take(output).map_err(|cause| DetectError::Engine { net, cause })
    }

    /// An output `[rows, N]`. A value that is not finite becomes 0: a score that passes no threshold, a move by
    /// nothing.
    pub(crate) fn rows<const N: usize>(
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

    /// The error for an output of another shape than an MTCNN's.
    pub(crate) fn layout(&self, output: &'static str, tensor: &Tensor) -> DetectError {
        DetectError::Layout { net: self.stage.net(), output, shape: tensor.shape().to_vec() }
    }
}
