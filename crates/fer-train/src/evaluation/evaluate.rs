//! Scores of a bundle on one test set, plain and with test-time augmentation, and what of them the bundle keeps.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fer_dataset::Sample;
use fer_engine::{ActivationRanges, Engine, Tensor};
use fer_model::bundle::Calibration;
use fer_model::spec::InputSpec;
use fer_model::{Bundle, Emotion, LabelSet, softmax};
use serde::Serialize;
use serde_json::Value;

use crate::evaluation::caveats::caveats;
use crate::evaluation::detected::DetectedScore;
use crate::evaluation::metrics::Metrics;
use crate::evaluation::scorer::Scorer;
use crate::evaluation::test_set::TestSet;
use crate::evaluation::views::{Views, view_logits};

/// The key of a bundle's `training` that counts how often the bundle was scored on PrivateTest.
const PRIVATE_SCORINGS: &str = "private_scorings";

/// Number of faces from which the ranges of a network's values are taken.
const RANGED_FACES: usize = 1024;

/// A bundle's scores on one test set; its JSON is what `fer-train evaluate --json` prints.
#[derive(Serialize)]
pub struct Evaluation {
    /// [`TestSet::name`].
    pub split: &'static str,
    /// Whose labels count, and which head is scored.
    pub label_set: LabelSet,
    /// The folder of labelled pictures; `None` for a split of FER-2013.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pictures: Option<PicturesScore>,
    /// Figures of a single pass, as serving makes it.
    #[serde(flatten)]
    pub plain: Metrics,
    /// Accuracy of the mean over each face and its mirror image.
    pub accuracy_tta: f64,
    /// Its 95 % interval.
    pub accuracy_tta_interval: [f64; 2],
    /// Accuracy of the mean over ten crops.
    pub accuracy_ten_crop: f64,
    /// Its 95 % interval.
    pub accuracy_ten_crop_interval: [f64; 2],
    /// Divisor of the logits.
    pub temperature: f32,
    /// How well the probabilities fit on all faces that people rated; for a split and with `--detected`, on the upright detected
    /// crops of them.
    pub calibration: Calibration,
    /// How often this bundle has been scored on PrivateTest, including this time; `None` on PublicTest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_scorings: Option<u64>,
    /// sha256 of the bundle's weights.
    pub weights_sha256: String,
    /// What a reader of the scores must know; see [`caveats`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
    /// Scores on faces that a detector had to find first; see [`crate::evaluation::detected`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detected: Vec<DetectedScore>,
}

/// An evaluation, with the probabilities that it was computed from.
pub struct Scored {
    /// The figures.
    pub evaluation: Evaluation,
    /// Probabilities of a single pass, `[samples, labels]`.
    pub probabilities: Vec<Vec<f64>>,
}

/// What was scored of a folder of labelled pictures.
#[derive(Serialize)]
pub struct PicturesScore {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the faces were detected in the pictures, or the pictures are the faces.
    pub detected: bool,
    /// Pictures that could be read.
    pub pictures: usize,
    /// Pictures in which no face was found; the scores do not count them.
    pub without_face: usize,
}

/// Scores a bundle on the samples of a test set.
///
/// The logits are divided by `temperature`, at which `calibration` was measured.
pub fn score(
    bundle: &Bundle,
    scorer: &Scorer<'_>,
    test: TestSet,
    samples: &[Sample],
    (temperature, calibration): (f32, Calibration),
) -> Scored {
    let labels = scorer.spec.labels();
    let plain = view_logits(scorer, samples, Views::Plain);
    let probabilities = |views: &[Vec<Vec<f32>>]| mean(views, samples.len(), f64::from(temperature));
    let metrics = |probabilities: &[Vec<f64>]| Metrics::of(probabilities, &labels_of(samples), labels);
    let [flip, ten] = [Views::Flip, Views::TenCrop]
        .map(|views| metrics(&probabilities(&view_logits(scorer, samples, views))));
    let probabilities = probabilities(&plain);
    let evaluation = Evaluation {
        split: test.name(),
        label_set: bundle.head().label_set,
        pictures: None,
        plain: metrics(&probabilities),
        accuracy_tta: flip.accuracy,
        accuracy_tta_interval: flip.accuracy_interval,
        accuracy_ten_crop: ten.accuracy,
        accuracy_ten_crop_interval: ten.accuracy_interval,
        temperature,
        calibration,
        private_scorings: (test == TestSet::Private)
            .then(|| private_scorings(&bundle.manifest().training) + 1),
        weights_sha256: bundle.manifest().weights.sha256.clone(),
        caveats: caveats(&bundle.manifest().training),
        detected: Vec::new(),
    };
    Scored { evaluation, probabilities }
}

