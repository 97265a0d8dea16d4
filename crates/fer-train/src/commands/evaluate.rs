//! `fer-train evaluate`: scores a bundle on a test split or on labelled pictures.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use fer_dataset::{Dataset, Sample};
use fer_image::CropRule;
use fer_model::bundle::Calibration;
use fer_model::{Bundle, LabelSet};
use fer_train::evaluation::calibration::{self, Rated};
use fer_train::evaluation::detected::{self, DetectedScore, TILTS};
use fer_train::evaluation::evaluate::{self, Evaluation, PicturesScore};
use fer_train::evaluation::metrics::Metrics;
use fer_train::evaluation::pictures::{self, Part, Pictures};
use fer_train::evaluation::scorer::Scorer;
use fer_train::evaluation::test_set::{TestSet, labelled_by};
use fer_train::evaluation::views::{Views, view_logits};
use fer_train::open_bundle;
use fer_train::report::evaluation as report;
use fer_train::training::shards::Shards;

use super::compute::ComputeArgs;
use super::unreadable;

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// Folder with model.json and weights.safetensors.
    #[arg(long)]
    bundle: PathBuf,
    /// FER-2013 CSV.
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// Labels that count, and the head that is scored: `fer2013` or `ferplus` [default: the bundle's].
    #[arg(long, value_name = "NAME")]
    labels: Option<LabelSet>,
    /// FER+ votes (fer2013new.csv). With the labels of FER+, a face counts if more than half of its votes are for one emotion.
    #[arg(long, value_name = "FILE", conflicts_with = "faces")]
    votes: Option<PathBuf>,
    /// Split to score on.
    #[arg(long, value_enum, required_unless_present = "faces")]
    split: Option<SplitArg>,
    /// Score on labelled pictures instead of FER-2013: a folder with a folder of pictures for each emotion (angry, disgust,
    /// and so on). Each picture is taken for a face as a whole; with --detected, the largest face that is found in it counts.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["split", "data", "record", "crop_scale", "crop_shift", "level_eyes"])]
    faces: Option<PathBuf>,
    /// Folder of the report (HTML, JSON, PNG, SVG) [default: runs/<run>/evaluation-<split>, or evaluation-pictures with
    /// --faces, where the run is named by the bundle's folder; a number is appended if another bundle's report is there].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the score into the bundle's model.json. On the public test, also fit the temperature and the probability above which
    /// answers are certain, measure the ranges of the network's values, by which ONNX Runtime computes it in 8-bit integers, and write
    /// them.
    #[arg(long)]
    record: bool,
    /// Also paste the faces of the split into larger pictures, detect them there, and score the detected faces beside the
    /// original crops. Calibration is then measured on the detected faces. With --faces, detect the faces in the pictures.
    #[arg(long)]
    detected: bool,
    #[command(flatten)]
    crop: CropArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// How a detected face is cut out; the bundle gives the values of options that are left out. With several values, every
/// combination is tried.
#[derive(Args)]
struct CropArgs {
    /// Side of the square, as a fraction of the box's longer side [default: the bundle's].
    #[arg(long, requires = "detected", num_args = 1..)]
    crop_scale: Vec<f32>,
    /// Distance from the box's centre down to the square's centre, as a fraction of the box's longer side [default: the
    /// bundle's].
    #[arg(long, requires = "detected", num_args = 1.., allow_negative_numbers = true)]
    crop_shift: Vec<f32>,
    /// Whether the square is rotated until the eyes are level [default: the bundle's].
    #[arg(long, requires = "detected", num_args = 1.., action = clap::ArgAction::Append)]
    level_eyes: Vec<bool>,
}

