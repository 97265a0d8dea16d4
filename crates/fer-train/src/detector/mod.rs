//! Training and measuring the three networks of the face detector.

pub mod annotations;
pub mod complete;
pub mod config;
pub mod evaluate;
pub mod mine;
pub mod nets;
pub mod samples;
pub mod train;

use fer_detect::mtcnn::{MtcnnConfig, MtcnnManifest, Stage};
use serde_json::json;

use self::config::DetectorTraining;
use self::evaluate::Report;

/// Counts of the photos, and of the faces by source, for `model.json`.
pub fn sources(photos: &[annotations::Photo], negatives: usize) -> serde_json::Value {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for row in photos.iter().flat_map(|photo| &photo.faces) {
        *counts.entry(&row.source).or_default() += 1;
    }
    json!({ "photos_with_faces": photos.len(), "photos_without_faces": negatives, "faces_by_source": counts })
}

/// The content of `model.json`: how the networks run, how and on what they were trained, and what they reach on the
/// validation photos.
pub fn manifest(
    graphs: [&[u8]; 3],
    config: &DetectorTraining,
    data: &serde_json::Value,
    report: &Report,
) -> MtcnnManifest {
    let sizes: serde_json::Map<_, _> = Stage::ALL
        .into_iter()
        .map(|stage| (stage.net().to_owned(), json!(config.stage(stage).network.trainable_parameters())))
        .collect();
    let training = json!({ "parameters": sizes, "data": data, "config": config, "validation": report });
    let run = MtcnnConfig { normalization: samples::NORMALIZATION, ..MtcnnConfig::default() };
    MtcnnManifest::new(&run, graphs, training)
}
