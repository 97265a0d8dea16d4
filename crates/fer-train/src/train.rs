//! The training loop: epochs of shuffled mini-batches, PublicTest after each, the best epoch kept as a bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::module::Module;
use fer_model::bundle::{BundleDraft, write_whole};
use fer_model::network::Network;
use fer_model::spec::InputSpec;
use fer_model::weights::{Weights, WeightsDtype};
use fer_model::{FaceCrop, NetworkSpec};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::checkpoint::{self, Checkpoint, EpochReport, RunState};
use crate::config::TrainingConfig;
use crate::dataset::{Dataset, SIDE, Sample};
use crate::device::Compute;
use crate::evaluate;
use crate::progress::Progress;
use crate::sgd::Sgd;
use crate::shards::{MiniBatch, Shards};

/// Steps between two checkpoints inside an epoch.
const CHECKPOINT_STEPS: usize = 100;

/// Where a run's best epoch lies, below the run's folder.
pub(crate) const BUNDLE_FOLDER: &str = "bundle";

/// Trains, and returns the bundle's folder.
pub(crate) fn train(
    config: &TrainingConfig,
    spec: &NetworkSpec,
    compute: &Compute,
    folder: &Path,
    resume: bool,
) -> Result<PathBuf> {
    config.check()?;
    let dataset = Dataset::read(&config.data)?;
    dataset.require_training(&config.data)?;
    let steps = dataset.training.len() / config.batch_size;
    if steps == 0 {
        bail!("batch_size {} is larger than the {} training rows", config.batch_size, dataset.training.len());
    }
    let checkpoint = match (folder.join(checkpoint::FILE).exists(), resume) {
        (true, true) => Checkpoint::read(folder, spec.architecture(), config)?,
        (true, false) => bail!(
            "{} holds a run already; continue it with --resume, or choose another --name",
            folder.display()
        ),
        (false, true) => bail!("{} holds no checkpoint to resume", folder.display()),
        (false, false) => Checkpoint {
            state: RunState::default(),
            weights: initial_weights(config, spec)?,
            velocity: BTreeMap::new(),
        },
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let network = Network::new(spec.architecture(), &checkpoint.weights, &compute.device.clone().autodiff());
    let mut sgd = Sgd::new(&network, config.momentum, config.weight_decay);
    sgd.restore(&network, checkpoint.velocity, &compute.device).map_err(anyhow::Error::msg)?;
    let shards = Shards::new(compute.device.clone(), compute.shards)?;
    let mut run =
        Run { config, spec, compute, dataset: &dataset, folder, steps, shards, sgd, state: checkpoint.state };
    run.epochs(network)
}

fn initial_weights(config: &TrainingConfig, spec: &NetworkSpec) -> Result<Weights> {
    let Some(path) = &config.init_from else {
        return Ok(Weights::init(spec.architecture(), config.seed));
    };
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Weights::from_safetensors(spec.architecture(), &bytes)
        .with_context(|| format!("{} does not start a {}", path.display(), spec.name()))
}

struct Run<'a> {
    config: &'a TrainingConfig,
    spec: &'a NetworkSpec,
    compute: &'a Compute,
    dataset: &'a Dataset,
    folder: &'a Path,
    /// An epoch's.
    steps: usize,
    shards: Shards,
    sgd: Sgd,
    state: RunState,
}

