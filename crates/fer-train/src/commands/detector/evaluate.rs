//! `fer-train detector evaluate`: measures a detector of any kind.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use fer_detect::mtcnn::{MtcnnConfig, MtcnnModel};
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::Engine;
use fer_model::file::write_atomically;
use fer_train::detector::annotations::Photo;
use fer_train::detector::evaluate::{self, FLOOR, Found, Measure, Report};
use fer_train::detector::mistakes;

use super::Photos;

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    photos: Photos,
    /// A detector's folder: model.json and the files that it lists, or facenet-pytorch's pnet.onnx, rnet.onnx and onet.onnx
    /// without one; `mtcnn` for the embedded cascade [default: the detector that the program uses by default].
    #[arg(long)]
    detector: Option<PathBuf>,
    /// Width in pixels of the smallest face to search for [default: the detector's].
    #[arg(long)]
    min_face: Option<f32>,
    /// Width in pixels of the smallest face that counts.
    #[arg(long, default_value_t = 20.0)]
    min_size: f32,
    /// Count only faces with this tag; others are ignored.
    #[arg(long)]
    tag: Option<String>,
    /// Score from which a box is a face, for recall and false positives [default: the detector's].
    #[arg(long)]
    threshold: Option<f32>,
    /// Minimum face probability after each network of an MTCNN [default: the detector's]; the last one stands for
    /// --threshold.
    #[arg(long, num_args = 3, value_names = ["P", "R", "O"], conflicts_with = "threshold")]
    thresholds: Option<Vec<f32>>,
    /// Ratio of each pyramid level's side to the previous level's, for an MTCNN [default: the detector's].
    #[arg(long)]
    pyramid_factor: Option<f32>,
    /// ONNX Runtime's shared library; without it, tract runs the networks.
    #[arg(long, env = "ORT_DYLIB_PATH")]
    onnxruntime: Option<PathBuf>,
    /// Write every box with its score to a CSV, including boxes below the threshold.
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// Folder for a picture of the largest faces that are missed and of the wrong boxes with the highest scores.
    #[arg(long, value_name = "DIR")]
    mistakes: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvaluateArgs) -> Result<()> {
    let photos = args.photos.read()?;
    let model = model(args)?;
    let engine = match &args.onnxruntime {
        Some(library) => Engine::onnx_runtime(library)?,
        None => Engine::tract(),
    };
    let threshold = args.threshold.unwrap_or(model.min_score());
    let min_score = Some(threshold.min(FLOOR));
    let options = DetectorOptions { min_face: args.min_face, min_score, ..DetectorOptions::default() };
    let found = evaluate::detect(|| model.detector(&engine, &options), &photos, args.photos.folder())?;
    let measure = Measure { min_size: args.min_size, tag: args.tag.as_deref(), threshold };
    let report = evaluate::report(&photos, &found, &measure);
    if let Some(path) = &args.predictions {
        write_predictions(path, &photos, &found)?;
    }
    if let Some(folder) = &args.mistakes {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        mistakes::draw(&photos, &found, &measure, args.photos.folder(), folder)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_report(&report, args.min_size, &engine);
    }
    Ok(())
}

/// Opens the detector, with the options that only an MTCNN has.
fn model(args: &EvaluateArgs) -> Result<DetectorModel> {
    let model = DetectorModel::select(args.detector.as_deref())?;
    let (thresholds, pyramid_factor) = (args.thresholds.as_deref(), args.pyramid_factor);
    if thresholds.is_none() && pyramid_factor.is_none() {
        return Ok(model);
    }
    let DetectorModel::Mtcnn(mtcnn) = model else {
        bail!("--thresholds and --pyramid-factor belong to an MTCNN; use --threshold")
    };
    let mut config: MtcnnConfig = mtcnn.config();
    if let Some(&[proposal, refinement, output]) = thresholds {
        config.thresholds = [proposal, refinement, output];
    }
    config.pyramid_factor = pyramid_factor.unwrap_or(config.pyramid_factor);
    Ok(DetectorModel::Mtcnn(MtcnnModel::new(config, mtcnn.graphs())))
}

fn write_predictions(path: &Path, photos: &[Photo], found: &[Found]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["path", "x", "y", "width", "height", "score"])?;
    for (photo, found) in photos.iter().zip(found) {
        for face in &found.faces {
            let b = face.bounding_box;
            writer.serialize((&photo.path, b.x, b.y, b.width, b.height, face.confidence))?;
        }
    }
    write_atomically(path, &writer.into_inner()?).with_context(|| format!("cannot write {}", path.display()))
}

fn print_report(report: &Report, min_size: f32, engine: &Engine) {
    println!("{} photos, {} faces of at least {min_size} pixels", report.photos, report.faces);
    if report.empty_boxes > 0 {
        println!("{} boxes without an area are ignored", report.empty_boxes);
    }
    println!("average precision  {:.3} at an overlap of 0.5, {:.3} at 0.4", report.ap50, report.ap40);
    for size in report.by_size.iter().filter(|size| size.faces > 0) {
        let range = match size.to {
            Some(to) => format!("{} to {to} pixels", size.from),
            None => format!("from {} pixels", size.from),
        };
        println!("  {range:<16} {:.3}, {} faces", size.ap50, size.faces);
    }
    println!(
        "recall             {:.3}, {} false positives, at the threshold {}",
        report.recall, report.false_positives, report.threshold
    );
    for (count, recall) in &report.recall_at_false_positives {
        println!("                   {recall:.3} at {count} false positives");
    }
    match report.false_positives_at_recall_90 {
        Some(count) => println!("                   {count} false positives where the recall is 0.90"),
        None => println!("                   the recall never reaches 0.90"),
    }
    if let Some(error) = report.landmark_error {
        println!("landmark error     {:.1} % of the distance between the eyes", 100.0 * error);
    }
    for (source, landmarks) in &report.landmarks_by_source {
        println!("  {source:<16} {:.1} %, {} faces", 100.0 * landmarks.error, landmarks.faces);
    }
    println!("time               {:.1} ms a photo, one thread, {}", report.ms_per_photo, engine.kind());
}
