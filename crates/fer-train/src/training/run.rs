//! The training loop. [`Run::step`] is one mini-batch, [`Run::epoch`] all mini-batches of an epoch in random order, and
//! [`Run::epochs`] the whole run with its validation.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use burn::module::Module;
use fer_dataset::Sample;
use fer_model::bundle::Score;
use fer_model::weights::WeightsError;
use fer_network::{Network, mix};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::data::batches::{Batches, Blend};
use crate::evaluation::evaluate::measure;
use crate::evaluation::metrics::Metrics;
use crate::evaluation::scorer::Scorer;
use crate::training::config::TrainingConfig;
use crate::training::ema::Ema;
use crate::training::optimizer::Optimizer;
use crate::training::progress::Progress;
use crate::training::run_folder::{CHECKPOINT_STEPS, RunFolder};
use crate::training::shards::{Shards, Tally};
use crate::training::state::{EpochReport, RunState};
use crate::training::stop::Stop;

/// A run in progress. The network itself is passed from step to step, because a step consumes it.
pub(crate) struct Run<'a> {
    pub(crate) batches: Batches<'a>,
    /// The validation faces with the labels of each head.
    pub(crate) validation: Vec<Vec<Sample>>,
    pub(crate) shards: Shards,
    pub(crate) optimizer: Optimizer,
    pub(crate) ema: Option<Ema>,
    pub(crate) state: RunState,
    pub(crate) folder: RunFolder,
    pub(crate) progress: Progress,
    /// Whether Ctrl-C was pressed.
    pub(crate) stop: Stop,
}

