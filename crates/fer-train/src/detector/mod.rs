//! `fer-train detector`: trains the three nets of the face detector, and measures any MTCNN.

pub mod annotations;
pub mod complete;
pub mod config;
pub mod evaluate;
pub mod mine;
pub mod nets;
pub mod samples;
pub mod train;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use fer_detect::{DetectorConfig, DetectorModel, Stage};
use fer_engine::Engine;
use fer_model::bundle::write_whole;
use serde_json::json;

use self::config::DetectorTraining;
use self::evaluate::Report;
use self::nets::Nets;
use self::train::Corpus;
use crate::training::device::ComputeArgs;

#[derive(Subcommand)]
pub enum Command {
    /// Train P-, R- and O-Net; goes on where an earlier run of the same name was stopped.
    Train(TrainArgs),
    /// Average precision, recall, false positives and landmark error on annotated photos.
    Evaluate(EvaluateArgs),
    /// Write annotations in which another detector has filled in the faces that they miss.
    Complete(CompleteArgs),
}

/// Annotated photos.
#[derive(Args)]
struct Photos {
    /// CSV with one face a row; `datasets/README.md` has its columns.
    #[arg(long, default_value = "datasets/faces/annotations.csv")]
    annotations: PathBuf,
    /// Folder that the CSV's paths start from; the CSV's own if not given.
    #[arg(long)]
    images: Option<PathBuf>,
}

impl Photos {
    fn folder(&self) -> &Path {
        let beside = self.annotations.parent().unwrap_or(Path::new(""));
        self.images.as_deref().unwrap_or(beside)
    }
}

#[derive(Args)]
pub struct TrainArgs {
    /// Training configuration.
    #[arg(long, default_value = "configs/detector/mtcnn.json")]
    config: PathBuf,
    #[command(flatten)]
    photos: Photos,
    /// List of photos without a face, a path a line; `negatives.txt` beside the photos if not given.
    #[arg(long)]
    negatives: Option<PathBuf>,
    /// Folder of all runs.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// This run's folder below it.
    #[arg(long, default_value = "mtcnn")]
    name: String,
    /// Folder for the finished nets and their description.
    #[arg(long, default_value = "assets/models/mtcnn")]
    out: PathBuf,
    /// Print what the finished nets reach on the validation photos as one JSON object; progress goes to standard error.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    photos: Photos,
    /// Folder with pnet.onnx, rnet.onnx and onet.onnx; the nets that are part of the program if not given.
    #[arg(long)]
    detector: Option<PathBuf>,
    /// Least width of a face that counts, in pixels, and of one that is looked for.
    #[arg(long, default_value_t = 20.0)]
    min_face: f32,
    /// Least face probability after each net; the curve of the average precision goes lower.
    #[arg(long, num_args = 3, value_names = ["P", "R", "O"])]
    thresholds: Option<Vec<f32>>,
    /// Ratio of one pyramid level's side to the one before.
    #[arg(long)]
    pyramid_factor: Option<f32>,
    /// ONNX Runtime's shared library; tract without it.
    #[arg(long, env = "ORT_DYLIB_PATH")]
    onnxruntime: Option<PathBuf>,
    /// Write every box with its score to a CSV, also those with scores below the thresholds.
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct CompleteArgs {
    #[command(flatten)]
    photos: Photos,
    /// Folder with pnet.onnx, rnet.onnx and onet.onnx.
    #[arg(long)]
    detector: PathBuf,
    /// The CSV to write.
    #[arg(long)]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Train(args) => train(args),
        Command::Evaluate(args) => evaluate(args),
        Command::Complete(args) => complete(args),
    }
}

fn train(args: &TrainArgs) -> Result<()> {
    let config = DetectorTraining::read(&args.config)?;
    let images = args.photos.folder();
    let photos = annotations::read(&args.photos.annotations)?;
    let list = args.negatives.clone().unwrap_or_else(|| images.join("negatives.txt"));
    let negatives = annotations::read_negatives(&list)?;
    let sources = sources(&photos, negatives.len());
    eprintln!("reading {} photos with faces, {} without", photos.len(), negatives.len());
    let corpus = Corpus::open(&config, photos, negatives, images)?;
    let compute = args.compute.open()?;
    let run = args.runs.join(&args.name);
    eprintln!("training on {}, run in {}", compute.name, run.display());
    let (nets, report) = train::train(&config, &corpus, images, &compute, &run)?;
    for (stage, graph) in Stage::ALL.into_iter().zip(&nets.0) {
        let path = args.out.join(train::file_name(stage));
        std::fs::create_dir_all(&args.out)
            .with_context(|| format!("cannot create {}", args.out.display()))?;
        write_whole(&path, graph).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = serde_json::to_string_pretty(&description(&config, &sources, &report))? + "\n";
    write_whole(&args.out.join("model.json"), text.as_bytes()).context("cannot write model.json")?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("the nets are in {}", args.out.display());
    }
    Ok(())
}

/// Photos and faces by source.
fn sources(photos: &[annotations::Photo], negatives: usize) -> serde_json::Value {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for row in photos.iter().flat_map(|photo| &photo.faces) {
        *counts.entry(&row.source).or_default() += 1;
    }
    json!({ "photos_with_faces": photos.len(), "photos_without_faces": negatives, "faces_by_source": counts })
}

/// `model.json`: how the nets came to be.
fn description(config: &DetectorTraining, data: &serde_json::Value, report: &Report) -> serde_json::Value {
    let sizes: serde_json::Map<_, _> = Stage::ALL
        .into_iter()
        .map(|stage| (stage.net().to_owned(), json!(config.stage(stage).network.trainable_parameters())))
        .collect();
    json!({ "name": "mtcnn", "parameters": sizes, "data": data, "training": config, "validation": report })
}

fn evaluate(args: &EvaluateArgs) -> Result<()> {
    let photos = annotations::read(&args.photos.annotations)?;
    let model = match &args.detector {
        Some(folder) => DetectorModel::open(folder)?,
        None => DetectorModel::embedded(),
    };
    let engine = match &args.onnxruntime {
        Some(library) => Engine::onnx_runtime(library)?,
        None => Engine::tract(),
    };
    let mut config = DetectorConfig { min_face: args.min_face, ..DetectorConfig::default() };
    if let Some(&[proposal, refinement, output]) = args.thresholds.as_deref() {
        config.thresholds = [proposal, refinement, output];
    }
    config.pyramid_factor = args.pyramid_factor.unwrap_or(config.pyramid_factor);
    let (report, found) =
        evaluate::measure(&engine, &Nets::from(&model), &config, &photos, args.photos.folder())?;
    if let Some(path) = &args.predictions {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["path", "x", "y", "width", "height", "score"])?;
        for (photo, found) in photos.iter().zip(&found) {
            for face in &found.faces {
                let b = face.bounding_box;
                writer.serialize((&photo.path, b.x, b.y, b.width, b.height, face.confidence))?;
            }
        }
        write_whole(path, &writer.into_inner()?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{} photos, {} faces of at least {} pixels", report.photos, report.faces, args.min_face);
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
            println!("landmark error     {:.1} % of the distance of the eyes", 100.0 * error);
        }
        println!("time               {:.1} ms a photo, one thread, {}", report.ms_per_photo, engine.kind());
    }
    Ok(())
}

fn complete(args: &CompleteArgs) -> Result<()> {
    let mut photos = annotations::read(&args.photos.annotations)?;
    let model = DetectorModel::open(&args.detector)?;
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
