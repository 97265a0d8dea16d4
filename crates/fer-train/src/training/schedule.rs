//! Learning-rate schedules. The rate follows from the step and the reports of the finished epochs, so a checkpoint stores
//! nothing about it.

use std::ops::Range;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::training::state::EpochReport;

/// How the learning rate changes after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// It stays at its peak.
    Constant,
    /// Half a cosine from the peak to zero at the end of the run, or `cycles` of them, each from the peak again
    /// (Loshchilov & Hutter 2017).
    Cosine {
        /// Number of cycles, of the same length to within a step.
        #[serde(default = "once")]
        cycles: usize,
    },
    /// Multiplied by `factor` after every `epochs`.
    Step {
        /// Epochs between two changes.
        epochs: usize,
        /// Above 0, up to 1.
        factor: f64,
    },
    /// Multiplied by `factor` after every epoch.
    Exponential {
        /// Above 0, up to 1.
        factor: f64,
    },
    /// Multiplied by `factor` after more than `patience` epochs in a row without a lower validation loss, as in PyTorch.
    ReduceOnPlateau {
        /// Above 0, up to 1.
        factor: f64,
        /// Epochs without improvement that change nothing.
        patience: usize,
    },
}

fn once() -> usize {
    1
}

impl Schedule {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field and the range.
    pub fn check(&self) -> Result<()> {
        let factor = match *self {
            Self::Constant => return Ok(()),
            Self::Cosine { cycles } => {
                ensure!(cycles > 0, "schedule.cycles is 0; expected at least 1");
                return Ok(());
            }
            Self::Step { epochs, factor } => {
                ensure!(epochs > 0, "schedule.epochs is 0; expected at least 1");
                factor
            }
            Self::Exponential { factor } | Self::ReduceOnPlateau { factor, .. } => factor,
        };
        ensure!(factor > 0.0 && factor <= 1.0, "schedule.factor is {factor}; expected above 0 to 1");
        Ok(())
    }

    /// Factor on the peak rate, 0 to 1, at a step. Steps are counted from 0 over the whole run of `epochs` times `steps`.
    pub fn factor(
        &self,
        step: usize,
        steps: usize,
        epochs: usize,
        warmup_steps: usize,
        history: &[EpochReport],
    ) -> f64 {
        if let Some(factor) = warm_up(step, warmup_steps) {
            return factor;
        }
        let epoch = step / steps.max(1);
        match *self {
            Self::Constant => 1.0,
            Self::Cosine { cycles } => {
                let cycle = cycle(step, steps * epochs, cycles);
                // Only the first cycle has a warm-up.
                let warmup_steps = if cycle.start == 0 { warmup_steps } else { 0 };
                cosine(step - cycle.start, cycle.len(), warmup_steps)
            }
            Self::Step { epochs, factor } => power(factor, epoch / epochs.max(1)),
            Self::Exponential { factor } => power(factor, epoch),
            Self::ReduceOnPlateau { factor, patience } => power(factor, plateaus(history, patience)),
        }
    }
}

/// The steps of the cycle that `step` is in, of so many in a run of `total` steps. Where `total` is no multiple of the
/// number of cycles, their lengths differ by one step, and the last one ends with the run.
fn cycle(step: usize, total: usize, cycles: usize) -> Range<usize> {
    let start = |number: usize| total * number / cycles;
    let number = ((step + 1) * cycles).saturating_sub(1) / total.max(1);
    start(number)..start(number + 1)
}

fn power(factor: f64, exponent: usize) -> f64 {
    factor.powf(exponent as f64)
}

/// Factor on the peak rate while it rises in a line; `None` after the warm-up.
pub fn warm_up(step: usize, warmup_steps: usize) -> Option<f64> {
    (step < warmup_steps).then(|| (step + 1) as f64 / warmup_steps as f64)
}

