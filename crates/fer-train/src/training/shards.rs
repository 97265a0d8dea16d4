//! Data parallelism on one machine: a mini-batch is cut into shards, each computed on its own thread.
//!
//! One step of burn's CPU backend scales badly over cores, but independent steps scale almost perfectly. So each shard
//! runs on a replica of the network in a thread pool of one thread, with its own batch-norm statistics. Gradients and
//! statistics are then summed in the order of the shards, so that two runs give the same weights. On a GPU there is one
//! shard, whose faces are drawn by all cores.

use std::time::Instant;

use anyhow::{Context, Result};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use fer_model::NetworkSpec;
use fer_model::spec::InputSpec;
use fer_network::{DropoutMasks, Network, Replica};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::training::device::Compute;

/// Preprocessed faces with their targets.
pub struct MiniBatch {
    /// Row-major `[samples, channels, height, width]`.
    pub pixels: Vec<f32>,
    /// Soft targets, row-major `[samples, heads, labels]`. The largest of a head's is its label.
    pub targets: Vec<f32>,
}

/// Loss and accuracy of one mini-batch.
pub struct Tally {
    /// Cross-entropy, a mean over the heads, summed over the mini-batch.
    pub loss: f64,
    /// Faces whose most probable label was right by the first head, in training mode.
    pub correct: usize,
    /// Seconds in which faces were augmented and preprocessed, a mean over the shards.
    pub data_seconds: f64,
}

/// A thread pool for each shard, and the device on which they compute.
pub struct Shards {
    pools: Vec<ThreadPool>,
    device: Device,
}

impl Shards {
    /// Starts the threads of a device.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn of(compute: &Compute) -> Result<Self> {
        // On the CPU each thread of a pool computes; next to a GPU they all prepare the one shard.
        let threads = if compute.gpu.is_some() { 0 } else { 1 };
        Self::with_threads(compute.device.clone(), compute.shards, threads)
    }

    /// `count` shards, at least one, of one thread each.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn new(device: Device, count: usize) -> Result<Self> {
        Self::with_threads(device, count, 1)
    }

    /// With so many threads for each shard; 0 stands for all cores.
    fn with_threads(device: Device, count: usize, threads: usize) -> Result<Self> {
        let pools = (0..count.max(1))
            .map(|_| ThreadPoolBuilder::new().num_threads(threads).build())
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

    /// Forward and backward pass over a mini-batch of `samples`. `part` returns the loss of a range of them and whatever
    /// else it wants to report; it runs on the thread of its shard. Dropout follows from `seed` and the sample's position
    /// in the mini-batch. `network` is on an autodiff device; its running statistics are updated.
    ///
    /// Returns the sum of the shards' gradients, and their reports in order.
    pub fn step<T: Send>(
        &self,
        network: &Network,
        seed: u64,
        samples: usize,
        part: impl Fn(&Replica, std::ops::Range<usize>, &Device) -> (Tensor<1>, T) + Sync,
    ) -> (GradientsParams, Vec<T>) {
        let device = self.device.clone().autodiff();
        let parts = self.each(samples, |range| {
            let replica = Replica::new(network, DropoutMasks { seed, first_sample: range.start });
            let (loss, report) = part(&replica, range, &device);
            (replica.backward(&loss), report)
        });
        let mut sum = GradientsAccumulator::new();
        let (mut statistics, mut reports) = (Vec::new(), Vec::new());
        for ((gradients, of_replica), report) in parts {
            sum.accumulate(network, gradients);
            statistics.push(of_replica);
            reports.push(report);
        }
        network.set_running_statistics(&statistics);
        (sum.grads(), reports)
    }

    /// [`Shards::step`] of an emotion network with the mean over its heads of the logits' cross-entropy; `fetch` makes a range of the mini-batch.
    pub fn classification_step(
        &self,
        network: &Network,
        spec: &NetworkSpec,
        seed: u64,
        samples: usize,
        fetch: impl Fn(std::ops::Range<usize>) -> MiniBatch + Sync,
    ) -> (GradientsParams, Tally) {
        let (gradients, parts) = self.step(network, seed, samples, |replica, range, device| {
            let started = Instant::now();
            let batch = fetch(range);
            let data_seconds = started.elapsed().as_secs_f64();
            let (classes, heads) = (spec.labels().len(), spec.label_sets().len());
            let logits = replica.forward(images(batch.pixels, spec.input(), device));
            let rows = host(logits[0].clone().inner());
            let outputs = rows.chunks_exact(classes).zip(batch.targets.chunks_exact(heads * classes));
            let is_correct =
                |(row, targets): &(&[f32], &[f32])| most_probable(row) == most_probable(&targets[..classes]);
            let correct = outputs.filter(is_correct).count();
            let shape = [batch.targets.len() / (heads * classes), heads * classes];
            let targets = Tensor::<2>::from_data(TensorData::new(batch.targets, shape), device);
            let log_probabilities = logits.into_iter().map(|logits| log_softmax(logits, 1)).collect();
            let loss = (Tensor::cat(log_probabilities, 1) * targets).sum().neg() / heads as f64;
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

    /// Logits of a head for `samples` faces in inference mode, one row per face. `fetch` returns the preprocessed pixels of a
    /// range of them. `network` is on the plain device.
    pub fn logits(
        &self,
        network: &Network,
        spec: &NetworkSpec,
        head: usize,
        samples: usize,
        fetch: impl Fn(std::ops::Range<usize>) -> Vec<f32> + Sync,
    ) -> Vec<Vec<f32>> {
        const AT_ONCE: usize = 64;
        let classes = spec.labels().len();
        let parts = self.each(samples, |range| {
            let mut rows = Vec::with_capacity(range.len());
            for start in range.clone().step_by(AT_ONCE) {
                let pixels = fetch(start..range.end.min(start + AT_ONCE));
                let logits =
                    host(network.forward(images(pixels, spec.input(), &self.device)).swap_remove(head));
                rows.extend(logits.chunks_exact(classes).map(<[f32]>::to_vec));
            }
            rows
        });
        parts.into_iter().flatten().collect()
    }
}

/// A tensor `[samples, channels, height, width]` of row-major pixels; their number gives the number of samples.
pub fn images(pixels: Vec<f32>, input: InputSpec, device: &Device) -> Tensor<4> {
    let samples = pixels.len() / (input.channels * input.height * input.width);
    let shape = [samples, input.channels, input.height, input.width];
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// Index of the highest value; the first one if several are equal.
pub fn most_probable<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The row-major values of a tensor.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec()
        .unwrap_or_else(|e| unreachable!("converted to f32: {e:?}"))
}
