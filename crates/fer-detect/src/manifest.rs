//! `model.json`: which kind of detector a folder holds, its settings, and its files with their SHA-256.
//!
//! This module reads what every kind has in common. The settings of a kind are read by its own module, which also
//! refuses keys that it does not know.

use std::fmt::Write as _;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Name of the manifest in a detector's folder.
pub const FILE: &str = "model.json";

/// Why a detector's folder cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file cannot be read.
    #[error(
        "cannot read {path}: {cause}; a detector's folder holds model.json and the files that it lists, \
         or facenet-pytorch's pnet.onnx, rnet.onnx and onet.onnx"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The manifest is not valid JSON, lacks a key, or has a key that its kind does not know.
    #[error("{path} is not a detector's manifest: {cause}")]
    Parse {
        /// The manifest.
        path: PathBuf,
        /// Where and why.
        cause: serde_json::Error,
    },
    /// The program has no such kind of detector.
    #[error("{path}: the kind '{kind}' is unknown; this version knows {known}")]
    Kind {
        /// The manifest.
        path: PathBuf,
        /// The kind that the manifest names.
        kind: String,
        /// The kinds that the program has, separated by commas.
        known: String,
    },
    /// A value is out of range.
    #[error("{path}: {message}")]
    Value {
        /// The manifest.
        path: PathBuf,
        /// Which value, and what is expected.
        message: String,
    },
    /// A file is not the one that the manifest lists.
    #[error(
        "{path} has the SHA-256 {found}, but model.json lists {listed}; restore the file, or write its SHA-256 into \
         model.json if you replaced it on purpose"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// SHA-256 by the manifest, in hexadecimal digits.
        listed: String,
        /// SHA-256 of the file, in hexadecimal digits.
        found: String,
    },
}

/// One file of a detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedFile {
    /// Name of the file in the manifest's folder.
    pub path: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

impl ListedFile {
    /// Lists a file with these bytes.
    pub fn new(path: &str, bytes: &[u8]) -> Self {
        Self { path: path.to_owned(), sha256: sha256(bytes) }
    }

    /// Reads the file and verifies its SHA-256.
    ///
    /// # Errors
    /// Returns an error if the name leaves the folder, the file cannot be read, or its SHA-256 differs.
    pub fn read(&self, folder: &Path) -> Result<Vec<u8>, ManifestError> {
        let is_name = Path::new(&self.path).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_name || self.path.is_empty() {
            let message = format!("the file '{}' is not in the manifest's folder", self.path);
            return Err(ManifestError::Value { path: folder.join(FILE), message });
        }
        let bytes = read_file(&folder.join(&self.path))?;
        let found = sha256(&bytes);
        if found.eq_ignore_ascii_case(&self.sha256) {
            return Ok(bytes);
        }
        Err(ManifestError::Hash { path: folder.join(&self.path), listed: self.sha256.clone(), found })
    }
}

/// A manifest's text and where it came from.
pub(crate) struct Manifest {
    path: PathBuf,
    text: String,
}

/// Reads the manifest of a folder; `None` if the folder has none.
pub(crate) fn read(folder: &Path) -> Result<Option<Manifest>, ManifestError> {
    let path = folder.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Manifest { path, text })),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(ManifestError::Read { path, cause }),
    }
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ManifestError> {
    std::fs::read(path).map_err(|cause| ManifestError::Read { path: path.to_owned(), cause })
}

impl Manifest {
    pub(crate) fn kind(&self) -> Result<String, ManifestError> {
        #[derive(Deserialize)]
        struct Kind {
            kind: String,
        }
        self.parse::<Kind>().map(|manifest| manifest.kind)
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        serde_json::from_str(&self.text)
            .map_err(|cause| ManifestError::Parse { path: self.path.clone(), cause })
    }

    pub(crate) fn unknown_kind(&self, kind: &str, known: &[&str]) -> ManifestError {
        ManifestError::Kind { path: self.path.clone(), kind: kind.to_owned(), known: known.join(", ") }
    }

    pub(crate) fn value(&self, message: String) -> ManifestError {
        ManifestError::Value { path: self.path.clone(), message }
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
