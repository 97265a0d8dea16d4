//! Runs side by side: their learning curves and their best epochs.

use std::path::Path;

use anyhow::{Context, Result};

use crate::report::{charts, folder};
use crate::training::state::{EpochReport, best};

/// A run's name and its epochs so far.
pub struct RunHistory {
    /// Name of the run's folder.
    pub name: String,
    /// The epochs in order.
    pub epochs: Vec<EpochReport>,
}

impl RunHistory {
    /// Reads the `history.json` of a run's folder.
    ///
    /// # Errors
    /// If the file is missing or does not parse.
    pub fn read(run: &Path) -> Result<Self> {
        let path = run.join("history.json");
        let text = std::fs::read(&path)
            .with_context(|| format!("cannot read {}: is it the folder of a run?", path.display()))?;
        let epochs = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not the history of a run", path.display()))?;
        let name = run
            .file_name()
            .map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, epochs })
    }

    /// The epoch with the highest validation accuracy, the first of equals.
    pub fn best(&self) -> Option<&EpochReport> {
        best(&self.epochs)
    }

    /// Mean training speed over the epochs.
    pub fn images_per_second(&self) -> f64 {
        self.epochs.iter().map(|report| report.images_per_second).sum::<f64>()
            / self.epochs.len().max(1) as f64
    }
}

/// Writes the learning curves `compare.svg` and `compare.png` into a folder.
///
/// # Errors
/// If the folder or a file cannot be written.
pub fn write(runs: &[RunHistory], folder: &Path) -> Result<()> {
    folder::create(folder)?;
    let runs: Vec<_> = runs.iter().map(|run| (run.name.clone(), run.epochs.clone())).collect();
    charts::write(&charts::learning_curves(&runs)?, folder, "compare")
}
