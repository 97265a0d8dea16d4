//! Max pooling without overlap.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::nn::PaddingConfig2d;
use burn::nn::pool::MaxPool2d;
use burn::tensor::{Tensor, TensorData};

use super::{Primitive, primitive};

/// Returns the layer's output. burn computes it for windows that overlap or are not square.
pub(crate) fn forward(layer: &MaxPool2d, x: Tensor<4>) -> Tensor<4> {
    let (dims, size) = (x.dims(), layer.kernel_size[0]);
    let valid = matches!(layer.padding, PaddingConfig2d::Valid);
    if layer.kernel_size != [size; 2] || layer.stride != [size; 2] || !valid {
        return layer.forward(x);
    }
    let Ok(input) = x.clone().try_into_primitive::<Autodiff<Flex>>() else { return layer.forward(x) };
    let (output, places) = pool(input.primitive(), dims, size);
    let state = (places, dims);
    let output = match Pooling.prepare::<NoCheckpointing>([input.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

/// Returns the maximum of each window and its index in the input, the first of equal ones.
fn pool(x: &Primitive, dims: [usize; 4], size: usize) -> (Primitive, Vec<u32>) {
    let x = x.to_contiguous();
    let x: &[f32] = x.storage();
    let [samples, channels, height, width] = dims;
    let [rows, columns] = [height / size, width / size];
    let count = samples * channels * rows * columns;
    let (mut output, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for plane in 0..samples * channels {
        for row in 0..rows {
            let start = (plane * height + row * size) * width;
            for column in 0..columns {
                let first = start + column * size;
                let (mut best, mut place) = (x[first], first);
                for down in 0..size {
                    let at = first + down * width;
                    for (across, &value) in x[at..][..size].iter().enumerate() {
                        if value > best {
                            (best, place) = (value, at + across);
                        }
                    }
                }
                output.push(best);
                places.push(place as u32);
            }
        }
    }
    (primitive(output, [samples, channels, rows, columns]), places)
}

#[derive(Clone, Copy, Debug)]
struct Pooling;

impl Backward<Flex, 1> for Pooling {
    /// The input index of each output, and the shape of the input.
    type State = (Vec<u32>, [usize; 4]);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [input] = ops.parents;
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (places, dims) = ops.state;
        let Some(node) = input else { return };
        let mut of_input = vec![0.0_f32; dims.iter().product()];
        let gradient: &[f32] = gradient.storage();
        for (&place, &gradient) in places.iter().zip(gradient) {
            of_input[place as usize] = gradient;
        }
        grads.register::<Flex>(node.id, Primitive::from_data(TensorData::new(of_input, dims)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, uneven, values};
    use super::*;
    use burn::nn::pool::MaxPool2dConfig;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn it_is_max_pooling() {
        let device = Device::flex().autodiff();
        for (size, sides) in [(2, [6, 9]), (3, [7, 6]), (4, [9, 9])] {
            let layer = MaxPool2dConfig::new([size, size]).init();
            let shape = [3, 2, sides[0], sides[1]];
            let x = Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
            let pass = |y: Tensor<4>, x: Tensor<4>| {
                let gradients = uneven(y.clone()).backward();
                [values(y.inner()), values(x.grad(&gradients).unwrap())]
            };
            let [a, b] = [(); 2].map(|()| x.clone().detach().require_grad());
            let [output, gradient] = pass(forward(&layer, a.clone()), a);
            let [burns_output, burns_gradient] = pass(layer.forward(b.clone()), b);
            assert_close("output", &output, &burns_output);
            assert_close("gradient", &gradient, &burns_gradient);
        }
    }
}