/// Factor on the peak rate after the warm-up: half a cosine that reaches 0 after `steps`.
pub fn cosine(step: usize, steps: usize, warmup_steps: usize) -> f64 {
    let span = steps.saturating_sub(warmup_steps).max(1);
    let progress = (step.saturating_sub(warmup_steps) as f64 / span as f64).min(1.0);
    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

/// Number of times that the validation loss did not fall for more than `patience` epochs.
fn plateaus(history: &[EpochReport], patience: usize) -> usize {
    let (mut best, mut waited, mut plateaus) = (f64::INFINITY, 0, 0);
    for report in history {
        if report.validation_loss < best {
            (best, waited) = (report.validation_loss, 0);
        } else {
            waited += 1;
        }
        if waited > patience {
            (plateaus, waited) = (plateaus + 1, 0);
        }
    }
    plateaus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(losses: &[f64]) -> Vec<EpochReport> {
        let report = |(epoch, &validation_loss): (usize, &f64)| EpochReport {
            epoch: epoch + 1,
            training_loss: 0.0,
            training_accuracy: 0.0,
            validation_accuracy: 0.0,
            head_accuracies: std::collections::BTreeMap::new(),
            validation_loss,
            learning_rate: 0.0,
            images_per_second: 0.0,
            data_share: 0.0,
        };
        losses.iter().enumerate().map(report).collect()
    }

    #[test]
    fn the_cosine_warms_up_and_falls_to_zero() {
        let factor = |step| Schedule::Cosine { cycles: 1 }.factor(step, 1000, 8, 200, &[]);
        assert!(factor(0) < factor(100) && factor(100) < factor(199));
        assert!((factor(200) - 1.0).abs() < 1e-6);
        assert!((factor(4100) - 0.5).abs() < 1e-6);
        assert!(factor(7999) < 1e-5);
        let restarts = |step| Schedule::Cosine { cycles: 4 }.factor(step, 1000, 8, 200, &[]);
        assert!(restarts(1999) < 1e-5 && restarts(7999) < 1e-5);
        assert_eq!([restarts(200), restarts(2000), restarts(3000), restarts(6000)], [1.0, 1.0, 0.5, 1.0]);
    }

    #[test]
    fn every_cycle_and_the_run_end_at_the_bottom() {
        for (epochs, steps, cycles) in [(8, 100, 3), (7, 101, 6), (36, 224, 7), (5, 97, 1), (1, 1000, 9)] {
            let total = epochs * steps;
            let schedule = Schedule::Cosine { cycles };
            let factor = |step| schedule.factor(step, steps, epochs, 0, &[]);
            // Where the rate rises again, a cycle has ended.
            let mut ends: Vec<usize> = (1..total).filter(|&step| factor(step) > factor(step - 1)).collect();
            ends.push(total);
            assert_eq!(ends.len(), cycles, "{cycles} cycles in {total} steps: {ends:?}");
            for end in ends {
                assert!(factor(end - 1) < 0.002, "step {} of {total}: {}", end - 1, factor(end - 1));
            }
        }
    }

    #[test]
    fn steps_and_exponentials_go_by_epochs() {
        let factor = |schedule: &Schedule, epoch: usize| schedule.factor(10 * epoch + 3, 10, 40, 5, &[]);
        let step = Schedule::Step { epochs: 3, factor: 0.1 };
        assert_eq!([2, 3, 6].map(|epoch| (factor(&step, epoch) * 1000.0).round()), [1000.0, 100.0, 10.0]);
        let exponential = Schedule::Exponential { factor: 0.5 };
        assert_eq!([1, 3].map(|epoch| factor(&exponential, epoch)), [0.5, 0.125]);
        assert_eq!(factor(&Schedule::Constant, 39), 1.0);
    }

    /// The counts are those of `torch.optim.lr_scheduler.ReduceLROnPlateau` with `threshold=0`.
    #[test]
    fn a_plateau_is_more_than_the_patience_without_a_fall() {
        let plateau = Schedule::ReduceOnPlateau { factor: 0.5, patience: 1 };
        let factor = |losses: &[f64]| plateau.factor(1000, 10, 40, 0, &history(losses));
        assert_eq!(factor(&[3.0, 2.0, 2.0]), 1.0);
        assert_eq!(factor(&[3.0, 2.0, 2.0, 2.5]), 0.5);
        assert_eq!(factor(&[3.0, 2.0, 2.0, 2.5, 2.5]), 0.5);
        assert_eq!(factor(&[3.0, 2.0, 2.0, 2.5, 2.5, 2.5]), 0.25);
        assert_eq!(factor(&[3.0, 2.0, 2.0, 1.0, 2.5]), 1.0);
    }

    #[test]
    fn wrong_factors_are_named() {
        let refusal = |schedule: Schedule| schedule.check().unwrap_err().to_string();
        assert!(refusal(Schedule::Exponential { factor: 0.0 }).contains("schedule.factor is 0"));
        assert!(refusal(Schedule::Step { epochs: 0, factor: 0.1 }).contains("schedule.epochs is 0"));
    }
}
