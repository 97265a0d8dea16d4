//! The training loop: epochs of shuffled mini-batches, the validation faces after each, the best epoch kept as a bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::module::Module;
use fer_image::Luma;
use fer_model::NetworkSpec;
use fer_model::bundle::{BundleBuilder, Score};
use fer_model::file::write_atomically;
use fer_model::weights::{Weights, WeightsDtype};
use fer_network::Network;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::data::audit;
use crate::data::batches::{Batches, Blend};
use crate::data::dataset::{Dataset, Sample, require_classes};
use crate::data::targets::Targets;
use crate::evaluation::evaluate;
use crate::evaluation::scorer::Scorer;
use crate::report::charts;
use crate::training::checkpoint::{self, Checkpoint, EpochReport, RunState};
use crate::training::config::{TrainingConfig, Validation};
use crate::training::device::Compute;
use crate::training::ema::Ema;
use crate::training::initial::{self, Initial};
use crate::training::optimizer::{Optimizer, OptimizerState};
use crate::training::progress::Progress;
use crate::training::shards::Shards;

/// Steps between two checkpoints inside an epoch.
const CHECKPOINT_STEPS: usize = 100;

/// Where a run's best epoch lies, below the run's folder.
pub const BUNDLE_FOLDER: &str = "bundle";

/// Where its snapshots lie: a folder with a bundle for each, by epoch.
pub const SNAPSHOTS_FOLDER: &str = "snapshots";

/// What a run came to.
#[derive(Serialize)]
pub struct Trained {
    /// Folder of the best epoch's bundle.
    pub bundle: PathBuf,
    pub epochs: usize,
    pub best: Option<EpochReport>,
}

/// Trains; with `json`, what is printed of the epochs is a JSON object each.
pub fn train(
    config: &TrainingConfig,
    spec: &NetworkSpec,
    compute: &Compute,
    folder: &Path,
    resume: bool,
    json: bool,
) -> Result<Trained> {
    config.check()?;
    let mut dataset = Dataset::read_with_votes(&config.data, config.labels.as_deref())?.only(spec.labels());
    if config.leave_out_copies {
        let copies = audit::leaked(&dataset.training, &[&dataset.public, &dataset.private]);
        if !json {
            println!("{} training rows stand in a test split too and are left out", copies.len());
        }
        let mut row = 0..;
        dataset.training.retain(|_| row.next().is_none_or(|row| !copies.contains(&row)));
    }
    let (validation, mut training) = match config.validation {
        Validation::PublicTest => (dataset.public, dataset.training),
        Validation::Stratified { share } => dataset.split_training(share, config.seed),
    };
    ensure!(
        !validation.is_empty(),
        "{} has no PublicTest rows to choose the best epoch by; --set validation.kind=stratified takes a fifth of the \
         training rows for it",
        config.data.display()
    );
    require_classes(&training, spec.labels(), "Training", &config.data)?;
    require_classes(&validation, spec.labels(), config.validation.name(), &config.data)?;
    let steps = training.len() / config.batch_size;
    ensure!(
        steps > 0,
        "batch_size {} is larger than the {} training rows",
        config.batch_size,
        training.len()
    );
    let checkpoint = match (folder.join(checkpoint::FILE).exists(), resume) {
        (true, true) => Checkpoint::read(folder, spec.architecture(), config)?,
        (true, false) => bail!(
            "{} holds a run already; continue it with --resume, or choose another --name",
            folder.display()
        ),
        (false, true) => bail!("{} holds no checkpoint to resume", folder.display()),
        (false, false) => {
            let weights = initial_weights(config, spec, json)?;
            Checkpoint {
                state: RunState::default(),
                average: config.ema.is_some().then(|| weights.clone()),
                weights,
                optimizer: OptimizerState::new(),
            }
        }
    };
    let shards = Shards::new(compute.device.clone(), compute.shards)?;
    if let Some(teacher) = &config.teacher {
        if !json {
            println!("{} answers the training rows", teacher.bundle.display());
        }
        teacher.teach(&mut training, spec, compute, &shards)?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let network = Network::new(spec.architecture(), &checkpoint.weights, &compute.device.clone().autodiff());
    let mut optimizer = Optimizer::new(&network, config.optimizer.clone());
    optimizer.restore(&network, checkpoint.optimizer, &compute.device)?;
    let average = config.ema.zip(checkpoint.average);
    let ema = average.map(|(decay, weights)| Ema::new(decay, spec.architecture(), &weights, &compute.device));
    let targets = Targets::new(spec, config.label_smoothing, config.class_weights.as_ref(), &training);
    let stop = stop_on_ctrl_c();
    let progress = Progress::open(json, spec.name(), config, steps)?;
    let mut run = Run {
        config,
        spec,
        compute,
        batches: Batches { config, spec, targets, training },
        validation,
        folder,
        steps,
        shards,
        optimizer,
        ema,
        state: checkpoint.state,
        progress,
        stop,
    };
    run.epochs(network)
}

/// Whether Ctrl-C was pressed. A second one ends the program at once, as it would without this.
fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let pressed = Arc::clone(&stop);
    let set = ctrlc::set_handler(move || {
        if pressed.swap(true, Ordering::Relaxed) {
            // The dashboard hides it.
            let _ = ratatui::crossterm::execute!(std::io::stdout(), ratatui::crossterm::cursor::Show);
            std::process::exit(130);
        }
    });
    if set.is_err() {
        eprintln!("fer-train: Ctrl-C will not save; the last checkpoint stays");
    }
    stop
}

