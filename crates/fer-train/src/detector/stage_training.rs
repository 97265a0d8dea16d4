//! Trains one network: hard examples, then mini-batches with checkpoints.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use fer_detect::mtcnn::Stage;
use fer_engine::Engine;
use fer_model::onnx;
use fer_model::weights::Weights;
use fer_network::{Network, mix};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::config::{DetectorTraining, StageTraining};
use super::corpus::Corpus;
use super::loss::{Sums, loss};
use super::mine::{Mined, mine};
use super::nets::Nets;
use super::run_folder::RunFolder;
use super::samples::Samples;
use crate::training::checkpoint::{self, Checkpoint};
use crate::training::device::Compute;
use crate::training::optimizer::{Optimizer, OptimizerConfig, OptimizerState};
use crate::training::schedule::{cosine, warm_up};
use crate::training::shards::Shards;

/// Steps between two checkpoints, each with a line of progress.
const CHECKPOINT_STEPS: usize = 500;

const MOMENTUM: f64 = 0.9;

/// How far a stage's training is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct StageState {
    /// Finished steps.
    step: usize,
}

/// One stage's training.
pub struct StageRun<'a> {
    /// Configuration of all stages.
    pub config: &'a DetectorTraining,
    /// Photos to learn from.
    pub corpus: &'a Corpus,
    /// Where the network is computed.
    pub compute: &'a Compute,
    /// The run's folder.
    pub folder: &'a RunFolder,
    /// The stage to train.
    pub stage: Stage,
}

impl StageRun<'_> {
    /// Trains the network, or continues from its checkpoint. Returns its ONNX graph.
    ///
    /// # Errors
    /// Returns an error if there is nothing to learn from, the training diverges, or a file cannot be read or written.
    pub fn train(&self, engine: &Engine, before: &Nets) -> Result<Vec<u8>> {
        let of = self.config.stage(self.stage);
        let checkpoint = self.checkpoint(of)?;
        let mined = self.mine(engine, before, of, checkpoint.state.step)?;
        let samples = Samples::new(self.stage, &self.config.views, &self.corpus.scenes, &mined);
        samples.check()?;
        let network = self.run_steps(of, checkpoint, &samples)?;
        let weights = network.weights(&of.network).context("the training diverged")?;
        Ok(onnx::graph(self.stage.net(), &of.network, &weights))
    }

    fn seed(&self) -> u64 {
        mix([self.config.seed, self.stage.side() as u64, 0])
    }

    /// Reads the checkpoint, or makes the first one.
    fn checkpoint(&self, of: &StageTraining) -> Result<Checkpoint<StageState>> {
        let folder = self.folder.checkpoint(self.stage);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        if folder.join(checkpoint::FILE).exists() {
            return Checkpoint::read(&folder, &of.network, self.config);
        }
        Ok(Checkpoint {
            state: StageState::default(),
            weights: Weights::init(&of.network, self.seed()),
            average: None,
            optimizer: OptimizerState::new(),
        })
    }

    /// Looks for hard examples with the networks before this one. There are none for P-Net, and a finished stage needs none.
    fn mine(&self, engine: &Engine, before: &Nets, of: &StageTraining, step: usize) -> Result<Mined> {
        if before.0.is_empty() || step >= of.steps {
            return Ok(Mined::default());
        }
        let started = Instant::now();
        let threshold = of.mining_threshold as f32;
        let mined = mine(engine, before, &self.corpus.scenes, threshold, of.mined_per_photo)?;
        eprintln!(
            "{}: mined {} faces, {} parts, {} backgrounds in {:.0} s",
            self.stage.net(),
            mined.faces.len(),
            mined.parts.len(),
            mined.backgrounds.len(),
            started.elapsed().as_secs_f64()
        );
        Ok(mined)
    }

    /// Runs the remaining mini-batches.
    fn run_steps(
        &self,
        of: &StageTraining,
        checkpoint: Checkpoint<StageState>,
        samples: &Samples<'_>,
    ) -> Result<Network> {
        let (steps, seed) = (of.steps, self.seed());
        let device = &self.compute.device;
        let mut network = Network::new(&of.network, &checkpoint.weights, &device.clone().autodiff());
        let weight_decay = of.weight_decay;
        let sgd = OptimizerConfig::Sgd { momentum: MOMENTUM, nesterov: true, weight_decay };
        let mut optimizer = Optimizer::new(&network, sgd);
        optimizer.restore(&network, checkpoint.optimizer, device)?;
        let shards = Shards::new(device.clone(), self.compute.shards)?;
        let mut progress = Progress::new();
        for step in checkpoint.state.step..steps {
            let dropout = mix([seed, step as u64, u64::MAX]);
            let (gradients, parts) =
                shards.step(&network, dropout, of.batch_size, |network, range, device| {
                    let drawn = range.map(|position| {
                        let mut random = StdRng::seed_from_u64(mix([seed, step as u64, position as u64]));
                        samples.draw(position, &mut random)
                    });
                    loss(network, &drawn.collect::<Vec<_>>(), of, device)
                });
            progress.add(parts);
            if !progress.sums.faces.is_finite() {
                let net = self.stage.net();
                bail!("{net}: the loss is not a number at step {}; try a lower learning_rate", step + 1);
            }
            let rate = of.learning_rate
                * warm_up(step, steps / 20).unwrap_or_else(|| cosine(step, steps, steps / 20));
            network = optimizer.step(network, gradients, rate, step, None);
            if (step + 1) % CHECKPOINT_STEPS == 0 || step + 1 == steps {
                progress.print(self.stage, step + 1, of);
                progress = Progress::new();
                let weights = network.weights(&of.network).context("the training diverged")?;
                let (state, optimizer) = (StageState { step: step + 1 }, optimizer.state(&network));
                Checkpoint { state, weights, average: None, optimizer }
                    .write(&self.folder.checkpoint(self.stage), self.config)?;
            }
        }
        Ok(network)
    }
}

/// Sums of the steps since the last line of progress.
struct Progress {
    sums: Sums,
    steps: usize,
    since: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { sums: Sums::default(), steps: 0, since: Instant::now() }
    }

    /// Adds one step's parts of the mini-batch.
    fn add(&mut self, parts: Vec<Sums>) {
        parts.into_iter().for_each(|part| self.sums.add(part));
        self.steps += 1;
    }

    fn print(&self, stage: Stage, step: usize, of: &StageTraining) {
        let Sums { faces, boxes, landmarks, labelled, correct } = self.sums;
        let crops = (self.steps * of.batch_size) as f64;
        eprintln!(
            "{} step {step:>6}/{}  face loss {:.4}  {:.2} % right  box loss {:.4}  landmark loss {:.4}  {:.0} crops/s",
            stage.net(),
            of.steps,
            faces / labelled,
            100.0 * correct / labelled,
            boxes / crops,
            landmarks / crops,
            crops / self.since.elapsed().as_secs_f64(),
        );
    }
}
