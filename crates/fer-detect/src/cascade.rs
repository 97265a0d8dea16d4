//! The three stages: proposals from the pyramid, then two rounds of refinement on crops.

use std::time::{Duration, Instant};

use fer_engine::{Engine, EngineError, Outputs, Session, Tensor};
use image::RgbImage;

use crate::bounds::{Candidate, Face, Landmarks};
use crate::nms::{Overlap, suppress};
use crate::pyramid::{Level, WINDOW, levels};
use crate::{DetectorConfig, DetectorModel, resize};

/// P-Net's output has one cell for every second pixel.
const STRIDE: f32 = 2.0;

/// Proposals that go on to R-Net at most, the best ones: noise must not cost minutes.
const MOST_PROPOSALS: usize = 2_000;

/// Crops that go through R- or O-Net in one pass at most: bounds the memory.
const MOST_CROPS: usize = 32;

/// Why a detector cannot be built or run.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A setting that makes no sense.
    #[error("detector: {0}")]
    Config(String),
    /// One of the networks.
    #[error("detector, {net}: {source}")]
    Engine {
        /// Which one.
        net: &'static str,
        /// What the engine says.
        source: EngineError,
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

/// Finds faces; owns its sessions, so each thread has one of its own.
pub struct Detector {
    pnet: Net,
    rnet: Net,
    onet: Net,
    config: DetectorConfig,
}

impl Detector {
    /// Opens the three networks.
    ///
    /// # Errors
    /// A setting out of range, or a graph that the engine does not open.
    pub fn new(engine: &Engine, model: &DetectorModel, config: DetectorConfig) -> Result<Self, DetectError> {
        config.check().map_err(DetectError::Config)?;
        let open = |net: &'static str, onnx: &[u8]| match engine.open(onnx) {
            Ok(session) => Ok(Net { name: net, session, time: Duration::ZERO }),
            Err(source) => Err(DetectError::Engine { net, source }),
        };
        Ok(Self {
            pnet: open("P-Net", &model.pnet)?,
            rnet: open("R-Net", &model.rnet)?,
            onet: open("O-Net", &model.onet)?,
            config,
        })
    }

    /// The faces of a picture, the most confident first. Boxes lie in the picture.
    ///
    /// # Errors
    /// Only where a network fails; a picture without a face gives an empty list.
    pub fn detect(&mut self, image: &RgbImage) -> Result<Vec<Face>, DetectError> {
        for net in [&mut self.pnet, &mut self.rnet, &mut self.onet] {
            net.time = Duration::ZERO;
        }
        let proposals = self.propose(image)?;
        let refined = self.refine(image, &proposals)?;
        self.output(image, &refined)
    }

    /// Time that the last [`Detector::detect`] spent inside the engine.
    pub fn session_time(&self) -> Duration {
        self.pnet.time + self.rnet.time + self.onet.time
    }

    /// P-Net over every level.
    fn propose(&mut self, image: &RgbImage) -> Result<Vec<Candidate>, DetectError> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (mut proposals, mut offsets) = (Vec::new(), Vec::new());
        for level in levels(width, height, &self.config) {
            let mut pixels = Vec::new();
            resize::append(image, [0, 0, width, height], level.width, level.height, &mut pixels);
            let mut outputs = self.pnet.run([1, 3, level.height, level.width], pixels)?;
            let (found, moves) = self.pnet.cells(&mut outputs, level, self.config.thresholds[0])?;
            for kept in suppress(&found, 0.5, Overlap::Union) {
                proposals.push(found[kept]);
                offsets.push(moves[kept]);
            }
        }
        let mut kept = suppress(&proposals, 0.7, Overlap::Union);
        kept.truncate(MOST_PROPOSALS);
        let moved = kept.into_iter().map(|position| {
            let mut candidate = proposals[position];
            candidate.regress(offsets[position], false);
            candidate.squared()
        });
        Ok(moved.collect())
    }

    /// R-Net over the proposals' crops.
    fn refine(&mut self, image: &RgbImage, proposals: &[Candidate]) -> Result<Vec<Candidate>, DetectError> {
        let (mut passed, mut offsets) = (Vec::new(), Vec::new());
        for (batch, pixels) in crops(image, proposals, 24) {
            let mut outputs = self.rnet.run([batch.len(), 3, 24, 24], pixels)?;
            let scores = self.rnet.rows::<2>(&mut outputs, "prob", batch.len())?;
            let moves = self.rnet.rows::<4>(&mut outputs, "reg", batch.len())?;
            for ((candidate, [_, score]), moves) in batch.into_iter().zip(scores).zip(moves) {
                if score > self.config.thresholds[1] {
                    passed.push(Candidate { score, ..candidate });
                    offsets.push(moves);
                }
            }
        }
        let refined = suppress(&passed, 0.7, Overlap::Union).into_iter().map(|position| {
            let mut candidate = passed[position];
            candidate.regress(offsets[position], true);
            candidate.squared()
        });
        Ok(refined.collect())
    }

    /// O-Net over what R-Net left.
    fn output(&mut self, image: &RgbImage, refined: &[Candidate]) -> Result<Vec<Face>, DetectError> {
        let (mut boxes, mut points) = (Vec::new(), Vec::new());
        for (batch, pixels) in crops(image, refined, 48) {
            let mut outputs = self.onet.run([batch.len(), 3, 48, 48], pixels)?;
            let scores = self.onet.rows::<2>(&mut outputs, "prob", batch.len())?;
            let moves = self.onet.rows::<4>(&mut outputs, "reg", batch.len())?;
            let marks = self.onet.rows::<10>(&mut outputs, "lmk", batch.len())?;
            for (((candidate, [_, score]), moves), marks) in
                batch.into_iter().zip(scores).zip(moves).zip(marks)
            {
                if score > self.config.thresholds[2] {
                    points.push(landmarks(&candidate, marks));
                    let mut candidate = Candidate { score, ..candidate };
                    candidate.regress(moves, true);
                    boxes.push(candidate);
                }
            }
        }
        let (width, height) = (image.width() as usize, image.height() as usize);
        let faces = suppress(&boxes, 0.7, Overlap::Smaller).into_iter().filter_map(|position| {
            let bounds = boxes[position].clipped(width, height)?;
            Some(Face { bounds, confidence: boxes[position].score, landmarks: points[position] })
        });
        Ok(faces.take(self.config.max_faces).collect())
    }
}

