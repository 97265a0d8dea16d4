//! What a training run is: read from `configs/training/*.json`, overridden on the command line, checked once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::augment::Augmentation;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainingConfig {
    /// The architecture's JSON.
    pub(crate) model: PathBuf,
    /// Weights to start from, a bundle's `weights.safetensors` of the same architecture; fresh ones if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init_from: Option<PathBuf>,
    /// The FER-2013 CSV.
    pub(crate) data: PathBuf,
    /// Passes over the training rows.
    pub(crate) epochs: usize,
    /// Faces a step; an incomplete last mini-batch is left out, shuffled in again next epoch.
    pub(crate) batch_size: usize,
    /// Peak of the schedule: linear warm-up, then a cosine to zero.
    pub(crate) learning_rate: f64,
    /// Steps of the warm-up.
    pub(crate) warmup_steps: usize,
    /// Nesterov momentum.
    pub(crate) momentum: f64,
    /// On weights of rank above one.
    pub(crate) weight_decay: f64,
    /// Probability mass spread evenly over the classes.
    pub(crate) label_smoothing: f64,
    /// Random views of the faces.
    pub(crate) augmentation: Augmentation,
    /// Weights, order, views and dropout follow from it.
    pub(crate) seed: u64,
}

impl TrainingConfig {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a training config", path.display()))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.epochs == 0 || self.batch_size < 2 {
            bail!("epochs is {} and batch_size {}; expected at least 1 and 2", self.epochs, self.batch_size);
        }
        let within = |name: &str, value: f64, low: f64, high: f64| {
            if value.is_finite() && value >= low && value < high {
                return Ok(());
            }
            bail!("{name} is {value}; expected {low} to below {high}")
        };
        if self.learning_rate == 0.0 {
            bail!("learning_rate is 0; nothing would be learned");
        }
        within("learning_rate", self.learning_rate, 0.0, 100.0)?;
        within("momentum", self.momentum, 0.0, 1.0)?;
        within("weight_decay", self.weight_decay, 0.0, 1.0)?;
        within("label_smoothing", self.label_smoothing, 0.0, 1.0)?;
        self.augmentation.check().map_err(anyhow::Error::msg)
    }

    /// Learning rate of a step, counted from 0 over the whole run.
    pub(crate) fn learning_rate_at(&self, step: usize, steps: usize) -> f64 {
        self.learning_rate * cosine_schedule(step, steps, self.warmup_steps)
    }
}

/// Share of the peak learning rate: a linear warm-up, then half a cosine to zero (Loshchilov & Hutter 2017).
pub(crate) fn cosine_schedule(step: usize, steps: usize, warmup_steps: usize) -> f64 {
    if step < warmup_steps {
        return (step + 1) as f64 / warmup_steps as f64;
    }
    let span = steps.saturating_sub(warmup_steps).max(1);
    let progress = ((step - warmup_steps) as f64 / span as f64).min(1.0);
    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrainingConfig {
        serde_json::from_str(include_str!("../../../configs/training/cnn6.json")).unwrap()
    }

    #[test]
    fn the_default_config_holds() {
        config().check().unwrap();
    }

    #[test]
    fn the_schedule_warms_up_and_falls_to_zero() {
        let config = config();
        let rate = |step| config.learning_rate_at(step, 8000);
        assert!(rate(0) < rate(100) && rate(100) < rate(199));
        assert!((rate(200) - 0.1).abs() < 1e-6);
        assert!((rate(4100) - 0.05).abs() < 1e-6);
        assert!(rate(7999) < 1e-6);
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |change: fn(&mut TrainingConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(wrong(|c| c.learning_rate = f64::NAN).contains("learning_rate is NaN"));
        assert!(wrong(|c| c.learning_rate = 0.0).contains("learning_rate is 0"));
        assert!(wrong(|c| c.batch_size = 0).contains("batch_size 0"));
        assert!(wrong(|c| c.augmentation.scale = 2.0).contains("augmentation.scale is 2"));
    }
}
