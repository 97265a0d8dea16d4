//! Measures a detector: average precision, recall, false positives, landmark error.
//!
//! The detections of all photos are taken in order of falling score. A detection is correct if it overlaps a face that no
//! better detection has taken. A detection that overlaps only a face to be ignored does not count. Average precision is the
//! area under the curve of precision over recall, made monotone (Everingham et al. 2010).

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use fer_detect::mtcnn::{Candidate, MtcnnConfig, Stage};
use fer_detect::{Face, Landmarks};
use fer_engine::Engine;
use fer_image::BoundingBox;
use indicatif::ParallelProgressIterator as _;
use rayon::prelude::*;
use serde::Serialize;

use super::annotations::{self, Photo, Row};
use super::nets::{Nets, Passed};
use crate::progress;

/// A detected box with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The box in pixels.
    pub bounding_box: BoundingBox,
    /// Face probability.
    pub score: f32,
}

/// An annotated face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// The part of the annotated box that lies in the picture.
    pub bounding_box: BoundingBox,
    /// Whether finding or missing it counts neither way.
    pub ignore: bool,
}

impl Truth {
    /// Clips an annotated box to the picture, because detected boxes never reach beyond its border. `min_face` is the least
    /// width in pixels that counts.
    pub fn of(row: &Row, min_face: f32, (width, height): (u32, u32)) -> Self {
        let [x0, y0, x1, y1] = row.corners();
        let (x0, x1) = (x0.max(0.0), x1.min(width as f32));
        let (y0, y1) = (y0.max(0.0), y1.min(height as f32));
        let bounding_box =
            BoundingBox { x: x0, y: y0, width: (x1 - x0).max(0.0), height: (y1 - y0).max(0.0) };
        Self { bounding_box, ignore: row.ignore != 0 || row.w < min_face }
    }
}

/// Results on a set of photos at one least overlap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// Faces that are not ignored.
    pub faces: usize,
    /// Area under the monotone curve of precision over recall.
    pub average_precision: f64,
    /// Fraction of the faces that are found.
    pub recall: f64,
    /// Detections that are no face.
    pub false_positives: usize,
    /// False positives above the score at which nine in ten faces are found; `None` if they never are.
    pub false_positives_at_90: Option<usize>,
}

/// Scores photos, each given by its faces and its detections, at a least intersection over union.
pub fn curve(photos: &[(Vec<Truth>, Vec<Detection>)], least: f32) -> Curve {
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (photo, (_, detections)) in photos.iter().enumerate() {
        order.extend((0..detections.len()).map(|position| (photo, position)));
    }
    let score = |&(photo, position): &(usize, usize)| photos[photo].1[position].score;
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let faces = photos.iter().flat_map(|(truths, _)| truths).filter(|truth| !truth.ignore).count();
    let mut taken: Vec<Vec<bool>> = photos.iter().map(|(truths, _)| vec![false; truths.len()]).collect();
    let (mut right, mut wrong, mut at_90) = (0_usize, 0_usize, None);
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (photo, position) in order {
        let (truths, bounding_box) = (&photos[photo].0, photos[photo].1[position].bounding_box);
        let overlap = |truth: &Truth| bounding_box.iou(&truth.bounding_box);
        let best = (0..truths.len())
            .filter(|&i| !truths[i].ignore && !taken[photo][i] && overlap(&truths[i]) >= least)
            .max_by(|&a, &b| overlap(&truths[a]).total_cmp(&overlap(&truths[b])));
        if let Some(best) = best {
            taken[photo][best] = true;
            right += 1;
        } else if truths.iter().any(|truth| truth.ignore && overlap(truth) >= least) {
            continue;
        } else {
            wrong += 1;
        }
        points.push((right as f64 / faces.max(1) as f64, right as f64 / (right + wrong) as f64));
        if at_90.is_none() && right * 10 >= faces * 9 {
            at_90 = Some(wrong);
        }
    }
    let (mut area, mut precision) = (0.0, 0.0_f64);
    for position in (0..points.len()).rev() {
        precision = precision.max(points[position].1);
        let before = position.checked_sub(1).map_or(0.0, |before| points[before].0);
        area += (points[position].0 - before) * precision;
    }
    Curve {
        faces,
        average_precision: area,
        recall: right as f64 / faces.max(1) as f64,
        false_positives: wrong,
        false_positives_at_90: at_90,
    }
}

