//! Convolution as one large matrix product for several samples, forward and backward.
//!
//! burn's convolution multiplies sample by sample, and computes the gradient of the weights as a convolution with kernels of
//! the size of the picture. On small pictures both give matrix products that are too small to be fast. Here the patches under
//! the kernel become the columns of a matrix (im2col: Chellapilla, Puri & Simard 2006), for as many samples as make the
//! product large enough.

use std::ops::Range;

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use super::{Primitive, primitive};

/// Number of columns of a matrix product: fewer would not be worth the overhead, more would not fit into the cache.
const COLUMNS: usize = 1024;

/// Returns the layer's output. burn computes it on other devices, and for kernels that are not square or have a stride, a
/// dilation or groups.
pub(crate) fn forward(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let [.., height, width] = x.dims();
    let [channels_out, channels_in, kernel, kernel_width] = layer.weight.dims();
    let padding = match layer.padding {
        burn::nn::PaddingConfig2d::Explicit(top, left, bottom, right)
            if [left, bottom, right] == [top; 3] =>
        {
            top
        }
        burn::nn::PaddingConfig2d::Valid => 0,
        _ => return layer.forward(x),
    };
    let plain = layer.groups == 1 && layer.stride == [1, 1] && layer.dilation == [1, 1];
    if !plain || kernel < 2 || kernel != kernel_width {
        return layer.forward(x);
    }
    let shape = Shape { channels_in, height, width, channels_out, kernel, padding };
    let weight = layer.weight.val();
    let y = match x.clone().try_into_primitive::<Autodiff<Flex>>() {
        Ok(tracked) => {
            let Ok(weight) = weight.try_into_primitive::<Autodiff<Flex>>() else { return layer.forward(x) };
            let (input, weights) = (tracked.primitive(), weight.primitive());
            let output = shape.multiply(input, weights);
            let state = (input.clone(), weights.clone(), shape);
            let node = Convolution.prepare::<NoCheckpointing>([tracked.node(), weight.node()]);
            let output = match node.compute_bound().stateful() {
                OpsKind::Tracked(prepared) => prepared.finish(state, output),
                OpsKind::UnTracked(prepared) => prepared.finish(output),
            };
            Tensor::from_primitive::<Autodiff<Flex>>(output)
        }
        Err(_) => {
            let (Ok(plain), Ok(weight)) =
                (x.clone().try_into_primitive::<Flex>(), weight.try_into_primitive::<Flex>())
            else {
                return layer.forward(x);
            };
            Tensor::from_primitive::<Flex>(shape.multiply(&plain, &weight))
        }
    };
    match &layer.bias {
        Some(bias) => y + bias.val().reshape([1, channels_out, 1, 1]),
        None => y,
    }
}

/// The shape of a convolution with a square kernel, stride 1 and the same padding on all sides.
#[derive(Clone, Copy, Debug)]
struct Shape {
    channels_in: usize,
    height: usize,
    width: usize,
    channels_out: usize,
    kernel: usize,
    padding: usize,
}

#[derive(Clone, Copy, Debug)]
struct Convolution;

impl Backward<Flex, 2> for Convolution {
    /// Input and weights.
    type State = (Primitive, Primitive, Shape);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [input, weights] = ops.parents;
        let gradient = grads.consume::<Flex>(&ops.node);
        let (x, weight, shape) = ops.state;
        if let Some(node) = weights {
            grads.register::<Flex>(node.id, shape.weight_gradient(&x, &gradient));
        }
        if let Some(node) = input {
            grads.register::<Flex>(node.id, shape.input_gradient(&weight, &gradient));
        }
    }
}