impl Run<'_> {
    /// Trains until all epochs are over or early stopping ends the run.
    pub(crate) fn epochs(&mut self, mut network: Network) -> Result<()> {
        let config = self.batches.config;
        while self.state.epoch < config.epochs && !self.is_out_of_patience() {
            network = self.epoch(network)?;
            self.end_epoch(&network)?;
        }
        if self.state.epoch < config.epochs {
            let patience = config.early_stopping.unwrap_or(0);
            self.progress.say(&format!("stopped early: no better epoch in the last {patience}"))?;
        }
        Ok(())
    }

    fn is_out_of_patience(&self) -> bool {
        let best = self.state.best().map_or(0, |best| best.epoch);
        self.batches.config.early_stopping.is_some_and(|patience| self.state.epoch - best >= patience)
    }

    /// Trains on the mini-batches of the current epoch that are left.
    fn epoch(&mut self, mut network: Network) -> Result<Network> {
        let Batches { config, training, .. } = &self.batches;
        let (batch_size, epoch) = (config.batch_size, self.state.epoch as u64);
        let mut order: Vec<usize> = (0..training.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(mix([config.seed, epoch, u64::MAX])));
        while self.state.step < self.batches.steps() {
            let rows = &order[self.state.step * batch_size..][..batch_size];
            network = self.step(network, rows)?;
            let stop = self.stop.is_set();
            if stop || self.state.step.is_multiple_of(CHECKPOINT_STEPS) {
                self.write_checkpoint(&network)?;
            }
            ensure!(!stop, "stopped and saved; go on with the same command and --resume");
        }
        Ok(network)
    }

    /// Trains on one mini-batch, whose training rows are given by index.
    fn step(&mut self, network: Network, rows: &[usize]) -> Result<Network> {
        let started = Instant::now();
        let (batches, epoch) = (&self.batches, self.state.epoch);
        let step = epoch * batches.steps() + self.state.step;
        let rate = self.learning_rate(self.state.step);
        let blend = Blend::of(rows, batches.config, step)?;
        let dropout_seed = mix([batches.config.seed, step as u64, 1]);
        let (gradients, tally) =
            self.shards.classification_step(&network, batches.spec, dropout_seed, rows.len(), |range| {
                batches.part(&rows[range.clone()], &blend, range.start, epoch)
            });
        self.state.step += 1;
        if !tally.loss.is_finite() {
            return Err(anyhow!("the loss is {}", tally.loss)).context(self.diverged());
        }
        let network = self.optimizer.step(network, gradients, rate, step, self.batches.config.gradient_clip);
        if let Some(ema) = &mut self.ema {
            ema.update(&network, step);
        }
        self.count(&tally, started);
        self.progress.step(&self.state, rate);
        Ok(network)
    }

    fn count(&mut self, tally: &Tally, started: Instant) {
        self.state.loss += tally.loss;
        self.state.correct += tally.correct;
        self.state.data_seconds += tally.data_seconds;
        self.state.seconds += started.elapsed().as_secs_f64();
    }

    /// Learning rate at a step of the current epoch.
    fn learning_rate(&self, step: usize) -> f64 {
        let TrainingConfig { schedule, learning_rate, epochs, warmup_steps, .. } = self.batches.config;
        let steps = self.batches.steps();
        let step = self.state.epoch * steps + step;
        learning_rate * schedule.factor(step, steps, *epochs, *warmup_steps, &self.state.history)
    }

    /// Scores the validation faces after the last step of an epoch, and writes the files of the run.
    fn end_epoch(&mut self, network: &Network) -> Result<()> {
        // The average of the weights is what is validated and kept, if the run keeps one.
        let kept = self.ema.as_ref().map_or_else(|| network.valid(), |ema| ema.network().clone());
        let measured: Vec<Metrics> =
            (0..self.validation.len()).map(|head| self.measure(head, &kept)).collect();
        let report = self.report(&measured);
        let accuracy = report.validation_accuracy;
        let is_best = self.state.best().is_none_or(|best| accuracy > best.validation_accuracy);
        let history = std::mem::take(&mut self.state.history);
        self.state = RunState { epoch: report.epoch, history, ..RunState::default() };
        self.state.history.push(report.clone());
        let scores: Vec<Score> = measured.iter().map(Metrics::score).collect();
        self.explain(self.folder.write_bundles(&kept, &scores, report.epoch, is_best))?;
        self.write_checkpoint(network)?;
        self.folder.write_history(&self.state.history)?;
        let line = self.line(&report, is_best);
        self.progress.epoch(&report, &line)
    }

    /// Scores a head of the network on the validation faces.
    fn measure(&self, head: usize, network: &Network) -> Metrics {
        let scorer = Scorer::of_network(&self.shards, self.batches.spec, head, network.clone());
        measure(&scorer, &self.validation[head])
    }

    /// Figures of the epoch whose last step is over, given those of each head on the validation faces.
    fn report(&self, measured: &[Metrics]) -> EpochReport {
        let heads = measured.len() as f64;
        let accuracies = measured.iter().map(|metrics| metrics.accuracy);
        let label_sets = self.batches.spec.label_sets().iter().copied();
        let steps = self.batches.steps();
        let faces = (steps * self.batches.config.batch_size) as f64;
        EpochReport {
            epoch: self.state.epoch + 1,
            training_loss: self.state.loss / faces,
            training_accuracy: self.state.correct as f64 / faces,
            validation_accuracy: accuracies.clone().sum::<f64>() / heads,
            head_accuracies: if measured.len() > 1 {
                label_sets.zip(accuracies).collect()
            } else {
                BTreeMap::new()
            },
            validation_loss: measured.iter().map(|metrics| metrics.loss).sum::<f64>() / heads,
            learning_rate: self.learning_rate(steps - 1),
            images_per_second: faces / self.state.seconds,
            data_share: self.state.data_seconds / self.state.seconds,
        }
    }

    fn line(&self, report: &EpochReport, is_best: bool) -> String {
        let config = self.batches.config;
        let heads =
            report.head_accuracies.iter().map(|(set, accuracy)| format!("{set} {:.2} %", 100.0 * accuracy));
        let heads = heads.collect::<Vec<_>>().join(", ");
        format!(
            "epoch {:>3}/{}  loss {:.4}  training {:.2} %  {} {:.2} %{}{}  {:.0} images/s",
            report.epoch,
            config.epochs,
            report.training_loss,
            100.0 * report.training_accuracy,
            config.validation.name(),
            100.0 * report.validation_accuracy,
            if heads.is_empty() { heads } else { format!(" ({heads})") },
            if is_best { " (best)" } else { "" },
            report.images_per_second,
        )
    }

    fn write_checkpoint(&self, network: &Network) -> Result<()> {
        let Self { folder, ema, optimizer, state, .. } = self;
        self.explain(folder.write_checkpoint(network, ema.as_ref(), optimizer, state))
    }

    /// Says of weights that are not finite what that means for the run.
    fn explain(&self, result: Result<()>) -> Result<()> {
        result.map_err(|error| match error.downcast_ref::<WeightsError>() {
            Some(_) => error.context(self.diverged()),
            None => error,
        })
    }

    /// The error message of a run whose numbers are no longer finite.
    fn diverged(&self) -> String {
        let RunState { epoch, step, .. } = self.state;
        // At the end of an epoch the steps have been set to 0.
        let (epoch, step) = if step == 0 { (epoch, self.batches.steps()) } else { (epoch + 1, step) };
        format!(
            "the training diverged at epoch {epoch}, step {step}; the last good checkpoint is kept. Try a lower \
             --learning-rate"
        )
    }
}
