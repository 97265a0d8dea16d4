//! The rows of a run: which ones train, and which ones choose the best epoch.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use fer_dataset::{Dataset, Sample};
use fer_model::{Emotion, LabelSet, NetworkSpec};

use crate::data::{audit, split};
use crate::training::config::{TrainingConfig, Validation};

/// Training and validation rows. PrivateTest has no influence on them, except that `leave_out_copies` compares its pixels
/// with those of the training rows.
pub struct TrainingData {
    /// Rows to learn from.
    pub training: Vec<Sample>,
    /// Rows that choose the best epoch.
    pub validation: Vec<Sample>,
    /// Number of training rows that were left out because a test split has a copy; `None` if nothing was compared.
    pub copies_left_out: Option<usize>,
}

impl TrainingData {
    /// Reads the rows that a configuration names, for the labels of a network.
    ///
    /// # Errors
    /// If the data cannot be read, if there are no validation rows, if one of the labels does not occur, if the network learns
    /// FER+ and its votes are not given, or if there are fewer training rows than a mini-batch has.
    pub fn read(config: &TrainingConfig, spec: &NetworkSpec) -> Result<Self> {
        let learns_votes = spec.label_sets().contains(&LabelSet::FerPlus);
        ensure!(
            config.votes.is_some() || !learns_votes,
            "{} learns the labels of FER+; name the file of its votes with --votes",
            spec.name()
        );
        let mut dataset =
            Dataset::read_with_votes(&config.data, config.votes.as_deref())?.only(spec.labels());
        if config.votes.is_some() && !learns_votes {
            // The votes replace the labels, so rows without them teach nothing.
            dataset.training.retain(|sample| sample.votes.is_some());
        }
        let copies_left_out = config.leave_out_copies.then(|| leave_out_copies(&mut dataset));
        let (validation, training) = match config.validation {
            Validation::PublicTest => (dataset.public, dataset.training),
            Validation::Stratified { fraction } => split::stratified(dataset.training, fraction, config.seed),
        };
        ensure!(
            !validation.is_empty(),
            "{} has no PublicTest rows to choose the best epoch by; --set validation.kind=stratified takes a fifth of the \
             training rows for it",
            config.data.display()
        );
        require_classes(&training, spec.labels(), "Training", &config.data)?;
        require_classes(&validation, spec.labels(), config.validation.name(), &config.data)?;
        ensure!(
            training.len() >= config.batch_size,
            "batch_size {} is larger than the {} training rows",
            config.batch_size,
            training.len()
        );
        Ok(Self { training, validation, copies_left_out })
    }
}

/// Removes the training rows that have a copy in a test split, and returns their number.
fn leave_out_copies(dataset: &mut Dataset) -> usize {
    let copies = audit::leaked(&dataset.training, &[&dataset.public, &dataset.private]);
    let mut row = 0..;
    dataset.training.retain(|_| row.next().is_none_or(|row| !copies.contains(&row)));
    copies.len()
}

/// Checks that each label occurs in a split. The error names the first one that does not.
fn require_classes(samples: &[Sample], labels: &[Emotion], split: &str, data: &Path) -> Result<()> {
    match labels.iter().find(|&&label| samples.iter().all(|sample| sample.label != label)) {
        Some(label) => {
            bail!("{}: no {split} row shows {label}, which is a label of the network", data.display())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_dataset::PIXELS;

    #[test]
    fn a_label_without_a_row_is_named() {
        let happy = Sample { line: 2, label: Emotion::Happy, votes: None, pixels: Box::new([7; PIXELS]) };
        let check = |labels: &[Emotion]| {
            require_classes(std::slice::from_ref(&happy), labels, "validation", Path::new("x.csv"))
        };
        assert!(check(&[Emotion::Happy]).is_ok());
        let missing = check(&[Emotion::Happy, Emotion::Sad]).unwrap_err().to_string();
        assert!(missing.contains("x.csv: no validation row shows sad"), "{missing}");
    }
}
