//! Scores of a bundle on one split: plain, with test-time augmentation, and on faces that a detector had to find.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use fer_image::CropRule;
use fer_model::bundle::BundleDraft;
use fer_model::{Emotion, NetworkSpec};

use crate::data::dataset::{Dataset, Sample};
use crate::evaluation::detected;
use crate::evaluation::metrics::{Metrics, fit_temperature, softmax};
use crate::evaluation::scorer::Scorer;
use crate::evaluation::views::Views;
use crate::report::page as report;
use crate::training::device::ComputeArgs;
use crate::training::shards::{Shards, most_probable};

#[derive(Args)]
pub struct EvaluateArgs {
    /// Folder with model.json and weights.safetensors.
    #[arg(long)]
    bundle: PathBuf,
    /// FER-2013 CSV.
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// Which part of it.
    #[arg(long, value_enum)]
    split: Split,
    /// Folder of the report (HTML, JSON, PNG, SVG); runs/<network>/evaluation-<split> if not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the score into the bundle's model.json; of the public test also the temperature that fits best.
    #[arg(long)]
    record: bool,
    /// Also paste the faces into larger pictures, find them with the face detector, and score what it finds beside the
    /// original crops.
    #[arg(long)]
    detected: bool,
    #[command(flatten)]
    crop: CropArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// How a detected face is cut out: what serving does, if not said otherwise. With several values each way is tried.
#[derive(Args)]
struct CropArgs {
    /// Side of the square, as a share of the box's longer side.
    #[arg(long, requires = "detected", num_args = 1.., default_values_t = [CropRule::default().scale])]
    crop_scale: Vec<f32>,
    /// By how much it lies lower than the box, as a share of the box's longer side.
    #[arg(long, requires = "detected", num_args = 1.., allow_negative_numbers = true,
          default_values_t = [CropRule::default().shift_down])]
    crop_shift: Vec<f32>,
    /// Whether it is turned until the eyes are level.
    #[arg(long, requires = "detected", num_args = 1.., action = clap::ArgAction::Append,
          default_values_t = [CropRule::default().level_eyes])]
    level_eyes: Vec<bool>,
}

impl CropArgs {
    fn rules(&self) -> Vec<CropRule> {
        let mut rules = Vec::new();
        for &scale in &self.crop_scale {
            for &shift_down in &self.crop_shift {
                let levels = self.level_eyes.iter();
                rules.extend(levels.map(|&level_eyes| CropRule { scale, shift_down, level_eyes }));
            }
        }
        rules
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    /// The competition's public test.
    Public,
    /// The competition's private test: for the final figure, not for choosing.
    Private,
}

impl Split {
    /// On the command line and in JSON; in the CSV and in bundles.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Public => ["public", "PublicTest"],
            Self::Private => ["private", "PrivateTest"],
        }
    }
}

/// What one split says about a bundle.
#[derive(serde::Serialize)]
pub struct Evaluation {
    pub split: &'static str,
    /// Single pass.
    #[serde(flatten)]
    pub plain: Metrics,
    /// Mean of face and mirrored face.
    pub accuracy_tta: f64,
    pub accuracy_tta_interval: [f64; 2],
    /// Mean of ten crops.
    pub accuracy_ten_crop: f64,
    pub accuracy_ten_crop_interval: [f64; 2],
    /// By which logits are divided, as the bundle says.
    pub temperature: f32,
    /// How often this bundle has been scored on PrivateTest, this time included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_scorings: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detected: Vec<DetectedScore>,
}

