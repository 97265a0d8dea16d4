//! Trains one network: hard examples, then mini-batches with checkpoints.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use fer_detect::mtcnn::Stage;
use fer_model::onnx;
use fer_model::weights::Weights;
use fer_network::{Network, mix};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::{StageTraining, Views};
use super::loss::{Sums, loss};
use super::mine::{Mined, Search, mine};
use super::samples::Samples;
use super::scene::Scene;
use crate::training::checkpoint::{self, Checkpoint};
use crate::training::device::Compute;
use crate::training::optimizer::{Optimizer, OptimizerConfig, OptimizerState};
use crate::training::schedule::{cosine, warm_up};
use crate::training::shards::Shards;
use crate::training::stop::Stop;

/// Steps between two checkpoints, each with a line of progress.
const CHECKPOINT_STEPS: usize = 500;

const MOMENTUM: f64 = 0.9;

/// How far a stage's training is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct StageState {
    /// Finished steps.
    step: usize,
}

/// One network's training.
pub struct StageRun<'a, S> {
    /// The network's place in a cascade.
    pub stage: Stage,
    /// The network, and how it is trained.
    pub training: &'a StageTraining,
    /// Ranges of the crops' random views.
    pub views: &'a Views,
    /// Determines initial weights, samples and views.
    pub seed: u64,
    /// Photos to learn from.
    pub scenes: &'a [Scene],
    /// Where the network is computed.
    pub compute: &'a Compute,
    /// Folder of its checkpoint.
    pub folder: PathBuf,
    /// What the weights follow from; a checkpoint of other settings is refused.
    pub settings: &'a S,
    /// Ends the training with a checkpoint.
    pub stop: &'a Stop,
}

impl<S: Serialize + DeserializeOwned + PartialEq> StageRun<'_, S> {
    /// Trains the network, or continues from its checkpoint. `before` opens the networks before this one, if there are any.
    /// Returns its ONNX graph.
    ///
    /// # Errors
    /// Returns an error if there is nothing to learn from, the training diverges, or a file cannot be read or written.
    pub fn train(&self, before: Option<&(dyn Fn() -> Result<Search> + Sync)>) -> Result<Vec<u8>> {
        let of = self.training;
        let checkpoint = self.checkpoint(of)?;
        let mined = match before {
            // A finished network needs no examples.
            Some(before) if checkpoint.state.step < of.steps => self.mine(before)?,
            _ => Mined::default(),
        };
        let samples = Samples::new(self.stage, self.views, self.scenes, &mined);
        samples.check()?;
        let network = self.run_steps(of, checkpoint, &samples)?;
        let weights = network.weights(&of.network).context("the training diverged")?;
        Ok(onnx::graph(self.stage.net(), &of.network, &weights))
    }

    fn seed(&self) -> u64 {
        mix([self.seed, self.stage.side() as u64, 0])
    }

    /// Reads the checkpoint, or makes the first one.
    fn checkpoint(&self, of: &StageTraining) -> Result<Checkpoint<StageState>> {
        let folder = &self.folder;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        if folder.join(checkpoint::FILE).exists() {
            return Checkpoint::read(folder, &of.network, self.settings);
        }
        Ok(Checkpoint {
            state: StageState::default(),
            weights: Weights::init(&of.network, self.seed()),
            average: None,
            optimizer: OptimizerState::new(),
        })
    }

    /// Looks for hard examples with the networks before this one.
    fn mine(&self, before: &(dyn Fn() -> Result<Search> + Sync)) -> Result<Mined> {
        let started = Instant::now();
        let mined = mine(before, self.scenes, self.training.mined_per_photo)?;
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
        let shards = Shards::of(self.compute)?;
        let mut progress = Progress::new();
        for step in checkpoint.state.step..steps {
            let dropout = mix([seed, step as u64, u64::MAX]);
            let (gradients, parts) =
                shards.step(&network, dropout, of.batch_size, |network, range, device| {
                    let drawn = range.into_par_iter().map(|position| {
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
            let (stop, is_last) = (self.stop.is_set(), step + 1 == steps);
            if stop || is_last || (step + 1) % CHECKPOINT_STEPS == 0 {
                progress.print(self.stage, step + 1, of);
                progress = Progress::new();
                let weights = network.weights(&of.network).context("the training diverged")?;
                let (state, optimizer) = (StageState { step: step + 1 }, optimizer.state(&network));
                Checkpoint { state, weights, average: None, optimizer }.write(&self.folder, self.settings)?;
            }
            ensure!(is_last || !stop, "stopped and saved; go on with the same command");
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
