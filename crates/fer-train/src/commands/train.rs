//! `fer-train train`: trains a network and keeps its best epoch as a bundle.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_train::read_spec;
use fer_train::training::config::TrainingConfig;
use fer_train::training::train;

use super::compute::ComputeArgs;

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Training configuration.
    #[arg(long, default_value = "configs/training/cnn6.json")]
    config: PathBuf,
    /// Architecture; overrides `model` of the configuration.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Weights to start from: weights.safetensors of a bundle with the same network, of which heads may be missing, or
    /// torchvision's mobilenet_v2 saved as safetensors, without its head; overrides `init_from` of the configuration.
    #[arg(long)]
    init_from: Option<PathBuf>,
    /// FER-2013 CSV; overrides `data` of the configuration.
    #[arg(long)]
    data: Option<PathBuf>,
    /// FER+ votes (fer2013new.csv): what the head of a network for FER+ learns. A network without such a head learns them in place
    /// of the labels; overrides `votes` of the configuration.
    #[arg(long)]
    votes: Option<PathBuf>,
    /// Passes over the training rows; overrides `epochs` of the configuration.
    #[arg(long)]
    epochs: Option<usize>,
    /// Faces per step; overrides `batch_size` of the configuration.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Peak learning rate; overrides `learning_rate` of the configuration.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Seed of the weights, the order of the rows, augmentation and dropout; overrides `seed` of the configuration.
    #[arg(long)]
    seed: Option<u64>,
    /// Override any other field of the configuration, with dots between nested keys: --set ema=0.999 --set
    /// schedule.kind=cosine
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of all runs.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Name of this run's folder inside --runs [default: the network's name].
    #[arg(long)]
    name: Option<String>,
    /// Continue the run from its last checkpoint.
    #[arg(long)]
    resume: bool,
    /// Print one JSON object per line: one for each epoch and one for the whole run.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let mut config = TrainingConfig::read(&args.config, &args.set)?;
    override_with(&mut config.model, args.model.as_ref());
    config.init_from = args.init_from.clone().or(config.init_from);
    config.votes = args.votes.clone().or(config.votes);
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
