//! Measures any face detector on annotated photos: average precision, recall, false positives, landmark error.
//!
//! Each photo is searched once, down to scores of [`FLOOR`]. What the detector returns with its own threshold is the part of
//! it above that threshold, because non-maximum suppression never removes a box in favour of one with a lower score.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use fer_detect::{DetectError, Face, FaceDetector, Landmarks};
use indicatif::ParallelProgressIterator as _;
use rayon::prelude::*;
use serde::Serialize;

use super::annotations::{self, Photo, Row};
use super::curve::{Criteria, Curve, Detection, Scored, Truth};
use crate::progress;

/// Score down to which the curves are drawn.
pub const FLOOR: f32 = 0.02;

/// Least overlap of a face that counts as found, outside of the curves.
pub const OVERLAP: f32 = 0.5;

/// Numbers of false positives at which the recall is reported.
const FALSE_POSITIVES: [usize; 5] = [5, 10, 20, 50, 100];

/// Widths in pixels by which the average precision is split up.
const SIZES: [Range<f32>; 3] = [12.0..20.0, 20.0..40.0, 40.0..f32::INFINITY];

/// A detector's results on one photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The faces, the most confident first.
    pub faces: Vec<Face>,
    /// Width and height of the photo.
    pub size: (u32, u32),
    /// Time of the search.
    pub milliseconds: f64,
}

/// Searches photos on all cores; `open` opens a detector for one thread.
///
/// # Errors
/// Returns an error if a photo cannot be read, or the detector cannot be opened or fails.
pub fn detect(
    open: impl Fn() -> Result<Box<dyn FaceDetector>, DetectError> + Sync,
    photos: &[Photo],
    folder: &Path,
) -> Result<Vec<Found>> {
    photos
        .par_iter()
        .map_init(&open, |detector, photo| {
            let image = annotations::open(folder, photo)?;
            let detector = detector.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let started = Instant::now();
            let faces = detector.detect(&image)?;
            let milliseconds = 1e3 * started.elapsed().as_secs_f64();
            Ok(Found { faces, size: image.dimensions(), milliseconds })
        })
        .progress_with(progress::bar(photos.len(), "photos"))
        .collect()
}

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure<'a> {
    /// Width in pixels of the smallest face that counts.
    pub min_size: f32,
    /// If given, only faces with this tag count.
    pub tag: Option<&'a str>,
    /// Score from which a box is a detected face. The curves go lower.
    pub threshold: f32,
}

impl Measure<'_> {
    /// The annotated faces and the boxes of each photo.
    pub fn scored(&self, photos: &[Photo], found: &[Found]) -> Vec<Scored> {
        let pairs = photos.iter().zip(found).map(|(photo, found)| Scored {
            truths: photo.faces.iter().map(|row| self.truth(row, found.size)).collect(),
            detections: found.faces.iter().map(Detection::from).collect(),
        });
        pairs.collect()
    }

    fn truth(&self, row: &Row, size: (u32, u32)) -> Truth {
        let mut truth = Truth::of(row, size);
        truth.ignore |= self.tag.is_some_and(|tag| tag != row.tag);
        truth
    }
}

/// The report of `fer-train detector evaluate`. Average precisions, and figures at a recall or at a number of false
/// positives, are measured on the whole curve, down to scores of 0.02. The other figures are measured with the detector's
/// threshold, at an overlap of 0.5.
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
    /// The detector's threshold.
    pub threshold: f32,
    /// Fraction of the faces that are found.
    pub recall: f64,
    /// Detections that are no face.
    pub false_positives: usize,
    /// False positives at the score where the recall reaches 0.90, if it does.
    pub false_positives_at_recall_90: Option<usize>,
    /// Recall by the number of false positives.
    pub recall_at_false_positives: BTreeMap<usize, f64>,
    /// Results by the width of the face.
    pub by_size: Vec<SizeReport>,
    /// Mean distance of the landmarks from the truth over the distance between the eyes, for faces that were found and whose
    /// eyes are known.
    pub landmark_error: Option<f64>,
    /// The same by source of the annotations.
    pub landmarks_by_source: BTreeMap<String, LandmarkReport>,
    /// Mean time of one photo on one thread, in milliseconds.
    pub ms_per_photo: f64,
}

/// Results on the faces of some widths. Detections of other widths that are no face do not count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeReport {
    /// Least width in pixels.
    pub from: f32,
    /// Width in pixels below which faces count; `None` without a limit.
    pub to: Option<f32>,
    /// Number of faces.
    pub faces: usize,
    /// Average precision at an overlap of 0.5.
    pub ap50: f64,
}

/// Landmarks of the faces of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LandmarkReport {
    /// Faces that were found and whose eyes are known.
    pub faces: usize,
    /// Mean error over the distance between the eyes.
    pub error: f64,
}