/// The report of `fer-train detector evaluate`. Average precisions and false positives at a recall are measured on the whole
/// curve, down to scores of 0.1. The other figures are measured with the detector's thresholds, at an overlap of 0.5.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Number of photos.
    pub photos: usize,
    /// Number of faces that count.
    pub faces: usize,
    /// Annotated boxes without an area, which are ignored.
    pub empty_boxes: usize,
    /// Average precision at an overlap of 0.5.
    pub ap50: f64,
    /// Average precision at an overlap of 0.4.
    pub ap40: f64,
    /// Fraction of the faces that are found.
    pub recall: f64,
    /// Detections that are no face.
    pub false_positives: usize,
    /// False positives at the score where the recall reaches 0.90, if it does.
    pub false_positives_at_recall_90: Option<usize>,
    /// Mean distance of the landmarks from the truth over the distance between the eyes, for faces that were found and whose
    /// eyes are known.
    pub landmark_error: Option<f64>,
    /// Mean time of one photo on one thread, in milliseconds.
    pub ms_per_photo: f64,
    /// Results after each network, which show the one that limits the cascade.
    pub stages: Vec<StageReport>,
}

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

/// Least face probability after each network, to draw the curve beyond the detector's own thresholds.
const FLOOR: [f32; 3] = [0.3, 0.1, 0.1];

/// A detector's results on one photo.
pub struct Found {
    /// The faces; empty while there is no O-Net.
    pub faces: Vec<Face>,
    /// What each stage lets pass.
    stages: Vec<Vec<Detection>>,
    /// Width and height of the photo.
    pub size: (u32, u32),
    milliseconds: f64,
}

/// Runs the networks over photos, on all cores.
///
/// # Errors
/// Returns an error if a photo cannot be read or a network fails.
pub fn detect(
    engine: &Engine,
    nets: &Nets,
    config: &MtcnnConfig,
    photos: &[Photo],
    folder: &Path,
) -> Result<Vec<Found>> {
    photos
        .par_iter()
        .map_init(
            || nets.open(engine, config),
            |stages, photo| {
                let image = annotations::open(folder, photo)?;
                let stages = stages.as_mut().map_err(|e| anyhow::anyhow!("{e:#}"))?;
                let started = Instant::now();
                let passed = stages.run(&image)?;
                let milliseconds = 1e3 * started.elapsed().as_secs_f64();
                let size = image.dimensions();
                Ok(Found {
                    stages: detections(&passed),
                    faces: passed.faces.unwrap_or_default(),
                    size,
                    milliseconds,
                })
            },
        )
        .progress_with(progress::bar(photos.len(), "photos"))
        .collect()
}

/// Measures the networks on annotated photos. Also returns what was found down to the end of the curve.
///
/// # Errors
/// Returns an error if there is no network, a photo cannot be read or a network fails.
pub fn measure(
    engine: &Engine,
    nets: &Nets,
    config: &MtcnnConfig,
    photos: &[Photo],
    folder: &Path,
) -> Result<(Report, Vec<Found>)> {
    let thresholds = std::array::from_fn(|stage| config.thresholds[stage].min(FLOOR[stage]));
    let floor = MtcnnConfig { thresholds, ..config.clone() };
    let all = detect(engine, nets, &floor, photos, folder)?;
    let found = detect(engine, nets, config, photos, folder)?;
    let errors = photos
        .iter()
        .zip(&found)
        .flat_map(|(photo, found)| photo.faces.iter().filter_map(move |row| landmark_error(row, found)));
    let errors: Vec<f64> = errors.collect();
    let after = |found: &[Found], stage: usize, least: f32| {
        let scored = photos.iter().zip(found).map(|(photo, found)| {
            let truths = photo.faces.iter().map(|row| Truth::of(row, config.min_face, found.size)).collect();
            (truths, found.stages[stage].clone())
        });
        curve(&scored.collect::<Vec<_>>(), least)
    };
    let stages = Stage::ALL.into_iter().take(nets.0.len()).enumerate().map(|(position, stage)| {
        let curve = after(&found, position, 0.5);
        StageReport {
            net: stage.net(),
            average_precision: curve.average_precision,
            recall: curve.recall,
            false_positives_a_photo: curve.false_positives as f64 / photos.len() as f64,
        }
    });
    let last = nets.0.len().checked_sub(1).context("there is no network to measure")?;
    let (set, at_50, at_40) = (after(&found, last, 0.5), after(&all, last, 0.5), after(&all, last, 0.4));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let times: Vec<f64> = found.iter().map(|found| found.milliseconds).collect();
    let report = Report {
        photos: photos.len(),
        faces: set.faces,
        empty_boxes: annotations::empty_boxes(photos),
        ap50: at_50.average_precision,
        ap40: at_40.average_precision,
        recall: set.recall,
        false_positives: set.false_positives,
        false_positives_at_recall_90: at_50.false_positives_at_90,
        landmark_error: (!errors.is_empty()).then(|| mean(&errors)),
        ms_per_photo: mean(&times),
        stages: stages.collect(),
    };
    Ok((report, all))
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
    stages.extend(passed.faces.as_ref().map(|faces| {
        faces
            .iter()
            .map(|face| Detection { bounding_box: face.bounding_box, score: face.confidence })
            .collect()
    }));
    stages
}

