//! Compares a GPU with the CPU before a run trusts it: one step of the run's own network and batch size on both.
//!
//! Drivers and kernel compilers change, and a kernel that computes wrong numbers does not report an error. Loss, gradients
//! and running statistics of the step are compared; if one differs, every layer is compared by itself to find the one that
//! the GPU computes wrongly.

use anyhow::{Result, bail};
use burn::module::ParamId;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use fer_model::spec::{Architecture, Step};
use fer_model::weights::{Array, Weights};
use fer_network::Network;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::training::device::{Compute, Gpu};
use crate::training::shards::{Shards, host};

/// Largest difference between the losses, relative to the CPU's.
const LOSS_TOLERANCE: f64 = 1e-3;

/// Largest Euclidean distance between two tensors, relative to the norm of the CPU's. Different orders of summation stay
/// a hundred times below it, and half-precision products of tensor cores ten times.
const TOLERANCE: f64 = 1e-2;

/// Norm of a gradient that counts as zero, relative to the norm over all parameters: the gradient of a bias directly under
/// a batch norm is nothing but rounding.
const ZERO: f64 = 1e-2;

/// What is compared.
pub struct Subject<'a> {
    /// Where the run trains.
    pub compute: &'a Compute,
    /// The run's network.
    pub architecture: &'a Architecture,
    /// What it starts from.
    pub weights: &'a Weights,
    /// Batch size.
    pub samples: usize,
}

/// Computes `step`, a forward and a backward pass of one mini-batch that returns gradients and loss, on the CPU and on the
/// GPU. Does nothing on the CPU.
///
/// # Errors
/// If the GPU's results differ, unless it is trusted anyway: names the layer, its kind and the driver.
pub fn check(subject: &Subject, step: impl Fn(&Shards, &Network) -> (GradientsParams, f64)) -> Result<()> {
    let Some(gpu) = &subject.compute.gpu else { return Ok(()) };
    let cpu = subject.outcome(&Device::flex(), subject.weights, &step)?;
    let corrupted = gpu.corrupted.as_deref().map(|kind| subject.corrupted(kind));
    let weights = corrupted.as_ref().unwrap_or(subject.weights);
    let measured = subject.outcome(&subject.compute.device, weights, &step)?;
    let Some(difference) = cpu.difference(&measured) else { return Ok(()) };
    let single = subject.wrong_layer(weights);
    let wrong = single.as_ref().unwrap_or(&difference);
    let message = refusal(&subject.compute.name, gpu, wrong);
    if !gpu.trusted {
        bail!("{message}. Try another driver version, or --device cpu; --trust-gpu trains on it anyway");
    }
    eprintln!("fer-train: warning: {message}; training anyway because of --trust-gpu");
    Ok(())
}

fn refusal(name: &str, gpu: &Gpu, Difference { what, relative }: &Difference) -> String {
    format!(
        "{name} (driver {}) computes wrong numbers: the {what} differs from the CPU's by {:.2} % of its norm",
        gpu.driver,
        100.0 * relative
    )
}

/// One result that is not the same on both devices.
struct Difference {
    /// The result, with its layer and the layer's kind.
    what: String,
    relative: f64,
}

/// What a step came to on one device.
struct Outcome {
    loss: f64,
    /// Gradients of the trainable parameters, and the running statistics after the step, in the order of the architecture.
    tensors: Vec<Named>,
}

struct Named {
    what: String,
    is_gradient: bool,
    values: Vec<f32>,
}

impl Outcome {
    /// The first difference that is too large.
    fn difference(&self, measured: &Self) -> Option<Difference> {
        let total =
            self.tensors.iter().filter(|tensor| tensor.is_gradient).map(|tensor| norm(&tensor.values));
        let zero = ZERO * total.fold(0.0, f64::hypot);
        let tensors = self.tensors.iter().zip(&measured.tensors).find_map(|(cpu, gpu)| {
            let floor = if cpu.is_gradient { zero } else { 0.0 };
            let relative = relative_distance(&cpu.values, &gpu.values, floor);
            too_large(relative, TOLERANCE).then(|| Difference { what: cpu.what.clone(), relative })
        });
        let relative = relative_distance(&[self.loss as f32], &[measured.loss as f32], 0.0);
        let loss =
            too_large(relative, LOSS_TOLERANCE).then(|| Difference { what: "loss".to_owned(), relative });
        tensors.or(loss)
    }
}

