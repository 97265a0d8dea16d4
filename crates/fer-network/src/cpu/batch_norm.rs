//! Batch normalisation in training mode (Ioffe & Szegedy 2015). It reads the samples in their memory order, whereas burn first
//! copies them channel by channel.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::nn::BatchNorm;
use burn::tensor::{Device, Tensor, TensorData};

use super::planes::{LANES, Planes, sum};
use super::{Primitive, primitive};

/// Returns the layer's output for `[samples, channels, ..]` and updates the running statistics as burn does.
pub(crate) fn forward<const D: usize>(layer: &BatchNorm, x: Tensor<D>) -> Tensor<D> {
    let device = x.device();
    if !device.is_autodiff() || !layer.training.is_enabled() {
        return layer.forward(x);
    }
    let dims = x.dims();
    let parts = (
        x.clone().try_into_primitive::<Autodiff<Flex>>(),
        layer.gamma.val().try_into_primitive::<Autodiff<Flex>>(),
        layer.beta.val().try_into_primitive::<Autodiff<Flex>>(),
    );
    let (Ok(input), Ok(gamma), Ok(beta)) = parts else { return layer.forward(x) };
    let norm = Norm::of(input.primitive(), dims[1], layer.epsilon);
    let output = norm.apply(gamma.primitive(), beta.primitive(), dims);
    update(layer, &norm, &device);
    let state = (norm, gamma.primitive().clone());
    let node = Normalisation.prepare::<NoCheckpointing>([input.node(), gamma.node(), beta.node()]);
    let output = match node.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

fn update(layer: &BatchNorm, norm: &Norm, device: &Device) {
    for (running, latest) in [(&layer.running_mean, &norm.mean), (&layer.running_var, &norm.variance)] {
        let latest = Tensor::<1>::from_data(TensorData::new(latest.clone(), [latest.len()]), device);
        let kept = running.value_sync().to_device(device).mul_scalar(1.0 - layer.momentum);
        running.update(kept.add(latest.mul_scalar(layer.momentum)).detach());
    }
}

#[derive(Clone, Copy, Debug)]
struct Normalisation;

/// The input, and the mean and variance of each of its channels.
#[derive(Clone, Debug)]
struct Norm {
    x: Primitive,
    mean: Vec<f32>,
    /// Population variance, without Bessel's correction.
    variance: Vec<f32>,
    /// `1 / sqrt(variance + epsilon)`
    scale: Vec<f32>,
}

impl Norm {
    fn of(x: &Primitive, channels: usize, epsilon: f64) -> Self {
        let x = x.to_contiguous();
        let planes = Planes::of(&x, channels);
        let mut mean = vec![0.0_f64; channels];
        planes.each(|channel, plane| mean[channel] += sum(plane, |x| x));
        let mean: Vec<f32> = mean.iter().map(|sum| (sum / planes.count) as f32).collect();
        let mut variance = vec![0.0_f64; channels];
        planes.each(|channel, plane| {
            let mean = mean[channel];
            variance[channel] += sum(plane, |x| (x - mean) * (x - mean));
        });
        let variance: Vec<f32> = variance.iter().map(|sum| (sum / planes.count) as f32).collect();
        let scale = variance.iter().map(|&v| (1.0 / (f64::from(v) + epsilon).sqrt()) as f32).collect();
        Self { x, mean, variance, scale }
    }

    fn apply<const D: usize>(&self, gamma: &Primitive, beta: &Primitive, dims: [usize; D]) -> Primitive {
        let (gamma, beta) = (gamma.to_contiguous(), beta.to_contiguous());
        let (gamma, beta): (&[f32], &[f32]) = (gamma.storage(), beta.storage());
        let planes = Planes::of(&self.x, self.mean.len());
        let mut output = Vec::with_capacity(dims.iter().product());
        planes.each(|channel, plane| {
            let factor = gamma[channel] * self.scale[channel];
            let offset = beta[channel] - self.mean[channel] * factor;
            output.extend(plane.iter().map(|x| x * factor + offset));
        });
        primitive(output, dims)
    }
}

impl Backward<Flex, 3> for Normalisation {
    /// The input with its statistics, and gamma.
    type State = (Norm, Primitive);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [input, scale, offset] = ops.parents;
        let gradient = grads.consume::<Flex>(&ops.node);
        let dims = gradient.layout().shape().clone();
        let gradient = gradient.to_contiguous();
        let (norm, gamma) = ops.state;
        let channels = norm.mean.len();
        let gamma = gamma.to_contiguous();
        let gamma: &[f32] = gamma.storage();
        let (planes, of_output) = (Planes::of(&norm.x, channels), Planes::of(&gradient, channels));
        let (mut of_beta, mut of_gamma) = (vec![0.0_f64; channels], vec![0.0_f64; channels]);
        of_output.each_with(&planes, |channel, gradient, x| {
            let (mean, scale) = (norm.mean[channel], norm.scale[channel]);
            of_beta[channel] += sum(gradient, |g| g);
            of_gamma[channel] += dot(gradient, x, |x| (x - mean) * scale);
        });
        if let Some(node) = input {
            let mut of_input = Vec::with_capacity(planes.values.len());
            of_output.each_with(&planes, |channel, gradient, x| {
                let (mean, scale) = (norm.mean[channel], norm.scale[channel]);
                let factor = gamma[channel] * scale;
                let through_mean = (of_beta[channel] / planes.count) as f32;
                let through_scale = (of_gamma[channel] / planes.count) as f32 * scale;
                let of = |(g, x): (&f32, &f32)| factor * (g - through_mean - (x - mean) * through_scale);
                of_input.extend(gradient.iter().zip(x).map(of));
            });
            grads.register::<Flex>(node.id, Primitive::from_data(TensorData::new(of_input, dims)));
        }
        let vector = |sums: Vec<f64>| primitive(sums.into_iter().map(|sum| sum as f32).collect(), [channels]);
        if let Some(node) = scale {
            grads.register::<Flex>(node.id, vector(of_gamma));
        }
        if let Some(node) = offset {
            grads.register::<Flex>(node.id, vector(of_beta));
        }
    }
}

