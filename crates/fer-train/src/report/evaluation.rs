//! An evaluation as one self-contained HTML page, with its charts and faces also as PNG and SVG.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fer_dataset::Sample;
use fer_model::{Bundle, LabelSet};
use image::{Rgb, RgbImage};
use minijinja::{Environment, context};
use serde::Serialize;

use crate::evaluation::evaluate::{Evaluation, Scored};
use crate::evaluation::metrics::Metrics;
use crate::evaluation::occlusion;
use crate::evaluation::scorer::Scorer;
use crate::evaluation::test_set::TestSet;
use crate::report::sheet::Sheet;
use crate::report::{charts, folder};
use crate::training::run_folder::{BUNDLE_FOLDER, SNAPSHOTS_FOLDER};
use crate::training::shards::most_probable;

/// Wrong predictions that are shown, the most confident ones.
const SHOWN: usize = 40;
const ACROSS: usize = 8;

/// Wrong predictions with an occlusion map.
const MAPPED: usize = 16;

const JSON_FILE: &str = "evaluation.json";

/// The folder of a report whose place the user did not choose: `evaluation-<test set>` below `runs/<run>`, with `-ferplus` for its labels.
///
/// A run is named by the folder of its bundle, because runs of several seeds share the name of their network. If the
/// folder already holds the report of another bundle, the first free number is appended, so that no report is lost.
pub fn default_folder(bundle_folder: &Path, bundle: &Bundle, test: TestSet) -> PathBuf {
    let run = Path::new("runs").join(run_name(bundle_folder).unwrap_or_else(|| bundle.name().to_owned()));
    let name = match bundle.head().label_set {
        LabelSet::Fer2013 => format!("evaluation-{}", test.name()),
        LabelSet::FerPlus => format!("evaluation-{}-ferplus", test.name()),
    };
    let usable =
        |folder: &PathBuf| !folder.exists() || is_report_of(folder, &bundle.manifest().weights.sha256);
    let mut folder = run.join(&name);
    let mut number = 1;
    while !usable(&folder) {
        number += 1;
        folder = run.join(format!("{name}-{number}"));
    }
    folder
}

/// `x` for `x/bundle`, `x-epoch-002` for `x/snapshots/epoch-002`, otherwise the name of the folder itself.
fn run_name(bundle_folder: &Path) -> Option<String> {
    let folder = std::path::absolute(bundle_folder).ok()?;
    let mut names = folder.iter().rev().map(|name| name.to_string_lossy().into_owned());
    let own = names.next()?;
    let (parent, grandparent) = (names.next(), names.next());
    match (parent, grandparent) {
        (Some(run), _) if own == BUNDLE_FOLDER => Some(run),
        (Some(parent), Some(run)) if parent == SNAPSHOTS_FOLDER => Some(format!("{run}-{own}")),
        _ => Some(own),
    }
}

/// Whether a folder holds the report of a bundle with these weights.
fn is_report_of(folder: &Path, weights_sha256: &str) -> bool {
    let json = std::fs::read(folder.join(JSON_FILE)).ok();
    let json = json.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    json.is_some_and(|report| report["weights_sha256"] == weights_sha256)
}

/// Writes `index.html`, `evaluation.json` and the pictures into a folder. `scored` is the result for `samples`.
///
/// # Errors
/// If the folder or a file cannot be written.
pub fn write(
    scored: &Scored,
    bundle: &Bundle,
    scorer: &Scorer<'_>,
    samples: &[Sample],
    folder: &Path,
) -> Result<()> {
    let Scored { evaluation, probabilities } = scored;
    folder::create(folder)?;
    let metrics = &evaluation.plain;
    let wrong = wrong(metrics, samples, probabilities);
    let mistakes = mistakes(&wrong);
    let maps = occlusion_maps(&wrong, scorer, evaluation.temperature);
    let pictures = Pictures {
        confusion: charts::confusion(metrics)?,
        reliability: charts::reliability(metrics)?,
        mistakes: mistakes.svg()?,
        maps: maps.svg()?,
    };
    charts::write(&pictures.confusion, folder, "confusion")?;
    charts::write(&pictures.reliability, folder, "reliability")?;
    mistakes.write(folder, "mistakes")?;
    maps.write(folder, "occlusion")?;
    let page = page(evaluation, bundle, &pictures)?;
    folder::write(folder, JSON_FILE, serde_json::to_string_pretty(evaluation)?.as_bytes())?;
    folder::write(folder, "index.html", page.as_bytes())
}