/// Measures what [`detect`] found on annotated photos.
pub fn report(photos: &[Photo], found: &[Found], measure: &Measure<'_>) -> Report {
    let mut scored = measure.scored(photos, found);
    let at_50 = Curve::of(&scored, &Criteria::at(OVERLAP, measure.min_size));
    let at_40 = Curve::of(&scored, &Criteria::at(0.4, measure.min_size));
    let by_size = SIZES.map(|widths| {
        let to = widths.end.is_finite().then_some(widths.end);
        let from = widths.start;
        let curve = Curve::of(&scored, &Criteria { overlap: OVERLAP, widths, within: true });
        SizeReport { from, to, faces: curve.faces, ap50: curve.average_precision() }
    });
    for photo in &mut scored {
        photo.detections.retain(|detection| detection.score > measure.threshold);
    }
    let above = Curve::of(&scored, &Criteria::at(OVERLAP, measure.min_size));
    let errors = landmark_errors(photos, found, measure);
    let all: Vec<f64> = errors.values().flatten().copied().collect();
    let times: Vec<f64> = found.iter().map(|found| found.milliseconds).collect();
    Report {
        photos: photos.len(),
        faces: above.faces,
        empty_boxes: annotations::empty_boxes(photos),
        ap50: at_50.average_precision(),
        ap40: at_40.average_precision(),
        threshold: measure.threshold,
        recall: above.recall(),
        false_positives: above.false_positives(),
        false_positives_at_recall_90: at_50.false_positives_at_90(),
        recall_at_false_positives: FALSE_POSITIVES.map(|count| (count, at_50.recall_at(count))).into(),
        by_size: by_size.into(),
        landmark_error: (!all.is_empty()).then(|| mean(&all)),
        landmarks_by_source: errors
            .into_iter()
            .map(|(source, errors)| {
                (source.to_owned(), LandmarkReport { faces: errors.len(), error: mean(&errors) })
            })
            .collect(),
        ms_per_photo: mean(&times),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The errors of the faces that count and were found, by source.
fn landmark_errors<'a>(
    photos: &'a [Photo],
    found: &[Found],
    measure: &Measure<'_>,
) -> BTreeMap<&'a str, Vec<f64>> {
    let mut errors = BTreeMap::<&str, Vec<f64>>::new();
    for (photo, found) in photos.iter().zip(found) {
        for row in &photo.faces {
            let truth = measure.truth(row, found.size);
            if truth.ignore || truth.width < measure.min_size {
                continue;
            }
            if let Some(error) = landmark_error(row, &truth, found, measure.threshold) {
                errors.entry(&row.source).or_default().push(error);
            }
        }
    }
    errors
}

/// Returns the mean distance of the best match's points from a row's, over the distance between its eyes.
fn landmark_error(row: &Row, truth: &Truth, found: &Found, threshold: f32) -> Option<f64> {
    let known = row.points();
    let (left, right) = (known[0]?, known[1]?);
    let eyes = f64::from((left[0] - right[0]).hypot(left[1] - right[1]));
    let overlap = |face: &Face| face.bounding_box.iou(&truth.bounding_box);
    let faces = found.faces.iter().filter(|face| face.confidence > threshold);
    let best = faces.max_by(|a, b| overlap(a).total_cmp(&overlap(b))).filter(|f| overlap(f) >= OVERLAP)?;
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
    (eyes > 0.0).then(|| mean(&distances) / eyes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_image::BoundingBox;

    fn face(x: f32, confidence: f32) -> Face {
        let landmarks = Landmarks {
            left_eye: [x + 8.0, 10.0],
            right_eye: [x + 22.0, 10.0],
            nose: [x + 15.0, 15.0],
            mouth_left: [x + 10.0, 21.0],
            mouth_right: [x + 20.0, 21.0],
        };
        let bounding_box = BoundingBox { x, y: 0.0, width: 30.0, height: 30.0 };
        Face { bounding_box, confidence, landmarks }
    }

    fn photos() -> Vec<Photo> {
        let csv = "path,x,y,w,h,le_x,le_y,re_x,re_y,nose_x,nose_y,ml_x,ml_y,mr_x,mr_y,mc_x,mc_y,ignore,tag,source\n\
                   a.png,0,0,30,30,8,10,18,10,,,,,,,15,21,0,masked,one\n\
                   a.png,100,0,30,30,,,,,,,,,,,,,0,bare,two\n";
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("faces.csv"), csv).unwrap();
        annotations::read(&folder.path().join("faces.csv")).unwrap()
    }

    fn found() -> Vec<Found> {
        let faces = vec![face(1.0, 0.9), face(200.0, 0.6), face(100.0, 0.3)];
        vec![Found { faces, size: (300, 100), milliseconds: 2.0 }]
    }

    #[test]
    fn the_threshold_decides_what_is_found_and_the_curve_goes_lower() {
        let report = report(&photos(), &found(), &Measure { min_size: 20.0, tag: None, threshold: 0.5 });
        assert_eq!((report.faces, report.recall, report.false_positives), (2, 0.5, 1));
        assert!((report.ap50 - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-9, "{}", report.ap50);
        assert_eq!(report.recall_at_false_positives[&5], 1.0);
        let sizes: Vec<usize> = report.by_size.iter().map(|size| size.faces).collect();
        assert_eq!(sizes, [0, 2, 0]);
        // The points are 1, 5 and 1 pixels off; the eyes are 10 apart.
        let error = &report.landmarks_by_source["one"];
        assert!((error.error - 7.0 / 30.0).abs() < 1e-6 && error.faces == 1, "{error:?}");
        assert_eq!(report.landmarks_by_source.len(), 1);
    }

    #[test]
    fn only_the_faces_of_a_tag_count() {
        let bare = Measure { min_size: 20.0, tag: Some("bare"), threshold: 0.5 };
        let report = report(&photos(), &found(), &bare);
        assert_eq!((report.faces, report.recall, report.false_positives), (1, 0.0, 1));
        assert_eq!(report.landmark_error, None);
    }
}
