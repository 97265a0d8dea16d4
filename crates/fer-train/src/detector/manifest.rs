//! Writes a trained detector's folder: the networks, and the `model.json` that lists them and says how they were trained.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fer_detect::manifest::FILE;
use fer_detect::mtcnn::{MtcnnConfig, MtcnnManifest, Stage};
use fer_model::file::write_atomically;
use serde_json::{Map, Value, json};

use super::annotations::Photo;
use super::config::DetectorTraining;
use super::nets::Nets;
use super::train::CascadeReport;
use super::views::NORMALIZATION;

/// Counts the photos, and the faces by source.
pub fn sources(photos: &[Photo], negatives: usize) -> Value {
    let mut counts = BTreeMap::<&str, usize>::new();
    for row in photos.iter().flat_map(|photo| &photo.faces) {
        *counts.entry(&row.source).or_default() += 1;
    }
    json!({ "photos_with_faces": photos.len(), "photos_without_faces": negatives, "faces_by_source": counts })
}

/// Writes the three networks and, last, their manifest. `data` comes from [`sources`], `report` from the validation photos.
///
/// # Errors
/// Returns an error if a network is missing or a file cannot be written.
pub fn write(
    folder: &Path,
    nets: &Nets,
    config: &DetectorTraining,
    data: &Value,
    report: &CascadeReport,
) -> Result<()> {
    let [proposal, refinement, output] = nets.0.as_slice() else { bail!("a detector has three networks") };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (stage, graph) in Stage::ALL.into_iter().zip(&nets.0) {
        let path = folder.join(stage.file_name());
        write_atomically(&path, graph).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let parameters: Map<_, _> = Stage::ALL
        .into_iter()
        .map(|stage| (stage.net().to_owned(), json!(config.stage(stage).network.trainable_parameters())))
        .collect();
    let training = json!({ "parameters": parameters, "data": data, "config": config, "validation": report });
    let settings = MtcnnConfig { normalization: NORMALIZATION, ..MtcnnConfig::default() };
    let manifest = MtcnnManifest::new(&settings, [proposal, refinement, output], training);
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    let path = folder.join(FILE);
    write_atomically(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