/// SVGs that the page embeds.
#[derive(Serialize)]
struct Pictures {
    confusion: String,
    reliability: String,
    mistakes: String,
    maps: String,
}

/// A wrong prediction.
struct Wrong<'a> {
    sample: &'a Sample,
    /// Index of the predicted label.
    predicted: usize,
    confidence: f64,
    /// The label and the predicted one.
    text: String,
}

/// The most confident wrong predictions, the surest first.
fn wrong<'a>(metrics: &Metrics, samples: &'a [Sample], probabilities: &[Vec<f64>]) -> Vec<Wrong<'a>> {
    let predictions = samples.iter().zip(probabilities).filter_map(|(sample, row)| {
        let predicted = most_probable(row);
        let label = metrics.labels[predicted];
        let text = format!("{}, not {}", sample.label.name(), label.name());
        let confidence = row[predicted];
        (label != sample.label).then_some(Wrong { sample, predicted, confidence, text })
    });
    let mut wrong: Vec<Wrong<'_>> = predictions.collect();
    wrong.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    wrong.truncate(SHOWN);
    wrong
}

/// The faces, with label and prediction below.
fn mistakes(wrong: &[Wrong<'_>]) -> Sheet {
    let mut sheet = Sheet::new(ACROSS);
    for row in wrong.chunks(ACROSS) {
        let faces = row.iter().map(|wrong| (wrong.sample.picture(), wrong.text.clone()));
        sheet.row(&sure(row), faces.collect());
    }
    sheet
}

/// The first faces again, red where covering them takes probability from the prediction. The reddest place of each face is the one
/// on which its prediction depends most.
fn occlusion_maps(wrong: &[Wrong<'_>], scorer: &Scorer<'_>, temperature: f32) -> Sheet {
    let mut sheet = Sheet::new(ACROSS);
    for row in wrong[..wrong.len().min(MAPPED)].chunks(ACROSS) {
        let faces = row.iter().map(|wrong| {
            let map = occlusion::map(scorer, wrong.sample, wrong.predicted, temperature);
            let most = map.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            let picture = wrong.sample.picture();
            let overlaid = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
                let grey = f64::from(picture.get_pixel(x, y).0[0]);
                let red = 0.7 * map[(y * picture.width() + x) as usize] / most;
                let blend = |colour: f64| ((1.0 - red) * grey + red * colour).round() as u8;
                Rgb([blend(255.0), blend(30.0), blend(30.0)])
            });
            (overlaid, wrong.text.clone())
        });
        sheet.row(&sure(row), faces.collect());
    }
    sheet
}

/// The highest confidence of a row in words.
fn sure(row: &[Wrong<'_>]) -> String {
    format!("{:.0} % sure", 100.0 * row.first().map_or(0.0, |wrong| wrong.confidence))
}

/// The page, by the template `evaluation.html`, which escapes everything that is not an SVG of ours.
fn page(evaluation: &Evaluation, bundle: &Bundle, pictures: &Pictures) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_filter("percent", |fraction: f64| format!("{:.2} %", 100.0 * fraction));
    environment.add_filter("decimals", |value: f64, count: usize| format!("{value:.count$}"));
    environment.add_template("evaluation.html", include_str!("evaluation.html"))?;
    let manifest = bundle.manifest();
    let page = environment.get_template("evaluation.html")?.render(context! {
        title => match evaluation.pictures {
            Some(_) => format!("{} on labelled pictures", bundle.name()),
            None => format!("{} on the {} test", bundle.name(), evaluation.split),
        },
        card => manifest.card,
        evaluation => evaluation,
        training => serde_json::to_string_pretty(&manifest.training)?,
        data_licence => manifest.data_licence,
        pictures => pictures,
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_by_their_folder() {
        let name = |path: &str| run_name(Path::new(path)).unwrap();
        assert_eq!(name("runs/seed2/bundle"), "seed2");
        assert_eq!(name("runs/seed2/bundle/"), "seed2");
        assert_eq!(name("runs/seed2/snapshots/epoch-002"), "seed2-epoch-002");
        assert_eq!(name("assets/models/emotion"), "emotion");
    }
}
