//! `fer-train`: trains emotion networks on FER-2013 and measures them.

#![recursion_limit = "256"]

mod augment;
mod checkpoint;
mod config;
mod dataset;
mod detected;
mod detector;
mod device;
mod evaluate;
mod export;
mod progress;
mod sgd;
mod shards;
mod train;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fer_model::network::Network;
use fer_model::{Bundle, CropRule, NetworkSpec};

use crate::config::TrainingConfig;
use crate::dataset::Dataset;
use crate::device::DeviceChoice;
use crate::export::Format;
use crate::shards::Shards;

/// Big short-lived tensors on several threads: the system's allocator gives the pages back and fetches them
/// again at every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains emotion networks on FER-2013 and measures them. Without a subcommand: `train`.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: TrainArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network and keep its best epoch as a bundle.
    Train(TrainArgs),
    /// Score a bundle on one split, single pass.
    Evaluate(EvaluateArgs),
    /// Write a bundle in another form.
    Export(ExportArgs),
    /// Train or measure the face detector.
    #[command(subcommand)]
    Detector(detector::Command),
}

#[derive(Args)]
struct TrainArgs {
    /// Training configuration.
    #[arg(long, default_value = "configs/training/cnn6.json")]
    config: PathBuf,
    /// Architecture; overrides the configuration's.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Weights to start from, a bundle's weights.safetensors; overrides the configuration's.
    #[arg(long)]
    init_from: Option<PathBuf>,
    /// FER-2013 CSV; overrides the configuration's.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Overrides the configuration's.
    #[arg(long)]
    epochs: Option<usize>,
    /// Overrides the configuration's.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Overrides the configuration's.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Overrides the configuration's.
    #[arg(long)]
    seed: Option<u64>,
    /// Folder of all runs.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// This run's folder below it; the network's name if not given.
    #[arg(long)]
    name: Option<String>,
    /// Continue the run from its last checkpoint.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(Args)]
struct ComputeArgs {
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
    /// Threads on the CPU; 0 for all cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Args)]
struct EvaluateArgs {
    /// Folder with model.json and weights.safetensors.
    #[arg(long)]
    bundle: PathBuf,
    /// FER-2013 CSV.
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// Which part of it.
    #[arg(long, value_enum)]
    split: Split,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the score into the bundle's model.json.
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

#[derive(Args)]
struct ExportArgs {
    /// Folder with model.json and weights.safetensors.
    #[arg(long)]
    bundle: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value = "onnx")]
    format: Format,
    /// The file, or the new bundle's folder.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Split {
    /// The competition's public test.
    Public,
    /// The competition's private test: for the final figure, not for choosing.
    Private,
}

fn main() -> std::process::ExitCode {
    match run(Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fer-train: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        None => train(&cli.train),
        Some(Command::Train(args)) => train(&args),
        Some(Command::Evaluate(args)) => evaluate(&args),
        Some(Command::Detector(command)) => detector::run(&command),
        Some(Command::Export(args)) => export::export(&open(&args.bundle)?, args.format, &args.out),
    }
}

fn train(args: &TrainArgs) -> Result<()> {
    let mut config = TrainingConfig::read(&args.config)?;
    override_with(&mut config.model, args.model.as_ref());
    if args.init_from.is_some() {
        config.init_from.clone_from(&args.init_from);
    }
    override_with(&mut config.data, args.data.as_ref());
    override_with(&mut config.epochs, args.epochs.as_ref());
    override_with(&mut config.batch_size, args.batch_size.as_ref());
    override_with(&mut config.learning_rate, args.learning_rate.as_ref());
    override_with(&mut config.seed, args.seed.as_ref());
    let spec = read_spec(&config.model)?;
    let folder = args.runs.join(args.name.as_deref().unwrap_or(spec.name()));
    let compute = device::open(args.compute.device, args.compute.threads)?;
    println!(
        "{}: {} trainable parameters, {} epochs on {}, run in {}",
        spec.name(),
        spec.architecture().trainable_parameters(),
        config.epochs,
        compute.name,
        folder.display()
    );
    let bundle = train::train(&config, &spec, &compute, &folder, args.resume)?;
    println!("the best epoch is in {}", bundle.display());
    Ok(())
}

fn evaluate(args: &EvaluateArgs) -> Result<()> {
    let bundle = open(&args.bundle)?;
    let dataset = Dataset::read(&args.data)?;
    let (split, usage, samples) = match args.split {
        Split::Public => ("public", "PublicTest", &dataset.public),
        Split::Private => ("private", "PrivateTest", &dataset.private),
    };
    anyhow::ensure!(!samples.is_empty(), "{} has no {split} test rows", args.data.display());
    let compute = device::open(args.compute.device, args.compute.threads)?;
    let shards = Shards::new(compute.device.clone(), compute.shards)?;
    let network = Network::new(bundle.network().architecture(), bundle.weights(), &compute.device);
    let score = evaluate::score(&shards, &network, bundle.network(), samples);
    if args.record {
        let mut draft = bundle.draft();
        draft.scores.insert(usage.to_owned(), score.clone());
        draft.write(&args.bundle).context("cannot record the score")?;
    }
    let mut detected = Vec::new();
    if args.detected {
        for tilt in [0.0, 15.0] {
            let rules = args.crop.rules();
            detected.extend(evaluate::on_detected(
                &shards,
                &network,
                bundle.network(),
                samples,
                &rules,
                tilt,
            )?);
        }
    }
    if args.json {
        let per_class: serde_json::Map<_, _> = score
            .recall
            .iter()
            .map(|(name, recall)| (name.clone(), serde_json::json!({ "recall": recall })))
            .collect();
        let mut json = serde_json::json!({
            "split": split,
            "samples": score.samples,
            "accuracy": score.accuracy,
            "per_class": per_class,
        });
        if args.detected {
            json["detected"] = serde_json::to_value(&detected)?;
        }
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        println!("{split}: {:.2} % of {} faces", 100.0 * score.accuracy, score.samples);
        for (name, recall) in &score.recall {
            println!("  {name:<9} recall {:.2} %", 100.0 * recall);
        }
        for found in &detected {
            println!(
                "pasted, tilt up to {}°, found {:.1} %; crop scale {}, shift {}, level eyes {}: {:.2} % right, as original crops {:.2} %",
                found.tilt,
                100.0 * found.found as f64 / samples.len() as f64,
                found.crop_scale,
                found.crop_shift,
                found.level_eyes,
                100.0 * found.accuracy,
                100.0 * found.accuracy_original,
            );
        }
    }
    Ok(())
}

fn open(folder: &Path) -> Result<Bundle> {
    Bundle::open(folder).with_context(|| format!("{} is not a usable bundle", folder.display()))
}

fn read_spec(path: &Path) -> Result<NetworkSpec> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    NetworkSpec::from_json(&text).with_context(|| path.display().to_string())
}

fn override_with<T: Clone>(field: &mut T, given: Option<&T>) {
    if let Some(value) = given {
        field.clone_from(value);
    }
}
