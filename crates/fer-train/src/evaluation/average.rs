//! The mean of several networks' weights as one network (model soups, Wortsman et al. 2022).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use fer_dataset::Sample;
use fer_model::NetworkSpec;
use fer_model::spec::{LayerSpec, Step};
use fer_model::weights::{Array, Arrays, Weights};
use fer_network::Network;

use crate::evaluation::views::Views;
use crate::training::device::Compute;
use crate::training::shards::images;

/// Faces in a mini-batch whose statistics are measured.
const BATCH: usize = 128;

/// burn's default for batch norms: the fraction of the new statistics in the running ones.
const MOMENTUM: f32 = 0.1;

/// The mean of each weight over networks of equal specs, running statistics of batch norms included.
///
/// The mean of running statistics does not describe the averaged network: [`reestimate`] measures them anew.
///
/// # Errors
/// If the specs differ.
pub fn mean_weights(members: &[(&NetworkSpec, &Weights)]) -> Result<Weights> {
    let (spec, first) = members[0];
    if let Some((other, _)) = members.iter().find(|(other, _)| *other != spec) {
        bail!(
            "only weights of the same network can be averaged; {} differs from {}",
            other.name(),
            spec.name()
        );
    }
    let mean = |(name, array): (&str, &Array)| {
        let mut values = vec![0.0; array.values.len()];
        for (_, weights) in members {
            let own = weights.get(name).values.iter();
            values.iter_mut().zip(own).for_each(|(sum, value)| *sum += value / members.len() as f32);
        }
        (name.to_owned(), Array { shape: array.shape.clone(), values })
    };
    Ok(Weights::new(spec.architecture(), first.iter().map(mean).collect())?)
}

/// The same weights with running statistics that are the mean of those of all mini-batches of the samples, as stochastic
/// weight averaging does (Izmailov et al. 2018). The faces are not augmented, and dropout is off, as in serving. An incomplete
/// last mini-batch is left out.
///
/// # Errors
/// If there are no samples, or if a statistic is not finite.
pub fn reestimate(
    spec: &NetworkSpec,
    weights: &Weights,
    samples: &[Sample],
    compute: &Compute,
) -> Result<Weights> {
    ensure!(!samples.is_empty(), "there are no training rows of {}'s labels", spec.name());
    let from_zero = with_statistics(spec, weights, |_, array| vec![0.0; array.values.len()])?;
    let batches: Vec<&[Sample]> = samples.chunks_exact(BATCH.min(samples.len())).collect();
    let threads = compute.shards.clamp(1, batches.len());
    let measured = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let range = batches.len() * thread / threads..batches.len() * (thread + 1) / threads;
                let (part, from_zero) = (&batches[range], &from_zero);
                scope.spawn(move || {
                    part.iter().map(|batch| statistics(spec, from_zero, batch, &compute.device)).collect()
                })
            })
            .collect();
        let parts = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        parts.collect::<Result<Vec<Vec<Arrays>>>>()
    })?;
    let mut sums = BTreeMap::<String, Vec<f64>>::new();
    for (name, array) in measured.into_iter().flatten().flatten() {
        let sum = sums.entry(name).or_insert_with(|| vec![0.0; array.values.len()]);
        sum.iter_mut().zip(&array.values).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let mean = |sum: &f64| (sum / batches.len() as f64) as f32;
    with_statistics(spec, weights, |name, _| sums[name].iter().map(mean).collect())
}

/// Mean and variance of a mini-batch before every batch norm, by the names of the running statistics.
fn statistics(spec: &NetworkSpec, from_zero: &Weights, batch: &[Sample], device: &Device) -> Result<Arrays> {
    let mut pixels = Vec::new();
    batch.iter().for_each(|sample| Views::Plain.append(0, sample, spec, &mut pixels));
    // On an autodiff device the network is in training mode, in which a forward pass updates the running statistics.
    let device = device.clone().autodiff();
    let network = Network::new(spec.architecture(), from_zero, &device);
    network.forward(images(pixels, spec.input(), &device));
    let after =
        network.weights(spec.architecture()).context("the averaged network gives no finite output")?;
    let statistics = after.iter().filter(|(name, _)| is_statistic(name)).map(|(name, array)| {
        // The update started from zero, so the rest of the running statistic is zero.
        let values = array.values.iter().map(|value| value / MOMENTUM).collect();
        (name.to_owned(), Array { shape: array.shape.clone(), values })
    });
    Ok(statistics.collect())
}

/// The weights with other running statistics.
fn with_statistics(
    spec: &NetworkSpec,
    weights: &Weights,
    values: impl Fn(&str, &Array) -> Vec<f32>,
) -> Result<Weights> {
    let arrays = weights.iter().map(|(name, array)| {
        let values = if is_statistic(name) { values(name, array) } else { array.values.clone() };
        (name.to_owned(), Array { shape: array.shape.clone(), values })
    });
    Ok(Weights::new(spec.architecture(), arrays.collect())?)
}

fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// Whether a network has batch norms, inside of blocks too.
pub fn has_batch_norms(spec: &NetworkSpec) -> bool {
    fn any(steps: &[Step]) -> bool {
        steps.iter().any(|step| {
            matches!(step.layer, LayerSpec::BatchNorm) || step.branches.iter().any(|branch| any(branch))
        })
    }
    any(spec.architecture().steps())
}
