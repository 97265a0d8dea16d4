//! Convolution as matrix products of a size that suits the cache, forward and backward.
//!
//! burn's convolution multiplies sample by sample, and computes the gradient of the weights as a convolution with kernels of
//! the size of the picture. On small pictures both give matrix products that are too small to be fast, and on large ones
//! products that leave the cache. Here the patches under the kernel become the columns of a matrix (im2col: Chellapilla, Puri
//! & Simard 2006), for as many samples, or as few rows of one, as make the product large enough.

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

use super::planes::{Planes, sum};
use super::{Primitive, primitive};

/// Number of columns of a matrix product: fewer would not be worth the overhead, more would not fit into the cache.
const COLUMNS: usize = 1024;

/// Returns the layer's output. burn computes it on other devices, and for kernels or strides that are not square, and for
/// dilations and groups.
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
    let stride = layer.stride[0];
    let plain = layer.groups == 1 && layer.stride == [stride; 2] && layer.dilation == [1, 1];
    if !plain || kernel != kernel_width {
        return layer.forward(x);
    }
    let shape = Shape { channels_in, height, width, channels_out, kernel, stride, padding };
    let weight = layer.weight.val();
    // A layer without a bias adds zeros, which takes no time: the products are copied anyway.
    let bias = match &layer.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([channels_out], &x.device()),
    };
    let tracked = (
        x.clone().try_into_primitive::<Autodiff<Flex>>(),
        weight.clone().try_into_primitive::<Autodiff<Flex>>(),
        bias.clone().try_into_primitive::<Autodiff<Flex>>(),
    );
    if let (Ok(x), Ok(weight), Ok(bias)) = tracked {
        let (input, weights) = (x.primitive(), weight.primitive());
        let output = shape.multiply(input, weights, bias.primitive());
        let state = (input.clone(), weights.clone(), shape);
        let node = Convolution.prepare::<NoCheckpointing>([x.node(), weight.node(), bias.node()]);
        let output = match node.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        return Tensor::from_primitive::<Autodiff<Flex>>(output);
    }
    let plain = (
        x.clone().try_into_primitive::<Flex>(),
        weight.try_into_primitive::<Flex>(),
        bias.try_into_primitive::<Flex>(),
    );
    let (Ok(input), Ok(weight), Ok(bias)) = plain else { return layer.forward(x) };
    Tensor::from_primitive::<Flex>(shape.multiply(&input, &weight, &bias))
}

/// The shape of a convolution with a square kernel, and the same stride and padding along both axes.
#[derive(Clone, Copy, Debug)]
struct Shape {
    channels_in: usize,
    height: usize,
    width: usize,
    channels_out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// The output pixels of one matrix product: some rows of some samples. Either one sample, or all rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tile {
    samples: Range<usize>,
    rows: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Convolution;

impl Backward<Flex, 3> for Convolution {
    /// Input and weights.
    type State = (Primitive, Primitive, Shape);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [input, weights, bias] = ops.parents;
        let gradient = grads.consume::<Flex>(&ops.node);
        let (x, weight, shape) = ops.state;
        if let Some(node) = weights {
            grads.register::<Flex>(node.id, shape.weight_gradient(&x, &gradient));
        }
        if let Some(node) = input {
            grads.register::<Flex>(node.id, shape.input_gradient(&weight, &gradient));
        }
        if let Some(node) = bias {
            grads.register::<Flex>(node.id, shape.bias_gradient(&gradient));
        }
    }
}

