//! The detector's settings and networks, as they lie in a folder.

use std::path::Path;

use fer_image::area::Normalization;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SingleShotConfig;
use crate::ManifestError;
use crate::manifest::{ListedFile, Manifest};

const MANIFEST: &str = include_str!("../../../../assets/models/single_shot/model.json");
const GRAPH: &[u8] = include_bytes!("../../../../assets/models/single_shot/detector.onnx");
const REFINEMENT: &[u8] = include_bytes!("../../../../assets/models/single_shot/refinement.onnx");

/// Name of the network's file.
pub const NETWORK_FILE: &str = "detector.onnx";

/// Name of the refinement network's file.
pub const REFINEMENT_FILE: &str = "refinement.onnx";

/// `model.json` of a single-shot detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleShotManifest {
    /// [`SingleShotModel::KIND`].
    pub kind: String,
    /// Least score of a face.
    pub threshold: f32,
    /// Least score of a box that goes on to the refinement network. Without one it has no effect.
    #[serde(default = "default_proposal_threshold")]
    pub proposal_threshold: f32,
    /// Width of the smallest face to look for unless the caller chooses another, in pixels.
    pub min_face: f32,
    /// Widths in pixels of the smallest and the largest face that the network finds on its input.
    pub face_sizes: [f32; 2],
    /// Intersection over union from which the less certain one of two boxes is dropped.
    pub max_overlap: f32,
    /// What happens to pixel values before the network sees them.
    pub normalization: Normalization,
    /// The ONNX files.
    pub files: SingleShotFiles,
    /// How the network was trained. Nothing reads it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Value>,
}

fn default_proposal_threshold() -> f32 {
    SingleShotConfig::default().proposal_threshold
}

/// The ONNX files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleShotFiles {
    /// The network that searches the picture.
    pub network: ListedFile,
    /// The network that judges each box, if there is one: an O-Net ([`mtcnn`](crate::mtcnn)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refinement: Option<ListedFile>,
}

impl SingleShotManifest {
    /// Describes networks in the files [`NETWORK_FILE`] and [`REFINEMENT_FILE`]. `training` is kept as it is.
    pub fn new(model: &SingleShotModel, training: Value) -> Self {
        let SingleShotModel { config, graph, refinement } = model;
        let listed = |graph: &Vec<u8>| ListedFile::new(REFINEMENT_FILE, graph);
        Self {
            kind: SingleShotModel::KIND.to_owned(),
            threshold: config.threshold,
            proposal_threshold: config.proposal_threshold,
            min_face: config.min_face,
            face_sizes: config.face_sizes,
            max_overlap: config.max_overlap,
            normalization: config.normalization,
            files: SingleShotFiles {
                network: ListedFile::new(NETWORK_FILE, graph),
                refinement: refinement.as_ref().map(listed),
            },
            training: Some(training),
        }
    }

    fn config(&self) -> SingleShotConfig {
        SingleShotConfig {
            threshold: self.threshold,
            proposal_threshold: self.proposal_threshold,
            min_face: self.min_face,
            face_sizes: self.face_sizes,
            max_overlap: self.max_overlap,
            normalization: self.normalization,
            ..SingleShotConfig::default()
        }
    }
}

/// Settings and ONNX bytes of the networks.
#[derive(Clone)]
pub struct SingleShotModel {
    config: SingleShotConfig,
    graph: Vec<u8>,
    refinement: Option<Vec<u8>>,
}

impl SingleShotModel {
    /// The manifest's `kind`.
    pub const KIND: &'static str = "single_shot";

    /// Takes the graphs, which are opened only by [`SingleShot::open`](super::SingleShot::open).
    pub fn new(config: SingleShotConfig, graph: Vec<u8>, refinement: Option<Vec<u8>>) -> Self {
        Self { config, graph, refinement }
    }

    /// Returns the networks that are part of the program, with the settings of their manifest.
    pub fn embedded() -> Self {
        let manifest: SingleShotManifest = serde_json::from_str(MANIFEST)
            .unwrap_or_else(|error| unreachable!("a test reads the embedded manifest: {error}"));
        Self::new(manifest.config(), GRAPH.to_vec(), Some(REFINEMENT.to_vec()))
    }

    /// Reads the files that a manifest lists.
    pub(crate) fn open(folder: &Path, manifest: &Manifest) -> Result<Self, ManifestError> {
        let listed: SingleShotManifest = manifest.parse()?;
        let config = listed.config();
        config.check().map_err(|message| manifest.value(message))?;
        let SingleShotFiles { network, refinement } = &listed.files;
        let refinement = refinement.as_ref().map(|file| file.read(folder)).transpose()?;
        Ok(Self { config, graph: network.read(folder)?, refinement })
    }

    /// Returns the settings that the networks are meant to run with.
    pub fn config(&self) -> SingleShotConfig {
        self.config.clone()
    }

    /// Returns the ONNX bytes of the network that searches the picture.
    pub fn graph(&self) -> &[u8] {
        &self.graph
    }

    /// Returns the ONNX bytes of the refinement network, if there is one.
    pub fn refinement(&self) -> Option<&[u8]> {
        self.refinement.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_manifest_describes_the_embedded_file() {
        let manifest: SingleShotManifest = serde_json::from_str(MANIFEST).unwrap();
        assert_eq!(manifest.kind, SingleShotModel::KIND);
        let training = manifest.training.clone().unwrap();
        assert_eq!(manifest, SingleShotManifest::new(&SingleShotModel::embedded(), training));
        SingleShotModel::embedded().config().check().unwrap();
    }
}
