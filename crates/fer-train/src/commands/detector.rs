//! `fer-train detector`: trains the three networks of the face detector, and measures any MTCNN.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use fer_detect::DetectorModel;
use fer_detect::mtcnn::MtcnnConfig;
use fer_engine::Engine;
use fer_model::file::write_atomically;
use fer_train::detector::annotations::{self, Photo};
use fer_train::detector::config::DetectorTraining;
use fer_train::detector::corpus::Corpus;
use fer_train::detector::evaluate::{self, Found, Report};
use fer_train::detector::nets::Nets;
use fer_train::detector::run_folder::RunFolder;
use fer_train::detector::{complete, manifest, train};
use serde_json::json;

use super::compute::ComputeArgs;

#[derive(Subcommand)]
pub(crate) enum DetectorCommand {
    /// Train P-Net, R-Net and O-Net; continues an interrupted run of the same name.
    Train(TrainArgs),
    /// Measure average precision, recall, false positives and landmark error on annotated photos.
    Evaluate(EvaluateArgs),
    /// Add faces that the annotations miss, found by another detector.
    Complete(CompleteArgs),
}

/// Annotated photos.
#[derive(Args)]
struct Photos {
    /// CSV with one face per row; datasets/README.md describes its columns.
    #[arg(long, default_value = "datasets/faces/annotations.csv")]
    annotations: PathBuf,
    /// Folder that the paths in the CSV are relative to [default: the folder of the CSV].
    #[arg(long)]
    images: Option<PathBuf>,
}

impl Photos {
    fn folder(&self) -> &Path {
        let beside = self.annotations.parent().unwrap_or(Path::new(""));
        self.images.as_deref().unwrap_or(beside)
    }

    /// Reads the annotations, and reports the boxes that cannot be used.
    fn read(&self) -> Result<Vec<Photo>> {
        let photos = annotations::read(&self.annotations)?;
        let empty = annotations::empty_boxes(&photos);
        if empty > 0 {
            eprintln!("{}: {empty} boxes without an area are ignored", self.annotations.display());
        }
        Ok(photos)
    }
}

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Training configuration.
    #[arg(long, default_value = "configs/detector/mtcnn.json")]
    config: PathBuf,
    #[command(flatten)]
    photos: Photos,
    /// List of photos without faces, one path per line [default: negatives.txt in the image folder].
    #[arg(long)]
    negatives: Option<PathBuf>,
    /// Folder of all runs.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Name of this run's folder inside --runs.
    #[arg(long, default_value = "mtcnn")]
    name: String,
    /// Folder for the trained networks and their model.json [default: detector in the run's folder].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the results on the validation photos as one JSON object; progress goes to standard error.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    photos: Photos,
    /// A detector's folder: model.json and the files that it lists, or facenet-pytorch's pnet.onnx, rnet.onnx and onet.onnx
    /// without one [default: the detector that is embedded in the program].
    #[arg(long)]
    detector: Option<PathBuf>,
    /// Width in pixels of the smallest face that counts; the detector does not search for smaller ones.
    #[arg(long, default_value_t = 20.0)]
    min_face: f32,
    /// Minimum face probability after each network [default: the detector's]; the average-precision curve goes lower.
    #[arg(long, num_args = 3, value_names = ["P", "R", "O"])]
    thresholds: Option<Vec<f32>>,
    /// Ratio of each pyramid level's side to the previous level's [default: the detector's].
    #[arg(long)]
    pyramid_factor: Option<f32>,
    /// ONNX Runtime's shared library; without it, tract runs the networks.
    #[arg(long, env = "ORT_DYLIB_PATH")]
    onnxruntime: Option<PathBuf>,
    /// Write every box with its score to a CSV, including boxes below the thresholds.
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct CompleteArgs {
    #[command(flatten)]
    photos: Photos,
    /// A detector's folder.
    #[arg(long)]
    detector: PathBuf,
    /// CSV to write.
    #[arg(long)]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &DetectorCommand) -> Result<()> {
    match command {
        DetectorCommand::Train(args) => train(args),
        DetectorCommand::Evaluate(args) => evaluate(args),
        DetectorCommand::Complete(args) => complete(args),
    }
}

