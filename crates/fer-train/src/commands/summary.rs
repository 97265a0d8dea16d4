//! `fer-train summary`: prints a network's layers, shapes, parameters and multiply-adds.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_train::read_spec;
use fer_train::report::summary::{LayerLine, Summary, grouped};

#[derive(Args)]
pub(crate) struct SummaryArgs {
    /// Architecture.
    #[arg(long, default_value = "configs/models/cnn6.json")]
    model: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &SummaryArgs) -> Result<()> {
    let spec = read_spec(&args.model)?;
    let summary = Summary::of(&spec);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
        return Ok(());
    }
    println!("{}, input {}", summary.name, summary.input);
    println!("{:<20} {:<18} {:>14} {:>14} {:>16}", "layer", "kind", "output", "parameters", "multiply-adds");
    for LayerLine { index, kind, output, parameters, multiply_adds, depth } in &summary.layers {
        let index = format!("{}{index}", "  ".repeat(*depth));
        let (parameters, multiply_adds) = (grouped(*parameters), grouped(*multiply_adds));
        println!("{index:<20} {kind:<18} {output:>14} {parameters:>14} {multiply_adds:>16}");
    }
    println!(
        "{} parameters, {} of them trainable; {} multiply-adds a face",
        grouped(summary.total_parameters),
        grouped(summary.trainable_parameters),
        grouped(summary.multiply_adds)
    );
    Ok(())
}
