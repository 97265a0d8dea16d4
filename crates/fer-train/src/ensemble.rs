//! Several bundles as one whose answer is the mean of theirs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fer_model::Bundle;
use fer_model::bundle::{BundleDraft, MANIFEST_FILE};
use fer_model::weights::WeightsDtype;
use serde_json::json;

use crate::train::SNAPSHOTS_FOLDER;

#[derive(Args)]
pub(crate) struct EnsembleArgs {
    /// Bundles, or runs whose snapshots are taken (training with `snapshots` in its configuration).
    #[arg(required = true)]
    from: Vec<PathBuf>,
    /// The ensemble's name; the first member's and their number if not given.
    #[arg(long)]
    name: Option<String>,
    /// Folder of the new bundle.
    #[arg(long)]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &EnsembleArgs) -> Result<()> {
    let mut folders = Vec::new();
    for folder in &args.from {
        folders.extend(bundles(folder)?);
    }
    let bundles = folders.iter().map(|folder| crate::open(folder)).collect::<Result<Vec<_>>>()?;
    let members: Vec<_> = bundles.iter().flat_map(Bundle::members).collect();
    ensure!(members.len() > 1, "an ensemble needs at least two networks; there is {}", members.len());
    let name = args.name.clone().unwrap_or_else(|| format!("{}-x{}", bundles[0].name(), members.len()));
    let parameters: usize = members.iter().map(|(spec, _)| spec.architecture().trainable_parameters()).sum();
    let all_half = bundles.iter().all(|bundle| bundle.manifest().weights.dtype == WeightsDtype::F16);
    let mut licences: Vec<_> = bundles.iter().map(|bundle| bundle.manifest().data_licence.as_str()).collect();
    licences.dedup();
    let summary = json!({ "name": name, "members": members.len(), "trainable_params": parameters });
    BundleDraft {
        ensemble: Some(name.clone()),
        dtype: if all_half { WeightsDtype::F16 } else { WeightsDtype::F32 },
        temperature: 1.0,
        training: json!({
            "members": bundles.iter().map(|bundle| &bundle.manifest().training).collect::<Vec<_>>(),
        }),
        scores: BTreeMap::new(),
        data_licence: licences.join("\n"),
        card: bundles[0].manifest().card.clone(),
        members,
    }
    .write(&args.out)
    .with_context(|| format!("cannot write the ensemble to {}", args.out.display()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!(
            "{name}: {} networks, {parameters} trainable parameters, in {}; `fer-train evaluate` scores it like any \
             other",
            summary["members"],
            args.out.display()
        );
    }
    Ok(())
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
