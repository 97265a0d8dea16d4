//! Trains emotion networks on FER-2013 and the face detector on annotated photos, and measures both.
//!
//! The binary `fer-train` is a thin command line over this library.

#![recursion_limit = "256"]
#![allow(missing_docs, reason = "TEMPORARY")]

pub mod data;
pub mod detector;
pub mod evaluation;
pub mod export;
pub mod report;
pub mod training;

use std::path::Path;

use anyhow::{Context, Result};
use fer_model::{Bundle, NetworkSpec};

/// Opens a bundle's folder.
///
/// # Errors
/// Names the folder and what is wrong with it.
pub fn open_bundle(folder: &Path) -> Result<Bundle> {
    Bundle::open(folder).with_context(|| format!("{} is not a usable bundle", folder.display()))
}

/// Reads an architecture's JSON.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_spec(path: &Path) -> Result<NetworkSpec> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    NetworkSpec::from_json(&text).with_context(|| path.display().to_string())
}
