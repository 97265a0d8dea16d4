//! `fer-train ensemble`: makes one bundle of several.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use fer_dataset::Dataset;
use fer_model::Bundle;
use fer_model::weights::Weights;
use fer_train::evaluation::average::{has_batch_norms, mean_weights, reestimate};
use fer_train::evaluation::ensemble;
use fer_train::open_bundle;

use super::compute::ComputeArgs;

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
    /// FER-2013 CSV. With --average-weights and a network that has batch norms, their statistics are measured anew on its
    /// training rows: averaged statistics do not describe the averaged network.
    #[arg(long, requires = "average_weights")]
    data: Option<PathBuf>,
    /// Folder of the new bundle.
    #[arg(long)]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
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
        let weights = average(args, &bundles)?;
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

/// The mean of the bundles' weights, with batch-norm statistics that fit them.
fn average(args: &EnsembleArgs, bundles: &[Bundle]) -> Result<Weights> {
    let weights = mean_weights(&ensemble::members(bundles)?)?;
    let spec = bundles[0].network();
    if !has_batch_norms(spec) {
        return Ok(weights);
    }
    let data = args.data.as_ref().with_context(|| {
        format!(
            "{} has batch norms, whose statistics must be measured anew after averaging; name the CSV with the training \
             rows by --data",
            spec.name()
        )
    })?;
    let dataset = Dataset::read(data)?.only(spec.labels());
    reestimate(spec, &weights, &dataset.training, &args.compute.open()?)
}