fn initial_weights(config: &TrainingConfig, spec: &NetworkSpec, json: bool) -> Result<Weights> {
    let Some(path) = &config.init_from else {
        return Ok(Weights::init(spec.architecture(), config.seed));
    };
    let Initial { weights, missing, unused } = initial::read(path, spec, config.seed)?;
    for (what, names) in [("fresh, not in the file", missing), ("in the file, but unused", unused)] {
        if !names.is_empty() && !json {
            println!("{what}: {}", names.join(", "));
        }
    }
    Ok(weights)
}

struct Run<'a> {
    config: &'a TrainingConfig,
    spec: &'a NetworkSpec,
    compute: &'a Compute,
    batches: Batches<'a>,
    validation: Vec<Sample>,
    folder: &'a Path,
    /// An epoch's.
    steps: usize,
    shards: Shards,
    optimizer: Optimizer,
    ema: Option<Ema>,
    state: RunState,
    progress: Progress,
    stop: Arc<AtomicBool>,
}

impl Run<'_> {
    fn epochs(&mut self, mut network: Network) -> Result<Trained> {
        let bundle = self.folder.join(BUNDLE_FOLDER);
        while self.state.epoch < self.config.epochs && !self.waited_long_enough() {
            network = self.epoch(network)?;
            let kept = self.kept(&network);
            let scorer = Scorer::of_network(&self.shards, self.spec, kept.clone());
            let measured = evaluate::measure(&scorer, &self.validation);
            let faces = (self.steps * self.config.batch_size) as f64;
            let report = EpochReport {
                epoch: self.state.epoch + 1,
                training_loss: self.state.loss / faces,
                training_accuracy: self.state.correct as f64 / faces,
                validation_accuracy: measured.accuracy,
                validation_loss: measured.loss,
                learning_rate: self.learning_rate(self.steps - 1),
                images_per_second: faces / self.state.seconds,
                data_share: self.state.data_seconds / self.state.seconds,
            };
            let accuracy = report.validation_accuracy;
            let best = self.state.best().is_none_or(|best| accuracy > best.validation_accuracy);
            let history = std::mem::take(&mut self.state.history);
            self.state = RunState { epoch: report.epoch, history, ..RunState::default() };
            self.state.history.push(report.clone());
            if best {
                self.write_bundle(&kept, measured.score(), &bundle)?;
            }
            if self.is_snapshot() {
                let name = format!("epoch-{:03}", self.state.epoch);
                let snapshot = self.folder.join(SNAPSHOTS_FOLDER).join(name);
                self.write_bundle(&kept, measured.score(), &snapshot)?;
            }
            self.write_checkpoint(&network)?;
            let json = serde_json::to_string_pretty(&self.state.history)?;
            write_atomically(&self.folder.join("history.json"), json.as_bytes())
                .context("cannot write history.json")?;
            let name =
                self.folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let curves = charts::learning_curves(&[(name, self.state.history.clone())])?;
            charts::write(&curves, self.folder, "curves")?;
            let line = format!(
                "epoch {:>3}/{}  loss {:.4}  training {:.2} %  {} {:.2} %{}  {:.0} images/s",
                report.epoch,
                self.config.epochs,
                report.training_loss,
                100.0 * report.training_accuracy,
                self.config.validation.name(),
                100.0 * report.validation_accuracy,
                if best { " (best)" } else { "" },
                report.images_per_second,
            );
            self.progress.epoch(&report, &line)?;
        }
        if self.state.epoch < self.config.epochs {
            let waited = self.config.early_stopping.unwrap_or(0);
            self.progress.say(&format!("stopped early: no better epoch in the last {waited}"))?;
        }
        Ok(Trained { bundle, epochs: self.state.epoch, best: self.state.best().cloned() })
    }

    fn waited_long_enough(&self) -> bool {
        let best = self.state.best().map_or(0, |best| best.epoch);
        self.config.early_stopping.is_some_and(|patience| self.state.epoch - best >= patience)
    }

    /// Whether the epoch that has just ended is to be kept for an ensemble.
    fn is_snapshot(&self) -> bool {
        let apart = self.config.epochs.checked_div(self.config.snapshots);
        apart.is_some_and(|apart| self.state.epoch.is_multiple_of(apart))
    }

    /// What is validated and written as the bundle.
    fn kept(&self, network: &Network) -> Network {
        self.ema.as_ref().map_or_else(|| network.valid(), |ema| ema.network().clone())
    }

    /// At a step of the epoch under way.
    fn learning_rate(&self, step: usize) -> f64 {
        let TrainingConfig { schedule, learning_rate, epochs, warmup_steps, .. } = self.config;
        let step = self.state.epoch * self.steps + step;
        learning_rate * schedule.share(step, self.steps, *epochs, *warmup_steps, &self.state.history)
    }

    fn epoch(&mut self, mut network: Network) -> Result<Network> {
        let epoch = self.state.epoch;
        let mut order: Vec<usize> = (0..self.batches.training.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(mix([self.config.seed, epoch as u64, u64::MAX])));
        while self.state.step < self.steps {
            let started = Instant::now();
            let step = epoch * self.steps + self.state.step;
            let rows = &order[self.state.step * self.config.batch_size..][..self.config.batch_size];
            self.compute.device.seed(mix([self.config.seed, step as u64, 1]));
            let batches = &self.batches;
            let blend = Blend::of(rows, self.config, step)?;
            let (gradients, tally) =
                self.shards.classification_step(&network, self.spec, rows.len(), |range| {
                    batches.part(&rows[range.clone()], &blend, range.start, epoch)
                });
            self.state.step += 1;
            if !tally.loss.is_finite() {
                return Err(anyhow!("the loss is {}", tally.loss)).context(self.diverged());
            }
            let rate = self.learning_rate(self.state.step - 1);
            network = self.optimizer.step(network, gradients, rate, step, self.config.gradient_clip);
            if let Some(ema) = &mut self.ema {
                ema.update(&network, step);
            }
            self.state.loss += tally.loss;
            self.state.correct += tally.correct;
            self.state.data_seconds += tally.data_seconds;
            self.state.seconds += started.elapsed().as_secs_f64();
            self.progress.step(&self.state, rate);
            let stop = self.stop.load(Ordering::Relaxed);
            if stop || self.state.step.is_multiple_of(CHECKPOINT_STEPS) {
                self.write_checkpoint(&network)?;
            }
            ensure!(!stop, "stopped and saved; go on with the same command and --resume");
        }
        Ok(network)
    }

    /// What to say where the numbers are no numbers any more.
    fn diverged(&self) -> String {
        let RunState { epoch, step, .. } = self.state;
        // At an epoch's end the count starts anew.
        let (epoch, step) = if step == 0 { (epoch, self.steps) } else { (epoch + 1, step) };
        format!(
            "the training diverged at epoch {epoch}, step {step}; the last good checkpoint is kept. Try a lower \
             --learning-rate"
        )
    }

    fn write_checkpoint(&self, network: &Network) -> Result<()> {
        let weights = |network: &Network| network.weights(self.spec.architecture());
        let average = self.ema.as_ref().map(|ema| weights(ema.network())).transpose();
        let weights = weights(network).with_context(|| self.diverged())?;
        let (state, optimizer) = (self.state.clone(), self.optimizer.state(network));
        let average = average.with_context(|| self.diverged())?;
        Checkpoint { state, weights, average, optimizer }.write(self.folder, self.config)
    }

    fn write_bundle(&self, network: &Network, score: Score, folder: &Path) -> Result<()> {
        let weights = network.weights(self.spec.architecture()).with_context(|| self.diverged())?;
        let selected_on = self.config.validation.name();
        BundleBuilder {
            members: vec![(self.spec, &weights)],
            ensemble: None,
            crop: self.config.crop,
            luma: Luma::default(),
            dtype: WeightsDtype::F32,
            temperature: 1.0,
            training: serde_json::json!({
                "config": self.config,
                "device": self.compute.name,
                "epoch": self.state.epoch,
                "selected_on": selected_on,
            }),
            scores: BTreeMap::from([(selected_on.to_owned(), score)]),
            data_licence: DATA_LICENCE.to_owned(),
            card: CARD.to_owned(),
        }
        .write(folder)
        .context("cannot write the bundle")
    }
}

const DATA_LICENCE: &str = "Trained on FER-2013 (Goodfellow et al. 2013, ICML 2013 challenges in representation \
     learning), whose photos were collected by web search and are distributed for research; no licence covers \
     the single photos. The photos are not part of this bundle.";

const CARD: &str = "Guesses which of seven labels people would give to the expression on a frontal face of at \
     least 48 pixels. The labels are crowd-sourced and disagree for about a third of the faces; the model \
     repeats their errors and biases, and it is weak on disgust, fear, profiles, masks and children. An \
     expression is not a feeling: do not use it to decide about people.";

/// SplitMix64's finaliser over several numbers: one seed for each row, epoch and step.
pub fn mix(parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}
