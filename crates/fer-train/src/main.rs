//! `fer-train`: trains emotion networks on FER-2013 and measures them.

#![recursion_limit = "256"]

mod commands;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use fer_train::data::{align, audit, explore};
use fer_train::evaluation::{ensemble, evaluate, predict};
use fer_train::export::bundle::{self as export, Format};
use fer_train::report::compare;
use fer_train::report::summary::Summary;
use fer_train::training::config::TrainingConfig;
use fer_train::training::train;
use fer_train::{open_bundle, read_spec};

use commands::compute::ComputeArgs;
use commands::detector;

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
    /// Print a network's layers, shapes, parameters and multiply-adds.
    Summary(SummaryArgs),
    /// Score a bundle on one split, plain and with test-time augmentation.
    Evaluate(evaluate::EvaluateArgs),
    /// Answer for pictures of faces.
    Predict(predict::PredictArgs),
    /// Make one bundle of several: average their probabilities, or their weights.
    Ensemble(ensemble::EnsembleArgs),
    /// Show what is in a data set: counts, statistics, sample faces and mean faces.
    Explore(explore::ExploreArgs),
    /// Put runs side by side.
    Compare(compare::CompareArgs),
    /// Make a data set whose faces have level eyes.
    Align(align::AlignArgs),
    /// Find faces that stand in a data set twice, above all across splits.
    Audit(audit::AuditArgs),
    /// Write a bundle in another form.
    Export(ExportArgs),
    /// Train or measure the face detector.
    #[command(subcommand)]
    Detector(detector::DetectorCommand),
}

#[derive(Args)]
struct TrainArgs {
    /// Training configuration.
    #[arg(long, default_value = "configs/training/cnn6.json")]
    config: PathBuf,
    /// Architecture; overrides the configuration's.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Weights to start from: a bundle's weights.safetensors of the same network, or torchvision's mobilenet_v2 saved as
    /// safetensors (its head is left out); overrides the configuration's.
    #[arg(long)]
    init_from: Option<PathBuf>,
    /// FER-2013 CSV; overrides the configuration's.
    #[arg(long)]
    data: Option<PathBuf>,
    /// FER+ votes (fer2013new.csv), which training rows are to answer instead of their label; overrides the
    /// configuration's.
    #[arg(long)]
    labels: Option<PathBuf>,
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
    /// Any other field of the configuration, with a dot between nested keys: --set ema=0.999 --set schedule.kind=cosine
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of all runs.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// This run's folder below it; the network's name if not given.
    #[arg(long)]
    name: Option<String>,
    /// Continue the run from its last checkpoint.
    #[arg(long)]
    resume: bool,
    /// Print a JSON object for each epoch, and one for the whole run, a line each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(Args)]
struct SummaryArgs {
    /// Architecture.
    #[arg(long, default_value = "configs/models/cnn6.json")]
    model: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
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
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> std::process::ExitCode {
    // `fer-train summary | head` ends as any other program does, not with a panic.
    sigpipe::reset();
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
        None => run_training(&cli.train),
        Some(Command::Train(args)) => run_training(&args),
        Some(Command::Ensemble(args)) => ensemble::run(&args),
        Some(Command::Explore(args)) => explore::run(&args),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Predict(args)) => predict::run(&args),
        Some(Command::Align(args)) => align::run(&args),
        Some(Command::Audit(args)) => audit::run(&args),
        Some(Command::Summary(args)) => Summary::of(&read_spec(&args.model)?).print(args.json),
        Some(Command::Evaluate(args)) => evaluate::run(&args),
        Some(Command::Detector(command)) => detector::run(&command),
        Some(Command::Export(args)) => {
            export::run(&open_bundle(&args.bundle)?, args.format, &args.out, args.json)
        }
    }
}

fn run_training(args: &TrainArgs) -> Result<()> {
    let mut config = TrainingConfig::read(&args.config, &args.set)?;
    override_with(&mut config.model, args.model.as_ref());
    config.init_from = args.init_from.clone().or(config.init_from);
    config.labels = args.labels.clone().or(config.labels);
    override_with(&mut config.data, args.data.as_ref());
    override_with(&mut config.epochs, args.epochs.as_ref());
    override_with(&mut config.batch_size, args.batch_size.as_ref());
    override_with(&mut config.learning_rate, args.learning_rate.as_ref());
    override_with(&mut config.seed, args.seed.as_ref());
    let spec = read_spec(&config.model)?;
    let folder = args.runs.join(args.name.as_deref().unwrap_or(spec.name()));
    let compute = args.compute.open()?;
    if !args.json {
        println!(
            "{}: {} trainable parameters, {} epochs on {}, run in {}",
            spec.name(),
            spec.architecture().trainable_parameters(),
            config.epochs,
            compute.name,
            folder.display()
        );
    }
    let trained = train::train(&config, &spec, &compute, &folder, args.resume, args.json)?;
    if args.json {
        println!("{}", serde_json::to_string(&trained)?);
    } else {
        println!("the best epoch is in {}", trained.bundle.display());
    }
    Ok(())
}

fn override_with<T: Clone>(field: &mut T, given: Option<&T>) {
    if let Some(value) = given {
        field.clone_from(value);
    }
}
