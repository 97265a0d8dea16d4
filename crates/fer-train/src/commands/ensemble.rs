//! `fer-train ensemble`: makes one bundle of several.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_train::evaluation::average::mean_weights;
use fer_train::evaluation::ensemble;
use fer_train::open_bundle;

#[derive(Args)]
pub(crate) struct EnsembleArgs {
    /// Bundles, or runs whose snapshots are taken (runs that were trained with `snapshots` in their configuration).
    #[arg(required = true)]
    from: Vec<PathBuf>,
    /// Name of the ensemble [default: the first bundle's name and the number of networks].
    #[arg(long)]
    name: Option<String>,
    /// Average the weights instead of the probabilities (model soups, Wortsman et al. 2022). The result is a single
    /// network. The bundles must have been trained on from the same weights.
    #[arg(long, conflicts_with = "name")]
    average_weights: bool,
    /// Folder of the new bundle.
    #[arg(long)]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &EnsembleArgs) -> Result<()> {
    let mut bundles = Vec::new();
    for folder in &args.from {
        for folder in ensemble::bundle_folders(folder)? {
            bundles.push(open_bundle(&folder)?);
        }
    }
    let count = ensemble::members(&bundles)?.len();
    let joined = if args.average_weights {
        let weights = mean_weights(&ensemble::members(&bundles)?)?;
        ensemble::write_average(&bundles, &weights, &args.out)?
    } else {
        ensemble::write_ensemble(&bundles, args.name.clone(), &args.out)?
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&joined)?);
    } else {
        let how = if args.average_weights { "the mean of" } else { "an ensemble of" };
        println!(
            "{}: {how} {count} networks, {} trainable parameters, in {}; `fer-train evaluate` scores it like any other",
            joined.name,
            joined.trainable_parameters,
            args.out.display()
        );
    }
    Ok(())
}
