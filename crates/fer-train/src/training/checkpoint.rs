//! What a run needs to go on after a kill, in one file that is always whole.
//!
//! `checkpoint.safetensors` holds the weights, their moving average, the optimiser's state and, as metadata, the run's.
//! One file, because two could be of different steps.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use fer_model::file::write_atomically;
use fer_model::spec::Architecture;
use fer_model::weights::{Array, Weights};
use safetensors::tensor::{Dtype, TensorView};
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
        let named = |role: &'static str, weights: &Weights| -> Vec<_> {
            let arrays = weights.iter();
            arrays
                .map(|(name, array)| (format!("{role}.{name}"), array.shape.clone(), bytes(&array.values)))
                .collect()
        };
        let mut tensors = named("weights", &self.weights);
        tensors.extend(self.average.iter().flat_map(|average| named("average", average)));
        tensors.extend(self.optimizer.iter().map(|((place, id), (shape, values))| {
            (format!("optimizer.{place}.{id}"), shape.clone(), bytes(values))
        }));
        let views = tensors
            .iter()
            .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([
            ("state".to_owned(), serde_json::to_string(&self.state)?),
            ("config".to_owned(), serde_json::to_string(config)?),
        ]);
        let path = folder.join(FILE);
        write_atomically(&path, &safetensors::serialize(views, Some(metadata))?)
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
        let (_, header) = safetensors::SafeTensors::read_metadata(data)?;
        let metadata = header.metadata().as_ref().ok_or_else(|| anyhow!("it has no metadata"))?;
        let entry = |name: &str| metadata.get(name).ok_or_else(|| anyhow!("its metadata has no '{name}'"));
        let trained: C = serde_json::from_str(entry("config")?)?;
        if trained != *config {
            bail!(
                "the run was started with another configuration; leave the overrides away or give a new --name"
            );
        }
        let state = serde_json::from_str(entry("state")?)?;
        let (mut weights, mut average, mut optimizer) =
            (BTreeMap::new(), BTreeMap::new(), OptimizerState::new());
        for (name, view) in safetensors::SafeTensors::deserialize(data)?.iter() {
            let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let shape = view.shape().to_vec();
            match name.split_once('.') {
                Some(("weights", name)) => {
                    weights.insert(name.to_owned(), Array { shape, values });
                }
                Some(("average", name)) => {
                    average.insert(name.to_owned(), Array { shape, values });
                }
                Some(("optimizer", place)) => {
                    let (place, id) = place.split_once('.').ok_or_else(|| anyhow!("'{name}' is unknown"))?;
                    optimizer.insert((place.parse()?, id.parse()?), (shape, values));
                }
                _ => bail!("'{name}' is unknown"),
            }
        }
        let average = if average.is_empty() { None } else { Some(Weights::new(architecture, average)?) };
        Ok(Self { state, weights: Weights::new(architecture, weights)?, average, optimizer })
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