impl CropArgs {
    fn rules(&self, bundle: CropRule) -> Vec<CropRule> {
        fn or<T: Copy>(given: &[T], default: T) -> Vec<T> {
            if given.is_empty() { vec![default] } else { given.to_vec() }
        }
        let mut rules = Vec::new();
        for scale in or(&self.crop_scale, bundle.scale) {
            for shift_down in or(&self.crop_shift, bundle.shift_down) {
                let levels = or(&self.level_eyes, bundle.level_eyes).into_iter();
                rules.extend(levels.map(|level_eyes| CropRule { scale, shift_down, level_eyes }));
            }
        }
        rules
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SplitArg {
    /// The competition's public test.
    Public,
    /// The competition's private test: for the final figure, not for making choices.
    Private,
}

pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    let bundle = open_bundle(&args.bundle)?.with_labels(args.labels)?;
    let Faces { test, rows, samples, pictures, failures } = Faces::read(args, &bundle)?;
    let out = args.out.clone().unwrap_or_else(|| report::default_folder(&args.bundle, &bundle, test));
    let compute = args.compute.open()?;
    let shards = Shards::of(&compute)?;
    let scorer = Scorer::of_bundle(&shards, &bundle, &compute.device);
    let calibrated = calibrate(args, &bundle, &scorer, test, &rows)?;
    let mut scored = evaluate::score(&bundle, &scorer, test, &samples, calibrated);
    evaluate::keep(&scored.evaluation, &bundle, test, &samples, args.record, &args.bundle)?;
    if args.detected && test != TestSet::Pictures {
        let rules = args.crop.rules(bundle.face().crop);
        for tilt in TILTS {
            let scores = detected::score(&bundle, &scorer, &samples, &rules, tilt)?;
            scored.evaluation.detected.extend(scores);
        }
    }
    scored.evaluation.pictures = pictures;
    report::write(&scored, &bundle, &scorer, &samples, &out)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&scored.evaluation)?);
    } else {
        print(&scored.evaluation);
        println!("the report is {}", out.join("index.html").display());
    }
    unreadable(&failures)
}

/// The temperature, and the calibration of the probabilities at that temperature on the rows that people rated. Both are fitted
/// if they are to be recorded on PublicTest, otherwise they are the bundle's.
fn calibrate(
    args: &EvaluateArgs,
    bundle: &Bundle,
    scorer: &Scorer<'_>,
    test: TestSet,
    rows: &[Sample],
) -> Result<(f32, Calibration)> {
    let head = bundle.head();
    // Pictures have a label and no votes.
    let set = if test == TestSet::Pictures { LabelSet::Fer2013 } else { head.label_set };
    let (samples, mut targets) = calibration::rated(rows, scorer.spec.labels(), set);
    let logits = if args.detected && test != TestSet::Pictures {
        let found = detected::logits(bundle, scorer, &samples, TILTS[0])?;
        let (numbers, logits): (Vec<usize>, Vec<Vec<f32>>) = found.into_iter().unzip();
        targets = numbers.into_iter().map(|number| targets[number].clone()).collect();
        logits
    } else {
        view_logits(scorer, &samples, Views::Plain).swap_remove(0)
    };
    let rated = Rated { logits, targets };
    Ok(if args.record && test == TestSet::Public {
        rated.fit()
    } else {
        (head.temperature, rated.measure(head.temperature, f64::from(head.certain_above())))
    })
}

/// The faces to score on.
struct Faces {
    test: TestSet,
    /// All of them, also those to which the labels that count give none.
    rows: Vec<Sample>,
    /// Those that are scored.
    samples: Vec<Sample>,
    /// What was read of a folder of pictures.
    pictures: Option<PicturesScore>,
    /// One message for each picture that cannot be read.
    failures: Vec<String>,
}

impl Faces {
    /// Reads the faces that the arguments name.
    fn read(args: &EvaluateArgs, bundle: &Bundle) -> Result<Self> {
        if let Some(folder) = &args.faces {
            return Self::of_pictures(folder, args.detected, bundle);
        }
        let test = match args.split {
            Some(SplitArg::Private) => TestSet::Private,
            _ => TestSet::Public,
        };
        let set = bundle.head().label_set;
        ensure!(
            set == LabelSet::Fer2013 || args.votes.is_some(),
            "the labels of FER+ are the majorities of its votes: name their file with --votes, or score on FER-2013's labels with \
             --labels fer2013"
        );
        let labels = bundle.network().labels();
        let rows = test.rows(Dataset::read_with_votes(&args.data, args.votes.as_deref())?);
        let mut samples = labelled_by(set, rows.clone());
        samples.retain(|sample| labels.contains(&sample.label));
        ensure!(
            !samples.is_empty(),
            "{} has no {} test rows with labels of {set}",
            args.data.display(),
            test.name()
        );
        Ok(Self { test, rows, samples, pictures: None, failures: Vec::new() })
    }

