//! Predictions for pictures that show nothing but a face: files, folders, globs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fer_dataset::pictures;
use fer_image::DecodeLimits;
use fer_model::{Classifier, Emotion, Probabilities};
use serde::Serialize;

/// The prediction for one picture.
#[derive(Serialize)]
pub struct Prediction {
    /// The picture's path as it was found.
    pub path: String,
    /// The most probable emotion.
    pub dominant: Emotion,
    /// Whether that emotion's probability is too low to be certain, see [`Probabilities::is_uncertain`].
    pub uncertain: bool,
    /// All probabilities.
    pub probabilities: Probabilities,
}

/// Predictions for the pictures that could be read, and one message for each that could not.
#[derive(Default)]
pub struct Predictions {
    /// In the order of the paths.
    pub answers: Vec<Prediction>,
    /// Each names its file and what is wrong with it.
    pub failures: Vec<String>,
}

/// Classifies each picture as one face. A picture that cannot be read does not stop the others.
pub fn predict_all(classifier: &mut Classifier, found: &Found) -> Predictions {
    let mut predictions = Predictions { answers: Vec::new(), failures: found.failures.clone() };
    for path in &found.paths {
        match predict(classifier, path) {
            Ok(probabilities) => predictions.answers.push(Prediction {
                path: path.display().to_string(),
                dominant: probabilities.dominant(),
                uncertain: probabilities.is_uncertain(),
                probabilities,
            }),
            Err(error) => predictions.failures.push(format!("{error:#}")),
        }
    }
    predictions
}

/// Takes the whole picture for the face.
fn predict(classifier: &mut Classifier, path: &Path) -> Result<Probabilities> {
    let picture = fer_image::read(path, DecodeLimits::default())?;
    let probabilities = classifier.classify_whole(&picture).with_context(|| path.display().to_string())?;
    probabilities.with_context(|| format!("{}: it has no pixels", path.display()))
}

/// The pictures that some arguments name.
pub struct Found {
    /// In the order of the arguments; those of a folder or a glob are sorted by name.
    pub paths: Vec<PathBuf>,
    /// Entries of folders that a glob could not read; each message names its path.
    pub failures: Vec<String>,
}

/// Finds pictures by file names, folders (searched for JPEG, PNG and WebP) and globs.
///
/// # Errors
/// If an argument is not a valid glob, names a folder that cannot be read, or matches no picture.
pub fn find(arguments: &[String]) -> Result<Found> {
    let mut found = Found { paths: Vec::new(), failures: Vec::new() };
    for argument in arguments {
        let path = Path::new(argument);
        if path.is_file() {
            found.paths.push(path.to_owned());
            continue;
        }
        let before = (found.paths.len(), found.failures.len());
        if path.is_dir() {
            let files = pictures(path).with_context(|| format!("cannot read {}", path.display()))?;
            found.paths.extend(files);
        } else {
            let matches =
                glob::glob(argument).with_context(|| format!("'{argument}' is not a valid glob"))?;
            for entry in matches {
                match entry {
                    Ok(file) if file.is_file() => found.paths.push(file),
                    Ok(_) => {}
                    Err(error) => {
                        found.failures.push(format!("{}: {}", error.path().display(), error.error()));
                    }
                }
            }
        }
        let after = (found.paths.len(), found.failures.len());
        ensure!(after != before, "{argument}: no such picture, or none in it");
    }
    Ok(found)
}
