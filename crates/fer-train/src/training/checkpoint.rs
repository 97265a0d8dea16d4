//! What a run needs to go on after a kill, in one file that is always whole.
//!
//! `checkpoint.safetensors` holds the weights, their moving average and the optimiser's state. Its metadata holds where the
//! run stands and the settings that it was started with. It is one file, because two files could be of different steps.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use fer_model::file::write_atomically;
use fer_model::spec::Architecture;
use fer_model::weights::{
    Array, Arrays, Metadata, Weights, WeightsDtype, read_arrays, read_metadata, write_arrays_with,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::training::optimizer::OptimizerState;
use crate::training::settings::difference;

/// A run between two steps. `S` says where it stands: [`RunState`](crate::training::state::RunState) for an emotion
/// network.
pub struct Checkpoint<S> {
    /// Where the run stands.
    pub state: S,
    /// Weights and running statistics of the network.
    pub weights: Weights,
    /// Exponential moving average of the weights, if the run keeps one.
    pub average: Option<Weights>,
    /// State of the optimiser.
    pub optimizer: OptimizerState,
}

/// Name of the file in the folder of a run.
pub const FILE: &str = "checkpoint.safetensors";

impl<S: Serialize + DeserializeOwned> Checkpoint<S> {
    /// Writes the file into the folder of the run. The previous one stays until the new one is whole.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path, settings: &impl Serialize) -> Result<()> {
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
            ("config".to_owned(), serde_json::to_string(settings)?),
        ]);
        let arrays = arrays.iter().map(|(name, array)| (name.clone(), array));
        let bytes = write_arrays_with(arrays, WeightsDtype::F32, metadata)?;
        let path = folder.join(FILE);
        write_atomically(&path, &bytes)
            .with_context(|| format!("cannot write {}; the previous checkpoint is unharmed", path.display()))
    }

    /// Reads the file in the folder of the run.
    ///
    /// # Errors
    /// If it cannot be read, or if the run was started with other settings; the error says which one differs.
    pub fn read<C: Serialize + DeserializeOwned + PartialEq>(
        folder: &Path,
        architecture: &Architecture,
        settings: &C,
    ) -> Result<Self> {
        let path = folder.join(FILE);
        let data = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&data, architecture, settings)
            .with_context(|| format!("cannot resume from {}", path.display()))
    }

    fn parse<C: Serialize + DeserializeOwned + PartialEq>(
        data: &[u8],
        architecture: &Architecture,
        settings: &C,
    ) -> Result<Self> {
        let metadata = read_metadata(data)?;
        let entry = |name: &str| metadata.get(name).ok_or_else(|| anyhow!("its metadata has no '{name}'"));
        require_same(entry("config")?, settings)?;
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

/// Compares settings with those in a checkpoint.
fn require_same<C: Serialize + DeserializeOwned + PartialEq>(stored: &str, settings: &C) -> Result<()> {
    let stored: C = serde_json::from_str(stored).context(
        "it does not hold all settings of the run, because an earlier version wrote it; give a new --name",
    )?;
    if stored == *settings {
        return Ok(());
    }
    let difference = difference(&stored, settings)?.unwrap_or_default();
    bail!(
        "the run was started with another configuration: {difference}. Undo the change to continue the run, or give a \
         new --name"
    )
}
