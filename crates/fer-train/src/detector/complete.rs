//! Fills in the faces that an annotation misses, by another detector.
//!
//! Photos from the web have faces that nobody annotated; taken for background they would teach the nets to miss them.
//! What the other detector is sure of becomes a face of the source `detector`; what it is less sure of is to be ignored.

use std::path::Path;

use anyhow::Result;
use fer_detect::mtcnn::{MtcnnConfig, MtcnnModel};
use fer_engine::Engine;
use fer_image::BoundingBox;

use super::annotations::{Photo, Row};
use super::evaluate::{Truth, detect};
use super::nets::Nets;

/// The source of the rows that are filled in.
pub const SOURCE: &str = "detector";

/// Least score of a box that becomes a face, and of one that is to be ignored.
const SURE: f32 = 0.95;
const POSSIBLE: f32 = 0.3;

/// Overlap with an annotated face above which a box is that face.
const KNOWN: f32 = 0.2;

/// Adds rows to the photos.
pub fn complete(
    engine: &Engine,
    model: &MtcnnModel,
    photos: &mut [Photo],
    folder: &Path,
) -> Result<[usize; 2]> {
    let config = MtcnnConfig { thresholds: [0.6, 0.7, POSSIBLE], ..MtcnnConfig::default() };
    let found = detect(engine, &Nets::from(model), &config, photos, folder)?;
    let mut added = [0, 0];
    for (photo, found) in photos.iter_mut().zip(found) {
        let known: Vec<Truth> = photo.faces.iter().map(|row| Truth::of(row, 0.0, found.size)).collect();
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
