//! The detector's settings and network, as they lie in a folder.

use std::path::Path;

use fer_image::area::Normalization;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SingleShotConfig;
use crate::ManifestError;
use crate::manifest::{ListedFile, Manifest};

/// Name of the network's file.
pub const NETWORK_FILE: &str = "detector.onnx";

/// `model.json` of a single-shot detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleShotManifest {
    /// [`SingleShotModel::KIND`].
    pub kind: String,
    /// Least score of a face.
    pub threshold: f32,
    /// Width of the smallest face to look for unless the caller chooses another, in pixels.
    pub min_face: f32,
    /// Widths in pixels of the smallest and the largest face that the network finds on its input.
    pub face_sizes: [f32; 2],
    /// Intersection over union from which the less certain one of two boxes is dropped.
    pub max_overlap: f32,
    /// What happens to pixel values before the network sees them.
    pub normalization: Normalization,
    /// The ONNX file.
    pub files: SingleShotFiles,
    /// How the network was trained. Nothing reads it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Value>,
}

/// The ONNX file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleShotFiles {
    /// The network.
    pub network: ListedFile,
}

impl SingleShotManifest {
    /// Describes a network in the file [`NETWORK_FILE`]. `training` is kept as it is.
    pub fn new(config: &SingleShotConfig, graph: &[u8], training: Value) -> Self {
        Self {
            kind: SingleShotModel::KIND.to_owned(),
            threshold: config.threshold,
            min_face: config.min_face,
            face_sizes: config.face_sizes,
            max_overlap: config.max_overlap,
            normalization: config.normalization,
            files: SingleShotFiles { network: ListedFile::new(NETWORK_FILE, graph) },
            training: Some(training),
        }
    }

    fn config(&self) -> SingleShotConfig {
        SingleShotConfig {
            threshold: self.threshold,
            min_face: self.min_face,
            face_sizes: self.face_sizes,
            max_overlap: self.max_overlap,
            normalization: self.normalization,
            ..SingleShotConfig::default()
        }
    }
}

/// Settings and ONNX bytes of the network.
#[derive(Clone)]
pub struct SingleShotModel {
    config: SingleShotConfig,
    graph: Vec<u8>,
}

impl SingleShotModel {
    /// The manifest's `kind`.
    pub const KIND: &'static str = "single_shot";

    /// Takes the graph, which is opened only by [`SingleShot::open`](super::SingleShot::open).
    pub fn new(config: SingleShotConfig, graph: Vec<u8>) -> Self {
        Self { config, graph }
    }

    /// Reads the file that a manifest lists.
    pub(crate) fn open(folder: &Path, manifest: &Manifest) -> Result<Self, ManifestError> {
        let listed: SingleShotManifest = manifest.parse()?;
        let config = listed.config();
        config.check().map_err(|message| manifest.value(message))?;
        Ok(Self { config, graph: listed.files.network.read(folder)? })
    }

    /// Returns the settings that the network is meant to run with.
    pub fn config(&self) -> SingleShotConfig {
        self.config.clone()
    }

    /// Returns the ONNX bytes.
    pub fn graph(&self) -> &[u8] {
        &self.graph
    }
}
