//! Layers that are faster on the CPU than burn's. On other devices each falls back to burn's layer.
//!
//! Every layer runs on one thread: training gives each thread a shard of the mini-batch.

mod batch_norm;
mod conv;
mod max_pool;
mod planes;
mod upsample;

pub(crate) use batch_norm::forward as batch_norm;
pub(crate) use conv::forward as conv;
pub(crate) use max_pool::forward as max_pool;
pub(crate) use upsample::forward as upsample;

use burn::backend::{BackendTypes, Flex};
use burn::tensor::TensorData;

/// A tensor of the CPU backend.
type Primitive = <Flex as BackendTypes>::FloatTensorPrimitive;

fn primitive<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape))
}

/// What the tests need to compare two implementations of a layer.
#[cfg(test)]
pub(crate) mod tests {
    use burn::tensor::Tensor;

    /// Asserts that values differ by less than a hundred-thousandth of the largest.
    pub(crate) fn assert_close(name: &str, ours: &[f32], burns: &[f32]) {
        let largest = burns.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(ours.len() == burns.len() && largest > 0.01, "{name}: {largest}");
        let off = ours.iter().zip(burns).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-5 * largest, "{name}: {off} of {largest}");
    }

    pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    /// A loss whose gradient differs from element to element.
    pub(crate) fn uneven<const D: usize>(y: Tensor<D>) -> Tensor<1> {
        (y.clone() * y.cos().detach()).sum()
    }
}
