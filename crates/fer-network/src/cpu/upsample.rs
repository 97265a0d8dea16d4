//! Upsampling that repeats every pixel.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::Tensor;

use super::{Primitive, primitive};

/// Returns `[samples, channels, height · factor, width · factor]`. burn computes it on other devices.
pub(crate) fn forward(x: Tensor<4>, factor: usize) -> Tensor<4> {
    let dims = x.dims();
    match x.clone().try_into_primitive::<Autodiff<Flex>>() {
        Ok(input) => {
            let output = repeated(input.primitive(), dims, factor);
            let state = (dims, factor);
            let node = Upsampling.prepare::<NoCheckpointing>([input.node()]);
            let output = match node.compute_bound().stateful() {
                OpsKind::Tracked(prepared) => prepared.finish(state, output),
                OpsKind::UnTracked(prepared) => prepared.finish(output),
            };
            Tensor::from_primitive::<Autodiff<Flex>>(output)
        }
        Err(_) => match x.clone().try_into_primitive::<Flex>() {
            Ok(plain) => Tensor::from_primitive::<Flex>(repeated(&plain, dims, factor)),
            Err(_) => expanded(x, factor),
        },
    }
}

/// The same with burn's operations.
fn expanded(x: Tensor<4>, factor: usize) -> Tensor<4> {
    let [samples, channels, height, width] = x.dims();
    let x: Tensor<5> = x.reshape([samples * channels, height, 1, width, 1]);
    let x = x.expand([samples * channels, height, factor, width, factor]);
    x.reshape([samples, channels, height * factor, width * factor])
}

fn repeated(x: &Primitive, [samples, channels, height, width]: [usize; 4], factor: usize) -> Primitive {
    let x = x.to_contiguous();
    let x: &[f32] = x.storage();
    let mut output = Vec::with_capacity(x.len() * factor * factor);
    for row in x.chunks_exact(width) {
        let start = output.len();
        output.extend(row.iter().flat_map(|&pixel| std::iter::repeat_n(pixel, factor)));
        for _ in 1..factor {
            output.extend_from_within(start..start + width * factor);
        }
    }
    primitive(output, [samples, channels, height * factor, width * factor])
}

#[derive(Clone, Copy, Debug)]
struct Upsampling;

impl Backward<Flex, 1> for Upsampling {
    /// The shape of the input, and the factor.
    type State = ([usize; 4], usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [input] = ops.parents;
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (dims, factor) = ops.state;
        let Some(node) = input else { return };
        let gradient: &[f32] = gradient.storage();
        let width = dims[3];
        let mut of_input = vec![0.0_f32; dims.iter().product()];
        for (number, row) in gradient.chunks_exact(width * factor).enumerate() {
            let sums = &mut of_input[number / factor * width..][..width];
            for (sum, pixels) in sums.iter_mut().zip(row.chunks_exact(factor)) {
                *sum += pixels.iter().sum::<f32>();
            }
        }
        grads.register::<Flex>(node.id, primitive(of_input, dims));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, uneven, values};
    use super::*;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn every_pixel_is_repeated_and_its_gradient_is_the_sum() {
        let device = Device::flex().autodiff();
        for factor in [1, 2, 3] {
            let x = Tensor::<4>::random([2, 3, 4, 5], Distribution::Uniform(-1.0, 1.0), &device);
            let passes = [forward, expanded].map(|pass| {
                let x = x.clone().detach().require_grad();
                let y = pass(x.clone(), factor);
                let gradients = uneven(y.clone()).backward();
                [values(y.inner()), values(x.grad(&gradients).unwrap())]
            });
            assert_close("output", &passes[0][0], &passes[1][0]);
            assert_close("gradient", &passes[0][1], &passes[1][1]);
            assert_eq!(values(forward(x.inner(), factor)), passes[0][0]);
        }
    }
}
