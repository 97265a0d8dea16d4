//! Settings of a teacher for distillation (Hinton, Vinyals & Dean 2015); [`distillation`](super::distillation) applies
//! them.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Another model, usually an ensemble, whose probabilities become part of the soft targets of the training rows. They say
/// more about a face than one label does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    /// Folder of a bundle with the labels of the network.
    pub bundle: PathBuf,
    /// Weight of the teacher's probabilities in the soft target; the remaining weight goes to the label or the votes.
    #[serde(rename = "share", default = "half")]
    pub weight: f64,
    /// Divisor of the teacher's logits; above 1, its probabilities are more even.
    #[serde(default = "one")]
    pub temperature: f64,
}

fn half() -> f64 {
    0.5
}

fn one() -> f64 {
    1.0
}

impl Teacher {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field and the range.
    pub fn check(&self) -> Result<()> {
        let Self { weight, temperature, .. } = self;
        ensure!(*weight > 0.0 && *weight <= 1.0, "teacher.share is {weight}; expected above 0, up to 1");
        ensure!(
            temperature.is_finite() && *temperature > 0.0,
            "teacher.temperature is {temperature}; expected a number above 0"
        );
        Ok(())
    }
}