impl Run<'_> {
    fn epochs(&mut self, mut network: Network) -> Result<PathBuf> {
        let bundle = self.folder.join(BUNDLE_FOLDER);
        while self.state.epoch < self.config.epochs {
            network = self.epoch(network)?;
            let accuracy =
                evaluate::score(&self.shards, &network.valid(), self.spec, &self.dataset.public).accuracy;
            let faces = (self.steps * self.config.batch_size) as f64;
            let report = EpochReport {
                epoch: self.state.epoch + 1,
                training_loss: self.state.loss / faces,
                training_accuracy: self.state.correct as f64 / faces,
                public_accuracy: accuracy,
                images_per_second: faces / self.state.seconds,
            };
            let best = self.state.best().is_none_or(|best| accuracy > best.public_accuracy);
            let history = std::mem::take(&mut self.state.history);
            self.state = RunState { epoch: report.epoch, history, ..RunState::default() };
            self.state.history.push(report.clone());
            if best {
                self.write_bundle(&network, &bundle)?;
            }
            self.write_checkpoint(&network)?;
            let json = serde_json::to_string_pretty(&self.state.history)?;
            write_whole(&self.folder.join("history.json"), json.as_bytes())
                .context("cannot write history.json")?;
            println!(
                "epoch {:>3}/{}  loss {:.4}  training {:.2} %  PublicTest {:.2} %{}  {:.0} images/s",
                report.epoch,
                self.config.epochs,
                report.training_loss,
                100.0 * report.training_accuracy,
                100.0 * report.public_accuracy,
                if best { " (best)" } else { "" },
                report.images_per_second,
            );
        }
        Ok(bundle)
    }

    fn epoch(&mut self, mut network: Network) -> Result<Network> {
        let epoch = self.state.epoch;
        let mut order: Vec<usize> = (0..self.dataset.training.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(mix([self.config.seed, epoch as u64, u64::MAX])));
        let progress = Progress::new(self.steps, self.config, epoch);
        while self.state.step < self.steps {
            let started = Instant::now();
            let step = epoch * self.steps + self.state.step;
            let rows = &order[self.state.step * self.config.batch_size..][..self.config.batch_size];
            self.compute.device.seed(mix([self.config.seed, step as u64, 1]));
            let (config, spec, faces) = (self.config, self.spec, &self.dataset.training);
            let smoothing = config.label_smoothing;
            let (gradients, tally) =
                self.shards.classification_step(&network, spec, rows.len(), smoothing, |range| {
                    views(config, spec, faces, &rows[range], epoch)
                });
            if !tally.loss.is_finite() {
                bail!(
                    "the loss is {} at epoch {}, step {}; the last good checkpoint is kept. Try a lower --learning-rate",
                    tally.loss,
                    epoch + 1,
                    self.state.step + 1
                );
            }
            let rate = self.config.learning_rate_at(step, self.config.epochs * self.steps);
            network = self.sgd.step(network, gradients, rate);
            self.state.step += 1;
            self.state.loss += tally.loss;
            self.state.correct += tally.correct;
            self.state.seconds += started.elapsed().as_secs_f64();
            progress.step(&self.state);
            if self.state.step.is_multiple_of(CHECKPOINT_STEPS) {
                self.write_checkpoint(&network)?;
            }
        }
        Ok(network)
    }

    fn write_checkpoint(&self, network: &Network) -> Result<()> {
        let weights = network.weights(self.spec.architecture()).context("the training diverged")?;
        let velocity = self.sgd.velocity(network);
        Checkpoint { state: self.state.clone(), weights, velocity }.write(self.folder, self.config)
    }

    fn write_bundle(&self, network: &Network, folder: &Path) -> Result<()> {
        let weights = network.weights(self.spec.architecture()).context("the training diverged")?;
        let network = network.valid();
        let score = evaluate::score(&self.shards, &network, self.spec, &self.dataset.public);
        BundleDraft {
            network: self.spec,
            weights: &weights,
            dtype: WeightsDtype::F32,
            temperature: 1.0,
            training: serde_json::json!({
                "config": self.config,
                "device": self.compute.name,
                "epoch": self.state.epoch,
                "selected_on": "PublicTest",
            }),
            scores: BTreeMap::from([("PublicTest".to_owned(), score)]),
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

/// Augmented, preprocessed faces of the given training rows.
fn views(
    config: &TrainingConfig,
    spec: &NetworkSpec,
    faces: &[Sample],
    rows: &[usize],
    epoch: usize,
) -> MiniBatch {
    let InputSpec { channels, height, width } = spec.input();
    let mut pixels = Vec::with_capacity(rows.len() * channels * height * width);
    for &row in rows {
        let seed = mix([config.seed, epoch as u64, row as u64]);
        let view = config.augmentation.view(&faces[row].pixels, spec, seed);
        for _ in 0..channels {
            pixels.extend(view.iter().map(|&luma| spec.preprocessing().normalise(luma)));
        }
    }
    let labels = rows.iter().map(|&row| faces[row].label).collect();
    MiniBatch { pixels, labels }
}

/// SplitMix64's finaliser over several numbers: one seed for each row, epoch and step.
pub(crate) fn mix(parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// The faces of `samples[range]`, preprocessed, as one run of pixels.
pub(crate) fn preprocessed(
    samples: &[Sample],
    spec: &NetworkSpec,
    range: std::ops::Range<usize>,
) -> Vec<f32> {
    let size = spec.preprocessing().face_size(spec.input());
    let mut pixels = Vec::new();
    for sample in &samples[range] {
        if let Some(face) = FaceCrop::from_square(sample.pixels.as_slice(), SIDE, size) {
            spec.preprocessing().apply(face.luma(), spec.input(), &mut pixels);
        }
    }
    pixels
}
