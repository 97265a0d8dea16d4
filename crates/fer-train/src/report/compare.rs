//! Runs side by side: their learning curves, and a table of what each came to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::report::charts;
use crate::training::checkpoint::{EpochReport, best};

#[derive(Args)]
pub struct CompareArgs {
    /// Folders of runs.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Folder of compare.svg and compare.png.
    #[arg(long, default_value = "runs/compare")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<()> {
    let runs = args.runs.iter().map(|run| Ok((name(run), history(run)?))).collect::<Result<Vec<_>>>()?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    charts::write(&charts::learning_curves(&runs)?, &args.out, "compare")?;
    if args.json {
        let best = runs.iter().map(|(name, history)| {
            serde_json::json!({"run": name, "epochs": history.len(), "best": best(history)})
        });
        println!("{}", serde_json::to_string_pretty(&best.collect::<Vec<_>>())?);
        return Ok(());
    }
    let width = runs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(3);
    println!(
        "{:<width$} {:>7} {:>5} {:>11} {:>9} {:>9} {:>9}",
        "run", "epochs", "best", "validation", "loss", "training", "images/s"
    );
    for (name, history) in &runs {
        let Some(best) = best(history) else { continue };
        let speed = history.iter().map(|report| report.images_per_second).sum::<f64>() / history.len() as f64;
        println!(
            "{name:<width$} {:>7} {:>5} {:>9.2} % {:>9.4} {:>7.2} % {speed:>9.0}",
            history.len(),
            best.epoch,
            100.0 * best.validation_accuracy,
            best.validation_loss,
            100.0 * best.training_accuracy,
        );
    }
    println!("learning curves are in {}/compare.svg and .png", args.out.display());
    Ok(())
}

fn name(run: &Path) -> String {
    run.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn history(run: &Path) -> Result<Vec<EpochReport>> {
    let path = run.join("history.json");
    let text = std::fs::read(&path)
        .with_context(|| format!("cannot read {}: is it the folder of a run?", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no history of a run", path.display()))
}
