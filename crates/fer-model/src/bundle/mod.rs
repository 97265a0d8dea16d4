//! The bundle: the one artefact that passes from training to serving.
//!
//! A bundle is a folder with two files. `model.json` (the [`Manifest`]) says everything between a photo's pixels and the
//! answer: how a face is cut out and converted to grey, how it becomes the network's input, the layers, the heads with their labels
//! and temperatures; also how the model was trained and what it scored. `weights.safetensors` holds the numbers.
//!
//! The model is one network, or an ensemble: members that see the same input and whose probabilities are averaged.
//! [`Bundle::open`] checks everything that serving relies on; [`BundleBuilder`] writes.

mod manifest;
mod read;
mod write;

use std::io;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::spec::NetworkSpec;
use crate::weights::{Weights, WeightsError};
use crate::{LabelSet, onnx};

pub use manifest::{
    Activation, Calibration, Ensemble, FaceSpec, HeadEntry, Manifest, Networks, Score, WeightsEntry,
};
pub use write::BundleBuilder;

/// The format version that this program writes. It also reads versions 1 and 2.
pub const FORMAT_VERSION: u32 = 3;

/// Name of the manifest's file in a bundle.
pub const MANIFEST_FILE: &str = "model.json";

/// Name of the weights' file in a bundle.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// Why a bundle cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("cannot access {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// `model.json` is not valid.
    #[error("{MANIFEST_FILE}: {0}")]
    Manifest(String),
    /// `model.json` has a format that this program does not know.
    #[error("{MANIFEST_FILE}: format_version is {found}; this program reads 1 to {FORMAT_VERSION}")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The weights are not those that `model.json` was written for.
    #[error(
        "{file}: sha256 is {found}, but {MANIFEST_FILE} expects {expected}; the file is damaged or belongs to another bundle"
    )]
    Hash {
        /// The file.
        file: String,
        /// Hash of its bytes.
        found: String,
        /// Hash in `model.json`.
        expected: String,
    },
    /// The model has no head for a label set.
    #[error(
        "the model '{model}' did not learn the labels of {asked}, only those of {}",
        known.iter().map(|set| set.name()).collect::<Vec<_>>().join(" and ")
    )]
    Labels {
        /// Name of the model.
        model: String,
        /// Label sets that it has heads for.
        known: Vec<LabelSet>,
        /// The label set that was asked for.
        asked: LabelSet,
    },
    /// The weights do not fit the network.
    #[error("{file}: {cause}")]
    Weights {
        /// The file.
        file: String,
        /// What is wrong with the weights.
        cause: WeightsError,
    },
}

/// A checked model: its manifest and its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    manifest: Manifest,
    /// One for each network of the manifest, in its order.
    weights: Vec<Weights>,
    /// Number of the head that answers.
    head: usize,
}

impl Bundle {
    /// What `model.json` says. It serialises as a `model.json` of the current format.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Name of the network or of the ensemble.
    pub fn name(&self) -> &str {
        self.manifest.networks.name()
    }

    /// The head that answers: the manifest's first one, or that of [`Bundle::with_labels`].
    pub fn head(&self) -> &HeadEntry {
        &self.manifest.heads[self.head]
    }

    /// The number of the answering head among the heads of the network's architecture.
    pub fn head_of_network(&self) -> usize {
        let sets = self.network().label_sets();
        sets.iter().position(|&set| set == self.head().label_set).unwrap_or(0)
    }

    /// The same model with the head of a label set answering; without one, the same head as before.
    ///
    /// # Errors
    /// [`BundleError::Labels`] if the model did not learn these labels.
    pub fn with_labels(self, set: Option<LabelSet>) -> Result<Self, BundleError> {
        let Some(set) = set else { return Ok(self) };
        match self.manifest.heads.iter().position(|head| head.label_set == set) {
            Some(head) => Ok(Self { head, ..self }),
            None => Err(BundleError::Labels {
                model: self.name().to_owned(),
                known: self.network().label_sets().to_vec(),
                asked: set,
            }),
        }
    }

    /// How a face is cut out of a picture for this model.
    pub fn face(&self) -> FaceSpec {
        self.manifest.face
    }

    /// The network. For an ensemble it is the first member, whose input, preprocessing and labels are those of all.
    pub fn network(&self) -> &NetworkSpec {
        self.manifest.networks.first()
    }

    /// Each network with its weights: one, or the members of an ensemble.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&NetworkSpec, &Weights)> {
        self.manifest.networks.all().iter().zip(&self.weights)
    }

    /// The ONNX graph that serving runs: [`onnx::graph`] or [`onnx::ensemble`], with the activation ranges if there are any.
    pub fn graph(&self) -> Vec<u8> {
        let graph = match &self.manifest.networks {
            Networks::Single { network } => {
                onnx::graph(network.name(), network.architecture(), &self.weights[0])
            }
            Networks::Ensemble(ensemble) => {
                let members = self.members().map(|(network, weights)| (network.architecture(), weights));
                onnx::ensemble(ensemble.name(), &members.collect::<Vec<_>>())
            }
        };
        match &self.manifest.activation_ranges {
            Some(ranges) => ranges.attach(&graph).unwrap_or(graph),
            None => graph,
        }
    }

    /// A builder of the same bundle, to write it again with something changed.
    pub fn to_builder(&self) -> BundleBuilder<'_> {
        let manifest = &self.manifest;
        let ensemble = match &manifest.networks {
            Networks::Single { .. } => None,
            Networks::Ensemble(ensemble) => Some(ensemble.name().to_owned()),
        };
        BundleBuilder {
            members: self.members().collect(),
            ensemble,
            crop: manifest.face.crop,
            luma: manifest.face.luma,
            dtype: manifest.weights.dtype,
            heads: manifest.heads.clone(),
            activation_ranges: manifest.activation_ranges.clone(),
            training: manifest.training.clone(),
            data_licence: manifest.data_licence.clone(),
            card: manifest.card.clone(),
        }
    }
}

/// What the names of a member's tensors begin with in an ensemble's weights file.
fn member_prefix(member: usize) -> String {
    format!("members.{member}.")
}

/// Lower-case hexadecimal SHA-256.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
