//! Convolution whose bias gradient is summed in two stages, and whose weight gradient on a software renderer is a sum over
//! parts of the mini-batch.

use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use super::{is_software, per_sample};

/// Iterations that a kernel's loops may take on a software renderer. The weight gradient's kernel loops over samples and
/// output pixels, four samples at a time at best, in loops that count their outer iterations too.
const LONGEST_LOOP: usize = 32_768;

/// The layer's output.
///
/// # Shapes
/// - x: `[samples, channels, height, width]`
pub(crate) fn forward(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let mut plain = layer.clone();
    plain.bias = None;
    let y = in_parts(&plain, x);
    let Some(bias) = &layer.bias else { return y };
    let dims @ [samples, channels, height, width] = y.dims();
    let y: Tensor<3> = y.reshape([samples, channels, height * width]);
    let bias: Tensor<3> = bias.val().reshape([1, channels, 1]);
    (y + per_sample(bias, samples)).reshape(dims)
}

fn in_parts(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let [samples, _, height, width] = x.dims();
    let together = (LONGEST_LOOP / (height * width)).max(1);
    if samples <= together || !is_software(&x.device()) {
        return layer.forward(x);
    }
    let parts = x.split(together, 0).into_iter().map(|part| layer.forward(part));
    Tensor::cat(parts.collect(), 0)
}
