//! Opening a bundle.

use std::fs;
use std::path::Path;

use super::{Bundle, BundleError, MANIFEST_FILE, Manifest, Networks, WEIGHTS_FILE, member_prefix, sha256};
use crate::weights::{Arrays, Weights, WeightsError, read_arrays};

/// The model that is part of the programs.
const EMBEDDED_MANIFEST: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/models/emotion/model.json"));
const EMBEDDED_WEIGHTS: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/models/emotion/weights.safetensors"));

impl Bundle {
    /// Returns the model that is part of the programs. `docs/results.md` says how it was trained.
    ///
    /// # Errors
    /// Any [`BundleError`] except [`BundleError::Io`], if the program was built with files that do not fit each other.
    pub fn embedded() -> Result<Self, BundleError> {
        Self::from_bytes(EMBEDDED_MANIFEST, EMBEDDED_WEIGHTS)
    }

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

    /// Takes the bytes of the two files.
    ///
    /// # Errors
    /// Any [`BundleError`] except [`BundleError::Io`].
    pub fn from_bytes(model_json: &[u8], weights: &[u8]) -> Result<Self, BundleError> {
        let manifest = Manifest::from_json(model_json)?;
        let file = || manifest.weights.file.clone();
        let found = sha256(weights);
        if found != manifest.weights.sha256 {
            let expected = manifest.weights.sha256.clone();
            return Err(BundleError::Hash { file: file(), found, expected });
        }
        let weights = split(&manifest.networks, weights)
            .map_err(|cause| BundleError::Weights { file: file(), cause })?;
        Ok(Self { manifest, weights, head: 0 })
    }
}

/// The weights of each network, from the bytes of the file.
fn split(networks: &Networks, file: &[u8]) -> Result<Vec<Weights>, WeightsError> {
    let mut arrays = read_arrays(file, |_| true)?;
    let ensemble = match networks {
        Networks::Single { network } => return Ok(vec![Weights::new(network.architecture(), arrays)?]),
        Networks::Ensemble(ensemble) => ensemble,
    };
    let mut weights = Vec::with_capacity(ensemble.members().len());
    for (member, network) in ensemble.members().iter().enumerate() {
        let prefix = member_prefix(member);
        let named = arrays.extract_if(.., |name, _| name.starts_with(&prefix));
        let own: Arrays = named.map(|(name, array)| (name[prefix.len()..].to_owned(), array)).collect();
        weights.push(Weights::new(network.architecture(), own)?);
    }
    match arrays.into_keys().next() {
        Some(name) => Err(WeightsError::Unused { name }),
        None => Ok(weights),
    }
}
