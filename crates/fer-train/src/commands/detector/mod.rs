//! `fer-train detector`: trains face detectors, measures any, and fills in what annotations miss.

mod evaluate;
mod train;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use fer_detect::DetectorModel;
use fer_engine::Engine;
use fer_train::detector::annotations::{self, Photo};
use fer_train::detector::complete;
use serde_json::json;

use evaluate::EvaluateArgs;
use train::TrainArgs;

#[derive(Subcommand)]
pub(crate) enum DetectorCommand {
    /// Train a detector; continues an interrupted run of the same name.
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
pub(crate) struct CompleteArgs {
    #[command(flatten)]
    photos: Photos,
    /// A detector's folder, or `mtcnn` for the embedded cascade.
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
        DetectorCommand::Train(args) => train::run(args),
        DetectorCommand::Evaluate(args) => evaluate::run(args),
        DetectorCommand::Complete(args) => complete(args),
    }
}

fn complete(args: &CompleteArgs) -> Result<()> {
    let mut photos = args.photos.read()?;
    let model = DetectorModel::select(Some(&args.detector))?;
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
