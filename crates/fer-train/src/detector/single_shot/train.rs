//! The training of a single-shot detector: mini-batches of random crops, and a search of the validation photos after each
//! epoch.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use burn::optim::GradientsParams;
use fer_detect::single_shot::{SingleShotConfig, SingleShotModel};
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::Engine;
use fer_model::onnx;
use fer_model::spec::Architecture;
use fer_model::weights::{Arrays, Weights};
use fer_network::{Network, mix};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::batch::{self, Grid};
use super::config::SingleShotTraining;
use super::corpus::{Corpus, source};
use super::grow;
use super::loss::Sums;
use super::run_folder::{RunFolder, write_detector};
use super::state::{EpochReport, RunState, SourceReport};
use super::view;
use crate::detector::annotations::{self, Photo};
use crate::detector::evaluate::{self, FLOOR, Measure};
use crate::training::checkpoint::{self, Checkpoint};
use crate::training::device::Compute;
use crate::training::ema::Ema;
use crate::training::gpu_check;
use crate::training::optimizer::{Optimizer, OptimizerState};
use crate::training::schedule::{cosine, warm_up};
use crate::training::shards::{Shards, images};
use crate::training::stop::Stop;

/// Steps between two checkpoints.
const CHECKPOINT_STEPS: usize = 200;

/// Steps between two lines of progress.
const PROGRESS_STEPS: usize = 50;

/// Score that the network gives at first, so that the many cells of background do not swamp the few faces (Lin et al. 2017).
const FIRST_SCORE: f32 = 0.01;

/// Factor on the initial weights of the layers that give the outputs: the first boxes have about a stride's side.
const FIRST_WEIGHTS: f32 = 0.1;

/// What the weights of a run follow from. A checkpoint keeps it, and a run goes on only under the same settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSettings {
    /// The configuration.
    pub config: SingleShotTraining,
    /// sha256 of the annotations.
    pub annotations_sha256: String,
}

/// A run: its settings, its photos, and where it is computed and kept.
pub struct Job<'a> {
    /// Configuration and annotations.
    pub settings: &'a RunSettings,
    /// Photos to learn from and to measure by.
    pub corpus: &'a Corpus,
    /// What the manifest says about the photos.
    pub data: Value,
    /// Folder of the photos.
    pub images: &'a Path,
    /// Where the network is computed.
    pub compute: &'a Compute,
    /// The run's folder.
    pub folder: &'a RunFolder,
    /// Ends the training with a checkpoint.
    pub stop: &'a Stop,
}

/// What one thread reports of its part of a mini-batch.
struct Part {
    sums: Sums,
    data_seconds: f64,
}

/// Trains the network from [`starting_point`] on. Returns the best epoch.
///
/// # Errors
/// Returns an error if the training diverges, a photo cannot be read or a file cannot be written, or after Ctrl-C.
pub fn train(job: &Job<'_>, start: Checkpoint<RunState>) -> Result<EpochReport> {
    let config = &job.settings.config;
    annotations::write(&job.folder.path().join("validation.csv"), &job.corpus.validation)?;
    let device = &job.compute.device;
    let shards = Shards::of(job.compute)?;
    let grid = Grid::new(config.side());
    let subject = gpu_check::Subject {
        compute: job.compute,
        architecture: &config.network,
        weights: &start.weights,
        samples: config.batch_size,
    };
    if let Some(gpu) = &job.compute.gpu {
        eprintln!("{}", gpu.first_step_notice());
    }
    gpu_check::check(&subject, |shards, network| {
        let (gradients, part) = step(job, &grid, shards, network, 0);
        (gradients, part.sums.loss(&config.loss))
    })?;
    let network = Network::new(&config.network, &start.weights, &device.clone().autodiff());
    let mut optimizer = Optimizer::new(&network, config.optimizer.clone());
    optimizer.restore(&network, start.optimizer, device)?;
    let average = start.average.as_ref().unwrap_or(&start.weights);
    let ema = Ema::new(config.ema, &config.network, average, device);
    let mut run = Run { job, grid, shards, optimizer, ema, state: start.state };
    run.epochs(network)?;
    run.state.best().cloned().context("the run has no epoch")
}

/// The checkpoint in a run's folder, or initial weights: those of another run if the configuration names one.
///
/// # Errors
/// Returns an error if a checkpoint cannot be read, or if it is of another run or network.
pub fn starting_point(settings: &RunSettings, folder: &Path) -> Result<Checkpoint<RunState>> {
    let config = &settings.config;
    if folder.join(checkpoint::FILE).exists() {
        return Checkpoint::read(folder, &config.network, settings);
    }
    let weights = match &config.init_from {
        Some(path) => grow::read(path, &config.network, config.seed)?,
        None => initial_weights(&config.network, config.seed)?,
    };
    Ok(Checkpoint {
        state: RunState::default(),
        average: Some(weights.clone()),
        weights,
        optimizer: OptimizerState::new(),
    })
}