impl Shape {
    fn output(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| (side + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    /// Number of pixels in an output channel.
    fn places(&self) -> usize {
        self.output().iter().product()
    }

    /// Number of input values under the kernel, over all input channels.
    fn patch(&self) -> usize {
        self.channels_in * self.kernel * self.kernel
    }

    /// Returns the output, `[samples, channels_out, ..]`, for the input, `[samples, channels_in, ..]`, the weights,
    /// `[channels_out, channels_in, ..]`, and the bias, `[channels_out]`.
    fn multiply(&self, x: &Primitive, weight: &Primitive, bias: &Primitive) -> Primitive {
        let (x, weight, bias) = (x.to_contiguous(), self.weight_matrix(weight), bias.to_contiguous());
        let x: &[f32] = x.storage();
        let samples = x.len() / (self.channels_in * self.height * self.width);
        let mut output = vec![0.0; samples * self.channels_out * self.places()];
        for tile in self.tiles(samples) {
            let columns = self.columns(x, &tile);
            let product = Flex::float_matmul(weight.clone(), columns).to_contiguous();
            self.scatter(product.storage(), bias.storage(), &tile, &mut output);
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
        for tile in self.tiles(samples) {
            let columns = Flex::float_swap_dims(self.columns(x, &tile), 0, 1);
            let product = Flex::float_matmul(self.gather(gradient, &tile), columns).to_contiguous();
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
        for tile in self.tiles(samples) {
            let columns = Flex::float_matmul(weight.clone(), self.gather(gradient, &tile)).to_contiguous();
            self.fold(columns.storage(), &tile, &mut sum);
        }
        primitive(sum, [samples, self.channels_in, self.height, self.width])
    }

    /// Returns the gradient of the bias, `[channels_out]`.
    fn bias_gradient(&self, gradient: &Primitive) -> Primitive {
        let gradient = gradient.to_contiguous();
        let mut sums = vec![0.0_f64; self.channels_out];
        Planes::of(&gradient, self.channels_out).each(|channel, plane| sums[channel] += sum(plane, |g| g));
        primitive(sums.into_iter().map(|sum| sum as f32).collect(), [self.channels_out])
    }

    /// Splits the output into tiles, one for each matrix product.
    fn tiles(&self, samples: usize) -> Vec<Tile> {
        let [height, width] = self.output();
        let rows = (COLUMNS / width).max(1);
        if rows < height {
            let of = |sample: usize| {
                let tile = move |start: usize| Tile {
                    samples: sample..sample + 1,
                    rows: start..height.min(start + rows),
                };
                (0..height).step_by(rows).map(tile)
            };
            return (0..samples).flat_map(of).collect();
        }
        let together = COLUMNS.div_ceil(self.places());
        let tile = |start: usize| Tile { samples: start..samples.min(start + together), rows: 0..height };
        (0..samples).step_by(together).map(tile).collect()
    }

    /// Number of output pixels that a tile has of each of its samples.
    fn tile_places(&self, tile: &Tile) -> usize {
        tile.rows.len() * self.output()[1]
    }

    /// First of those pixels within a sample's output channel.
    fn tile_start(&self, tile: &Tile) -> usize {
        tile.rows.start * self.output()[1]
    }

    /// Returns the weights as a matrix, `[channels_out, patch]`.
    fn weight_matrix(&self, weight: &Primitive) -> Primitive {
        Flex::float_reshape(weight.to_contiguous(), [self.channels_out, self.patch()].into())
    }

    /// Returns the patches as columns, `[patch, output pixels of the tile]`.
    fn columns(&self, x: &[f32], tile: &Tile) -> Primitive {
        let count = tile.samples.len() * self.tile_places(tile);
        let mut columns = vec![0.0; self.patch() * count];
        self.each_run(tile, |run| {
            let into = &mut columns[run.column..][..run.length];
            if self.stride == 1 {
                into.copy_from_slice(&x[run.pixel..][..run.length]);
            } else {
                let pixels = x[run.pixel..].iter().step_by(self.stride);
                into.iter_mut().zip(pixels).for_each(|(into, pixel)| *into = *pixel);
            }
        });
        primitive(columns, [self.patch(), count])
    }

    /// Adds the columns back to the pixels that [`Self::columns`] took them from.
    fn fold(&self, columns: &[f32], tile: &Tile, sum: &mut [f32]) {
        self.each_run(tile, |run| {
            let columns = &columns[run.column..][..run.length];
            if self.stride == 1 {
                let pixels = sum[run.pixel..][..run.length].iter_mut();
                pixels.zip(columns).for_each(|(sum, next)| *sum += next);
            } else {
                let pixels = sum[run.pixel..].iter_mut().step_by(self.stride);
                pixels.zip(columns).for_each(|(sum, next)| *sum += next);
            }
        });
    }

    /// Visits every run of output pixels whose input pixels lie in one row of a picture.
    fn each_run(&self, tile: &Tile, mut visit: impl FnMut(Run)) {
        let Self { channels_in, height, width, kernel, stride, padding, .. } = *self;
        let out_width = self.output()[1];
        let tile_places = self.tile_places(tile);
        let count = tile.samples.len() * tile_places;
        for patch in 0..self.patch() {
            let (channel, down, across) =
                (patch / (kernel * kernel), patch / kernel % kernel, patch % kernel);
            // The output pixels whose input pixel is inside of the picture.
            let inside = |shift: usize, side: usize, all: Range<usize>| {
                let first = padding.saturating_sub(shift).div_ceil(stride);
                let end = (side + padding).saturating_sub(shift).div_ceil(stride);
                first.max(all.start)..end.min(all.end)
            };
            let columns = inside(across, width, 0..out_width);
            if columns.is_empty() {
                continue;
            }
            for (place, sample) in tile.samples.clone().enumerate() {
                let picture = (sample * channels_in + channel) * height * width;
                let start = patch * count + place * tile_places;
                for row in inside(down, height, tile.rows.clone()) {
                    let line = picture + (row * stride + down - padding) * width;
                    visit(Run {
                        column: start + (row - tile.rows.start) * out_width + columns.start,
                        pixel: line + columns.start * stride + across - padding,
                        length: columns.len(),
                    });
                }
            }
        }
    }

    /// Reorders a gradient by samples to `[channels_out, output pixels of the tile]`.
    fn gather(&self, gradient: &[f32], tile: &Tile) -> Primitive {
        let (places, tile_places, first) = (self.places(), self.tile_places(tile), self.tile_start(tile));
        let mut rows = Vec::with_capacity(self.channels_out * tile.samples.len() * tile_places);
        for channel in 0..self.channels_out {
            for sample in tile.samples.clone() {
                let start = (sample * self.channels_out + channel) * places + first;
                rows.extend_from_slice(&gradient[start..][..tile_places]);
            }
        }
        primitive(rows, [self.channels_out, tile.samples.len() * tile_places])
    }

    /// Copies the rows of a matrix product into the output by samples, the inverse of [`Self::gather`], and adds the bias.
    fn scatter(&self, rows: &[f32], bias: &[f32], tile: &Tile, output: &mut [f32]) {
        let (places, tile_places, first) = (self.places(), self.tile_places(tile), self.tile_start(tile));
        for (channel, bias) in bias.iter().enumerate() {
            for (place, sample) in tile.samples.clone().enumerate() {
                let from = &rows[(channel * tile.samples.len() + place) * tile_places..][..tile_places];
                let start = (sample * self.channels_out + channel) * places + first;
                let into = output[start..][..tile_places].iter_mut();
                into.zip(from).for_each(|(into, product)| *into = product + bias);
            }
        }
    }
}

/// Neighbouring output pixels: the index of the first in the columns, the index of its pixel in the pictures, and their
/// number. The pixels are a stride apart.
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
        for (samples, channels, sides, [kernel, stride, padding]) in [
            (70, [1, 5], [9, 7], [3, 1, 1]),
            (70, [3, 4], [6, 8], [5, 1, 2]),
            (70, [2, 3], [5, 5], [2, 1, 0]),
            (70, [4, 2], [3, 3], [5, 1, 2]),
            (70, [3, 4], [9, 8], [3, 2, 1]),
            (70, [3, 4], [6, 7], [1, 1, 0]),
            (70, [2, 3], [11, 9], [4, 3, 0]),
            // A picture of several tiles, the last of them lower than the others.
            (3, [2, 3], [50, 45], [3, 1, 1]),
            (2, [2, 3], [91, 80], [3, 2, 1]),
        ] {
            let layer = Conv2dConfig::new(channels, [kernel, kernel])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .init(&device);
            let shape = [samples, channels[0], sides[0], sides[1]];
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
