//! The folder that a report is written into.

use std::path::Path;

use anyhow::{Context, Result};
use fer_model::file::write_atomically;

/// Creates a report's folder, including its parents.
///
/// # Errors
/// Names the folder and says what the system said.
pub fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes one file of a report, completely or not at all.
///
/// # Errors
/// Names the file and says what the system said.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    write_atomically(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
