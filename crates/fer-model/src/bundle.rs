//! The bundle: the one artefact that passes from training to serving.
//!
//! A folder with `model.json` (what the model is, how it was trained, what it scored) and
//! `weights.safetensors`. Opening one checks everything that serving relies on. The model is one network, or an ensemble:
//! `members` that see the same input and whose probabilities are averaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::onnx;
use crate::spec::NetworkSpec;
use crate::weights::{Arrays, Weights, WeightsDtype, WeightsError, read_arrays, write_arrays};

/// The version that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The description's file name in a bundle.
pub const MANIFEST_FILE: &str = "model.json";

/// The weights' file name in a bundle.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// Where the numbers are, and that they are the right ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsEntry {
    /// File name beside `model.json`.
    pub file: String,
    /// Lower-case hexadecimal hash of the file.
    pub sha256: String,
    /// How a number is stored.
    pub dtype: WeightsDtype,
}

/// What a model got right on one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Faces.
    pub samples: usize,
    /// Share of faces whose label is the most probable one, single pass.
    pub accuracy: f64,
    /// Recall by emotion name.
    pub recall: BTreeMap<String, f64>,
    /// Faces by label (row) and answer (column), in the order of the network's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<usize>>,
}

/// `model.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Name, input, preprocessing, labels and layers of the one network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSpec>,
    /// An ensemble's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An ensemble's networks, in place of the one. In the weights file, the tensors of the first have names that begin
    /// with `members.0.`, and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<NetworkSpec>,
    /// Where the numbers are.
    pub weights: WeightsEntry,
    /// Logits are divided by it before the softmax; 1 until fitted.
    pub temperature: f32,
    /// How it was trained: the configuration and what came of it, for people and for reruns.
    pub training: serde_json::Value,
    /// Scores by split.
    pub scores: BTreeMap<String, Score>,
    /// Terms of the data that it was trained on.
    pub data_licence: String,
    /// What the model is for, what it cannot do: a few sentences.
    pub card: String,
}

impl Manifest {
    /// The networks, at least one, and the name of the whole.
    fn networks(&self) -> Result<(&[NetworkSpec], &str), String> {
        match (&self.network, self.members.as_slice(), &self.name) {
            (Some(network), [], None) => Ok((std::slice::from_ref(network), network.name())),
            (None, members @ [first, others @ ..], Some(name)) => {
                match others.iter().find(|other| !fit(first, other)) {
                    Some(other) => Err(unfit(first, other)),
                    None => Ok((members, name)),
                }
            }
            _ => Err("expected either 'network', or 'name' and 'members'".to_owned()),
        }
    }
}

/// Whether two networks can be members of one ensemble.
fn fit(a: &NetworkSpec, b: &NetworkSpec) -> bool {
    (a.input(), a.preprocessing(), a.labels()) == (b.input(), b.preprocessing(), b.labels())
}

fn unfit(a: &NetworkSpec, b: &NetworkSpec) -> String {
    let what = if a.labels() == b.labels() { "input and preprocessing" } else { "labels" };
    format!("{} and {} have different {what}, so their answers cannot be averaged", a.name(), b.name())
}

/// Of a member's tensors in the file.
fn prefix(member: usize) -> String {
    format!("members.{member}.")
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("cannot access {path}: {cause}")]
    Io {
        /// File.
        path: PathBuf,
        /// By the system.
        cause: io::Error,
    },
    /// `model.json` does not read.
    #[error("{MANIFEST_FILE}: {0}")]
    Manifest(String),
    /// A bundle of another time.
    #[error("{MANIFEST_FILE}: format_version is {found}; this program reads {FORMAT_VERSION}")]
    Version {
        /// In the file.
        found: u32,
    },
    /// Other bytes than those that `model.json` speaks of.
    #[error(
        "{file}: sha256 is {found}, but {MANIFEST_FILE} expects {expected}; the file is damaged or belongs to another bundle"
    )]
    Hash {
        /// File.
        file: String,
        /// Of the bytes.
        found: String,
        /// By `model.json`.
        expected: String,
    },
    /// The weights do not fit the network.
    #[error("{file}: {cause}")]
    Weights {
        /// File.
        file: String,
        /// What is wrong with them.
        cause: WeightsError,
    },
}

/// A checked model: what it is, and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    manifest: Manifest,
    /// Those of each network.
    weights: Vec<Weights>,
}

