//! The files of a run:
//!
//! - `checkpoint.safetensors`: every few hundred steps, after every epoch, and at Ctrl-C
//! - `detector/`: the detector of the best epoch so far; in the end also the refinement network
//! - `refinement/`: the checkpoint of the refinement network
//! - `history.json` and `curves.*`: after every epoch
//! - `validation.csv`: the photos that it is measured by, as they are measured

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fer_detect::DetectorModel;
use fer_detect::manifest::FILE;
use fer_detect::single_shot::{
    NETWORK_FILE, REFINEMENT_FILE, SingleShotConfig, SingleShotManifest, SingleShotModel,
};
use fer_engine::Engine;
use fer_model::file::write_atomically;
use serde_json::{Value, json};

use super::state::EpochReport;
use super::train::RunSettings;
use crate::detector::annotations::{self, Photo};
use crate::report::charts;
use crate::report::lines::{self, Panel};

/// Folder of the best epoch's detector, inside of the run's folder.
pub const DETECTOR_FOLDER: &str = "detector";

/// Number of photos from which the ranges of the networks' values are taken.
const RANGED_PHOTOS: usize = 64;

/// The folder of a run.
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Creates the folder if it does not exist.
    ///
    /// # Errors
    /// Returns an error that names the folder if it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of the best epoch's detector.
    pub fn detector(&self) -> PathBuf {
        self.0.join(DETECTOR_FOLDER)
    }

    /// The network of the best epoch.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be read.
    pub fn network(&self) -> Result<SingleShotModel> {
        let graph = read(&self.detector().join(NETWORK_FILE))?;
        Ok(SingleShotModel::new(SingleShotConfig::default(), graph, None))
    }

    /// Adds a refinement network to the best epoch's detector. `described` is what its manifest says about that network.
    ///
    /// # Errors
    /// Returns an error that names the file that cannot be read or written.
    pub fn add_refinement(&self, model: &SingleShotModel, described: Value) -> Result<()> {
        let mut training = self.described()?;
        training["refinement"] = described;
        write_model(&self.detector(), model, training)
    }

    /// What the manifest of the best epoch's detector says about its training.
    fn described(&self) -> Result<Value> {
        let path = self.detector().join(FILE);
        let manifest: SingleShotManifest = serde_json::from_slice(&read(&path)?)
            .with_context(|| format!("{} is not a single-shot detector's", path.display()))?;
        Ok(manifest.training.unwrap_or_default())
    }

    /// Measures the ranges of the values in the networks on some of the photos, and writes them into the networks' files.
    ///
    /// # Errors
    /// Returns an error that names the file that cannot be read or written, or if a network fails.
    pub fn record_activation_ranges(&self, photos: &[Photo], images: &Path) -> Result<()> {
        let folder = self.detector();
        let DetectorModel::SingleShot(model) = DetectorModel::open(&folder)? else {
            bail!("{} does not hold a single-shot detector", folder.display());
        };
        let chosen: Vec<Photo> = photos
            .iter()
            .step_by((photos.len() / RANGED_PHOTOS).max(1))
            .take(RANGED_PHOTOS)
            .cloned()
            .collect();
        let model =
            model.with_activation_ranges(&Engine::tract(), &annotations::open_all(images, &chosen)?)?;
        write_model(&folder, &model, self.described()?)
    }

    /// Copies the best epoch's detector, its manifest last.
    ///
    /// # Errors
    /// Returns an error that names the file that cannot be read or written.
    pub fn copy_detector(&self, to: &Path) -> Result<()> {
        std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
        for name in [NETWORK_FILE, REFINEMENT_FILE, FILE] {
            let from = self.detector().join(name);
            if name != REFINEMENT_FILE || from.exists() {
                write(&to.join(name), &read(&from)?)?;
            }
        }
        Ok(())
    }

    /// Writes the reports of all epochs, and their curves.
    ///
    /// # Errors
    /// Returns an error if a chart cannot be drawn or a file cannot be written.
    pub fn write_history(&self, history: &[EpochReport]) -> Result<()> {
        write(&self.0.join("history.json"), (serde_json::to_string_pretty(history)? + "\n").as_bytes())?;
        charts::write(&lines::draw(&curves(history))?, &self.0, "curves")
    }
}

/// Writes a detector's folder: the network and, last, its manifest.
///
/// # Errors
/// Returns an error that names the file that cannot be written.
pub fn write_detector(
    folder: &Path,
    model: &SingleShotModel,
    settings: &RunSettings,
    data: &Value,
    epoch: &EpochReport,
) -> Result<()> {
    let parameters = settings.config.network.trainable_parameters();
    let training = json!({
        "parameters": parameters, "data": data, "config": settings.config, "epoch": epoch,
    });
    write_model(folder, model, training)
}

fn write_model(folder: &Path, model: &SingleShotModel, training: Value) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    write(&folder.join(NETWORK_FILE), model.graph())?;
    if let Some(refinement) = model.refinement() {
        write(&folder.join(REFINEMENT_FILE), refinement)?;
    }
    let manifest = SingleShotManifest::new(model, training);
    write(&folder.join(FILE), (serde_json::to_string_pretty(&manifest)? + "\n").as_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn curves(history: &[EpochReport]) -> [Panel; 3] {
    let sources = || history.last().map(|epoch| epoch.sources.keys().cloned()).into_iter().flatten();
    let of_sources = |of: fn(&super::state::SourceReport) -> f64| {
        let line = |source: String| {
            let values = history.iter().map(|epoch| epoch.sources.get(&source).map_or(f64::NAN, of));
            let values = values.collect();
            (source, values)
        };
        sources().map(line).collect()
    };
    let line = |name: &str, of: fn(&EpochReport) -> f64| (name.to_owned(), history.iter().map(of).collect());
    [
        Panel {
            title: "average precision on the validation photos, overlap 0.5".to_owned(),
            range: Some(0.0..1.0),
            lines: of_sources(|source| source.ap50),
        },
        Panel {
            title: "landmark error over the distance between the eyes".to_owned(),
            range: Some(0.0..0.3),
            lines: of_sources(|source| source.landmark_error.unwrap_or(f64::NAN)),
        },
        Panel {
            title: "training".to_owned(),
            range: Some(0.0..1.5),
            lines: vec![
                line("score loss", |epoch| epoch.score_loss),
                line("box loss", |epoch| epoch.box_loss),
                line("landmark loss", |epoch| epoch.landmark_loss),
                line("overlap", |epoch| epoch.overlap),
            ],
        },
    ]
}
