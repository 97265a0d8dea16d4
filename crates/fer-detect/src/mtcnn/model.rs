//! The cascade's settings and networks, as they lie in a folder.

use std::path::Path;

use fer_image::area::Normalization;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MtcnnConfig, Stage};
use crate::ManifestError;
use crate::manifest::{ListedFile, Manifest, read_file};

const MANIFEST: &str = include_str!("../../../../assets/models/mtcnn/model.json");
const GRAPHS: [&[u8]; 3] = [
    include_bytes!("../../../../assets/models/mtcnn/pnet.onnx"),
    include_bytes!("../../../../assets/models/mtcnn/rnet.onnx"),
    include_bytes!("../../../../assets/models/mtcnn/onet.onnx"),
];

/// `model.json` of an MTCNN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MtcnnManifest {
    /// [`MtcnnModel::KIND`].
    pub kind: String,
    /// Least face probability after P-Net, R-Net and O-Net.
    pub thresholds: [f32; 3],
    /// Side of the smallest face to look for unless the caller chooses another, in pixels.
    pub min_face: f32,
    /// Ratio of one pyramid level's side to the one before.
    pub pyramid_factor: f32,
    /// What happens to pixel values before the networks see them.
    pub normalization: Normalization,
    /// The ONNX files.
    pub files: MtcnnFiles,
    /// How the networks were trained. Nothing reads it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Value>,
}

/// The three ONNX files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MtcnnFiles {
    /// P-Net.
    pub proposal: ListedFile,
    /// R-Net.
    pub refinement: ListedFile,
    /// O-Net.
    pub output: ListedFile,
}

impl MtcnnManifest {
    /// Describes three networks, P-Net first, in the files that [`Stage::file_name`] names. `training` is kept as it is.
    pub fn new(config: &MtcnnConfig, graphs: [&[u8]; 3], training: Value) -> Self {
        let [proposal, refinement, output] =
            std::array::from_fn(|i| ListedFile::new(Stage::ALL[i].file_name(), graphs[i]));
        Self {
            kind: MtcnnModel::KIND.to_owned(),
            thresholds: config.thresholds,
            min_face: config.min_face,
            pyramid_factor: config.pyramid_factor,
            normalization: config.normalization,
            files: MtcnnFiles { proposal, refinement, output },
            training: Some(training),
        }
    }

    fn config(&self) -> MtcnnConfig {
        MtcnnConfig {
            min_face: self.min_face,
            thresholds: self.thresholds,
            pyramid_factor: self.pyramid_factor,
            normalization: self.normalization,
            ..MtcnnConfig::default()
        }
    }
}

/// Settings and ONNX bytes of the three networks.
#[derive(Clone)]
pub struct MtcnnModel {
    config: MtcnnConfig,
    graphs: [Vec<u8>; 3],
}

impl MtcnnModel {
    /// The manifest's `kind`.
    pub const KIND: &'static str = "mtcnn";

    /// Takes the graphs of P-Net, R-Net and O-Net, which are opened only by [`Mtcnn::open`](super::Mtcnn::open).
    pub fn new(config: MtcnnConfig, graphs: [&[u8]; 3]) -> Self {
        Self { config, graphs: graphs.map(<[u8]>::to_vec) }
    }

    /// Returns the networks that are part of the program, with the settings of their manifest.
    pub fn embedded() -> Self {
        let manifest: MtcnnManifest = serde_json::from_str(MANIFEST)
            .unwrap_or_else(|error| unreachable!("a test reads the embedded manifest: {error}"));
        Self::new(manifest.config(), GRAPHS)
    }

    /// Reads the files that a manifest lists.
    pub(crate) fn open(folder: &Path, manifest: &Manifest) -> Result<Self, ManifestError> {
        let listed: MtcnnManifest = manifest.parse()?;
        let config = listed.config();
        config.check().map_err(|message| manifest.value(message))?;
        let MtcnnFiles { proposal, refinement, output } = &listed.files;
        let graphs = [proposal.read(folder)?, refinement.read(folder)?, output.read(folder)?];
        Ok(Self { config, graphs })
    }

    /// Reads facenet-pytorch's networks from a folder that has no manifest.
    pub(crate) fn open_bare(folder: &Path) -> Result<Self, ManifestError> {
        let read = |stage: Stage| read_file(&folder.join(stage.file_name()));
        let graphs = [read(Stage::Proposal)?, read(Stage::Refinement)?, read(Stage::Output)?];
        Ok(Self { config: MtcnnConfig::facenet_pytorch(), graphs })
    }

    /// Returns the settings that the networks are meant to run with.
    pub fn config(&self) -> MtcnnConfig {
        self.config.clone()
    }

    /// Returns the three graphs, P-Net's first.
    pub fn graphs(&self) -> [&[u8]; 3] {
        self.graphs.each_ref().map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_manifest_describes_the_embedded_files() {
        let manifest: MtcnnManifest = serde_json::from_str(MANIFEST).unwrap();
        let training = manifest.training.clone().unwrap();
        assert_eq!(manifest, MtcnnManifest::new(&MtcnnConfig::default(), GRAPHS, training));
        assert_eq!(MtcnnModel::embedded().config(), MtcnnConfig::default());
    }
}
