//! Dropout (Srivastava et al. 2014) whose masks do not depend on how a mini-batch is divided among threads.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use crate::seed::{mix, random_bits};

/// Where the dropout masks of a forward pass come from. A sample's mask follows from the seed, the sample's position in
/// the mini-batch, the layer and the element, on every device and for every number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutMasks {
    /// A different one for every step.
    pub seed: u64,
    /// Position in the mini-batch of the first sample of the forward pass.
    pub first_sample: usize,
}

/// Sets elements to zero with probability `rate` in training and divides the others by `1 - rate`, so that the expected
/// value stays the same. Outside of training it is the identity.
#[derive(Module, Debug)]
pub(crate) struct Dropout {
    rate: f64,
    /// Tells the dropout layers of a network apart.
    layer: usize,
}

impl Dropout {
    pub(crate) fn new(rate: f64, layer: usize) -> Self {
        Self { rate, layer }
    }

    /// The output for `[samples, ..]`; without masks the input.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>, masks: Option<DropoutMasks>) -> Tensor<D> {
        let Some(masks) = masks.filter(|_| self.rate > 0.0) else { return x };
        let mask = TensorData::new(self.mask(x.dims()[0], x.shape().num_elements(), masks), x.dims());
        let mask = Tensor::from_data(mask, &x.device());
        x * mask
    }

    /// Row-major factors for `elements` values of so many samples: 0, or `1 / (1 - rate)`.
    fn mask(&self, samples: usize, elements: usize, masks: DropoutMasks) -> Vec<f32> {
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        // An element is dropped if its 32 random bits, as a number, are below this.
        let dropped = (self.rate * (u64::from(u32::MAX) + 1) as f64).round() as u32;
        let factor = |bits: u32| if bits < dropped { 0.0 } else { kept };
        let mut mask = vec![0.0; elements];
        for (number, of_sample) in mask.chunks_exact_mut((elements / samples.max(1)).max(1)).enumerate() {
            let seed = mix([masks.seed, (masks.first_sample + number) as u64, self.layer as u64]);
            let (pairs, last) = of_sample.as_chunks_mut::<2>();
            for (counter, [first, second]) in pairs.iter_mut().enumerate() {
                let bits = random_bits(seed, counter as u64);
                (*first, *second) = (factor(bits as u32), factor((bits >> 32) as u32));
            }
            if let [last] = last {
                *last = factor(random_bits(seed, pairs.len() as u64) as u32);
            }
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    const MASKS: DropoutMasks = DropoutMasks { seed: 5, first_sample: 0 };

    #[test]
    fn about_the_rate_is_dropped_and_the_mean_stays() {
        for rate in [0.05, 0.3, 0.5, 0.9] {
            let mask = Dropout::new(rate, 1).mask(20, 20 * 5_001, MASKS);
            let zeros = mask.iter().filter(|factor| **factor == 0.0).count() as f64 / mask.len() as f64;
            assert!((zeros - rate).abs() < 0.005, "{zeros} of the elements are dropped at {rate}");
            let mean = mask.iter().map(|factor| f64::from(*factor)).sum::<f64>() / mask.len() as f64;
            assert!((mean - 1.0).abs() < 0.05, "the mean factor is {mean} at {rate}");
        }
    }

    #[test]
    fn a_mini_batch_has_the_same_mask_however_it_is_divided() {
        let dropout = Dropout::new(0.4, 3);
        let whole = dropout.mask(7, 7 * 9, MASKS);
        let part = |first_sample, samples| {
            dropout.mask(samples, samples * 9, DropoutMasks { first_sample, ..MASKS })
        };
        assert_eq!(whole, [part(0, 2), part(2, 1), part(3, 4)].concat());
        assert_ne!(whole[..9], whole[9..18], "every sample has its own mask");
        assert_ne!(whole, Dropout::new(0.4, 4).mask(7, 7 * 9, MASKS), "every layer has its own mask");
        assert_ne!(whole, dropout.mask(7, 7 * 9, DropoutMasks { seed: 6, ..MASKS }));
    }

    #[test]
    fn it_acts_only_in_training_and_its_gradient_is_the_mask() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::ones([3, 2, 4, 5], &device).require_grad();
        let dropout = Dropout::new(0.5, 0);
        let values = |x: Tensor<4>| -> Vec<f32> { x.into_data().try_to_vec().unwrap() };
        assert_eq!(values(dropout.forward(x.clone(), None)), [1.0; 120]);
        let output = dropout.forward(x.clone(), Some(MASKS));
        let gradients = output.clone().sum().backward();
        let mask = dropout.mask(3, 120, MASKS);
        assert_eq!(values(output.inner()), mask);
        assert_eq!(values(x.grad(&gradients).unwrap()), mask);
    }
}