/// The sum of `a · of(b)` over all pairs of values.
fn dot(a: &[f32], b: &[f32], of: impl Fn(f32) -> f32) -> f64 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * of(*b);
        }
    }
    let rest = rest_a.iter().zip(rest_b).map(|(a, b)| a * of(*b));
    lanes.into_iter().chain(rest).map(f64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, uneven, values};
    use super::*;
    use burn::nn::BatchNormConfig;
    use burn::tensor::Distribution;

    /// Compares output, gradients and running statistics with burn's.
    fn agrees<const D: usize>(shape: [usize; D]) {
        let device = Device::flex().autodiff();
        let x = Tensor::<D>::random(shape, Distribution::Normal(0.7, 2.0), &device);
        let passes = [forward::<D>, |layer: &BatchNorm, x| layer.forward(x)].map(|pass| {
            let mut layer = BatchNormConfig::new(shape[1]).init(&device);
            let numbers: Vec<f32> = (0..shape[1]).map(|channel| 0.5 + channel as f32).collect();
            let numbers = Tensor::<1>::from_data(TensorData::new(numbers, [shape[1]]), &device);
            layer.gamma = layer.gamma.map(|_| numbers.clone().require_grad());
            layer.beta = layer.beta.map(|_| (numbers * 0.1).detach().require_grad());
            let x = x.clone().detach().require_grad();
            let y = pass(&layer, x.clone());
            let gradients = uneven(y.clone()).backward();
            [
                values(y.inner()),
                values(x.grad(&gradients).unwrap()),
                values(layer.gamma.val().grad(&gradients).unwrap()),
                values(layer.beta.val().grad(&gradients).unwrap()),
                values(layer.running_mean.value_sync().inner()),
                values(layer.running_var.value_sync().inner()),
            ]
        });
        let names = ["output", "input's gradient", "gamma's", "beta's", "mean", "variance"];
        for ((name, ours), burns) in names.iter().zip(&passes[0]).zip(&passes[1]) {
            assert_close(name, ours, burns);
        }
    }

    #[test]
    fn it_is_batch_norm() {
        agrees([6, 3, 5, 7]);
        agrees([40, 9]);
    }
}
