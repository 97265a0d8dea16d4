//! Where a run stands: what a checkpoint stores besides the weights.

use std::collections::BTreeMap;

use fer_model::LabelSet;
use serde::{Deserialize, Serialize};

/// Figures of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Number of the epoch, counted from 1.
    pub epoch: usize,
    /// Mean loss over the augmented training faces, with label smoothing.
    pub training_loss: f64,
    /// Accuracy on the augmented training faces, in training mode.
    pub training_accuracy: f64,
    /// Accuracy on the validation faces, single pass; a mean over the heads.
    pub validation_accuracy: f64,
    /// The accuracy of each head on its labels, if there are several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub head_accuracies: BTreeMap<LabelSet, f64>,
    /// Mean cross-entropy on the validation faces, without smoothing or class weights; a mean over the heads.
    pub validation_loss: f64,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// Training faces per second; validation does not count.
    pub images_per_second: f64,
    /// Fraction of the training time in which faces were augmented and preprocessed.
    #[serde(default)]
    pub data_share: f64,
}

/// Where a run stands. The order of the rows, augmentation and dropout are not part of it, because they follow from seed,
/// epoch and step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Finished epochs.
    pub epoch: usize,
    /// Finished steps of the current epoch.
    pub step: usize,
    /// Sum of the losses of the current epoch.
    pub loss: f64,
    /// Faces of the current epoch whose most probable label was right.
    pub correct: usize,
    /// Seconds of training in the current epoch.
    pub seconds: f64,
    /// Seconds of them in which faces were augmented and preprocessed; a mean over the shards.
    #[serde(default)]
    pub data_seconds: f64,
    /// Reports of the finished epochs.
    pub history: Vec<EpochReport>,
}

impl RunState {
    /// The epoch with the highest validation accuracy; the first one if several are equal.
    pub fn best(&self) -> Option<&EpochReport> {
        best(&self.history)
    }
}

/// The epoch with the highest validation accuracy; the first one if several are equal.
pub fn best(history: &[EpochReport]) -> Option<&EpochReport> {
    history
        .iter()
        .reduce(|best, next| if next.validation_accuracy > best.validation_accuracy { next } else { best })
}