/// Batches of candidates that cover at least a pixel, with their crops at `side`×`side`.
fn crops<'a>(
    image: &'a RgbImage,
    candidates: &'a [Candidate],
    side: usize,
) -> impl Iterator<Item = (Vec<Candidate>, Vec<f32>)> + 'a {
    candidates.chunks(MOST_CROPS).filter_map(move |chunk| {
        let (mut batch, mut pixels) = (Vec::new(), Vec::new());
        for candidate in chunk {
            if let Some(part) = candidate.pixels(image.width() as usize, image.height() as usize) {
                resize::append(image, part, side, side, &mut pixels);
                batch.push(*candidate);
            }
        }
        (!batch.is_empty()).then_some((batch, pixels))
    })
}

/// `marks`: five x, then five y, as fractions of the crop.
fn landmarks(crop: &Candidate, marks: [f32; 10]) -> Landmarks {
    let [x0, y0, x1, y1] = crop.corners;
    let (width, height) = (x1 - x0 + 1.0, y1 - y0 + 1.0);
    let point = |i: usize| [x0 - 1.0 + marks[i] * width, y0 - 1.0 + marks[i + 5] * height];
    Landmarks {
        left_eye: point(0),
        right_eye: point(1),
        nose: point(2),
        mouth_left: point(3),
        mouth_right: point(4),
    }
}

/// One of the three networks.
struct Net {
    name: &'static str,
    session: Box<dyn Session>,
    time: Duration,
}

impl Net {
    fn run(&mut self, shape: [usize; 4], pixels: Vec<f32>) -> Result<Outputs, DetectError> {
        let failed = |source| DetectError::Engine { net: self.name, source };
        let input = Tensor::new(shape, pixels).map_err(failed)?;
        let started = Instant::now();
        let outputs = self.session.run(input);
        self.time += started.elapsed();
        outputs.map_err(failed)
    }

    fn take(&self, outputs: &mut Outputs, output: &'static str) -> Result<Tensor, DetectError> {
        outputs.take(output).map_err(|source| DetectError::Engine { net: self.name, source })
    }

    fn layout(&self, output: &'static str, tensor: &Tensor) -> DetectError {
        DetectError::Layout { net: self.name, output, shape: tensor.shape().to_vec() }
    }

    /// An output `[rows, N]`. A value that is not finite becomes 0: a score that passes no threshold, a move
    /// by nothing.
    fn rows<const N: usize>(
        &self,
        outputs: &mut Outputs,
        output: &'static str,
        rows: usize,
    ) -> Result<Vec<[f32; N]>, DetectError> {
        let tensor = self.take(outputs, output)?;
        if tensor.shape() != [rows, N] {
            return Err(self.layout(output, &tensor));
        }
        let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
        Ok(tensor.data().as_chunks::<N>().0.iter().map(|row| row.map(finite)).collect())
    }

    /// P-Net's cells above the threshold as boxes of the picture, with their offsets.
    fn cells(
        &self,
        outputs: &mut Outputs,
        level: Level,
        threshold: f32,
    ) -> Result<(Vec<Candidate>, Vec<[f32; 4]>), DetectError> {
        let (scores, moves) = (self.take(outputs, "prob")?, self.take(outputs, "reg")?);
        let &[1, 2, height, width] = scores.shape() else { return Err(self.layout("prob", &scores)) };
        if moves.shape() != [1, 4, height, width] {
            return Err(self.layout("reg", &moves));
        }
        let plane = height * width;
        let (mut found, mut offsets) = (Vec::new(), Vec::new());
        for (cell, &score) in
            scores.data()[plane..].iter().enumerate().filter(|(_, score)| **score >= threshold)
        {
            let corner =
                |cell: usize, window: f32| ((STRIDE * cell as f32 + window) / level.scale as f32).floor();
            let (x, y) = (cell % width, cell / width);
            let corners = [corner(x, 1.0), corner(y, 1.0), corner(x, WINDOW), corner(y, WINDOW)];
            let offset: [f32; 4] = std::array::from_fn(|i| moves.data()[i * plane + cell]);
            if score.is_finite() && offset.iter().all(|value| value.is_finite()) {
                found.push(Candidate { corners, score });
                offsets.push(offset);
            }
        }
        Ok((found, offsets))
    }
}
