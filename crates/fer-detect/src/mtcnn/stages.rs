//! The three stages with their networks: proposals from the pyramid, then two rounds of refinement on crops.

use std::time::Duration;

use fer_engine::Engine;
use fer_image::area::{self, Normalization};
use image::RgbImage;

use super::candidate::landmarks;
use super::network::{NetOutput, Network};
use super::pyramid::{Level, WINDOW, levels};
use super::{Candidate, MtcnnConfig, Stage};
use crate::face::Landmarks;
use crate::nms::{Measure, suppress};
use crate::{DetectError, Face};

/// P-Net's output has one cell for every second pixel of its input.
const STRIDE: f32 = 2.0;

/// Largest number of proposals that go on to R-Net, the best ones: a picture of noise must not take minutes.
const MAX_PROPOSALS: usize = 2_000;

/// P-Net: proposes squares of the picture that may hold a face.
pub struct ProposalNet(Network);

impl ProposalNet {
    /// Opens P-Net.
    ///
    /// # Errors
    /// Returns an error if the engine does not open the graph.
    pub fn open(engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        Network::open(Stage::Proposal, engine, onnx).map(Self)
    }

    /// Runs P-Net over every level of the pyramid. Returns squares, the best first.
    ///
    /// # Errors
    /// Returns an error if the network fails or its outputs have another shape.
    pub fn propose(&mut self, image: &RgbImage, config: &MtcnnConfig) -> Result<Vec<Candidate>, DetectError> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (mut proposals, mut box_regressions) = (Vec::new(), Vec::new());
        for level in levels(width, height, config) {
            let mut pixels = Vec::new();
            area::append(
                image,
                [0, 0, width, height],
                [level.width, level.height],
                config.normalization,
                &mut pixels,
            );
            let output = self.0.run([1, 3, level.height, level.width], pixels)?;
            let (found, regressions) = cells(output, level, config.thresholds[0])?;
            for kept in suppress(&found, 0.5, Measure::Union) {
                proposals.push(found[kept]);
                box_regressions.push(regressions[kept]);
            }
        }
        let mut kept = suppress(&proposals, 0.7, Measure::Union);
        kept.truncate(MAX_PROPOSALS);
        let moved = kept.into_iter().map(|position| {
            let mut candidate = proposals[position];
            candidate.regress(Stage::Proposal, box_regressions[position]);
            candidate.squared()
        });
        Ok(moved.collect())
    }

    /// Returns the time spent inside the engine since the last call of this method.
    pub fn take_inference_time(&mut self) -> Duration {
        self.0.take_inference_time()
    }
}

/// Returns P-Net's cells at or above the threshold as boxes of the picture, with their box regressions.
fn cells(
    mut output: NetOutput,
    level: Level,
    threshold: f32,
) -> Result<(Vec<Candidate>, Vec<[f32; 4]>), DetectError> {
    let (scores, box_regression) = (output.take("prob")?, output.take("reg")?);
    let &[1, 2, height, width] = scores.shape() else { return Err(output.layout("prob", &scores)) };
    if box_regression.shape() != [1, 4, height, width] {
        return Err(output.layout("reg", &box_regression));
    }
    let plane = height * width;
    let (mut found, mut box_regressions) = (Vec::new(), Vec::new());
    for (cell, &score) in scores.data()[plane..].iter().enumerate().filter(|(_, score)| **score >= threshold)
    {
        let corner =
            |cell: usize, window: f32| ((STRIDE * cell as f32 + window) / level.scale as f32).floor();
        let (x, y) = (cell % width, cell / width);
        let corners = [corner(x, 1.0), corner(y, 1.0), corner(x, WINDOW), corner(y, WINDOW)];
        let by_cell: [f32; 4] = std::array::from_fn(|i| box_regression.data()[i * plane + cell]);
        if score.is_finite() && by_cell.iter().all(|value| value.is_finite()) {
            found.push(Candidate { corners, score });
            box_regressions.push(by_cell);
        }
    }
    Ok((found, box_regressions))
}

/// R-Net: drops most proposals and refines the boxes of the others.
pub struct RefineNet(Network);

impl RefineNet {
    /// Opens R-Net.
    ///
    /// # Errors
    /// Returns an error if the engine does not open the graph.
    pub fn open(engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        Network::open(Stage::Refinement, engine, onnx).map(Self)
    }

