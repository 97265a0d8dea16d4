//! Makes a data set whose faces have level eyes: detects each face, rotates it, cuts it out and writes it under its label.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use fer_dataset::{HEADER, Labelled, PIXELS, Rows, SIDE, Sample, Usage, labelled_pictures, write_row};
use fer_detect::{DetectorModel, DetectorOptions, Face, FaceDetector};
use fer_engine::Engine;
use fer_image::{BoundingBox, CropRule, DecodeLimits, FaceCrop, FaceLocation, Luma};
use fer_model::Emotion;
use fer_model::file::write_atomically_with;
use image::RgbImage;
use indicatif::ParallelProgressIterator as _;
use rayon::prelude::*;

use crate::progress;

/// Factor by which a face crop is enlarged before detection.
const ENLARGEMENT: usize = 3;

/// Width of the border that is repeated around an enlarged crop, as a fraction of its side: the detector needs some room
/// around a face.
const ROOM: f32 = 0.35;

/// Minimum intersection over union of a detected box with the crop; a box that overlaps less is not the crop's face.
const MIN_OVERLAP: f32 = 0.3;

/// Largest angle of the eyes, in degrees; eyes that are steeper were misplaced by the detector.
const MAX_DEGREES: f32 = 45.0;

/// The outcome for one picture.
pub struct Aligned {
    /// The line of the CSV or the path of the file.
    pub name: String,
    /// The picture's label.
    pub label: Emotion,
    /// The picture's split.
    pub usage: Usage,
    /// The original face; `None` for photos in a folder.
    pub before: Option<Box<[u8; PIXELS]>>,
    /// The aligned face.
    pub after: Result<LevelFace, Failure>,
}

/// A face with level eyes.
pub struct LevelFace {
    /// Row-major grey levels.
    pub pixels: Box<[u8; PIXELS]>,
    /// Angle by which the eyes were off, in degrees.
    pub degrees: f32,
}

/// Why a picture has no aligned face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The file cannot be read or decoded.
    Unreadable(String),
    /// The picture was read, but there is no face in it that can be aligned.
    NotAligned(String),
}

impl Failure {
    /// What was wrong.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unreadable(reason) | Self::NotAligned(reason) => reason,
        }
    }
}

/// Aligns every face of a FER-2013 CSV, or of a folder of photos with `train/<emotion>/…` and `test/<emotion>/…`, on all
/// cores. The results are in the order of the data. In photos, the largest face counts.
///
/// # Errors
/// If the data cannot be read at all, or the detector does not start.
pub fn align(data: &Path) -> Result<Vec<Aligned>> {
    if data.is_dir() {
        let pictures = labelled_pictures(data)?;
        return align_all(&pictures, |detector, Labelled { usage, label, path, .. }| Aligned {
            name: path.display().to_string(),
            label: *label,
            usage: *usage,
            before: None,
            after: align_photo(detector, path),
        });
    }
    let rows = Rows::open(data)?.collect::<Result<Vec<_>, _>>()?;
    align_all(&rows, |detector, (usage, sample)| Aligned {
        name: format!("line {}", sample.line),
        label: sample.label,
        usage: *usage,
        before: Some(sample.pixels.clone()),
        after: align_crop(detector, sample).map_err(not_aligned),
    })
}

fn align_all<T: Sync>(
    pictures: &[T],
    align: impl Fn(&mut dyn FaceDetector, &T) -> Aligned + Sync,
) -> Result<Vec<Aligned>> {
    let engine = Engine::tract();
    let model = DetectorModel::embedded();
    let open = || model.detector(&engine, &DetectorOptions::default());
    pictures
        .par_iter()
        .map_init(open, |detector, picture| {
            let detector = detector.as_mut().map_err(|error| anyhow!("{error}"))?;
            Ok(align(detector.as_mut(), picture))
        })
        .progress_with(progress::bar(pictures.len(), "faces"))
        .collect()
}

fn not_aligned(error: impl Into<anyhow::Error>) -> Failure {
    Failure::NotAligned(format!("{:#}", error.into()))
}

/// Aligns the largest face of a photo.
fn align_photo(detector: &mut dyn FaceDetector, path: &Path) -> Result<LevelFace, Failure> {
    let photo = fer_image::read(path, DecodeLimits::default());
    let photo = photo.map_err(|error| Failure::Unreadable(error.to_string()))?;
    let faces = detector.detect(&photo).map_err(not_aligned)?;
    let area = |face: &Face| face.bounding_box.width * face.bounding_box.height;
    let largest = faces.iter().max_by(|a, b| area(a).total_cmp(&area(b)));
    let largest = largest.context("no face found").map_err(not_aligned)?;
    level(&photo, &largest.location()).map_err(not_aligned)
}

