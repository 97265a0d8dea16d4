//! Batch norm in training mode (Ioffe & Szegedy 2015), with its statistics summed in two stages.

use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use super::{channel_means, per_sample};

/// The layer's output; in training mode it updates the running statistics as burn does.
///
/// # Shapes
/// - x: `[samples, channels, ..]`; returns the same
pub(crate) fn forward<const D: usize>(layer: &BatchNorm, x: Tensor<D>) -> Tensor<D> {
    if !x.device().is_autodiff() || !layer.training.is_enabled() {
        return layer.forward(x);
    }
    let dims = x.dims();
    let [samples, channels] = [dims[0], dims[1]];
    let pixels = dims[2..].iter().product();
    let x: Tensor<3> = x.reshape([samples, channels, pixels]);
    let mean = channel_means(x.clone());
    let centred = x - per_sample(mean.clone(), samples);
    let variance = channel_means(centred.clone() * centred.clone());
    let gamma: Tensor<3> = layer.gamma.val().reshape([1, channels, 1]);
    let beta: Tensor<3> = layer.beta.val().reshape([1, channels, 1]);
    let scale = gamma / (variance.clone() + layer.epsilon).sqrt();
    update(layer, mean, variance);
    (centred * per_sample(scale, samples) + per_sample(beta, samples)).reshape(dims)
}

/// Moves the running statistics towards those of this mini-batch.
pub(crate) fn update(layer: &BatchNorm, mean: Tensor<3>, variance: Tensor<3>) {
    for (running, latest) in [(&layer.running_mean, mean), (&layer.running_var, variance)] {
        let channels = latest.dims()[1];
        let latest: Tensor<1> = latest.detach().reshape([channels]);
        let kept = running.value_sync().to_device(&latest.device()).mul_scalar(1.0 - layer.momentum);
        running.update(kept.add(latest.mul_scalar(layer.momentum)).detach());
    }
}
