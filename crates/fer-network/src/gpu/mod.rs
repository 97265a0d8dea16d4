//! Layers for devices other than the CPU, written so that no thread of a kernel runs a long loop.
//!
//! Mesa's llvmpipe, the software renderer on which the GPU path is tested, ends the loops of a shader invocation after
//! 65,535 iterations in total (`LP_MAX_TGSI_LOOP_ITERATIONS` in Mesa's `gallivm/lp_bld_limits.h`, seen in 22.3.6), without
//! an error: a sum over more values is the sum of the first ones. burn 0.22.1 computes batch-norm statistics, and the
//! gradient of a convolution's bias, as one reduction over `samples × height × width` values (`batch_norm_train` in
//! burn-backend, `conv2d_bias_backward`), and cubek-reduce 0.3.1 gives a whole reduction to one thread where the device
//! has no subgroup operations, as cubecl-wgpu 0.11.3 has it for software renderers. So 29 faces of 48×48 pixels were too
//! many. Cards have no such limit, but the shorter sums cost them nothing and round less.

mod batch_norm;
mod conv;

pub(crate) use batch_norm::forward as batch_norm;
#[cfg(feature = "libtorch")]
pub(crate) use batch_norm::update as update_running_statistics;
pub(crate) use conv::forward as conv;

use burn::tensor::{Device, Tensor};

/// Whether a GPU computes, or its imitation in software: only devices of burn's wgpu backend have an identity.
#[cfg(feature = "wgpu")]
pub(crate) fn is_gpu(device: &Device) -> bool {
    device.identity().is_some()
}

/// A build without wgpu has only the CPU.
#[cfg(not(feature = "wgpu"))]
pub(crate) fn is_gpu(_: &Device) -> bool {
    false
}

/// Whether the device is a GPU's imitation in software, which has an identity but is no card.
#[cfg(feature = "wgpu")]
fn is_software(device: &Device) -> bool {
    device.identity().is_some_and(|identity| identity.physical.is_none())
}

#[cfg(not(feature = "wgpu"))]
fn is_software(_: &Device) -> bool {
    false
}

/// Means over samples and pixels: over the pixels of each sample first, then over the samples.
///
/// # Shapes
/// - x: `[samples, channels, pixels]`
/// - returns `[1, channels, 1]`
fn channel_means(x: Tensor<3>) -> Tensor<3> {
    x.mean_dim(2).mean_dim(0)
}

/// Repeats one value a channel for each sample. The caller's operation broadcasts it over the pixels, so that its gradient
/// is summed over the pixels first and then, here, over the samples.
///
/// # Shapes
/// - x: `[1, channels, 1]`
/// - returns `[samples, channels, 1]`
fn per_sample(x: Tensor<3>, samples: usize) -> Tensor<3> {
    let channels = x.dims()[1];
    x.expand([samples, channels, 1])
}
