//! Several bundles as one: an ensemble, whose answer is the mean of theirs, or a network with the mean of their weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fer_model::bundle::{BundleDraft, MANIFEST_FILE};
use fer_model::weights::{Array, Weights, WeightsDtype};
use fer_model::{Bundle, NetworkSpec};
use serde_json::json;

use crate::training::train::SNAPSHOTS_FOLDER;

#[derive(Args)]
pub struct EnsembleArgs {
    /// Bundles, or runs whose snapshots are taken (training with `snapshots` in its configuration).
    #[arg(required = true)]
    from: Vec<PathBuf>,
    /// The ensemble's name; the first member's and their number if not given.
    #[arg(long)]
    name: Option<String>,
    /// Average the weights, not the answers (model soups, Wortsman et al. 2022): one network, for bundles that were
    /// trained on from the same weights.
    #[arg(long, conflicts_with = "name")]
    average_weights: bool,
    /// Folder of the new bundle.
    #[arg(long)]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &EnsembleArgs) -> Result<()> {
    let mut folders = Vec::new();
    for folder in &args.from {
        folders.extend(bundles(folder)?);
    }
    let bundles = folders.iter().map(|folder| crate::open_bundle(folder)).collect::<Result<Vec<_>>>()?;
    let members: Vec<_> = bundles.iter().flat_map(Bundle::members).collect();
    ensure!(members.len() > 1, "an ensemble needs at least two networks; there is {}", members.len());
    let all_half = bundles.iter().all(|bundle| bundle.manifest().weights.dtype == WeightsDtype::F16);
    let mut licences: Vec<_> = bundles.iter().map(|bundle| bundle.manifest().data_licence.as_str()).collect();
    licences.dedup();
    let histories: Vec<_> = bundles.iter().map(|bundle| &bundle.manifest().training).collect();
    let averaged = args.average_weights.then(|| mean_weights(&members)).transpose()?;
    let (count, spec) = (members.len(), members[0].0);
    let (ensemble, training, members) = match &averaged {
        Some(weights) => (None, json!({ "averaged": histories }), vec![(spec, weights)]),
        None => {
            let name = args.name.clone().unwrap_or_else(|| format!("{}-x{count}", bundles[0].name()));
            (Some(name), json!({ "members": histories }), members)
        }
    };
    let parameters: usize = members.iter().map(|(spec, _)| spec.architecture().trainable_parameters()).sum();
    let name = ensemble.clone().unwrap_or_else(|| spec.name().to_owned());
    let summary = json!({ "name": name, "members": members.len(), "trainable_params": parameters });
    BundleDraft {
        ensemble,
        dtype: if all_half { WeightsDtype::F16 } else { WeightsDtype::F32 },
        temperature: 1.0,
        training,
        scores: BTreeMap::new(),
        data_licence: licences.join("\n"),
        card: bundles[0].manifest().card.clone(),
        members,
    }
    .write(&args.out)
    .with_context(|| format!("cannot write the bundle to {}", args.out.display()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        let how = if args.average_weights { "the mean of" } else { "an ensemble of" };
        println!(
            "{name}: {how} {count} networks, {parameters} trainable parameters, in {}; `fer-train evaluate` scores it \
             like any other",
            args.out.display()
        );
    }
    Ok(())
}

/// Each weight's mean over networks that differ in nothing else; so also batch norm's running statistics.
fn mean_weights(members: &[(&NetworkSpec, &Weights)]) -> Result<Weights> {
    let (spec, first) = members[0];
    if let Some((other, _)) = members.iter().find(|(other, _)| *other != spec) {
        bail!(
            "only weights of the same network can be averaged; {} differs from {}",
            other.name(),
            spec.name()
        );
    }
    let mean = |(name, array): (&str, &Array)| {
        let mut values = vec![0.0; array.values.len()];
        for (_, weights) in members {
            let own = weights.get(name).values.iter();
            values.iter_mut().zip(own).for_each(|(sum, value)| *sum += value / members.len() as f32);
        }
        (name.to_owned(), Array { shape: array.shape.clone(), values })
    };
    Ok(Weights::new(spec.architecture(), first.iter().map(mean).collect())?)
}

/// The folder itself if it is a bundle, else its snapshots in the order of their epochs.
fn bundles(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(MANIFEST_FILE).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let snapshots = folder.join(SNAPSHOTS_FOLDER);
    let entries = std::fs::read_dir(&snapshots)
        .with_context(|| format!("{} is neither a bundle nor a run with snapshots", folder.display()))?;
    let mut found = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    found.sort();
    ensure!(!found.is_empty(), "{} is empty", snapshots.display());
    Ok(found)
}
