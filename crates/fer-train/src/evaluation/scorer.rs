//! A bundle's networks on the training device. An ensemble's logits are the logarithm of its members' mean probabilities, as
//! in the ONNX graph that is served.

use burn::tensor::Device;
use fer_model::{Bundle, NetworkSpec, softmax};
use fer_network::Network;

use crate::training::shards::Shards;

/// One network or an ensemble, ready to compute logits.
pub struct Scorer<'a> {
    shards: &'a Shards,
    /// Spec of the first network; input, preprocessing, labels and heads are those of all members.
    pub spec: &'a NetworkSpec,
    /// Number of the head that is scored.
    head: usize,
    members: Vec<Network>,
}

impl<'a> Scorer<'a> {
    /// Scores with a head of one network, which must be on the plain (not the autodiff) device.
    pub fn of_network(shards: &'a Shards, spec: &'a NetworkSpec, head: usize, network: Network) -> Self {
        Self { shards, spec, head, members: vec![network] }
    }

    /// Scores with all networks of a bundle, by its answering head.
    pub fn of_bundle(shards: &'a Shards, bundle: &'a Bundle, device: &Device) -> Self {
        let members = bundle.members();
        let members =
            members.map(|(spec, weights)| Network::new(spec.architecture(), weights, device)).collect();
        Self { shards, spec: bundle.network(), head: bundle.head_of_network(), members }
    }

    /// Logits of `samples` faces, `[samples, labels]`. `fetch` returns the preprocessed pixels of a range of the faces.
    pub fn logits(
        &self,
        samples: usize,
        fetch: impl Fn(std::ops::Range<usize>) -> Vec<f32> + Sync,
    ) -> Vec<Vec<f32>> {
        let of_member = |network| self.shards.logits(network, self.spec, self.head, samples, &fetch);
        let mut members: Vec<_> = self.members.iter().map(of_member).collect();
        if members.len() == 1 {
            return members.swap_remove(0);
        }
        let mean = |face: usize| log_mean_softmax(members.iter().map(|rows| rows[face].as_slice()));
        (0..samples).map(mean).collect()
    }
}

fn log_mean_softmax<'a>(members: impl ExactSizeIterator<Item = &'a [f32]>) -> Vec<f32> {
    let count = members.len() as f64;
    let sums = members.map(|row| softmax(row, 1.0)).reduce(|mut sum, next| {
        sum.iter_mut().zip(next).for_each(|(sum, probability)| *sum += probability);
        sum
    });
    let logit = |sum: f64| (sum / count).max(1e-37).ln() as f32;
    sums.unwrap_or_default().into_iter().map(logit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_probabilities() {
        let logits = log_mean_softmax([[0.0, 0.0].as_slice(), &[200.0, -200.0]].into_iter());
        assert!((logits[0] - 0.75_f32.ln()).abs() < 1e-6 && (logits[1] - 0.25_f32.ln()).abs() < 1e-6);
    }
}