impl Bundle {
    /// Reads a bundle's folder.
    ///
    /// # Errors
    /// Any [`BundleError`].
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|cause| BundleError::Io { path, cause })
        };
        let json = read(MANIFEST_FILE)?;
        Self::from_bytes(&json, &read(WEIGHTS_FILE)?)
    }

    /// Takes the two files' bytes.
    ///
    /// # Errors
    /// Any [`BundleError`] but [`BundleError::Io`].
    pub fn from_bytes(model_json: &[u8], weights: &[u8]) -> Result<Self, BundleError> {
        let value: serde_json::Value =
            serde_json::from_slice(model_json).map_err(|e| BundleError::Manifest(e.to_string()))?;
        match value.get("format_version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(version) => {
                return Err(BundleError::Version { found: version.try_into().unwrap_or(u32::MAX) });
            }
            None => return Err(BundleError::Manifest("format_version is missing".to_owned())),
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|e| BundleError::Manifest(e.to_string()))?;
        if !(manifest.temperature.is_finite() && manifest.temperature > 0.0) {
            let message = format!("temperature is {}; expected a number above 0", manifest.temperature);
            return Err(BundleError::Manifest(message));
        }
        let entry = &manifest.weights;
        if entry.file != WEIGHTS_FILE {
            let message = format!("weights.file is '{}'; expected '{WEIGHTS_FILE}'", entry.file);
            return Err(BundleError::Manifest(message));
        }
        let found = sha256(weights);
        if found != entry.sha256 {
            let expected = entry.sha256.clone();
            return Err(BundleError::Hash { file: entry.file.clone(), found, expected });
        }
        let (networks, _) = manifest.networks().map_err(BundleError::Manifest)?;
        let weights = split(networks, manifest.members.is_empty(), weights)
            .map_err(|cause| BundleError::Weights { file: entry.file.clone(), cause })?;
        Ok(Self { manifest, weights })
    }

    /// What the model is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn networks(&self) -> (&[NetworkSpec], &str) {
        self.manifest.networks().unwrap_or_else(|_| unreachable!("checked when it was opened"))
    }

    /// The network's or the ensemble's.
    pub fn name(&self) -> &str {
        self.networks().1
    }

    /// The network; of an ensemble the first, whose input, preprocessing and labels are those of all.
    pub fn network(&self) -> &NetworkSpec {
        &self.networks().0[0]
    }

    /// Each network with its numbers: one, or an ensemble's members.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&NetworkSpec, &Weights)> {
        self.networks().0.iter().zip(&self.weights)
    }

    /// The graph that serving runs, as ONNX: [`onnx::graph`] or [`onnx::ensemble`].
    pub fn graph(&self) -> Vec<u8> {
        let members: Vec<_> =
            self.members().map(|(network, weights)| (network.architecture(), weights)).collect();
        match (members.as_slice(), self.manifest.members.is_empty()) {
            ([(architecture, weights)], true) => onnx::graph(self.name(), architecture, weights),
            (members, _) => onnx::ensemble(self.name(), members),
        }
    }

    /// The same bundle, to be written again with something changed.
    pub fn draft(&self) -> BundleDraft<'_> {
        let manifest = &self.manifest;
        BundleDraft {
            members: self.members().collect(),
            ensemble: manifest.name.clone(),
            dtype: manifest.weights.dtype,
            temperature: manifest.temperature,
            training: manifest.training.clone(),
            scores: manifest.scores.clone(),
            data_licence: manifest.data_licence.clone(),
            card: manifest.card.clone(),
        }
    }
}

/// A bundle about to be written; the hash follows from the weights.
#[derive(Clone, Debug)]
pub struct BundleDraft<'a> {
    /// One network with its numbers, or several.
    pub members: Vec<(&'a NetworkSpec, &'a Weights)>,
    /// The name of the whole, where that is an ensemble.
    pub ensemble: Option<String>,
    /// How to store them.
    pub dtype: WeightsDtype,
    /// See [`Manifest`].
    pub temperature: f32,
    /// See [`Manifest`].
    pub training: serde_json::Value,
    /// See [`Manifest`].
    pub scores: BTreeMap<String, Score>,
    /// See [`Manifest`].
    pub data_licence: String,
    /// See [`Manifest`].
    pub card: String,
}