/// Random weights, but small ones in the layers that give the outputs, and a low first score.
fn initial_weights(architecture: &Architecture, seed: u64) -> Result<Weights> {
    let steps = architecture.steps();
    let last: Vec<&str> = architecture
        .heads()
        .filter_map(|(_, range)| range.last().map(|last| steps[last].name.as_str()))
        .collect();
    let weights = Weights::init(architecture, seed);
    let arrays = weights.iter().map(|(name, array)| {
        let mut array = array.clone();
        if let Some((layer, role)) = name.rsplit_once('.')
            && last.contains(&layer)
        {
            match role {
                "bias" => array.values[0] = (FIRST_SCORE / (1.0 - FIRST_SCORE)).ln(),
                _ => array.values.iter_mut().for_each(|value| *value *= FIRST_WEIGHTS),
            }
        }
        (name.to_owned(), array)
    });
    Ok(Weights::new(architecture, arrays.collect::<Arrays>())?)
}

/// Draws a mini-batch, and returns the gradients of its loss.
fn step(
    job: &Job<'_>,
    grid: &Grid,
    shards: &Shards,
    network: &Network,
    number: usize,
) -> (GradientsParams, Part) {
    let config = &job.settings.config;
    let dropout = mix([config.seed, number as u64, u64::MAX]);
    let (gradients, parts) = shards.step(network, dropout, config.batch_size, |network, range, device| {
        let started = Instant::now();
        let factor = range.len() as f32 / config.batch_size as f32;
        let samples = range.into_par_iter().map(|position| {
            let seed = mix([config.seed, number as u64, position as u64]);
            view::draw(job.corpus, &config.views, config.side(), &mut StdRng::seed_from_u64(seed))
        });
        let mut samples: Vec<view::Sample> = samples.collect();
        let pixels: Vec<_> = samples.iter_mut().map(|sample| std::mem::take(&mut sample.pixels)).collect();
        let pixels = pixels.concat();
        let data_seconds = started.elapsed().as_secs_f64();
        let outputs = network.forward(images(pixels, config.network.input(), device));
        let (loss, sums) = batch::loss(outputs, &samples, grid, &config.loss, factor, device);
        (loss, Part { sums, data_seconds })
    });
    let count = parts.len() as f64;
    let none = Part { sums: Sums::default(), data_seconds: 0.0 };
    let whole = parts.into_iter().fold(none, |mut whole, part| {
        whole.sums.add(&part.sums);
        whole.data_seconds += part.data_seconds / count;
        whole
    });
    (gradients, whole)
}

/// A run in progress. The network itself is passed from step to step, because a step consumes it.
struct Run<'a> {
    job: &'a Job<'a>,
    grid: Grid,
    shards: Shards,
    optimizer: Optimizer,
    ema: Ema,
    state: RunState,
}