/// Aligns the face of a crop that shows little more than the face.
fn align_crop(detector: &mut dyn FaceDetector, sample: &Sample) -> Result<LevelFace> {
    let side = SIDE * ENLARGEMENT;
    let crop = FaceCrop::from_square(sample.pixels.as_slice(), SIDE, [side; 2]).context("not square")?;
    let room = (ROOM * side as f32) as u32;
    let canvas = RgbImage::from_fn(side as u32 + 2 * room, side as u32 + 2 * room, |x, y| {
        let inside = |position: u32| (position.saturating_sub(room) as usize).min(side - 1);
        image::Rgb([crop.luma()[inside(y) * side + inside(x)]; 3])
    });
    let whole = BoundingBox { x: room as f32, y: room as f32, width: side as f32, height: side as f32 };
    let faces = detector.detect(&canvas)?;
    let overlap = |face: &Face| face.bounding_box.iou(&whole);
    let best = faces.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b))).context("no face found")?;
    if overlap(best) < MIN_OVERLAP {
        return Err(anyhow!("the detected face fills too little of the picture"));
    }
    level(&canvas, &best.location())
}

/// Cuts a face out with its eyes level.
fn level(picture: &RgbImage, location: &FaceLocation) -> Result<LevelFace> {
    let degrees = location.roll().context("its eyes coincide, so their angle is undefined")?.to_degrees();
    if degrees.abs() > MAX_DEGREES {
        return Err(anyhow!("its eyes seem to be {degrees:.0}° off"));
    }
    let rule = CropRule { level_eyes: true, ..CropRule::default() };
    let crop = FaceCrop::extract(picture, location, rule, Luma::default(), [SIDE; 2])
        .context("the face is empty")?;
    let mut pixels = Box::new([0; PIXELS]);
    pixels.copy_from_slice(crop.luma());
    Ok(LevelFace { pixels, degrees })
}

/// Writes the aligned faces as a CSV. A face of a CSV that was not aligned stays as it was, so that rows keep their
/// numbers, unless `leave_out` is set. Returns the number of faces that stayed as they were.
///
/// # Errors
/// If the file cannot be written.
pub fn write_csv(all: &[Aligned], leave_out: bool, path: &Path) -> Result<usize> {
    let mut kept = 0;
    write_atomically_with(path, |file| {
        let mut file = std::io::BufWriter::new(file);
        writeln!(file, "{HEADER}")?;
        for Aligned { label, usage, before, after, .. } in all {
            let pixels = match (after, before) {
                (Ok(face), _) => &face.pixels,
                (Err(_), Some(before)) if !leave_out => {
                    kept += 1;
                    before
                }
                (Err(_), _) => continue,
            };
            write_row(&mut file, *usage, *label, pixels)?;
        }
        file.flush()
    })
    .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levelled(degrees: f32) -> Result<LevelFace> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let eyes = [[50.0 - 10.0 * cos, 50.0 - 10.0 * sin], [50.0 + 10.0 * cos, 50.0 + 10.0 * sin]];
        let bounding_box = BoundingBox { x: 20.0, y: 20.0, width: 60.0, height: 60.0 };
        let picture = RgbImage::from_fn(100, 100, |x, y| image::Rgb([(x + y) as u8; 3]));
        level(&picture, &FaceLocation { bounding_box, eyes })
    }

    #[test]
    fn steep_eyes_are_refused_by_their_true_angle() {
        assert!((levelled(30.0).unwrap().degrees - 30.0).abs() < 0.01);
        for steep in [50.0_f32, 61.0, 75.0, -90.0, 120.0, 180.0] {
            let refused = levelled(steep).err().map(|error| error.to_string()).unwrap_or_default();
            let expected = format!("{steep:.0}° off");
            assert!(refused.contains(&expected), "{steep}: {refused}");
        }
    }

    #[test]
    fn eyes_that_coincide_are_refused() {
        let bounding_box = BoundingBox { x: 20.0, y: 20.0, width: 60.0, height: 60.0 };
        let location = FaceLocation { bounding_box, eyes: [[50.0, 50.0]; 2] };
        let refused = level(&RgbImage::new(100, 100), &location).err().unwrap().to_string();
        assert!(refused.contains("coincide"), "{refused}");
    }
}
