//! Where a run stands, and the figures of its epochs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::loss::Sums;

/// Where a run stands. Crops and views are not part of it, because they follow from seed, step and position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Finished steps of the whole run.
    pub step: usize,
    /// Losses of the current epoch.
    pub sums: Sums,
    /// Seconds of training in the current epoch.
    pub seconds: f64,
    /// Seconds of them in which crops were made; a mean over the threads.
    pub data_seconds: f64,
    /// Reports of the finished epochs.
    pub history: Vec<EpochReport>,
}

/// Figures of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Number of the epoch, counted from 1.
    pub epoch: usize,
    /// Mean score loss of a cell that learns a box.
    pub score_loss: f64,
    /// Mean box loss of such a cell.
    pub box_loss: f64,
    /// Mean landmark loss of a cell that learns landmarks.
    pub landmark_loss: f64,
    /// Mean overlap of the learned boxes with their faces'.
    pub overlap: f64,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// Training crops per second.
    pub crops_per_second: f64,
    /// Fraction of the training time in which crops were made.
    pub data_share: f64,
    /// Results on the validation photos by their source.
    pub sources: BTreeMap<String, SourceReport>,
}

/// Results on the validation photos of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Number of photos.
    pub photos: usize,
    /// Number of faces that count.
    pub faces: usize,
    /// Average precision at an overlap of 0.5.
    pub ap50: f64,
    /// Landmark error over the distance between the eyes, if landmarks are known.
    pub landmark_error: Option<f64>,
}

impl EpochReport {
    /// What the epochs are compared by: the mean of the sources' average precisions.
    pub fn quality(&self) -> f64 {
        self.sources.values().map(|source| source.ap50).sum::<f64>() / self.sources.len().max(1) as f64
    }
}

impl RunState {
    /// The epoch with the highest quality; the first one if several are equal.
    pub fn best(&self) -> Option<&EpochReport> {
        self.history.iter().reduce(|best, next| if next.quality() > best.quality() { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_the_same_and_the_first_of_equal_epochs_is_best() {
        let report = |epoch: usize, aps: [f64; 2]| {
            let source = |ap50| SourceReport { photos: 1, faces: 1, ap50, landmark_error: None };
            EpochReport {
                epoch,
                score_loss: 0.0,
                box_loss: 0.0,
                landmark_loss: 0.0,
                overlap: 0.0,
                learning_rate: 0.0,
                crops_per_second: 0.0,
                data_share: 0.0,
                sources: ["a", "b"].map(str::to_owned).into_iter().zip(aps.map(source)).collect(),
            }
        };
        let mut state = RunState::default();
        assert_eq!(state.best(), None);
        state.history = vec![report(1, [0.9, 0.3]), report(2, [0.5, 0.75]), report(3, [0.75, 0.5])];
        assert_eq!(state.best().unwrap().epoch, 2);
    }
}
