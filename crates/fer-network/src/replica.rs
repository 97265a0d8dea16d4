//! Data-parallel training: each thread runs its part of a mini-batch through a copy of the network.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::{DropoutMasks, Network};

/// A copy of a [`Network`] in training mode. It shares the numbers of the parameters, but has its own autodiff graph and
/// its own running statistics: those of the original stay as they are until [`Network::set_running_statistics`].
pub struct Replica {
    network: Network,
    masks: DropoutMasks,
}

/// The running mean and variance of every batch norm of a [`Replica`] after its forward pass, in the order of the layers.
pub struct RunningStatistics(pub(crate) Vec<[Tensor<1>; 2]>);

impl Replica {
    /// Copies a network that is on an autodiff device.
    pub fn new(network: &Network, masks: DropoutMasks) -> Self {
        // Only this pair of calls gives the copy its own running state; `clone` and `fork` share it.
        Self { network: network.valid().train(), masks }
    }

    /// Logits with dropout; batch norm takes the statistics of these images and updates the running ones.
    ///
    /// # Shapes
    /// As [`Network::forward`].
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<2>> {
        self.network.forward_with(images, Some(self.masks))
    }

    /// Gradients of all parameters that took part in the loss, and the running statistics. Call it on the thread of the
    /// forward pass: burn keeps running statistics by thread.
    pub fn backward(self, loss: &Tensor<1>) -> (GradientsParams, RunningStatistics) {
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        (gradients, self.network.running_statistics())
    }
}
