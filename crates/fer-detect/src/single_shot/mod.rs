//! A single-shot detector: one fully convolutional network that is run once over the whole picture, and a small second network
//! that judges what the first one found.
//!
//! The data flows picture → passes → network → cells ([`Cell`]) → non-maximum suppression → refinement → boxes with five
//! landmarks. The network is anchor-free and has one output for each of three strides, so that one pass finds faces of very
//! different sizes (YuNet: Wu et al. 2023; YOLOX: Ge et al. 2021). `fer-train detector train` trains it.
//!
//! The refinement network sees a square of 48×48 pixels around each box; it is an O-Net ([`mtcnn`](crate::mtcnn)). A face's
//! confidence is the geometric mean of both scores, and box and landmarks are the second network's. A detector may do without
//! it.
//!
//! # Layout of the network
//! Input `input`: RGB, `[1, 3, height, width]`, normalised as the manifest says, with sides that are multiples of 32. Outputs
//! `stride8`, `stride16` and `stride32`: `[1, 15, height / stride, width / stride]`. Of the 15 values of a cell the first is
//! the logit of the score; the next four are the box, and the last ten the landmarks, as [`Cell`] describes.

mod config;
mod grid;
mod model;
mod network;
mod passes;
mod ranges;

use std::time::Duration;

use fer_engine::{Engine, Outputs, Tensor};
use fer_image::{BoundingBox, Letterbox};
use image::RgbImage;

pub use config::SingleShotConfig;
pub use grid::{BOX, Cell, OUTPUTS, POINTS, STRIDES, VALUES};
pub use model::{NETWORK_FILE, REFINEMENT_FILE, SingleShotFiles, SingleShotManifest, SingleShotModel};

use crate::face::Landmarks;
use crate::mtcnn::{self, Judged, OutputNet};
use crate::nms::{Measure, Scored, suppress};
use crate::{DetectError, Face, FaceDetector};
use network::Network;
use passes::{Pass, passes};

/// Largest number of boxes that go on to non-maximum suppression, the best ones: a picture of noise must not take minutes.
const MAX_CANDIDATES: usize = 3_000;

/// Largest number of boxes that the refinement network judges, the best ones.
const MAX_REFINED: usize = 300;

/// The network's name in errors.
const NET: &str = "single-shot network";

/// The opened detector. It keeps its buffers from picture to picture.
pub struct SingleShot {
    network: Network,
    refinement: Option<OutputNet>,
    config: SingleShotConfig,
    letterbox: Letterbox,
    candidates: Vec<Candidate>,
}

/// A face before non-maximum suppression, in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    corners: [f32; 4],
    score: f32,
    landmarks: Landmarks,
}

impl Scored for Candidate {
    fn corners(&self) -> [f32; 4] {
        self.corners
    }

    fn score(&self) -> f32 {
        self.score
    }
}

impl SingleShot {
    /// Opens the networks for one thread at a time.
    ///
    /// # Errors
    /// Returns an error if a setting is out of range or the engine does not open a graph.
    pub fn open(
        engine: &Engine,
        model: &SingleShotModel,
        config: SingleShotConfig,
    ) -> Result<Self, DetectError> {
        config.check().map_err(DetectError::Config)?;
        let refinement = model.refinement().map(|graph| OutputNet::open(engine, graph)).transpose()?;
        let network = Network::open(engine, model.graph(), config.normalization).map_err(engine_error)?;
        Ok(Self { network, refinement, config, letterbox: Letterbox::default(), candidates: Vec::new() })
    }

    /// Runs the network over the picture at one size, and collects the cells that pass the threshold.
    fn search(&mut self, image: &RgbImage, pass: Pass) -> Result<(), DetectError> {
        let [width, height] = pass.padded;
        let picture = self.letterbox.resize(image, pass.content, pass.padded);
        let mut outputs = self.network.run(&picture).map_err(engine_error)?;
        let threshold = self.least_score();
        let sides = [image.width() as f32, image.height() as f32];
        let ratio = std::array::from_fn(|axis| sides[axis] / pass.content[axis] as f32);
        for (output, stride) in OUTPUTS.into_iter().zip(STRIDES) {
            let cells = take(&mut outputs, output, [height / stride, width / stride])?;
            collect(cells.data(), width / stride, stride, ratio, threshold, &mut self.candidates);
        }
        Ok(())
    }

    /// Least score of a cell that can become a face. The combined score is at most the square root of the first network's,
    /// which is the case if the refinement network gives 1.
    fn least_score(&self) -> f32 {
        let SingleShotConfig { threshold, proposal_threshold, .. } = self.config;
        if self.refinement.is_some() { proposal_threshold.max(threshold * threshold) } else { threshold }
    }

