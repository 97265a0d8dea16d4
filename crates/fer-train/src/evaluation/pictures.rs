//! Labelled pictures of faces as test samples: `DIR/<emotion>/…`, each the face as a whole or the face that the detector finds
//! in it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fer_dataset::{PIXELS, SIDE, Sample, pictures_by_emotion, read_face};
use fer_detect::{DetectorModel, Face};
use fer_engine::Engine;
use fer_image::DecodeLimits;
use fer_model::{Bundle, Emotion, FaceSpec};
use fer_vision::{Analyzer, AnalyzerConfig};
use indicatif::ParallelProgressIterator as _;
use rayon::prelude::*;

use crate::progress;

/// What of a picture is the face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole picture. If it is not square, its border is repeated.
    Whole,
    /// The largest face that the embedded detector finds, cut out by the bundle's crop rule.
    Detected,
}

/// The faces of labelled pictures.
#[derive(Default)]
pub struct Pictures {
    /// The faces in 48×48 grey levels, like the rows of FER-2013.
    pub samples: Vec<Sample>,
    /// Pictures in which no face was found.
    pub without_face: Vec<PathBuf>,
    /// One message for each picture that cannot be read; it names the file.
    pub failures: Vec<String>,
}

/// What became of one picture.
enum Outcome {
    Face(Box<[u8; PIXELS]>),
    NoFace,
    Unreadable(String),
}

/// Reads the pictures of `DIR/<emotion>/…` whose emotion is one of the bundle's labels.
///
/// # Errors
/// If a folder cannot be listed, if there are no such pictures, or if the detector fails.
pub fn read(folder: &Path, bundle: &Bundle, part: Part) -> Result<Pictures> {
    let labels = bundle.network().labels();
    let mut labelled = pictures_by_emotion(folder)?;
    labelled.retain(|(label, _)| labels.contains(label));
    ensure!(
        !labelled.is_empty(),
        "{} holds no labelled pictures; expected a folder for each emotion ({}) with jpg, png or webp files",
        folder.display(),
        labels.iter().map(|label| label.name()).collect::<Vec<_>>().join(", ")
    );
    let outcomes = match part {
        Part::Whole => labelled.iter().map(|(_, path)| Ok(whole(path))).collect(),
        Part::Detected => detect_all(&labelled, bundle),
    };
    let mut pictures = Pictures::default();
    for ((line, (label, path)), outcome) in (1..).zip(labelled).zip(outcomes?) {
        match outcome {
            Outcome::Face(pixels) => pictures.samples.push(Sample { line, label, votes: None, pixels }),
            Outcome::NoFace => pictures.without_face.push(path),
            Outcome::Unreadable(message) => pictures.failures.push(message),
        }
    }
    Ok(pictures)
}

fn whole(path: &Path) -> Outcome {
    read_face(path).map_or_else(|error| Outcome::Unreadable(error.to_string()), Outcome::Face)
}

fn detect_all(labelled: &[(Emotion, PathBuf)], bundle: &Bundle) -> Result<Vec<Outcome>> {
    let (engine, detector) = (Engine::tract(), DetectorModel::embedded());
    let face = FaceSpec { height: SIDE, width: SIDE, ..bundle.face() };
    labelled
        .par_iter()
        .map_init(
            || Analyzer::new(&engine, &detector, bundle, AnalyzerConfig::default()),
            |analyzer, (_, path)| {
                let analyzer = analyzer.as_mut().map_err(|e| anyhow::anyhow!("{e}"))?;
                detect(analyzer, face, path)
            },
        )
        .progress_with(progress::bar(labelled.len(), "pictures"))
        .collect()
}

fn detect(analyzer: &mut Analyzer, face: FaceSpec, path: &Path) -> Result<Outcome> {
    let picture = match fer_image::read(path, DecodeLimits::default()) {
        Ok(picture) => picture,
        Err(error) => return Ok(Outcome::Unreadable(error.to_string())),
    };
    let found = analyzer.find(&picture)?;
    let area = |face: &Face| face.bounding_box.width * face.bounding_box.height;
    let largest = found.into_iter().max_by(|a, b| area(a).total_cmp(&area(b)));
    let crop = largest.and_then(|found| face.extract(&picture, &found.location()));
    Ok(crop.map_or(Outcome::NoFace, |crop| {
        let mut pixels = Box::new([0; PIXELS]);
        pixels.copy_from_slice(crop.luma());
        Outcome::Face(pixels)
    }))
}