/// Returns the mean distance of the best match's points from a row's, over the distance between its eyes.
fn landmark_error(row: &Row, found: &Found) -> Option<f64> {
    let truth = Truth::of(row, 0.0, found.size);
    let known = row.points();
    let (left, right) = (known[0]?, known[1]?);
    let eyes = f64::from((left[0] - right[0]).hypot(left[1] - right[1]));
    let overlap = |face: &Face| face.bounding_box.iou(&truth.bounding_box);
    let best =
        found.faces.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b))).filter(|f| overlap(f) >= 0.5)?;
    let Landmarks { left_eye, right_eye, nose, mouth_left, mouth_right } = best.landmarks;
    let centre = [(mouth_left[0] + mouth_right[0]) / 2.0, (mouth_left[1] + mouth_right[1]) / 2.0];
    let found = [left_eye, right_eye, nose, mouth_left, mouth_right, centre];
    // The centre of the mouth replaces the corners if they are unknown.
    let corners = known[3].is_some() && known[4].is_some();
    let pairs = known.iter().zip(found).take(if corners { 5 } else { 6 });
    let distances: Vec<f64> = pairs
        .filter_map(|(known, found)| {
            let known = (*known)?;
            Some(f64::from((known[0] - found[0]).hypot(known[1] - found[1])))
        })
        .collect();
    (eyes > 0.0).then(|| distances.iter().sum::<f64>() / distances.len() as f64 / eyes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounding_box(x: f32) -> BoundingBox {
        BoundingBox { x, y: 0.0, width: 10.0, height: 10.0 }
    }

    fn truth(x: f32, ignore: bool) -> Truth {
        Truth { bounding_box: bounding_box(x), ignore }
    }

    fn detection(x: f32, score: f32) -> Detection {
        Detection { bounding_box: bounding_box(x), score }
    }

    #[test]
    fn each_face_is_taken_once_and_ignored_faces_never() {
        let photo = (
            vec![truth(0.0, false), truth(100.0, false), truth(200.0, true)],
            vec![detection(1.0, 0.9), detection(0.0, 0.8), detection(201.0, 0.7), detection(100.0, 0.6)],
        );
        let curve = curve(&[photo], 0.5);
        assert_eq!((curve.faces, curve.recall, curve.false_positives), (2, 1.0, 1));
        // Precision 1 up to half of the recall, then two of three.
        assert!((curve.average_precision - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-9);
        assert_eq!(curve.false_positives_at_90, Some(1));
    }

    #[test]
    fn precision_is_made_monotone_over_all_photos() {
        let photos = [
            (vec![truth(0.0, false)], vec![detection(50.0, 0.95), detection(0.0, 0.9)]),
            (vec![truth(0.0, false)], vec![detection(0.0, 0.8)]),
            (vec![truth(0.0, false)], vec![]),
        ];
        let curve = curve(&photos, 0.5);
        assert!((curve.average_precision - 2.0 / 3.0 * 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(curve.false_positives_at_90, None);
    }

    #[test]
    fn overlap_decides() {
        // Shifted by 3 of 10: 7 / 13.
        let photo = [(vec![truth(0.0, false)], vec![detection(3.0, 0.9)])];
        assert_eq!(curve(&photo, 0.5).recall, 1.0);
        assert_eq!(curve(&photo, 0.6).recall, 0.0);
        assert_eq!(curve(&[], 0.5).average_precision, 0.0);
    }
}
