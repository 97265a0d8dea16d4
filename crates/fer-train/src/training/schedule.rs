//! Learning-rate schedules and early stopping. Where a run stands in them follows from its step and the epochs behind
//! it, so nothing of it has to be saved.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::training::checkpoint::EpochReport;

/// What becomes of the learning rate after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine to zero at the run's end, or `cycles` of them, each from the peak again (Loshchilov & Hutter 2017).
    Cosine {
        #[serde(default = "once")]
        cycles: usize,
    },
    /// Times `factor` after every `epochs`.
    Step { epochs: usize, factor: f64 },
    /// Times `factor` after every epoch.
    Exponential { factor: f64 },
    /// Times `factor` after more than `patience` epochs in a row without a lower validation loss, as in PyTorch.
    ReduceOnPlateau { factor: f64, patience: usize },
}

fn once() -> usize {
    1
}

impl Schedule {
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

    /// Share of the peak rate at a step, counted from 0 over the whole run of `epochs` times `steps`.
    pub fn share(
        &self,
        step: usize,
        steps: usize,
        epochs: usize,
        warmup_steps: usize,
        history: &[EpochReport],
    ) -> f64 {
        if let Some(share) = warm_up(step, warmup_steps) {
            return share;
        }
        let epoch = step / steps.max(1);
        match *self {
            Self::Constant => 1.0,
            Self::Cosine { cycles } => {
                let span = (steps * epochs / cycles).max(1);
                // Only the first cycle starts from nothing.
                let warmup_steps = if step < span { warmup_steps } else { 0 };
                cosine(step % span, span, warmup_steps)
            }
            Self::Step { epochs, factor } => power(factor, epoch / epochs.max(1)),
            Self::Exponential { factor } => power(factor, epoch),
            Self::ReduceOnPlateau { factor, patience } => power(factor, plateaus(history, patience)),
        }
    }
}

fn power(factor: f64, exponent: usize) -> f64 {
    factor.powf(exponent as f64)
}

/// Share of the peak while the rate rises in a line; `None` behind it.
pub fn warm_up(step: usize, warmup_steps: usize) -> Option<f64> {
    (step < warmup_steps).then(|| (step + 1) as f64 / warmup_steps as f64)
}

/// Share of the peak behind the warm-up.
pub fn cosine(step: usize, steps: usize, warmup_steps: usize) -> f64 {
    let span = steps.saturating_sub(warmup_steps).max(1);
    let progress = (step.saturating_sub(warmup_steps) as f64 / span as f64).min(1.0);
    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

/// How often the validation loss did not fall for more than `patience` epochs.
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
            validation_loss,
            learning_rate: 0.0,
            images_per_second: 0.0,
            data_share: 0.0,
        };
        losses.iter().enumerate().map(report).collect()
    }

    #[test]
    fn the_cosine_warms_up_and_falls_to_zero() {
        let share = |step| Schedule::Cosine { cycles: 1 }.share(step, 1000, 8, 200, &[]);
        assert!(share(0) < share(100) && share(100) < share(199));
        assert!((share(200) - 1.0).abs() < 1e-6);
        assert!((share(4100) - 0.5).abs() < 1e-6);
        assert!(share(7999) < 1e-5);
        let restarts = |step| Schedule::Cosine { cycles: 4 }.share(step, 1000, 8, 200, &[]);
        assert!(restarts(1999) < 1e-5 && restarts(7999) < 1e-5);
        assert_eq!([restarts(200), restarts(2000), restarts(3000), restarts(6000)], [1.0, 1.0, 0.5, 1.0]);
    }

    #[test]
    fn steps_and_exponentials_go_by_epochs() {
        let share = |schedule: &Schedule, epoch: usize| schedule.share(10 * epoch + 3, 10, 40, 5, &[]);
        let step = Schedule::Step { epochs: 3, factor: 0.1 };
        assert_eq!([2, 3, 6].map(|epoch| (share(&step, epoch) * 1000.0).round()), [1000.0, 100.0, 10.0]);
        let exponential = Schedule::Exponential { factor: 0.5 };
        assert_eq!([1, 3].map(|epoch| share(&exponential, epoch)), [0.5, 0.125]);
        assert_eq!(share(&Schedule::Constant, 39), 1.0);
    }

    /// The counts are those of `torch.optim.lr_scheduler.ReduceLROnPlateau` with `threshold=0`.
    #[test]
    fn a_plateau_is_more_than_the_patience_without_a_fall() {
        let plateau = Schedule::ReduceOnPlateau { factor: 0.5, patience: 1 };
        let share = |losses: &[f64]| plateau.share(1000, 10, 40, 0, &history(losses));
        assert_eq!(share(&[3.0, 2.0, 2.0]), 1.0);
        assert_eq!(share(&[3.0, 2.0, 2.0, 2.5]), 0.5);
        assert_eq!(share(&[3.0, 2.0, 2.0, 2.5, 2.5]), 0.5);
        assert_eq!(share(&[3.0, 2.0, 2.0, 2.5, 2.5, 2.5]), 0.25);
        assert_eq!(share(&[3.0, 2.0, 2.0, 1.0, 2.5]), 1.0);
    }

    #[test]
    fn wrong_factors_are_named() {
        let refusal = |schedule: Schedule| schedule.check().unwrap_err().to_string();
        assert!(refusal(Schedule::Exponential { factor: 0.0 }).contains("schedule.factor is 0"));
        assert!(refusal(Schedule::Step { epochs: 0, factor: 0.1 }).contains("schedule.epochs is 0"));
    }
}
