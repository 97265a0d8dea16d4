//! The three stages, each with its network: proposals from the pyramid, then two rounds of refinement on crops.

use std::time::Duration;

use fer_engine::Engine;
use fer_image::area;
use image::RgbImage;

use crate::DetectorConfig;
use crate::face::{Candidate, Face, landmarks};
use crate::net::{Answer, DetectError, Net, Stage};
use crate::nms::{Overlap, suppress};
use crate::pyramid::{Level, WINDOW, levels};

/// P-Net's output has one cell for every second pixel.
const STRIDE: f32 = 2.0;

/// Proposals that go on to R-Net at most, the best ones: noise must not cost minutes.
const MOST_PROPOSALS: usize = 2_000;

/// P-Net: squares of the picture that may hold a face.
pub struct Proposer(Net);

impl Proposer {
    /// Opens P-Net.
    ///
    /// # Errors
    /// A graph that the engine does not open.
    pub fn open(engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        Net::open(Stage::Proposal, engine, onnx).map(Self)
    }

    /// P-Net over every level of the pyramid; the best first, as squares.
    ///
    /// # Errors
    /// Where the network fails.
    pub fn propose(
        &mut self,
        image: &RgbImage,
        config: &DetectorConfig,
    ) -> Result<Vec<Candidate>, DetectError> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (mut proposals, mut offsets) = (Vec::new(), Vec::new());
        for level in levels(width, height, config) {
            let mut pixels = Vec::new();
            area::append(image, [0, 0, width, height], level.width, level.height, &mut pixels);
            let answer = self.0.run([1, 3, level.height, level.width], pixels)?;
            let (found, moves) = cells(answer, level, config.thresholds[0])?;
            for kept in suppress(&found, 0.5, Overlap::Union) {
                proposals.push(found[kept]);
                offsets.push(moves[kept]);
            }
        }
        let mut kept = suppress(&proposals, 0.7, Overlap::Union);
        kept.truncate(MOST_PROPOSALS);
        let moved = kept.into_iter().map(|position| {
            let mut candidate = proposals[position];
            candidate.regress(Stage::Proposal, offsets[position]);
            candidate.squared()
        });
        Ok(moved.collect())
    }

    /// Time inside the engine since the last call of this.
    pub fn take_time(&mut self) -> Duration {
        self.0.take_time()
    }
}

/// P-Net's cells above the threshold as boxes of the picture, with their offsets.
fn cells(
    mut answer: Answer,
    level: Level,
    threshold: f32,
) -> Result<(Vec<Candidate>, Vec<[f32; 4]>), DetectError> {
    let (scores, moves) = (answer.take("prob")?, answer.take("reg")?);
    let &[1, 2, height, width] = scores.shape() else { return Err(answer.layout("prob", &scores)) };
    if moves.shape() != [1, 4, height, width] {
        return Err(answer.layout("reg", &moves));
    }
    let plane = height * width;
    let (mut found, mut offsets) = (Vec::new(), Vec::new());
    for (cell, &score) in scores.data()[plane..].iter().enumerate().filter(|(_, score)| **score >= threshold)
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

/// R-Net: drops most proposals and moves the others.
pub struct Refiner(Net);

impl Refiner {
    /// Opens R-Net.
    ///
    /// # Errors
    /// A graph that the engine does not open.
    pub fn open(engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        Net::open(Stage::Refinement, engine, onnx).map(Self)
    }

    /// R-Net over the proposals' crops; the best first, as squares.
    ///
    /// # Errors
    /// Where the network fails.
    pub fn refine(
        &mut self,
        image: &RgbImage,
        proposals: &[Candidate],
        config: &DetectorConfig,
    ) -> Result<Vec<Candidate>, DetectError> {
        let (mut passed, mut offsets) = (Vec::new(), Vec::new());
        for batch in self.0.batches(image, proposals) {
            let (batch, mut answer) = batch?;
            let scores = answer.rows::<2>("prob", batch.len())?;
            let moves = answer.rows::<4>("reg", batch.len())?;
            for ((candidate, [_, score]), moves) in batch.into_iter().zip(scores).zip(moves) {
                if score > config.thresholds[1] {
                    passed.push(Candidate { score, ..candidate });
                    offsets.push(moves);
                }
            }
        }
        let refined = suppress(&passed, 0.7, Overlap::Union).into_iter().map(|position| {
            let mut candidate = passed[position];
            candidate.regress(Stage::Refinement, offsets[position]);
            candidate.squared()
        });
        Ok(refined.collect())
    }

    /// Time inside the engine since the last call of this.
    pub fn take_time(&mut self) -> Duration {
        self.0.take_time()
    }
}

/// O-Net: decides, and places box and landmarks.
pub struct Finisher(Net);

impl Finisher {
    /// Opens O-Net.
    ///
    /// # Errors
    /// A graph that the engine does not open.
    pub fn open(engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        Net::open(Stage::Output, engine, onnx).map(Self)
    }

    /// O-Net over what R-Net left; the most confident first. Boxes lie in the picture.
    ///
    /// # Errors
    /// Where the network fails.
    pub fn finish(
        &mut self,
        image: &RgbImage,
        refined: &[Candidate],
        config: &DetectorConfig,
    ) -> Result<Vec<Face>, DetectError> {
        let (mut boxes, mut points) = (Vec::new(), Vec::new());
        for batch in self.0.batches(image, refined) {
            let (batch, mut answer) = batch?;
            let scores = answer.rows::<2>("prob", batch.len())?;
            let moves = answer.rows::<4>("reg", batch.len())?;
            let marks = answer.rows::<10>("lmk", batch.len())?;
            for (((candidate, [_, score]), moves), marks) in
                batch.into_iter().zip(scores).zip(moves).zip(marks)
            {
                if score > config.thresholds[2] {
                    points.push(landmarks(candidate.corners, marks));
                    let mut candidate = Candidate { score, ..candidate };
                    candidate.regress(Stage::Output, moves);
                    boxes.push(candidate);
                }
            }
        }
        let (width, height) = (image.width() as usize, image.height() as usize);
        let faces = suppress(&boxes, 0.7, Overlap::Smaller).into_iter().filter_map(|position| {
            let bounding_box = boxes[position].clipped(width, height)?;
            Some(Face { bounding_box, confidence: boxes[position].score, landmarks: points[position] })
        });
        Ok(faces.take(config.max_faces).collect())
    }

    /// Time inside the engine since the last call of this.
    pub fn take_time(&mut self) -> Duration {
        self.0.take_time()
    }
}