impl BundleDraft<'_> {
    /// Writes the two files into `folder`, each under a temporary name first. The description goes last, so
    /// an interrupted write leaves a bundle whose hash does not match rather than a wrong one.
    ///
    /// # Errors
    /// [`BundleError::Io`]; [`BundleError::Manifest`] where members do not fit together.
    pub fn write(self, folder: &Path) -> Result<(), BundleError> {
        let alone = self.ensemble.is_none();
        let arrays = self.members.iter().enumerate().flat_map(|(member, (_, weights))| {
            let prefix = if alone { String::new() } else { prefix(member) };
            weights.iter().map(move |(name, array)| (format!("{prefix}{name}"), array))
        });
        let weights = write_arrays(arrays, self.dtype)
            .map_err(|cause| BundleError::Weights { file: WEIGHTS_FILE.to_owned(), cause })?;
        let mut networks: Vec<_> = self.members.iter().map(|(network, _)| (*network).clone()).collect();
        let network = if alone { networks.pop() } else { None };
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            network,
            name: self.ensemble,
            members: networks,
            weights: WeightsEntry {
                file: WEIGHTS_FILE.to_owned(),
                sha256: sha256(&weights),
                dtype: self.dtype,
            },
            temperature: self.temperature,
            training: self.training,
            scores: self.scores,
            data_licence: self.data_licence,
            card: self.card,
        };
        manifest.networks().map_err(BundleError::Manifest)?;
        let mut json =
            serde_json::to_string_pretty(&manifest).map_err(|e| BundleError::Manifest(e.to_string()))?;
        json.push('\n');
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| BundleError::Io { path, cause }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        for (name, bytes) in [(WEIGHTS_FILE, weights.as_slice()), (MANIFEST_FILE, json.as_bytes())] {
            let path = folder.join(name);
            write_whole(&path, bytes).map_err(io(&path))?;
        }
        Ok(())
    }
}

/// The weights of each network, from the file's bytes.
fn split(networks: &[NetworkSpec], alone: bool, file: &[u8]) -> Result<Vec<Weights>, WeightsError> {
    let mut arrays = read_arrays(file, |_| true)?;
    let mut weights = Vec::with_capacity(networks.len());
    for (member, network) in networks.iter().enumerate() {
        let own: Arrays = if alone {
            std::mem::take(&mut arrays)
        } else {
            let prefix = prefix(member);
            let named = arrays.extract_if(.., |name, _| name.starts_with(&prefix));
            named.map(|(name, array)| (name[prefix.len()..].to_owned(), array)).collect()
        };
        weights.push(Weights::new(network.architecture(), own)?);
    }
    match arrays.into_keys().next() {
        Some(name) => Err(WeightsError::Unused { name }),
        None => Ok(weights),
    }
}

/// Writes a file so that a reader sees the old bytes or the new ones, never a part: temporary name, sync, rename.
///
/// # Errors
/// As the system says; the file under its final name is then unchanged.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole_with(path, |file| io::Write::write_all(file, bytes))
}

/// The same where the bytes are written bit by bit.
///
/// # Errors
/// As `write` or the system says; the file under its final name is then unchanged.
pub fn write_whole_with(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let written = fs::File::create(&partial)
        .and_then(|mut file| {
            write(&mut file)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // On a full disk, half a file is in the way. That it may not be there is no second error.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> (Vec<u8>, Vec<u8>) {
        let network = NetworkSpec::from_json(include_str!("../../../configs/models/cnn6.json")).unwrap();
        let weights = Weights::init(network.architecture(), 3);
        BundleDraft {
            members: vec![(&network, &weights)],
            ensemble: None,
            dtype: WeightsDtype::F16,
            temperature: 1.0,
            training: serde_json::json!({"epochs": 1}),
            scores: BTreeMap::new(),
            data_licence: "research".to_owned(),
            card: "a test".to_owned(),
        }
        .write(folder)
        .unwrap();
        (fs::read(folder.join(MANIFEST_FILE)).unwrap(), fs::read(folder.join(WEIGHTS_FILE)).unwrap())
    }

    #[test]
    fn a_written_bundle_opens() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let bundle = Bundle::open(folder.path()).unwrap();
        assert_eq!(bundle.name(), "cnn6");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn damage_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (json, mut weights) = written(folder.path());
        let text = String::from_utf8(json.clone()).unwrap();
        let refusal = |json: &str, weights: &[u8]| {
            Bundle::from_bytes(json.as_bytes(), weights).unwrap_err().to_string()
        };
        let newer = text.replace("\"format_version\": 1", "\"format_version\": 2");
        assert!(refusal(&newer, &weights).contains("format_version is 2; this program reads 1"));
        let unknown = text.replace("\"temperature\"", "\"temprature\"");
        assert!(refusal(&unknown, &weights).contains("temprature"));
        let cold = text.replace("\"temperature\": 1.0", "\"temperature\": 0.0");
        assert!(refusal(&cold, &weights).contains("temperature is 0"));
        let elsewhere = text.replace("\"weights.safetensors\"", "\"../secret\"");
        assert!(refusal(&elsewhere, &weights).contains("expected 'weights.safetensors'"));
        let cut = &weights[..weights.len() - 100];
        assert!(refusal(&text, cut).contains("sha256"));
        let rehashed = text.replace(&sha256(&weights), &sha256(cut));
        assert!(refusal(&rehashed, cut).contains("not a readable safetensors file"));
        *weights.last_mut().unwrap() ^= 1;
        assert!(refusal(&text, &weights).contains("sha256"));
        let missing = Bundle::open(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(missing.contains("model.json"), "{missing}");
    }
}
