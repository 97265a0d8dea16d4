//! Layers that LibTorch differentiates too, for NVIDIA GPUs.
//!
//! burn computes a convolution's weight gradient as a convolution with kernels of the size of the picture, for which cuDNN has
//! no fast algorithm, and a batch norm as a dozen operations. LibTorch has one kernel for each.

#![allow(deprecated, reason = "burn 0.22 deprecates its LibTorch backend")]

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::{BackendTypes, LibTorch};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, PaddingConfig2d};
use burn::tensor::Tensor;
use tch::Tensor as Torch;

use crate::gpu::update_running_statistics;

type Tracked = <Autodiff<LibTorch> as BackendTypes>::FloatTensorPrimitive;

/// The layer's output; none on other devices, without autodiff, and for paddings that differ from side to side.
pub(crate) fn conv(layer: &Conv2d, x: Tensor<4>) -> Option<Tensor<4>> {
    let padding = match layer.padding {
        PaddingConfig2d::Explicit(top, left, bottom, right) if (top, left) == (bottom, right) => [top, left],
        PaddingConfig2d::Valid => [0, 0],
        _ => return None,
    };
    let list = |values: [usize; 2]| values.map(|value| value as i64);
    let (stride, padding, dilation) = (list(layer.stride), list(padding), list(layer.dilation));
    let groups = layer.groups as i64;
    let x = tracked(x)?;
    let weight = tracked(layer.weight.val())?;
    let output = match &layer.bias {
        Some(bias) => record([x, weight, tracked(bias.val())?], |[x, weight, bias]| {
            x.conv2d(weight, Some(bias), stride, padding, dilation, groups)
        }),
        None => record([x, weight], |[x, weight]| {
            x.conv2d(weight, None::<&Torch>, stride, padding, dilation, groups)
        }),
    };
    Some(Tensor::from_primitive::<Autodiff<LibTorch>>(output))
}

/// The layer's output in training mode; it updates the running statistics as burn does. None on other devices and in
/// inference mode.
pub(crate) fn batch_norm<const D: usize>(layer: &BatchNorm, x: Tensor<D>) -> Option<Tensor<D>> {
    let device = x.device();
    if !device.is_autodiff() || !layer.training.is_enabled() {
        return None;
    }
    let channels = x.dims()[1];
    let parameters = [tracked(x)?, tracked(layer.gamma.val())?, tracked(layer.beta.val())?];
    let mut statistics = None;
    let output = record(parameters, |[x, gamma, beta]| {
        let none = None::<&Torch>;
        let (y, mean, inverse_deviation) =
            x.native_batch_norm(Some(gamma), Some(beta), none, none, true, layer.momentum, layer.epsilon);
        // A copy, because LibTorch keeps the mean for the backward pass.
        statistics =
            Some((mean.detach().copy(), inverse_deviation.detach().pow_tensor_scalar(-2.0) - layer.epsilon));
        y
    });
    let (mean, variance) = statistics?;
    let [mean, variance] = [mean, variance].map(|values| {
        let values = Tensor::<1>::from_primitive::<LibTorch>(TchTensor::new(values));
        values.reshape([1, channels, 1])
    });
    update_running_statistics(layer, mean, variance);
    Some(Tensor::from_primitive::<Autodiff<LibTorch>>(output))
}

fn tracked<const D: usize>(tensor: Tensor<D>) -> Option<Tracked> {
    tensor.try_into_primitive::<Autodiff<LibTorch>>().ok()
}

/// Runs a layer with LibTorch's own autodiff, as one operation of burn's autodiff.
fn record<const N: usize>(inputs: [Tracked; N], layer: impl FnOnce([&Torch; N]) -> Torch) -> Tracked {
    let leaves = inputs
        .each_ref()
        .map(|input| TchTensor::new(input.primitive().tensor.detach().set_requires_grad(true)));
    let output = layer(leaves.each_ref().map(|leaf| &leaf.tensor));
    let plain = TchTensor::new(output.detach());
    // burn overwrites a tensor in place only if nothing else owns it.
    let owners = inputs.each_ref().map(|input| input.primitive().clone());
    let state = Recorded { leaves, output: TchTensor::new(output), _owners: owners };
    let node = Replay::<N>.prepare::<NoCheckpointing>(inputs.each_ref().map(|input| input.node()));
    match node.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, plain),
        OpsKind::UnTracked(prepared) => prepared.finish(plain),
    }
}

