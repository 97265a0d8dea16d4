//! What a run needs to go on after a kill, in one file that is always whole.
//!
//! `checkpoint.safetensors` holds the weights, the optimiser's velocity and, as metadata, the run's state.
//! One file, because two could be of different steps.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use fer_model::bundle::write_whole;
use fer_model::spec::Architecture;
use fer_model::weights::{Array, Weights};
use safetensors::tensor::{Dtype, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sgd::Velocity;

/// What one epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochReport {
    /// Counted from 1.
    pub(crate) epoch: usize,
    /// Mean over the augmented training faces, with label smoothing.
    pub(crate) training_loss: f64,
    /// On augmented faces, in training mode.
    pub(crate) training_accuracy: f64,
    /// On PublicTest, single pass.
    pub(crate) public_accuracy: f64,
    /// Training only.
    pub(crate) images_per_second: f64,
}

/// Where a run stands. Shuffle order, views and dropout follow from seed, epoch and step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunState {
    /// Finished epochs.
    pub(crate) epoch: usize,
    /// Finished steps of the epoch under way.
    pub(crate) step: usize,
    /// Sum of its losses so far.
    pub(crate) loss: f64,
    /// Right answers so far.
    pub(crate) correct: usize,
    /// Seconds of training so far in it.
    pub(crate) seconds: f64,
    /// Finished epochs' figures.
    pub(crate) history: Vec<EpochReport>,
}

impl RunState {
    /// The epoch with the highest PublicTest accuracy, the first of equals.
    pub(crate) fn best(&self) -> Option<&EpochReport> {
        self.history
            .iter()
            .reduce(|best, next| if next.public_accuracy > best.public_accuracy { next } else { best })
    }
}

/// `S` is where the run stands: [`RunState`] for an emotion network.
pub(crate) struct Checkpoint<S> {
    pub(crate) state: S,
    pub(crate) weights: Weights,
    pub(crate) velocity: Velocity,
}

pub(crate) const FILE: &str = "checkpoint.safetensors";

impl<S: Serialize + DeserializeOwned> Checkpoint<S> {
    pub(crate) fn write(&self, folder: &Path, config: &impl Serialize) -> Result<()> {
        let weights = self
            .weights
            .iter()
            .map(|(name, array)| (format!("weights.{name}"), array.shape.clone(), bytes(&array.values)));
        let velocity = self
            .velocity
            .iter()
            .map(|(id, (shape, values))| (format!("velocity.{id}"), shape.clone(), bytes(values)));
        let tensors: Vec<_> = weights.chain(velocity).collect();
        let views = tensors
            .iter()
            .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([
            ("state".to_owned(), serde_json::to_string(&self.state)?),
            ("config".to_owned(), serde_json::to_string(config)?),
        ]);
        let path = folder.join(FILE);
        write_whole(&path, &safetensors::serialize(views, Some(metadata))?)
            .with_context(|| format!("cannot write {}; the previous checkpoint is unharmed", path.display()))
    }

    /// `config` must be the one that the run was started with.
    pub(crate) fn read<C: DeserializeOwned + PartialEq>(
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
        let (mut arrays, mut velocity) = (BTreeMap::new(), Velocity::new());
        for (name, view) in safetensors::SafeTensors::deserialize(data)?.iter() {
            let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            if let Some(name) = name.strip_prefix("weights.") {
                arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
            } else if let Some(id) = name.strip_prefix("velocity.") {
                velocity.insert(id.parse()?, (view.shape().to_vec(), values));
            }
        }
        Ok(Self { state, weights: Weights::new(architecture, arrays)?, velocity })
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