    /// Keeps the best of the candidates that overlap, the most confident first.
    fn suppress(&mut self) {
        if self.candidates.len() > MAX_CANDIDATES {
            let by_score = |a: &Candidate, b: &Candidate| b.score.total_cmp(&a.score);
            self.candidates.select_nth_unstable_by(MAX_CANDIDATES, by_score);
            self.candidates.truncate(MAX_CANDIDATES);
        }
        let kept = suppress(&self.candidates, self.config.max_overlap, Measure::Union);
        self.candidates = kept.into_iter().map(|position| self.candidates[position]).collect();
    }

    /// Finds the squares that the refinement network judges, the best first: around each box that passes the threshold and
    /// overlaps no better one.
    ///
    /// # Errors
    /// Returns an error if the network fails.
    pub fn propose(&mut self, image: &RgbImage) -> Result<Vec<mtcnn::Candidate>, DetectError> {
        self.candidates.clear();
        for pass in passes(image.width(), image.height(), &self.config) {
            self.search(image, pass)?;
        }
        self.suppress();
        let square = |candidate: &Candidate| {
            mtcnn::Candidate { corners: candidate.corners, score: candidate.score }.squared()
        };
        Ok(self.candidates.iter().take(MAX_REFINED).map(square).collect())
    }

    /// Lets the refinement network judge the candidates. Keeps those whose combined score passes the threshold.
    fn refine(&mut self, image: &RgbImage, squares: &[mtcnn::Candidate]) -> Result<(), DetectError> {
        let Some(refinement) = &mut self.refinement else { return Ok(()) };
        let judged = refinement.judge(image, squares, self.config.normalization)?;
        self.candidates.clear();
        self.candidates.extend(judged.into_iter().map(|Judged { before, after, landmarks }| {
            let score = (before.score * after.score).max(0.0).sqrt();
            Candidate { corners: after.corners, score, landmarks }
        }));
        self.candidates.retain(|candidate| candidate.score >= self.config.threshold);
        self.suppress();
        Ok(())
    }

    /// The candidates as faces. Boxes are clipped to the picture.
    fn faces(&self, width: f32, height: f32) -> Vec<Face> {
        let faces = self.candidates.iter().filter_map(|&Candidate { corners, score, landmarks }| {
            let most = [width, height, width, height];
            let clipped: [f32; 4] = std::array::from_fn(|i| corners[i].clamp(0.0, most[i]));
            let bounding_box = BoundingBox::from_corners(clipped);
            let is_inside = bounding_box.width > 0.0 && bounding_box.height > 0.0;
            is_inside.then_some(Face { bounding_box, confidence: score, landmarks })
        });
        faces.take(self.config.max_faces).collect()
    }
}

impl FaceDetector for SingleShot {
    fn detect(&mut self, image: &RgbImage) -> Result<Vec<Face>, DetectError> {
        let squares = self.propose(image)?;
        self.refine(image, &squares)?;
        Ok(self.faces(image.width() as f32, image.height() as f32))
    }

    fn take_inference_time(&mut self) -> Duration {
        let refinement = self.refinement.as_mut().map(OutputNet::take_inference_time);
        self.network.take_inference_time() + refinement.unwrap_or_default()
    }
}

fn engine_error(cause: fer_engine::EngineError) -> DetectError {
    DetectError::Engine { net: NET, cause }
}

/// Takes an output of `[1, VALUES, rows, columns]`.
fn take(
    outputs: &mut Outputs,
    output: &'static str,
    [rows, columns]: [usize; 2],
) -> Result<Tensor, DetectError> {
    let tensor = outputs.take(output).map_err(engine_error)?;
    if tensor.shape() == [1, VALUES, rows, columns] {
        return Ok(tensor);
    }
    Err(DetectError::Layout { net: NET, output, shape: tensor.shape().to_vec() })
}

/// Appends the faces of the cells at or above the threshold. `ratio` is the factor from pixels of the input to pixels of the
/// picture along each axis.
fn collect(
    values: &[f32],
    columns: usize,
    stride: usize,
    ratio: [f32; 2],
    threshold: f32,
    candidates: &mut Vec<Candidate>,
) {
    let plane = values.len() / VALUES;
    let least = (threshold / (1.0 - threshold)).ln();
    for (place, &logit) in values[..plane].iter().enumerate().filter(|(_, logit)| **logit >= least) {
        let of: [f32; VALUES] = std::array::from_fn(|value| values[value * plane + place]);
        if !of.iter().all(|value| value.is_finite()) {
            continue;
        }
        let cell = Cell::at(place / columns, place % columns, stride);
        let corners = cell.corners(std::array::from_fn(|i| of[BOX + i]));
        let landmarks = cell.landmarks(std::array::from_fn(|i| of[POINTS + i]));
        candidates.push(Candidate {
            corners: std::array::from_fn(|i| corners[i] * ratio[i % 2]),
            score: 1.0 / (1.0 + (-logit).exp()),
            landmarks: landmarks.map(|[x, y]| [x * ratio[0], y * ratio[1]]),
        });
    }
}

#[cfg(test)]
mod tests;