fn train(args: &TrainArgs) -> Result<()> {
    let config = DetectorTraining::read(&args.config)?;
    let run = RunFolder::open(&args.runs.join(&args.name), &config)?;
    let images = args.photos.folder();
    let photos = args.photos.read()?;
    let list = args.negatives.clone().unwrap_or_else(|| images.join("negatives.txt"));
    let negatives = annotations::read_negatives(&list)?;
    let data = manifest::sources(&photos, negatives.len());
    eprintln!("reading {} photos with faces, {} without", photos.len(), negatives.len());
    let corpus = Corpus::open(&config, photos, negatives, images)?;
    let compute = args.compute.open()?;
    eprintln!("training on {}, run in {}", compute.name, run.path().display());
    let (nets, report) = train::train(&config, &corpus, images, &compute, &run)?;
    let out = args.out.clone().unwrap_or_else(|| run.path().join("detector"));
    manifest::write(&out, &nets, &config, &data, &report)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("the networks are in {}", out.display());
    }
    Ok(())
}

fn evaluate(args: &EvaluateArgs) -> Result<()> {
    let photos = args.photos.read()?;
    let DetectorModel::Mtcnn(model) = match &args.detector {
        Some(folder) => DetectorModel::open(folder)?,
        None => DetectorModel::embedded(),
    };
    let engine = match &args.onnxruntime {
        Some(library) => Engine::onnx_runtime(library)?,
        None => Engine::tract(),
    };
    let mut config = MtcnnConfig { min_face: args.min_face, ..model.config() };
    if let Some(&[proposal, refinement, output]) = args.thresholds.as_deref() {
        config.thresholds = [proposal, refinement, output];
    }
    config.pyramid_factor = args.pyramid_factor.unwrap_or(config.pyramid_factor);
    let (report, found) =
        evaluate::measure(&engine, &Nets::from(&model), &config, &photos, args.photos.folder())?;
    if let Some(path) = &args.predictions {
        write_predictions(path, &photos, &found)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_report(&report, args.min_face, &engine);
    }
    Ok(())
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

fn print_report(report: &Report, min_face: f32, engine: &Engine) {
    println!("{} photos, {} faces of at least {min_face} pixels", report.photos, report.faces);
    if report.empty_boxes > 0 {
        println!("{} boxes without an area are ignored", report.empty_boxes);
    }
    println!("average precision  {:.3} at an overlap of 0.5, {:.3} at 0.4", report.ap50, report.ap40);
    for stage in &report.stages {
        println!(
            "  after {:<10} {:.3}, recall {:.3}, {:.2} false positives a photo",
            stage.net, stage.average_precision, stage.recall, stage.false_positives_a_photo
        );
    }
    println!("recall             {:.3}, {} false positives", report.recall, report.false_positives);
    match report.false_positives_at_recall_90 {
        Some(count) => println!("                   {count} false positives where the recall is 0.90"),
        None => println!("                   the recall never reaches 0.90"),
    }
    if let Some(error) = report.landmark_error {
        println!("landmark error     {:.1} % of the distance between the eyes", 100.0 * error);
    }
    println!("time               {:.1} ms a photo, one thread, {}", report.ms_per_photo, engine.kind());
}

fn complete(args: &CompleteArgs) -> Result<()> {
    let mut photos = args.photos.read()?;
    let DetectorModel::Mtcnn(model) = DetectorModel::open(&args.detector)?;
    ensure!(args.out != args.photos.annotations, "--out is the annotations themselves; name another file");
    let [faces, ignored] = complete::complete(&Engine::tract(), &model, &mut photos, args.photos.folder())?;
    annotations::write(&args.out, &photos)?;
    if args.json {
        println!("{}", json!({ "faces": faces, "ignored": ignored, "out": args.out }));
    } else {
        println!(
            "{faces} faces filled in, {ignored} places to be ignored; written to {}",
            args.out.display()
        );
    }
    Ok(())
}
