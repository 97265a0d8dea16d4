//! The rows of a run: which ones train, and which ones choose the best epoch.

use anyhow::{Result, ensure};
use fer_model::NetworkSpec;

use crate::data::audit;
use crate::data::dataset::{Dataset, Sample, require_classes};
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
    /// If the data cannot be read, if there are no validation rows, if one of the labels does not occur, or if there are
    /// fewer training rows than a mini-batch has.
    pub fn read(config: &TrainingConfig, spec: &NetworkSpec) -> Result<Self> {
        let mut dataset =
            Dataset::read_with_votes(&config.data, config.labels.as_deref())?.only(spec.labels());
        let copies_left_out = config.leave_out_copies.then(|| leave_out_copies(&mut dataset));
        let (validation, training) = match config.validation {
            Validation::PublicTest => (dataset.public, dataset.training),
            Validation::Stratified { fraction } => dataset.split_training(fraction, config.seed),
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