/// A layer's inputs and output in LibTorch's graph.
#[derive(Clone, Debug)]
struct Recorded<const N: usize> {
    leaves: [TchTensor; N],
    output: TchTensor,
    _owners: [TchTensor; N],
}

#[derive(Clone, Copy, Debug)]
struct Replay<const N: usize>;

impl<const N: usize> Backward<LibTorch, N> for Replay<N> {
    type State = Recorded<N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<LibTorch>(&ops.node);
        let Recorded { leaves, output, .. } = ops.state;
        // LibTorch's roots start from ones, so the gradient enters as a factor.
        let root = output.tensor * gradient.tensor;
        let leaves = leaves.map(|leaf| leaf.tensor);
        let gradients = Torch::run_backward(&[root], &leaves, false, false);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<LibTorch>(node.id, TchTensor::new(gradient));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::BatchNormConfig;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::cpu::tests::{assert_close, uneven, values};

    /// Output and gradient of the input, then what `parameters` returns of the layer.
    fn results(
        x: &Tensor<4>,
        pass: impl Fn(Tensor<4>) -> Tensor<4>,
        parameters: &[Tensor<1>],
    ) -> Vec<Vec<f32>> {
        let x = x.clone().detach().require_grad();
        let y = pass(x.clone());
        let gradients = uneven(y.clone()).backward();
        let parameters = parameters.iter().map(|parameter| values(parameter.grad(&gradients).unwrap()));
        [values(y.inner()), values(x.grad(&gradients).unwrap())].into_iter().chain(parameters).collect()
    }

    fn assert_equal(ours: &[Vec<f32>], burns: &[Vec<f32>]) {
        assert_eq!(ours.len(), burns.len());
        ours.iter()
            .zip(burns)
            .enumerate()
            .for_each(|(number, (a, b))| assert_close(&format!("result {number}"), a, b));
    }

    /// Compares outputs and gradients with burn's layers, on LibTorch's CPU.
    #[test]
    fn they_are_the_layers() {
        let device = Device::libtorch().autodiff();
        let x = Tensor::<4>::random([6, 3, 9, 8], Distribution::Uniform(-0.5, 1.5), &device);
        for stride in [1, 2] {
            let conv = Conv2dConfig::new([3, 4], [3, 3])
                .with_stride([stride; 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(&device);
            let bias = [conv.bias.as_ref().unwrap().val()];
            let ours = results(&x, |x| super::conv(&conv, x).unwrap(), &bias);
            assert_equal(&ours, &results(&x, |x| conv.forward(x), &bias));
        }
        let norms = [0, 1].map(|_| BatchNormConfig::new(3).init(&device));
        let [ours, burns] = norms.each_ref().map(|norm| {
            let parameters = [norm.gamma.val(), norm.beta.val()];
            let mut results = if std::ptr::eq(norm, &norms[0]) {
                results(&x, |x| batch_norm(norm, x).unwrap(), &parameters)
            } else {
                results(&x, |x| norm.forward(x), &parameters)
            };
            results
                .extend([&norm.running_mean, &norm.running_var].map(|running| values(running.value_sync())));
            results
        });
        assert_equal(&ours, &burns);
    }

    #[test]
    fn other_devices_and_inference_are_left_to_burn() {
        let flex = Device::flex().autodiff();
        let x = Tensor::<4>::zeros([2, 3, 8, 8], &flex);
        assert!(super::conv(&Conv2dConfig::new([3, 4], [3, 3]).init(&flex), x.clone()).is_none());
        assert!(batch_norm(&BatchNormConfig::new(3).init(&flex), x).is_none());
        let plain = Device::libtorch();
        let x = Tensor::<4>::zeros([2, 3, 8, 8], &plain);
        assert!(super::conv(&Conv2dConfig::new([3, 4], [3, 3]).init(&plain), x).is_none());
    }
}