impl Shape {
    fn output(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| side + 2 * self.padding + 1 - self.kernel)
    }

    /// Number of pixels in an output channel.
    fn places(&self) -> usize {
        self.output().iter().product()
    }

    /// Number of input values under the kernel, over all input channels.
    fn patch(&self) -> usize {
        self.channels_in * self.kernel * self.kernel
    }

    /// Returns the output, `[samples, channels_out, ..]`, for the input, `[samples, channels_in, ..]`, and the weights,
    /// `[channels_out, channels_in, ..]`.
    fn multiply(&self, x: &Primitive, weight: &Primitive) -> Primitive {
        let (x, weight) = (x.to_contiguous(), self.weight_matrix(weight));
        let x: &[f32] = x.storage();
        let samples = x.len() / (self.channels_in * self.height * self.width);
        let mut output = vec![0.0; samples * self.channels_out * self.places()];
        for part in self.parts(samples) {
            let columns = self.columns(x, &part);
            let product = Flex::float_matmul(weight.clone(), columns).to_contiguous();
            self.scatter(product.storage(), &part, &mut output);
        }
        let [height, width] = self.output();
        primitive(output, [samples, self.channels_out, height, width])
    }

    /// Returns the gradient of the weights, `[channels_out, channels_in, kernel, kernel]`.
    fn weight_gradient(&self, x: &Primitive, gradient: &Primitive) -> Primitive {
        let (x, gradient) = (x.to_contiguous(), gradient.to_contiguous());
        let (x, gradient): (&[f32], &[f32]) = (x.storage(), gradient.storage());
        let samples = x.len() / (self.channels_in * self.height * self.width);
        let mut sum = vec![0.0_f32; self.channels_out * self.patch()];
        for part in self.parts(samples) {
            let columns = Flex::float_swap_dims(self.columns(x, &part), 0, 1);
            let product = Flex::float_matmul(self.gather(gradient, &part), columns).to_contiguous();
            let product: &[f32] = product.storage();
            sum.iter_mut().zip(product).for_each(|(sum, next)| *sum += next);
        }
        primitive(sum, [self.channels_out, self.channels_in, self.kernel, self.kernel])
    }

    /// Returns the gradient of the input, `[samples, channels_in, height, width]`.
    fn input_gradient(&self, weight: &Primitive, gradient: &Primitive) -> Primitive {
        let weight = Flex::float_swap_dims(self.weight_matrix(weight), 0, 1);
        let gradient = gradient.to_contiguous();
        let gradient: &[f32] = gradient.storage();
        let samples = gradient.len() / (self.channels_out * self.places());
        let mut sum = vec![0.0; samples * self.channels_in * self.height * self.width];
        for part in self.parts(samples) {
            let columns = Flex::float_matmul(weight.clone(), self.gather(gradient, &part)).to_contiguous();
            self.fold(columns.storage(), &part, &mut sum);
        }
        primitive(sum, [samples, self.channels_in, self.height, self.width])
    }

    /// Splits the samples into ranges, one for each matrix product.
    fn parts(&self, samples: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let together = COLUMNS.div_ceil(self.places());
        (0..samples).step_by(together).map(move |start| start..samples.min(start + together))
    }

    /// Returns the weights as a matrix, `[channels_out, patch]`.
    fn weight_matrix(&self, weight: &Primitive) -> Primitive {
        Flex::float_reshape(weight.to_contiguous(), [self.channels_out, self.patch()].into())
    }

    /// Returns the patches as columns, `[patch, output pixels of all samples of the part]`.
    fn columns(&self, x: &[f32], part: &Range<usize>) -> Primitive {
        let count = part.len() * self.places();
        let mut columns = vec![0.0; self.patch() * count];
        self.each_run(part, |run| {
            columns[run.column..][..run.length].copy_from_slice(&x[run.pixel..][..run.length]);
        });
        primitive(columns, [self.patch(), count])
    }

    /// Adds the columns back to the pixels that [`Self::columns`] took them from.
    fn fold(&self, columns: &[f32], part: &Range<usize>, sum: &mut [f32]) {
        self.each_run(part, |run| {
            let pixels = sum[run.pixel..][..run.length].iter_mut();
            pixels.zip(&columns[run.column..][..run.length]).for_each(|(sum, next)| *sum += next);
        });
    }

    /// Visits every run of pixels that are neighbours both in the picture and in the columns.
    fn each_run(&self, part: &Range<usize>, mut visit: impl FnMut(Run)) {
        let Self { channels_in, height, width, kernel, padding, .. } = *self;
        let [out_height, out_width] = self.output();
        let count = part.len() * self.places();
        for patch in 0..self.patch() {
            let (channel, down, across) =
                (patch / (kernel * kernel), patch / kernel % kernel, patch % kernel);
            // The output pixels whose input pixel is inside the picture.
            let inside = |shift: usize, side: usize, most: usize| {
                padding.saturating_sub(shift)..most.min((side + padding).saturating_sub(shift))
            };
            let columns = inside(across, width, out_width);
            if columns.is_empty() {
                continue;
            }
            for (place, sample) in part.clone().enumerate() {
                let picture = (sample * channels_in + channel) * height * width;
                let start = patch * count + place * self.places();
                for row in inside(down, height, out_height) {
                    visit(Run {
                        column: start + row * out_width + columns.start,
                        pixel: picture + (row + down - padding) * width + columns.start + across - padding,
                        length: columns.len(),
                    });
                }
            }
        }
    }

    /// Reorders a gradient by samples to `[channels_out, output pixels of all samples of the part]`.
    fn gather(&self, gradient: &[f32], part: &Range<usize>) -> Primitive {
        let places = self.places();
        let mut rows = Vec::with_capacity(self.channels_out * part.len() * places);
        for channel in 0..self.channels_out {
            for sample in part.clone() {
                rows.extend_from_slice(
                    &gradient[(sample * self.channels_out + channel) * places..][..places],
                );
            }
        }
        primitive(rows, [self.channels_out, part.len() * places])
    }

    /// Copies the rows of a matrix product into the output by samples, the inverse of [`Self::gather`].
    fn scatter(&self, rows: &[f32], part: &Range<usize>, output: &mut [f32]) {
        let places = self.places();
        for channel in 0..self.channels_out {
            for (place, sample) in part.clone().enumerate() {
                let from = &rows[(channel * part.len() + place) * places..][..places];
                output[(sample * self.channels_out + channel) * places..][..places].copy_from_slice(from);
            }
        }
    }
}