/// Runs the command.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let bundle = crate::open_bundle(&args.bundle)?;
    let spec = bundle.network();
    let dataset = Dataset::read(&args.data)?.only(spec.labels());
    let [split, usage] = args.split.names();
    let samples = match args.split {
        Split::Public => &dataset.public,
        Split::Private => &dataset.private,
    };
    ensure!(!samples.is_empty(), "{} has no {split} test rows", args.data.display());
    let compute = args.compute.open()?;
    let shards = Shards::new(compute.device.clone(), compute.shards)?;
    let scorer = Scorer::of_bundle(&shards, &bundle, &compute.device);
    let logits = |views| view_logits(&scorer, samples, views);
    let plain = logits(Views::Plain);
    let mut temperature = bundle.manifest().temperature;
    if args.record && args.split == Split::Public {
        temperature = fit_temperature(&plain[0], &truth(samples, spec)) as f32;
    }
    let probabilities = |views: &[Vec<Vec<f32>>]| mean(views, samples.len(), f64::from(temperature));
    let metrics = |probabilities: &[Vec<f64>]| Metrics::of(probabilities, &labels(samples), spec.labels());
    let [flip, ten] = [Views::Flip, Views::TenCrop].map(|views| metrics(&probabilities(&logits(views))));
    let probabilities = probabilities(&plain);
    let plain = metrics(&probabilities);
    let mut draft = bundle.draft();
    let private_scorings = (args.split == Split::Private).then(|| count_private(&mut draft));
    if args.record {
        draft.scores.insert(usage.to_owned(), plain.score());
        draft.temperature = temperature;
    }
    if args.record || private_scorings.is_some() {
        draft.write(&args.bundle).context("cannot note the score in the bundle")?;
    }
    let mut found = Vec::new();
    if args.detected {
        for tilt in [0.0, 15.0] {
            found.extend(on_detected(&scorer, samples, &args.crop.rules(), tilt)?);
        }
    }
    let evaluation = Evaluation {
        split,
        plain,
        accuracy_tta: flip.accuracy,
        accuracy_tta_interval: flip.accuracy_interval,
        accuracy_ten_crop: ten.accuracy,
        accuracy_ten_crop_interval: ten.accuracy_interval,
        temperature,
        private_scorings,
        detected: found,
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs").join(bundle.name()).join(format!("evaluation-{split}")));
    report::write(&evaluation, &bundle, samples, &probabilities, &out)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        evaluation.print();
        println!("the report is {}", out.join("index.html").display());
    }
    Ok(())
}

/// PrivateTest is for the final figure: how often a bundle was held against it stands in its model.json.
fn count_private(draft: &mut BundleDraft<'_>) -> u64 {
    const KEY: &str = "private_scorings";
    let count = draft.training.get(KEY).and_then(serde_json::Value::as_u64).unwrap_or(0) + 1;
    if !draft.training.is_object() {
        draft.training = serde_json::json!({});
    }
    draft.training[KEY] = count.into();
    count
}

impl Evaluation {
    fn print(&self) {
        let Metrics { samples, accuracy, accuracy_interval, .. } = self.plain;
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let share = |share: Option<f64>| share.map_or("–".to_owned(), percent);
        let interval = |[low, high]: [f64; 2]| format!("(95 %: {:.1} to {:.1})", 100.0 * low, 100.0 * high);
        println!("{}: {} of {samples} faces {}", self.split, percent(accuracy), interval(accuracy_interval));
        println!("  with flip  {} {}", percent(self.accuracy_tta), interval(self.accuracy_tta_interval));
        println!(
            "  ten crops  {} {}",
            percent(self.accuracy_ten_crop),
            interval(self.accuracy_ten_crop_interval)
        );
        println!(
            "  balanced {}, calibration error {} at temperature {:.3}, cross-entropy {:.4}",
            percent(self.plain.balanced_accuracy),
            percent(self.plain.ece),
            self.temperature,
            self.plain.loss
        );
        println!("  {:<9} {:>9} {:>9} {:>9} {:>6}", "", "precision", "recall", "F1", "faces");
        for (emotion, class) in &self.plain.per_class {
            let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(share);
            println!("  {:<9} {precision:>9} {recall:>9} {f1:>9} {:>6}", emotion.name(), class.support);
        }
        println!(
            "  answers   {}",
            self.plain.labels.iter().map(|l| format!("{:>9}", l.name())).collect::<String>()
        );
        for (label, row) in self.plain.labels.iter().zip(&self.plain.confusion) {
            println!(
                "  {:<9} {}",
                label.name(),
                row.iter().map(|count| format!("{count:>9}")).collect::<String>()
            );
        }
        if let Some(count) = self.private_scorings {
            println!("scorings of this bundle on PrivateTest so far: {count}");
        }
        for found in &self.detected {
            println!(
                "pasted, tilt up to {}°, found {:.1} %; crop scale {}, shift {}, level eyes {}: {:.2} % right, as original crops {:.2} %",
                found.tilt,
                100.0 * found.found as f64 / samples as f64,
                found.crop_scale,
                found.crop_shift,
                found.level_eyes,
                100.0 * found.accuracy,
                100.0 * found.accuracy_original,
            );
        }
    }
}

