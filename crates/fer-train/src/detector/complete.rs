//! Adds faces that the annotations miss, found by another detector.
//!
//! Photos from the web have faces that nobody annotated. Taken for background, they would teach the networks to miss faces.
//! A box that the other detector is sure of becomes a face of the source `detector`; a less certain one is to be ignored.

use std::path::Path;

use anyhow::Result;
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::Engine;
use fer_image::BoundingBox;

use super::annotations::{Photo, Row};
use super::curve::Truth;
use super::evaluate::detect;

/// Source of the added rows.
pub const SOURCE: &str = "detector";

/// Least score of a box that becomes a face.
const SURE: f32 = 0.95;
/// Least score of a box that is to be ignored.
const POSSIBLE: f32 = 0.3;

/// Least overlap with an annotated face that makes a box that face.
const KNOWN: f32 = 0.2;

/// Adds rows to the photos. Returns how many faces and how many boxes to be ignored were added.
///
/// # Errors
/// Returns an error if a photo cannot be read or a network fails.
pub fn complete(
    engine: &Engine,
    model: &DetectorModel,
    photos: &mut [Photo],
    folder: &Path,
) -> Result<[usize; 2]> {
    let options = DetectorOptions { min_score: Some(POSSIBLE), ..DetectorOptions::default() };
    let found = detect(|| model.detector(engine, &options), photos, folder)?;
    let mut added = [0, 0];
    for (photo, found) in photos.iter_mut().zip(found) {
        let known: Vec<Truth> = photo.faces.iter().map(|row| Truth::of(row, found.size)).collect();
        for face in found.faces {
            if known.iter().any(|truth| truth.bounding_box.iou(&face.bounding_box) > KNOWN) {
                continue;
            }
            let ignore = face.confidence < SURE;
            added[usize::from(ignore)] += 1;
            let BoundingBox { x, y, width, height } = face.bounding_box;
            photo.faces.push(Row::bare(&photo.path, [x, y, width, height], ignore, SOURCE));
        }
    }
    Ok(added)
}