/// Neighbouring pixels of a row: their first index in the columns and in the pictures, and their number.
struct Run {
    column: usize,
    pixel: usize,
    length: usize,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_close, uneven, values};
    use super::*;
    use burn::module::Module;
    use burn::nn::PaddingConfig2d;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::{Device, Distribution};

    /// Compares output and gradients with burn's convolution.
    #[test]
    fn it_is_the_convolution() {
        let device = Device::flex().autodiff();
        for (channels, sides, kernel, padding) in
            [([1, 5], [9, 7], 3, 1), ([3, 4], [6, 8], 5, 2), ([2, 3], [5, 5], 2, 0), ([4, 2], [3, 3], 5, 2)]
        {
            let layer = Conv2dConfig::new(channels, [kernel, kernel])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .init(&device);
            let shape = [70, channels[0], sides[0], sides[1]];
            let x = Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
            let passes = [forward, |layer: &Conv2d, x| layer.forward(x)].map(|pass| {
                let x = x.clone().detach().require_grad();
                let y = pass(&layer, x.clone());
                let gradients = uneven(y.clone()).backward();
                [
                    values(y.inner()),
                    values(x.grad(&gradients).unwrap()),
                    values(layer.weight.val().grad(&gradients).unwrap()),
                    values(layer.bias.as_ref().unwrap().val().grad(&gradients).unwrap()),
                ]
            });
            let plain = forward(&layer.clone().valid(), x.inner());
            assert_eq!(values(plain), passes[0][0]);
            let names = ["output", "input's gradient", "weights'", "bias's"];
            for ((name, ours), burns) in names.iter().zip(&passes[0]).zip(&passes[1]) {
                assert_close(name, ours, burns);
            }
        }
    }
}
