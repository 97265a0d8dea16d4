//! `fer-train compare`: puts runs side by side.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_train::report::compare::{self, RunHistory};

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// Folders of runs.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Folder for compare.svg and compare.png.
    #[arg(long, default_value = "runs/compare")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    let runs = args.runs.iter().map(|run| RunHistory::read(run)).collect::<Result<Vec<_>>>()?;
    compare::write(&runs, &args.out)?;
    if args.json {
        let best = runs
            .iter()
            .map(|run| serde_json::json!({"run": run.name, "epochs": run.epochs.len(), "best": run.best()}));
        println!("{}", serde_json::to_string_pretty(&best.collect::<Vec<_>>())?);
        return Ok(());
    }
    let width = runs.iter().map(|run| run.name.chars().count()).max().unwrap_or(0).max(3);
    println!(
        "{:<width$} {:>7} {:>5} {:>11} {:>9} {:>9} {:>9}",
        "run", "epochs", "best", "validation", "loss", "training", "images/s"
    );
    for run in &runs {
        let Some(best) = run.best() else { continue };
        println!(
            "{:<width$} {:>7} {:>5} {:>9.2} % {:>9.4} {:>7.2} % {:>9.0}",
            run.name,
            run.epochs.len(),
            best.epoch,
            100.0 * best.validation_accuracy,
            best.validation_loss,
            100.0 * best.training_accuracy,
            run.images_per_second(),
        );
    }
    println!("learning curves are in {}/compare.svg and .png", args.out.display());
    Ok(())
}