impl Run<'_> {
    fn config(&self) -> &SingleShotTraining {
        &self.job.settings.config
    }

    /// Runs the remaining steps.
    fn epochs(&mut self, mut network: Network) -> Result<()> {
        let (steps, per_epoch) = (self.config().steps(), self.config().steps_per_epoch);
        while self.state.step < steps {
            network = self.step(network)?;
            if self.state.step.is_multiple_of(per_epoch) {
                self.end_epoch(&network)?;
                continue;
            }
            let done = self.state.step % per_epoch;
            if done.is_multiple_of(PROGRESS_STEPS) {
                self.print_progress(done);
            }
            let stop = self.job.stop.is_set();
            if stop || done.is_multiple_of(CHECKPOINT_STEPS) {
                self.write_checkpoint(&network)?;
            }
            ensure!(!stop, "stopped and saved; go on with the same command");
        }
        Ok(())
    }

    fn step(&mut self, network: Network) -> Result<Network> {
        let started = Instant::now();
        let (number, rate) = (self.state.step, self.learning_rate(self.state.step));
        let (gradients, part) = step(self.job, &self.grid, &self.shards, &network, number);
        let loss = part.sums.loss(&self.config().loss);
        if !loss.is_finite() {
            bail!("the loss is {loss} at step {}; {LOWER}", number + 1);
        }
        let clip = self.config().gradient_clip;
        let network = self.optimizer.step(network, gradients, rate, number, clip);
        self.ema.update(&network, number);
        self.state.step += 1;
        self.state.sums.add(&part.sums);
        self.state.data_seconds += part.data_seconds;
        self.state.seconds += started.elapsed().as_secs_f64();
        Ok(network)
    }

    fn learning_rate(&self, step: usize) -> f64 {
        let SingleShotTraining { learning_rate, warmup_steps, .. } = *self.config();
        let steps = self.config().steps();
        learning_rate * warm_up(step, warmup_steps).unwrap_or_else(|| cosine(step, steps, warmup_steps))
    }

    fn print_progress(&self, done: usize) {
        let [score, boxes, landmarks] = self.state.sums.means();
        let steps = self.config().steps();
        let rate = (done * self.config().batch_size) as f64 / self.state.seconds;
        eprintln!(
            "step {:>6}/{steps}  score loss {score:.4}  box loss {boxes:.4}  landmark loss {landmarks:.4}  \
             {rate:.1} crops/s, {:.0} % of the time for crops",
            self.state.step,
            100.0 * self.state.data_seconds / self.state.seconds,
        );
    }

    /// Measures the average of the weights, and writes the files of the run.
    fn end_epoch(&mut self, network: &Network) -> Result<()> {
        let architecture = &self.config().network;
        let weights = self.ema.network().weights(architecture).context(LOWER)?;
        let graph = onnx::in_half_precision(&onnx::graph("single-shot detector", architecture, &weights))?;
        let model = SingleShotModel::new(SingleShotConfig::default(), graph, None);
        let (validation, min_size) = (&self.job.corpus.validation, self.config().data.min_size);
        let report = self.report(measure(validation, self.job.images, min_size, &model)?);
        let is_best = self.state.best().is_none_or(|best| report.quality() > best.quality());
        if is_best {
            let folder = self.job.folder.detector();
            write_detector(&folder, &model, self.job.settings, &self.job.data, &report)?;
        }
        print_epoch(&report, self.config().epochs, is_best);
        let mut history = std::mem::take(&mut self.state.history);
        history.push(report);
        self.job.folder.write_history(&history)?;
        self.state = RunState { step: self.state.step, history, ..RunState::default() };
        self.write_checkpoint(network)
    }

    fn report(&self, sources: BTreeMap<String, SourceReport>) -> EpochReport {
        let SingleShotTraining { steps_per_epoch, batch_size, .. } = *self.config();
        let [score_loss, box_loss, landmark_loss] = self.state.sums.means();
        EpochReport {
            epoch: self.state.step / steps_per_epoch,
            score_loss,
            box_loss,
            landmark_loss,
            overlap: self.state.sums.overlap / self.state.sums.box_cells.max(1.0),
            learning_rate: self.learning_rate(self.state.step - 1),
            crops_per_second: (steps_per_epoch * batch_size) as f64 / self.state.seconds,
            data_share: self.state.data_seconds / self.state.seconds,
            sources,
        }
    }

    fn write_checkpoint(&self, network: &Network) -> Result<()> {
        let weights = |network: &Network| network.weights(&self.config().network).context(LOWER);
        let average = Some(weights(self.ema.network())?);
        let (state, optimizer) = (self.state.clone(), self.optimizer.state(network));
        let checkpoint = Checkpoint { state, weights: weights(network)?, average, optimizer };
        checkpoint.write(self.job.folder.path(), self.job.settings)
    }
}

const LOWER: &str = "the training diverged; the last good checkpoint is kept. Try a lower learning_rate";

/// Searches the validation photos, and reports each source.
pub(super) fn measure(
    photos: &[Photo],
    images: &Path,
    min_size: f32,
    model: &SingleShotModel,
) -> Result<BTreeMap<String, SourceReport>> {
    let engine = Engine::tract();
    let model = DetectorModel::SingleShot(model.clone());
    let options = DetectorOptions { min_score: Some(FLOOR), ..DetectorOptions::default() };
    let found = evaluate::detect(|| model.detector(&engine, &options), photos, images)?;
    // The photos are in order of their sources.
    let mut found = found.as_slice();
    let by_source = photos.chunk_by(|a, b| source(a) == source(b)).map(|photos: &[Photo]| {
        let (of_source, rest) = found.split_at(photos.len());
        found = rest;
        let measure = Measure { min_size, tag: None, threshold: FLOOR };
        let report = evaluate::report(photos, of_source, &measure);
        let source_report = SourceReport {
            photos: report.photos,
            faces: report.faces,
            ap50: report.ap50,
            landmark_error: report.landmark_error,
        };
        (source(&photos[0]).to_owned(), source_report)
    });
    Ok(by_source.collect())
}

fn print_epoch(report: &EpochReport, epochs: usize, is_best: bool) {
    eprintln!(
        "epoch {:>3}/{epochs}  score loss {:.4}  box loss {:.4}  landmark loss {:.4}  {:.1} crops/s  average precision{}: {}",
        report.epoch,
        report.score_loss,
        report.box_loss,
        report.landmark_loss,
        report.crops_per_second,
        if is_best { " (best)" } else { "" },
        words(&report.sources)
    );
}

/// Average precision and landmark error of each source.
pub(super) fn words(sources: &BTreeMap<String, SourceReport>) -> String {
    let words = sources.iter().map(|(source, found)| {
        let landmarks = found.landmark_error.map(|error| format!(", landmarks {:.1} %", 100.0 * error));
        format!("{source} {:.3}{}", found.ap50, landmarks.unwrap_or_default())
    });
    words.collect::<Vec<_>>().join("; ")
}
