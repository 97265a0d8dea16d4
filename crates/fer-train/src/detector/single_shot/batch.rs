//! A mini-batch between the network and the loss: outputs to the values of each cell, gradients back to outputs.

use burn::tensor::{Device, Tensor, TensorData};
use fer_detect::single_shot::{Cell, STRIDES, VALUES};
use rayon::prelude::*;

use super::config::LossConfig;
use super::loss::{Sums, of_crop, weigh};
use super::view::Sample;
use crate::training::shards::host;

/// The cells of a crop: those of the finest output first.
pub struct Grid {
    cells: Vec<Cell>,
    /// Cells of each output.
    counts: [usize; 3],
}

impl Grid {
    /// The cells of a crop with so many pixels along each side.
    pub fn new(side: usize) -> Self {
        let cells = STRIDES.into_iter().flat_map(|stride| Cell::grid(side / stride, side / stride, stride));
        Self { cells: cells.collect(), counts: STRIDES.map(|stride| (side / stride) * (side / stride)) }
    }

    /// The values of each cell of a crop.
    fn gather(&self, outputs: &[Vec<f32>], crop: usize) -> Vec<[f32; VALUES]> {
        let of = |(output, count): (&Vec<f32>, usize)| {
            let planes = output[crop * VALUES * count..][..VALUES * count].to_vec();
            (0..count).map(move |place| std::array::from_fn(|value| planes[value * count + place]))
        };
        outputs.iter().zip(self.counts).flat_map(of).collect()
    }

    /// Appends the values of each cell to the outputs, the inverse of [`Grid::gather`].
    fn scatter(&self, mut cells: &[[f32; VALUES]], outputs: &mut [Vec<f32>]) {
        for (output, count) in outputs.iter_mut().zip(self.counts) {
            let (of_output, rest) = cells.split_at(count);
            for value in 0..VALUES {
                output.extend(of_output.iter().map(|cell| cell[value]));
            }
            cells = rest;
        }
    }
}

/// Returns a tensor whose gradients by the outputs are those of the crops' loss times `factor`, and the sums of the loss.
///
/// # Shapes
/// - outputs: one for each stride, `[crops, values · cells]`
pub fn loss(
    outputs: Vec<Tensor<2>>,
    samples: &[Sample],
    grid: &Grid,
    config: &LossConfig,
    factor: f32,
    device: &Device,
) -> (Tensor<1>, Sums) {
    let values: Vec<Vec<f32>> = outputs.iter().map(|output| host(output.clone().inner())).collect();
    let crops = samples.par_iter().enumerate().map(|(crop, Sample { targets, ignored, .. })| {
        let values = grid.gather(&values, crop);
        let mut gradient = vec![[0.0; VALUES]; values.len()];
        let sums = of_crop(&grid.cells, &values, targets, ignored, config, &mut gradient);
        (sums, gradient)
    });
    let (of_crops, gradients): (Vec<Sums>, Vec<_>) = crops.unzip();
    let mut sums = Sums::default();
    of_crops.iter().for_each(|of_crop| sums.add(of_crop));
    let mut by_output = vec![Vec::new(); outputs.len()];
    for mut gradient in gradients {
        weigh(&mut gradient, &sums, config, factor);
        grid.scatter(&gradient, &mut by_output);
    }
    let parts = outputs.into_iter().zip(by_output).map(|(output, gradient)| {
        let gradient = Tensor::<2>::from_data(TensorData::new(gradient, output.dims()), device);
        (output * gradient).sum()
    });
    let surrogate = parts.reduce(|sum, part| sum + part);
    (surrogate.unwrap_or_else(|| unreachable!("the configuration's heads were checked")), sums)
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::shipped;
    use super::super::view::Target;
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn gathered_values_are_scattered_back() {
        let grid = Grid::new(64);
        assert_eq!((grid.counts, grid.cells.len()), ([64, 16, 4], 84));
        let outputs: Vec<Vec<f32>> = grid
            .counts
            .iter()
            .map(|count| (0..2 * VALUES * count).map(|i| (i * count) as f32).collect())
            .collect();
        let mut again = vec![Vec::new(); 3];
        for crop in 0..2 {
            grid.scatter(&grid.gather(&outputs, crop), &mut again);
        }
        assert_eq!(again, outputs);
    }

    /// Steps along the negative gradient of the outputs themselves must lower the loss.
    #[test]
    fn the_surrogate_has_the_gradient_of_the_loss() {
        let (grid, config, device) = (Grid::new(64), shipped().loss, Device::flex().autodiff());
        let target = |corners, point| Target { corners, points: [Some(point); 5], landmarks_only: false };
        let samples = [
            Sample {
                pixels: Vec::new(),
                targets: vec![target([10.0, 12.0, 40.0, 50.0], [20.0, 30.0])],
                ignored: vec![],
            },
            Sample {
                pixels: Vec::new(),
                targets: vec![target([30.0, 8.0, 45.0, 25.0], [36.0, 15.0])],
                ignored: vec![],
            },
        ];
        let mut outputs: Vec<Tensor<2>> = grid
            .counts
            .iter()
            .map(|count| Tensor::random([2, VALUES * count], Distribution::Normal(0.0, 0.3), &device))
            .collect();
        let mut losses = Vec::new();
        for _ in 0..60 {
            let tracked: Vec<Tensor<2>> =
                outputs.iter().map(|output| output.clone().detach().require_grad()).collect();
            let (surrogate, sums) = loss(tracked.clone(), &samples, &grid, &config, 1.0, &device);
            losses.push(sums.loss(&config));
            let gradients = surrogate.backward();
            outputs = tracked
                .into_iter()
                .map(|output| {
                    let gradient = output.grad(&gradients).unwrap();
                    Tensor::from_inner(output.inner() - gradient * 0.2)
                })
                .collect();
        }
        assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    }
}