/// Single-pass figures of a model that is not calibrated.
pub fn measure(scorer: &Scorer<'_>, samples: &[Sample]) -> Metrics {
    let logits = view_logits(scorer, samples, Views::Plain);
    Metrics::of(&mean(&logits, samples.len(), 1.0), &labels(samples), scorer.spec.labels())
}

/// Place of each face's label among the network's.
fn truth(samples: &[Sample], spec: &NetworkSpec) -> Vec<usize> {
    let place = |sample: &Sample| spec.labels().iter().position(|label| *label == sample.label);
    samples.iter().map(|sample| place(sample).unwrap_or(0)).collect()
}

/// Logits `[views, samples, labels]`.
pub fn view_logits(scorer: &Scorer<'_>, samples: &[Sample], views: Views) -> Vec<Vec<Vec<f32>>> {
    let view = |number: usize| {
        scorer.logits(samples.len(), |range| {
            let mut pixels = Vec::new();
            samples[range].iter().for_each(|sample| views.append(number, sample, scorer.spec, &mut pixels));
            pixels
        })
    };
    (0..views.count()).map(view).collect()
}

/// Mean of several views' probabilities for each of so many faces.
pub fn mean(views: &[Vec<Vec<f32>>], faces: usize, temperature: f64) -> Vec<Vec<f64>> {
    let of = |face: usize| {
        let mut sum: Vec<f64> = Vec::new();
        for view in views {
            let probabilities = softmax(&view[face], temperature);
            sum.resize(probabilities.len(), 0.0);
            sum.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p / views.len() as f64);
        }
        sum
    };
    (0..faces).map(of).collect()
}

fn labels(samples: &[Sample]) -> Vec<Emotion> {
    samples.iter().map(|sample| sample.label).collect()
}

/// What came of faces that a detector had to find first.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct DetectedScore {
    /// How they were cut out; see [`CropRule`].
    pub crop_scale: f32,
    pub crop_shift: f32,
    pub level_eyes: bool,
    /// Largest angle by which a face was turned, in degrees.
    pub tilt: f32,
    /// Faces that were found.
    pub found: usize,
    /// On the crops of these.
    pub accuracy: f64,
    /// On the original crops of the same faces.
    pub accuracy_original: f64,
}

/// Accuracy on detected crops beside that on the original ones, for each rule; see [`detected::find`].
pub fn on_detected(
    scorer: &Scorer<'_>,
    samples: &[Sample],
    rules: &[CropRule],
    tilt: f32,
) -> Result<Vec<DetectedScore>> {
    let found = detected::find(samples, tilt)?;
    let (original, found): (Vec<Sample>, Vec<detected::Found>) =
        samples.iter().zip(found).filter_map(|(sample, found)| Some((sample.clone(), found?))).unzip();
    let spec = scorer.spec;
    let accuracy_original = measure(scorer, &original).accuracy;
    let scores = rules.iter().map(|&rule| {
        let logits = scorer.logits(found.len(), |range| {
            let mut pixels = Vec::new();
            for face in &found[range] {
                if let Some(crop) = face.crop(rule, spec) {
                    spec.preprocessing().apply(crop.luma(), spec.input(), &mut pixels);
                }
            }
            pixels
        });
        let right =
            logits.iter().zip(&original).filter(|(row, of)| spec.labels()[most_probable(row)] == of.label);
        DetectedScore {
            crop_scale: rule.scale,
            crop_shift: rule.shift_down,
            level_eyes: rule.level_eyes,
            tilt,
            found: found.len(),
            accuracy: right.count() as f64 / found.len().max(1) as f64,
            accuracy_original,
        }
    });
    Ok(scores.collect())
}
