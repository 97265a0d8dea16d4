//! `fer-train detector train`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_train::detector::config::DetectorTraining;
use fer_train::detector::corpus::Corpus;
use fer_train::detector::run_folder::RunFolder;
use fer_train::detector::{annotations, manifest, train};

use super::Photos;
use crate::commands::compute::ComputeArgs;

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

pub(super) fn run(args: &TrainArgs) -> Result<()> {
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
