//! Data parallelism on one machine: a mini-batch is cut into shards, each computed on its own thread.
//!
//! One step of burn's CPU backend scales badly over cores, independent steps scale almost perfectly; so each
//! shard runs in a thread pool of one thread, with batch-norm statistics of its own, and the gradients are
//! summed. On a GPU there is one shard.

use std::time::Instant;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use fer_model::NetworkSpec;
use fer_model::spec::InputSpec;
use fer_network::Network;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Preprocessed faces and what they are to answer.
pub struct MiniBatch {
    /// Row-major `[samples, channels, height, width]`.
    pub pixels: Vec<f32>,
    /// Row-major `[samples, labels]`, weights of the labels' log-probabilities; of a right answer the largest.
    pub targets: Vec<f32>,
}

/// What a mini-batch of faces came to.
pub struct Tally {
    /// Sum over the mini-batch.
    pub loss: f64,
    /// Faces whose most probable label was right, in training mode.
    pub correct: usize,
    /// Seconds until the faces were there, a mean over the shards.
    pub data_seconds: f64,
}

pub struct Shards {
    pools: Vec<ThreadPool>,
    device: Device,
}

impl Shards {
    pub fn new(device: Device, count: usize) -> Result<Self> {
        let pools = (0..count.max(1))
            .map(|_| ThreadPoolBuilder::new().num_threads(1).build())
            .collect::<Result<_, _>>()
            .context("cannot start the training threads")?;
        Ok(Self { pools, device })
    }

    /// Runs `work` once per shard at the same time, over even ranges of `0..samples`.
    fn each<T: Send>(&self, samples: usize, work: impl Fn(std::ops::Range<usize>) -> T + Sync) -> Vec<T> {
        let count = self.pools.len();
        let work = &work;
        std::thread::scope(|scope| {
            let running: Vec<_> = self
                .pools
                .iter()
                .enumerate()
                .map(|(i, pool)| (pool, samples * i / count..samples * (i + 1) / count))
                .filter(|(_, range)| !range.is_empty())
                .map(|(pool, range)| scope.spawn(move || pool.install(|| work(range))))
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Forward and backward over a mini-batch of `samples`: `part` gives the loss of a range of them, on its shard's
    /// thread, with whatever else it wants to report. `network` is on an autodiff device; its running statistics are
    /// updated. The gradients are the sum of the shards'.
    pub fn step<T: Send>(
        &self,
        network: &Network,
        samples: usize,
        part: impl Fn(&Network, std::ops::Range<usize>, &Device) -> (Tensor<1>, T) + Sync,
    ) -> (GradientsParams, Vec<T>) {
        let device = self.device.clone().autodiff();
        let parts = self.each(samples, |range| {
            // Leaves of its own, so that the shards' graphs stay apart; the numbers are shared.
            let network = network.clone().fork(&device);
            let (loss, report) = part(&network, range, &device);
            (GradientsParams::from_grads(loss.backward(), &network), report)
        });
        let mut sum = GradientsAccumulator::new();
        let mut reports = Vec::with_capacity(parts.len());
        for (gradients, report) in parts {
            sum.accumulate(network, gradients);
            reports.push(report);
        }
        (sum.grads(), reports)
    }

    /// A step of an emotion network, whose parts of the mini-batch `fetch` makes.
    pub fn classification_step(
        &self,
        network: &Network,
        spec: &NetworkSpec,
        samples: usize,
        fetch: impl Fn(std::ops::Range<usize>) -> MiniBatch + Sync,
    ) -> (GradientsParams, Tally) {
        let (gradients, parts) = self.step(network, samples, |network, range, device| {
            let started = Instant::now();
            let batch = fetch(range);
            let data_seconds = started.elapsed().as_secs_f64();
            let classes = spec.labels().len();
            let logits = logits(network, images(batch.pixels, spec.input(), device));
            let rows = host(logits.clone().inner());
            let answers = rows.chunks_exact(classes).zip(batch.targets.chunks_exact(classes));
            let correct = answers.filter(|(row, of)| most_probable(row) == most_probable(of)).count();
            let shape = [batch.targets.len() / classes, classes];
            let targets = Tensor::<2>::from_data(TensorData::new(batch.targets, shape), device);
            let loss = (log_softmax(logits, 1) * targets).sum().neg();
            let total: f32 = loss.clone().inner().into_scalar();
            (loss / samples as f64, Tally { loss: f64::from(total), correct, data_seconds })
        });
        let shards = parts.len() as f64;
        let none = Tally { loss: 0.0, correct: 0, data_seconds: 0.0 };
        let sum = parts.iter().fold(none, |sum, part| Tally {
            loss: sum.loss + part.loss,
            correct: sum.correct + part.correct,
            data_seconds: sum.data_seconds + part.data_seconds / shards,
        });
        (gradients, sum)
    }

    /// Logits of `samples` faces in inference mode, one row each; `network` is on the plain device.
    pub fn logits(
        &self,
        network: &Network,
        spec: &NetworkSpec,
        samples: usize,
        fetch: impl Fn(std::ops::Range<usize>) -> Vec<f32> + Sync,
    ) -> Vec<Vec<f32>> {
        const AT_ONCE: usize = 64;
        let classes = spec.labels().len();
        let parts = self.each(samples, |range| {
            let mut rows = Vec::with_capacity(range.len());
            for start in range.clone().step_by(AT_ONCE) {
                let pixels = fetch(start..range.end.min(start + AT_ONCE));
                let logits = host(logits(network, images(pixels, spec.input(), &self.device)));
                rows.extend(logits.chunks_exact(classes).map(<[f32]>::to_vec));
            }
            rows
        });
        parts.into_iter().flatten().collect()
    }
}

/// `[samples, channels, height, width]` of what an emotion network takes to `[samples, labels]`.
fn logits(network: &Network, faces: Tensor<4>) -> Tensor<2> {
    let outputs = network.forward(faces);
    outputs.into_iter().next().unwrap_or_else(|| unreachable!("an architecture has at least one head"))
}

/// As many samples as there are pixels for, row-major.
pub fn images(pixels: Vec<f32>, input: InputSpec, device: &Device) -> Tensor<4> {
    let samples = pixels.len() / (input.channels * input.height * input.width);
    let shape = [samples, input.channels, input.height, input.width];
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// Index of the highest score; the first of equals.
pub fn most_probable<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Row-major values.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec()
        .unwrap_or_else(|e| unreachable!("converted to f32: {e:?}"))
}
