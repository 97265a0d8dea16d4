//! Measures an MTCNN after each of its networks, which shows the one that limits the cascade.

use std::path::Path;

use anyhow::{Context as _, Result};
use fer_detect::mtcnn::{Candidate, MtcnnConfig, Stage};
use fer_engine::Engine;
use fer_image::BoundingBox;
use rayon::prelude::*;
use serde::Serialize;

use super::annotations::{self, Photo};
use super::curve::{Criteria, Curve, Detection, Scored, Truth};
use super::evaluate::OVERLAP;
use super::nets::{Nets, Passed};

/// Results of the cascade up to one of its networks, at an overlap of 0.5.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageReport {
    /// The network's name.
    pub net: &'static str,
    /// Average precision of the boxes that pass.
    pub average_precision: f64,
    /// Fraction of the faces that are found.
    pub recall: f64,
    /// Boxes per photo that are no face.
    pub false_positives_a_photo: f64,
}

/// Measures the networks that there are, one report for each.
///
/// # Errors
/// Returns an error if there is no network, a photo cannot be read or a network fails.
pub fn measure(
    engine: &Engine,
    nets: &Nets,
    config: &MtcnnConfig,
    photos: &[Photo],
    folder: &Path,
) -> Result<Vec<StageReport>> {
    let found: Vec<Vec<Scored>> = photos
        .par_iter()
        .map_init(
            || nets.open(engine, config),
            |stages, photo| {
                let image = annotations::open(folder, photo)?;
                let stages = stages.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                let truths = photo.faces.iter().map(|row| Truth::of(row, image.dimensions()));
                let truths: Vec<Truth> = truths.collect();
                let boxes = detections(&stages.run(&image)?).into_iter();
                Ok(boxes.map(|detections| Scored { truths: truths.clone(), detections }).collect())
            },
        )
        .collect::<Result<_>>()?;
    let reports = Stage::ALL.into_iter().take(nets.0.len()).enumerate().map(|(position, stage)| {
        let scored: Vec<Scored> = found.iter().map(|stages| stages[position].clone()).collect();
        let curve = Curve::of(&scored, &Criteria::at(OVERLAP, config.min_face));
        StageReport {
            net: stage.net(),
            average_precision: curve.average_precision(),
            recall: curve.recall(),
            false_positives_a_photo: curve.false_positives() as f64 / photos.len().max(1) as f64,
        }
    });
    let reports: Vec<StageReport> = reports.collect();
    reports.first().context("there is no network to measure")?;
    Ok(reports)
}

/// Returns boxes and scores by stage.
fn detections(passed: &Passed) -> Vec<Vec<Detection>> {
    let candidates = |candidates: &Vec<Candidate>| {
        let boxes = candidates.iter().map(|candidate| {
            let bounding_box = BoundingBox::from_corners(candidate.corners);
            Detection { bounding_box, score: candidate.score }
        });
        boxes.collect::<Vec<_>>()
    };
    let mut stages = vec![candidates(&passed.proposals)];
    stages.extend(passed.refined.as_ref().map(candidates));
    stages.extend(passed.faces.as_ref().map(|faces| faces.iter().map(Detection::from).collect()));
    stages
}
