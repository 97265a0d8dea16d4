//! A training run's folder, which belongs to one configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fer_detect::mtcnn::Stage;
use fer_model::file::write_atomically;

use super::config::DetectorTraining;

/// Name of the file that records the configuration.
const CONFIG: &str = "config.json";

/// The folder of a run. Whatever lies in it was trained with the configuration that it was opened with, networks and all.
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Creates the folder and records the configuration in it, or opens the folder of an earlier run with the same one.
    ///
    /// # Errors
    /// Returns an error if the folder was started with another configuration, or has trained networks and no record of
    /// their configuration.
    pub fn open(path: &Path, config: &DetectorTraining) -> Result<Self> {
        let record = path.join(CONFIG);
        if record.exists() {
            let text = std::fs::read_to_string(&record)
                .with_context(|| format!("cannot read {}", record.display()))?;
            let started: DetectorTraining = serde_json::from_str(&text)
                .with_context(|| format!("{} is not a training configuration", record.display()))?;
            if started != *config {
                bail!(
                    "the run in {} was started with another configuration, which {CONFIG} there records; \
                     use that configuration, or give a new --name",
                    path.display()
                );
            }
        } else {
            if let Some(stage) = Stage::ALL.into_iter().find(|stage| path.join(stage.file_name()).exists()) {
                bail!(
                    "{} has {} but no {CONFIG} that says how it was trained; give a new --name",
                    path.display(),
                    stage.file_name()
                );
            }
            std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
            let text = serde_json::to_string_pretty(config)? + "\n";
            write_atomically(&record, text.as_bytes())
                .with_context(|| format!("cannot write {}", record.display()))?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of a stage's finished network.
    pub fn network(&self, stage: Stage) -> PathBuf {
        self.0.join(stage.file_name())
    }

    /// Returns the folder of a stage's checkpoint.
    pub fn checkpoint(&self, stage: Stage) -> PathBuf {
        self.network(stage).with_extension("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DetectorTraining {
        serde_json::from_str(include_str!("../../../../configs/detector/mtcnn.json")).unwrap()
    }

    #[test]
    fn a_run_belongs_to_one_configuration() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        RunFolder::open(&path, &config()).unwrap();
        std::fs::write(path.join("pnet.onnx"), "a finished network").unwrap();
        RunFolder::open(&path, &config()).unwrap();
        let mut other = config();
        other.proposal.steps += 1;
        let refusal = RunFolder::open(&path, &other).err().unwrap().to_string();
        assert!(refusal.contains("another configuration") && refusal.contains("--name"), "{refusal}");
        std::fs::remove_file(path.join(CONFIG)).unwrap();
        let refusal = RunFolder::open(&path, &config()).err().unwrap().to_string();
        assert!(refusal.contains("has pnet.onnx but no config.json"), "{refusal}");
    }
}