/// Writes into a bundle's `model.json` what it has to keep of an evaluation: always the count of scorings on PrivateTest,
/// and with `record` the score of the head; on PublicTest also its temperature, its calibration, and the ranges of the network's
/// values on the faces.
///
/// # Errors
/// If the bundle cannot be written, or tract cannot run it.
pub fn keep(
    evaluation: &Evaluation,
    bundle: &Bundle,
    test: TestSet,
    samples: &[Sample],
    record: bool,
    folder: &Path,
) -> Result<()> {
    if !record && evaluation.private_scorings.is_none() {
        return Ok(());
    }
    let mut builder = bundle.to_builder();
    if let Some(count) = evaluation.private_scorings {
        set_private_scorings(&mut builder.training, count);
    }
    if let (true, Some(usage)) = (record, test.usage()) {
        for head in builder.heads.iter_mut().filter(|head| head.label_set == evaluation.label_set) {
            head.scores.insert(usage.to_owned(), evaluation.plain.score());
            if test == TestSet::Public {
                head.temperature = evaluation.temperature;
                head.calibration = Some(evaluation.calibration);
            }
        }
        if test == TestSet::Public {
            builder.activation_ranges = Some(activation_ranges(bundle, samples)?);
        }
    }
    builder.write(folder).context("cannot note the score in the bundle")
}

/// The ranges of the values in a bundle's graph on the first faces.
fn activation_ranges(bundle: &Bundle, samples: &[Sample]) -> Result<ActivationRanges> {
    let network = bundle.network();
    let InputSpec { channels, height, width } = network.input();
    let faces = &samples[..samples.len().min(RANGED_FACES)];
    let inputs = faces.iter().map(|sample| {
        let mut pixels = Vec::new();
        network.preprocessing().apply(&sample.pixels[..], network.input(), &mut pixels);
        Tensor::new([1, channels, height, width], pixels)
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    Ok(ActivationRanges::measure(&Engine::tract(), &bundle.graph(), inputs)?)
}

/// How often a bundle was scored on PrivateTest, by its manifest's `training`.
pub fn private_scorings(training: &Value) -> u64 {
    training.get(PRIVATE_SCORINGS).and_then(Value::as_u64).unwrap_or(0)
}

/// Puts the count of scorings on PrivateTest into a manifest's `training`.
pub(crate) fn set_private_scorings(training: &mut Value, count: u64) {
    if !training.is_object() {
        *training = serde_json::json!({});
    }
    training[PRIVATE_SCORINGS] = count.into();
}

/// Single-pass figures at temperature 1.
pub fn measure(scorer: &Scorer<'_>, samples: &[Sample]) -> Metrics {
    let logits = view_logits(scorer, samples, Views::Plain);
    Metrics::of(&mean(&logits, samples.len(), 1.0), &labels_of(samples), scorer.spec.labels())
}

fn labels_of(samples: &[Sample]) -> Vec<Emotion> {
    samples.iter().map(|sample| sample.label).collect()
}

/// Mean of the views' probabilities, `[faces, labels]`, from logits `[views, faces, labels]`.
pub fn mean(views: &[Vec<Vec<f32>>], faces: usize, temperature: f64) -> Vec<Vec<f64>> {
    let of_face = |face: usize| {
        let mut sum: Vec<f64> = Vec::new();
        for view in views {
            let probabilities = softmax(&view[face], temperature);
            sum.resize(probabilities.len(), 0.0);
            sum.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p / views.len() as f64);
        }
        sum
    };
    (0..faces).map(of_face).collect()
}