impl Subject<'_> {
    fn outcome(
        &self,
        device: &Device,
        weights: &Weights,
        step: &impl Fn(&Shards, &Network) -> (GradientsParams, f64),
    ) -> Result<Outcome> {
        let shards = Shards::new(device.clone(), 1)?;
        let network = Network::new(self.architecture, weights, &device.clone().autodiff());
        let (gradients, loss) = step(&shards, &network);
        let after = network.weights(self.architecture).ok();
        let steps = single_steps(self.architecture.steps().to_vec());
        let kind = |name: &str| {
            let found = steps.iter().find(|step| name.starts_with(&format!("{}.", step.name)));
            found.map_or("layer", |step| step.layer.kind())
        };
        let mut tensors = Vec::new();
        // The ids of a network's parameters count them from 1 in the order of the architecture.
        for (id, parameter) in (1..).zip(self.architecture.parameters()) {
            let (what, values) = if parameter.trainable {
                ("gradient of ", gradient(&gradients, ParamId::from(id), parameter.shape.len()))
            } else {
                let stored = after.as_ref().map(|after| after.get(&parameter.name).values.clone());
                ("", stored.unwrap_or_else(|| vec![f32::NAN; parameter.len()]))
            };
            let what = format!("{what}{} ({})", parameter.name, kind(&parameter.name));
            tensors.push(Named { what, is_gradient: parameter.trainable, values });
        }
        Ok(Outcome { loss, tensors })
    }

    /// The first layer whose results differ by itself, on random input.
    fn wrong_layer(&self, weights: &Weights) -> Option<Difference> {
        let [cpu, gpu] = [Device::flex(), self.compute.device.clone()].map(Device::autodiff);
        let expected = Network::new(self.architecture, self.weights, &cpu);
        let measured = Network::new(self.architecture, weights, &gpu);
        let layers = expected.single_layers(self.architecture).into_iter();
        for (expected, measured) in layers.zip(measured.single_layers(self.architecture)) {
            let Step { name, layer, input, .. } = expected.step();
            let mut random = StdRng::seed_from_u64(1);
            let input: Vec<f32> = (0..self.samples * input.channels() * input.pixels())
                .map(|_| random.random_range(-1.0..1.0))
                .collect();
            let results = expected.forward_backward(input.clone(), self.samples, &cpu).into_iter();
            for ((what, on_cpu), (_, on_gpu)) in
                results.zip(measured.forward_backward(input, self.samples, &gpu))
            {
                let relative = relative_distance(&on_cpu, &on_gpu, f64::MIN_POSITIVE);
                if too_large(relative, TOLERANCE) {
                    return Some(Difference {
                        what: format!("{what} of {name} ({})", layer.kind()),
                        relative,
                    });
                }
            }
        }
        None
    }

    /// The weights with those of one kind of layer changed, which makes the GPU's results wrong on purpose.
    fn corrupted(&self, kind: &str) -> Weights {
        let steps = single_steps(self.architecture.steps().to_vec());
        let names: Vec<String> = steps
            .iter()
            .filter(|step| step.layer.kind() == kind)
            .map(|step| step.parameter_name("weight"))
            .collect();
        let arrays = self.weights.iter().map(|(name, Array { shape, values })| {
            let factor = if names.iter().any(|changed| changed == name) { 1.05 } else { 1.0 };
            let values = values.iter().map(|value| value * factor).collect();
            (name.to_owned(), Array { shape: shape.clone(), values })
        });
        Weights::new(self.architecture, arrays.collect())
            .unwrap_or_else(|e| unreachable!("only the values changed: {e}"))
    }
}

/// The layers with those of blocks in place of the blocks.
fn single_steps(steps: Vec<Step>) -> Vec<Step> {
    let single = steps.into_iter().flat_map(|step| {
        if step.branches.is_empty() {
            vec![step]
        } else {
            step.branches.into_iter().flat_map(single_steps).collect()
        }
    });
    single.collect()
}

/// Values of a gradient of the given rank; none if the parameter has none.
fn gradient(gradients: &GradientsParams, id: ParamId, rank: usize) -> Vec<f32> {
    let values = match rank {
        1 => gradients.get::<1>(id).map(host),
        2 => gradients.get::<2>(id).map(host),
        _ => gradients.get::<4>(id).map(host),
    };
    values.unwrap_or_default()
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// Euclidean distance, relative to the norm of the expected values or `floor`, whichever is larger; NaN where one of the
/// tensors has values that are not finite.
fn relative_distance(expected: &[f32], measured: &[f32], floor: f64) -> f64 {
    if expected.len() != measured.len() {
        return f64::INFINITY;
    }
    let squares = expected.iter().zip(measured).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    let distance = squares.sum::<f64>().sqrt();
    if distance == 0.0 { 0.0 } else { distance / norm(expected).max(floor) }
}

/// NaN is too large as well.
fn too_large(relative: f64, tolerance: f64) -> bool {
    relative.is_nan() || relative > tolerance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_relative_and_not_a_number_is_too_large() {
        let close = |a: &[f32], b: &[f32], floor| !too_large(relative_distance(a, b, floor), TOLERANCE);
        assert!(close(&[3.0, 4.0], &[3.0, 4.04], 0.0));
        assert!(!close(&[3.0, 4.0], &[3.0, 4.1], 0.0));
        assert!(close(&[3.0, 4.0], &[3.0, 4.1], 100.0));
        assert!(!close(&[3.0, 4.0], &[3.0, f32::NAN], 100.0));
        assert!(!close(&[3.0, 4.0], &[3.0], 100.0));
        assert!(close(&[0.0], &[0.0], 0.0));
        assert!(!close(&[0.0], &[1e-3], 0.0));
    }
}