    /// Runs R-Net over the proposals' crops. Returns squares, the best first.
    ///
    /// # Errors
    /// Returns an error if the network fails or its outputs have another shape.
    pub fn refine(
        &mut self,
        image: &RgbImage,
        proposals: &[Candidate],
        config: &MtcnnConfig,
    ) -> Result<Vec<Candidate>, DetectError> {
        let (mut passed, mut box_regressions) = (Vec::new(), Vec::new());
        for batch in self.0.batches(image, proposals, config.normalization) {
            let (batch, mut output) = batch?;
            let scores = output.rows::<2>("prob", batch.len())?;
            let box_regression = output.rows::<4>("reg", batch.len())?;
            for ((candidate, [_, score]), box_regression) in batch.into_iter().zip(scores).zip(box_regression)
            {
                if score > config.thresholds[1] {
                    passed.push(Candidate { score, ..candidate });
                    box_regressions.push(box_regression);
                }
            }
        }
        let refined = suppress(&passed, 0.7, Measure::Union).into_iter().map(|position| {
            let mut candidate = passed[position];
            candidate.regress(Stage::Refinement, box_regressions[position]);
            candidate.squared()
        });
        Ok(refined.collect())
    }

    /// Returns the time spent inside the engine since the last call of this method.
    pub fn take_inference_time(&mut self) -> Duration {
        self.0.take_inference_time()
    }
}

/// O-Net: decides which candidates are faces, and gives their final boxes and landmarks.
pub struct OutputNet(Network);

/// What O-Net says about a candidate.
pub(crate) struct Judged {
    /// The candidate before O-Net.
    pub(crate) before: Candidate,
    /// The moved box, with O-Net's score.
    pub(crate) after: Candidate,
    /// The five points.
    pub(crate) landmarks: Landmarks,
}

impl OutputNet {
    /// Opens O-Net.
    ///
    /// # Errors
    /// Returns an error if the engine does not open the graph.
    pub fn open(engine: &Engine, onnx: &[u8]) -> Result<Self, DetectError> {
        Network::open(Stage::Output, engine, onnx).map(Self)
    }

    /// Runs O-Net over R-Net's candidates. Returns faces, the most confident first. Boxes lie within the picture.
    ///
    /// # Errors
    /// Returns an error if the network fails or its outputs have another shape.
    pub fn finish(
        &mut self,
        image: &RgbImage,
        refined: &[Candidate],
        config: &MtcnnConfig,
    ) -> Result<Vec<Face>, DetectError> {
        let mut judged = self.judge(image, refined, config.normalization)?;
        judged.retain(|judged| judged.after.score > config.thresholds[2]);
        let boxes: Vec<Candidate> = judged.iter().map(|judged| judged.after).collect();
        let (width, height) = (image.width() as usize, image.height() as usize);
        let faces = suppress(&boxes, 0.7, Measure::Smaller).into_iter().filter_map(|position| {
            let Judged { after, landmarks, .. } = judged[position];
            let bounding_box = after.clipped(width, height)?;
            Some(Face { bounding_box, confidence: after.score, landmarks })
        });
        Ok(faces.take(config.max_faces).collect())
    }

    /// Runs O-Net over the candidates, which are squares. Those that cover no pixel of the picture are left out.
    pub(crate) fn judge(
        &mut self,
        image: &RgbImage,
        candidates: &[Candidate],
        normalization: Normalization,
    ) -> Result<Vec<Judged>, DetectError> {
        let mut judged = Vec::with_capacity(candidates.len());
        for batch in self.0.batches(image, candidates, normalization) {
            let (batch, mut output) = batch?;
            let scores = output.rows::<2>("prob", batch.len())?;
            let box_regressions = output.rows::<4>("reg", batch.len())?;
            let points = output.rows::<10>("lmk", batch.len())?;
            let outputs = scores.into_iter().zip(box_regressions).zip(points);
            judged.extend(batch.into_iter().zip(outputs).map(
                |(before, (([_, score], box_regression), points))| {
                    let mut after = Candidate { score, ..before };
                    after.regress(Stage::Output, box_regression);
                    Judged { before, after, landmarks: landmarks(before.corners, points) }
                },
            ));
        }
        Ok(judged)
    }

    /// Returns the time spent inside the engine since the last call of this method.
    pub fn take_inference_time(&mut self) -> Duration {
        self.0.take_inference_time()
    }
}