    fn of_pictures(folder: &Path, detected: bool, bundle: &Bundle) -> Result<Self> {
        let part = if detected { Part::Detected } else { Part::Whole };
        let Pictures { samples, without_face, failures } = pictures::read(folder, bundle, part)?;
        ensure!(
            !samples.is_empty(),
            "none of the pictures in {} shows a face that can be scored: {} are without a face, {} cannot be read",
            folder.display(),
            without_face.len(),
            failures.len()
        );
        let pictures = samples.len() + without_face.len();
        let score =
            PicturesScore { folder: folder.to_owned(), detected, pictures, without_face: without_face.len() };
        Ok(Self { test: TestSet::Pictures, rows: samples.clone(), samples, pictures: Some(score), failures })
    }
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

fn print(evaluation: &Evaluation) {
    let metrics = &evaluation.plain;
    let interval = |[low, high]: [f64; 2]| format!("(95 %: {:.1} to {:.1})", 100.0 * low, 100.0 * high);
    if let Some(PicturesScore { folder, detected: true, pictures, without_face }) = &evaluation.pictures {
        let found = pictures - without_face;
        println!(
            "{}: a face found in {found} of {pictures} pictures; the others do not count",
            folder.display()
        );
    }
    println!(
        "{} by the labels of {}: {} of {} faces {}",
        evaluation.split,
        evaluation.label_set,
        percent(metrics.accuracy),
        metrics.samples,
        interval(metrics.accuracy_interval)
    );
    println!(
        "  with flip  {} {}",
        percent(evaluation.accuracy_tta),
        interval(evaluation.accuracy_tta_interval)
    );
    println!(
        "  ten crops  {} {}",
        percent(evaluation.accuracy_ten_crop),
        interval(evaluation.accuracy_ten_crop_interval)
    );
    println!("  balanced {}, cross-entropy {:.4}", percent(metrics.balanced_accuracy), metrics.loss);
    print_calibration(evaluation);
    print_classes(metrics);
    if let Some(count) = evaluation.private_scorings {
        println!("scorings of this bundle on PrivateTest so far: {count}");
    }
    for caveat in &evaluation.caveats {
        println!("note: {caveat}");
    }
    for score in &evaluation.detected {
        print_detected(score, metrics.samples);
    }
}

fn print_calibration(evaluation: &Evaluation) {
    let Calibration { faces, error, certain_above, certain, certain_accuracy } = evaluation.calibration;
    println!(
        "  calibration error {} on {faces} rated faces at temperature {:.3}; answers above {:.0} % are certain: {} of the faces, \
         and {} of those answers are right",
        percent(error),
        evaluation.temperature,
        100.0 * certain_above,
        percent(certain),
        percent(certain_accuracy)
    );
}

fn print_classes(metrics: &Metrics) {
    let or_dash = |value: Option<f64>| value.map_or("–".to_owned(), percent);
    println!("  {:<9} {:>9} {:>9} {:>9} {:>6}", "", "precision", "recall", "F1", "faces");
    for (emotion, class) in &metrics.per_class {
        let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(or_dash);
        println!("  {:<9} {precision:>9} {recall:>9} {f1:>9} {:>6}", emotion.name(), class.support);
    }
    let header = metrics.labels.iter().map(|label| format!("{:>9}", label.name())).collect::<String>();
    println!("  predicted {header}");
    for (label, row) in metrics.labels.iter().zip(&metrics.confusion) {
        let counts = row.iter().map(|count| format!("{count:>9}")).collect::<String>();
        println!("  {:<9} {counts}", label.name());
    }
}

fn print_detected(score: &DetectedScore, samples: usize) {
    let uncropped = match score.uncropped {
        0 => String::new(),
        count => format!(" ({count} of them without a crop)"),
    };
    println!(
        "pasted, tilt up to {}°, found {:.1} %{uncropped}; crop scale {}, shift {}, level eyes {}: {:.2} % right, as \
         original crops {:.2} %",
        score.tilt,
        100.0 * score.found as f64 / samples as f64,
        score.crop_scale,
        score.crop_shift,
        score.level_eyes,
        100.0 * score.accuracy,
        100.0 * score.accuracy_original,
    );
}
