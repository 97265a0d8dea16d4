//! Several bundles as one: an ensemble, which averages its members' probabilities, or one network with the mean of their
//! weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fer_model::bundle::{BundleBuilder, HeadEntry, MANIFEST_FILE};
use fer_model::weights::{Weights, WeightsDtype};
use fer_model::{Bundle, FaceSpec, NetworkSpec};
use serde::Serialize;
use serde_json::{Value, json};

use crate::evaluation::evaluate::{private_scorings, set_private_scorings};
use crate::training::run_folder::SNAPSHOTS_FOLDER;

/// A bundle that was joined from others.
#[derive(Serialize)]
pub struct Joined {
    /// The bundle's name.
    pub name: String,
    /// Networks in the new bundle.
    pub members: usize,
    /// Trainable parameters of all networks in the new bundle.
    #[serde(rename = "trainable_params")]
    pub trainable_parameters: usize,
}

/// The networks of some bundles.
///
/// # Errors
/// If there are fewer than two.
pub fn members(bundles: &[Bundle]) -> Result<Vec<(&NetworkSpec, &Weights)>> {
    let members: Vec<_> = bundles.iter().flat_map(Bundle::members).collect();
    ensure!(members.len() > 1, "an ensemble needs at least two networks; there is {}", members.len());
    Ok(members)
}

/// Writes an ensemble of all networks of some bundles. Without a name, it has the first bundle's name and the number of
/// networks.
///
/// # Errors
/// If there are fewer than two networks, if they do not fit together, if the bundles cut out faces differently, or if the
/// bundle cannot be written.
pub fn write_ensemble(bundles: &[Bundle], name: Option<String>, out: &Path) -> Result<Joined> {
    let members = members(bundles)?;
    let name = name.unwrap_or_else(|| format!("{}-x{}", bundles[0].name(), members.len()));
    write(bundles, Some(name), members, "members", out)
}

/// Writes the bundle of a network whose `weights` are the mean of the bundles' weights.
///
/// # Errors
/// If the bundles cut out faces differently, or if the bundle cannot be written.
pub fn write_average(bundles: &[Bundle], weights: &Weights, out: &Path) -> Result<Joined> {
    write(bundles, None, vec![(bundles[0].network(), weights)], "averaged", out)
}

/// How the faces of all bundles are cut out. It must be one way, because the networks of an ensemble see one face.
fn same_face(bundles: &[Bundle]) -> Result<FaceSpec> {
    let (first, others) = bundles.split_first().context("no bundle is given")?;
    let ways = |bundle: &Bundle| (bundle.face().crop, bundle.face().luma);
    if let Some(other) = others.iter().find(|other| ways(other) != ways(first)) {
        bail!(
            "{} and {} are served with different crop rules or luma weights ({:?} and {:?}); only networks that see the \
             same faces can be combined",
            first.name(),
            other.name(),
            ways(first),
            ways(other)
        );
    }
    Ok(first.face())
}

/// `history` is the key below which the new bundle's `training` keeps that of the bundles.
fn write(
    bundles: &[Bundle],
    ensemble: Option<String>,
    members: Vec<(&NetworkSpec, &Weights)>,
    history: &str,
    out: &Path,
) -> Result<Joined> {
    let face = same_face(bundles)?;
    let all_half = bundles.iter().all(|bundle| bundle.manifest().weights.dtype == WeightsDtype::F16);
    let mut licences: Vec<_> = bundles.iter().map(|bundle| bundle.manifest().data_licence.as_str()).collect();
    licences.dedup();
    let joined = Joined {
        name: ensemble.clone().unwrap_or_else(|| members[0].0.name().to_owned()),
        members: members.len(),
        trainable_parameters: members
            .iter()
            .map(|(spec, _)| spec.architecture().trainable_parameters())
            .sum(),
    };
    BundleBuilder {
        ensemble,
        crop: face.crop,
        luma: face.luma,
        dtype: if all_half { WeightsDtype::F16 } else { WeightsDtype::F32 },
        heads: heads(&bundles[0]),
        activation_ranges: None,
        training: training(bundles, history),
        data_licence: licences.join("\n"),
        card: bundles[0].manifest().card.clone(),
        members,
    }
    .write(out)
    .with_context(|| format!("cannot write the bundle to {}", out.display()))?;
    Ok(joined)
}

/// The heads of the first bundle, in its order, without results.
fn heads(first: &Bundle) -> Vec<HeadEntry> {
    let heads = first.manifest().heads.iter().cloned();
    heads
        .map(|head| HeadEntry { temperature: 1.0, calibration: None, scores: BTreeMap::new(), ..head })
        .collect()
}

/// The new bundle's `training`. Whoever looked at PrivateTest with a member has looked at it with the whole, so the count
/// of scorings goes on from the members' sum.
fn training(bundles: &[Bundle], history: &str) -> Value {
    let histories: Vec<_> = bundles.iter().map(|bundle| &bundle.manifest().training).collect();
    let scorings: u64 = histories.iter().map(|training| private_scorings(training)).sum();
    let mut training = json!({ history: histories });
    if scorings > 0 {
        set_private_scorings(&mut training, scorings);
    }
    training
}

/// The folder itself if it holds a bundle, otherwise its snapshots in the order of their epochs.
///
/// # Errors
/// If it is neither a bundle nor a run with snapshots.
pub fn bundle_folders(folder: &Path) -> Result<Vec<PathBuf>> {
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
