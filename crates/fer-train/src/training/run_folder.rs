//! The files of a run, and when each is written:
//!
//! - `checkpoint.safetensors`: every hundred steps, after every epoch, and at Ctrl-C
//! - `bundle/`: after every epoch that is better than all before
//! - `snapshots/epoch-NNN/`: after the epochs that `snapshots` of the configuration asks for
//! - `history.json` and `curves.*`: after every epoch

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fer_image::Luma;
use fer_model::bundle::{BundleBuilder, HeadEntry, Score};
use fer_model::file::write_atomically;
use fer_model::weights::{Weights, WeightsDtype};
use fer_network::Network;
use serde_json::Value;

use crate::report::charts;
use crate::training::checkpoint::Checkpoint;
use crate::training::ema::Ema;
use crate::training::optimizer::Optimizer;
use crate::training::settings::RunSettings;
use crate::training::state::{EpochReport, RunState};

/// Folder of the best epoch's bundle, inside of the run's folder.
pub const BUNDLE_FOLDER: &str = "bundle";

/// Folder of the snapshots, inside of the run's folder: a bundle for each, named after its epoch.
pub const SNAPSHOTS_FOLDER: &str = "snapshots";

/// Steps between two checkpoints inside of an epoch.
pub(crate) const CHECKPOINT_STEPS: usize = 100;

/// The folder of a run, and what every file in it says about the run.
pub(crate) struct RunFolder {
    pub(crate) path: PathBuf,
    pub(crate) settings: RunSettings,
    /// What model.json says about the training, without the epoch: `config`, `device`, `selected_on` and more.
    pub(crate) provenance: serde_json::Map<String, Value>,
}

impl RunFolder {
    /// Creates the folder if it does not exist.
    pub(crate) fn create(
        path: &Path,
        settings: RunSettings,
        provenance: serde_json::Map<String, Value>,
    ) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path: path.to_owned(), settings, provenance })
    }

    /// Folder of the best epoch's bundle.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.path.join(BUNDLE_FOLDER)
    }

    /// Whether an epoch is kept for an ensemble.
    fn is_snapshot(&self, epoch: usize) -> bool {
        let config = &self.settings.config;
        let interval = config.epochs.checked_div(config.snapshots);
        interval.is_some_and(|interval| epoch.is_multiple_of(interval))
    }

    /// Writes the bundles of an epoch that has just ended. There is a score for each head of the network.
    pub(crate) fn write_bundles(
        &self,
        network: &Network,
        scores: &[Score],
        epoch: usize,
        is_best: bool,
    ) -> Result<()> {
        let snapshot = self.path.join(SNAPSHOTS_FOLDER).join(format!("epoch-{epoch:03}"));
        let folders = [(is_best, self.bundle()), (self.is_snapshot(epoch), snapshot)];
        for (_, folder) in folders.into_iter().filter(|(wanted, _)| *wanted) {
            self.write_bundle(network, scores, epoch, &folder)?;
        }
        Ok(())
    }

    fn write_bundle(&self, network: &Network, scores: &[Score], epoch: usize, folder: &Path) -> Result<()> {
        let RunSettings { config, network: spec, .. } = &self.settings;
        let weights = network.weights(spec.architecture())?;
        let mut training = self.provenance.clone();
        training.insert("epoch".to_owned(), epoch.into());
        let mut heads = HeadEntry::all(spec);
        for (head, score) in heads.iter_mut().zip(scores) {
            head.scores.insert(config.validation.name().to_owned(), score.clone());
        }
        BundleBuilder {
            members: vec![(spec, &weights)],
            ensemble: None,
            crop: config.crop,
            luma: Luma::default(),
            dtype: WeightsDtype::F32,
            heads,
            activation_ranges: None,
            training: Value::Object(training),
            data_licence: DATA_LICENCE.to_owned(),
            card: CARD.to_owned(),
        }
        .write(folder)
        .context("cannot write the bundle")
    }

    /// Writes the checkpoint: weights, their average, the optimiser's state, and where the run stands.
    pub(crate) fn write_checkpoint(
        &self,
        network: &Network,
        ema: Option<&Ema>,
        optimizer: &Optimizer,
        state: &RunState,
    ) -> Result<()> {
        let weights = |network: &Network| network.weights(self.settings.network.architecture());
        let average: Option<Weights> = ema.map(|ema| weights(ema.network())).transpose()?;
        let (state, optimizer) = (state.clone(), optimizer.state(network));
        Checkpoint { state, weights: weights(network)?, average, optimizer }.write(&self.path, &self.settings)
    }

    /// Writes the reports of all epochs, and their curves.
    pub(crate) fn write_history(&self, history: &[EpochReport]) -> Result<()> {
        let json = serde_json::to_string_pretty(history)?;
        write_atomically(&self.path.join("history.json"), json.as_bytes())
            .context("cannot write history.json")?;
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let curves = charts::learning_curves(&[(name, history.to_vec())])?;
        charts::write(&curves, &self.path, "curves")
    }
}

const DATA_LICENCE: &str = "Trained on FER-2013 (Goodfellow et al. 2013, ICML 2013 challenges in \
     representation learning). Its photos were collected by web search and are distributed for \
     research; no licence covers the individual photos. The photos are not part of this bundle.";

const CARD: &str = "Guesses which of seven labels people would give to the expression on a frontal \
     face of at least 48 pixels. The labels are crowd-sourced, and people disagree with about a third \
     of them. The model repeats their errors and biases; it is weak on disgust, fear, profiles, masks \
     and children. An expression is not a feeling: do not use the model to decide about people.";
