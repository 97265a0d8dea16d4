//! What a run needs to go on after a kill, in one file that is always whole.
//!
//! `checkpoint.safetensors` holds the weights, their moving average, the optimiser's state and, as metadata, the run's.
//! One file, because two could be of different steps.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use fer_model::file::write_atomically;
use fer_model::spec::Architecture;
use fer_model::weights::{
    Array, Arrays, Metadata, Weights, WeightsDtype, read_arrays, read_metadata, write_arrays_with,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::training::optimizer::OptimizerState;

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the augmented training faces, with label smoothing.
    pub training_loss: f64,
    /// On augmented faces, in training mode.
    pub training_accuracy: f64,
    /// On the validation faces, single pass.
    pub validation_accuracy: f64,
    /// Mean cross-entropy on them, without smoothing or class weights.
    pub validation_loss: f64,
    /// At its last step.
    pub learning_rate: f64,
    /// Training only.
    pub images_per_second: f64,
    /// Share of that time in which faces were augmented and preprocessed.
    #[serde(default)]
    pub data_share: f64,
}

/// Where a run stands. Shuffle order, views and dropout follow from seed, epoch and step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Finished epochs.
    pub epoch: usize,
    /// Finished steps of the epoch under way.
    pub step: usize,
    /// Sum of its losses so far.
    pub loss: f64,
    /// Right answers so far.
    pub correct: usize,
    /// Seconds of training so far in it.
    pub seconds: f64,
    /// Of them, how many the faces took until they were in the network; a mean over the shards.
    #[serde(default)]
    pub data_seconds: f64,
    /// Finished epochs' figures.
    pub history: Vec<EpochReport>,
}

impl RunState {
    /// The epoch with the highest validation accuracy, the first of equals.
    pub fn best(&self) -> Option<&EpochReport> {
        best(&self.history)
    }
}

/// The epoch with the highest validation accuracy, the first of equals.
pub fn best(history: &[EpochReport]) -> Option<&EpochReport> {
    history
        .iter()
        .reduce(|best, next| if next.validation_accuracy > best.validation_accuracy { next } else { best })
}

/// `S` is where the run stands: [`RunState`] for an emotion network.
pub struct Checkpoint<S> {
    pub state: S,
    pub weights: Weights,
    /// Exponential moving average of the weights, where the run keeps one.
    pub average: Option<Weights>,
    pub optimizer: OptimizerState,
}

pub const FILE: &str = "checkpoint.safetensors";

impl<S: Serialize + DeserializeOwned> Checkpoint<S> {
    pub fn write(&self, folder: &Path, config: &impl Serialize) -> Result<()> {
        let optimizer: Vec<_> = self
            .optimizer
            .iter()
            .map(|((place, id), (shape, values))| {
                let array = Array { shape: shape.clone(), values: values.clone() };
                (format!("optimizer.{place}.{id}"), array)
            })
            .collect();
        let named = |role: &'static str, weights: &Weights| -> Vec<_> {
            weights.iter().map(|(name, array)| (format!("{role}.{name}"), array.clone())).collect()
        };
        let weights = named("weights", &self.weights);
        let average = self.average.iter().flat_map(|average| named("average", average));
        let arrays: Vec<(String, Array)> = weights.into_iter().chain(average).chain(optimizer).collect();
        let metadata = Metadata::from([
            ("state".to_owned(), serde_json::to_string(&self.state)?),
            ("config".to_owned(), serde_json::to_string(config)?),
        ]);
        let arrays = arrays.iter().map(|(name, array)| (name.clone(), array));
        let bytes = write_arrays_with(arrays, WeightsDtype::F32, metadata)?;
        let path = folder.join(FILE);
        write_atomically(&path, &bytes)
            .with_context(|| format!("cannot write {}; the previous checkpoint is unharmed", path.display()))
    }

    /// `config` must be the one that the run was started with.
    pub fn read<C: DeserializeOwned + PartialEq>(
        folder: &Path,
        architecture: &Architecture,
        config: &C,
    ) -> Result<Self> {
        let path = folder.join(FILE);
        let data = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&data, architecture, config)
            .with_context(|| format!("cannot resume from {}", path.display()))
    }

    fn parse<C: DeserializeOwned + PartialEq>(
        data: &[u8],
        architecture: &Architecture,
        config: &C,
    ) -> Result<Self> {
        let metadata = read_metadata(data)?;
        let entry = |name: &str| metadata.get(name).ok_or_else(|| anyhow!("its metadata has no '{name}'"));
        let trained: C = serde_json::from_str(entry("config")?)?;
        if trained != *config {
            bail!(
                "the run was started with another configuration; leave the overrides away or give a new --name"
            );
        }
        let state = serde_json::from_str(entry("state")?)?;
        let (mut weights, mut average, mut optimizer) = (Arrays::new(), Arrays::new(), OptimizerState::new());
        for (name, array) in read_arrays(data, |_| true)? {
            match name.split_once('.') {
                Some(("weights", name)) => {
                    weights.insert(name.to_owned(), array);
                }
                Some(("average", name)) => {
                    average.insert(name.to_owned(), array);
                }
                Some(("optimizer", place)) => {
                    let (place, id) = place.split_once('.').ok_or_else(|| anyhow!("'{name}' is unknown"))?;
                    optimizer.insert((place.parse()?, id.parse()?), (array.shape, array.values));
                }
                _ => bail!("'{name}' is unknown"),
            }
        }
        let average = if average.is_empty() { None } else { Some(Weights::new(architecture, average)?) };
        Ok(Self { state, weights: Weights::new(architecture, weights)?, average, optimizer })
    }
}
