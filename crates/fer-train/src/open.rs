//! Opens the two files that most commands start from, with errors that name the file.

use std::path::Path;

use anyhow::{Context, Result};
use fer_model::{Bundle, NetworkSpec};

/// Opens the folder of a bundle.
///
/// # Errors
/// Names the folder and what is wrong with it.
pub fn open_bundle(folder: &Path) -> Result<Bundle> {
    Bundle::open(folder).with_context(|| format!("{} is not a usable bundle", folder.display()))
}

/// Reads a network specification in JSON.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_spec(path: &Path) -> Result<NetworkSpec> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    NetworkSpec::from_json(&text).with_context(|| path.display().to_string())
}
