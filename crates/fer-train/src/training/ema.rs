//! Exponential moving average of the weights of a network, running statistics included (Polyak & Juditsky 1992). The decay
//! warms up as in TensorFlow.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fer_model::spec::Architecture;
use fer_model::weights::Weights;
use fer_network::Network;

/// The average of the weights after every update so far.
pub struct Ema {
    decay: f64,
    /// The averaged network, on the device without autodiff.
    network: Network,
}

impl Ema {
    /// An average that starts at `weights`. `decay` is the weight of the old average in an update, 0 to 1.
    pub fn new(decay: f64, architecture: &Architecture, weights: &Weights, device: &Device) -> Self {
        Self { decay, network: Network::new(architecture, weights, device) }
    }

    /// The averaged network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Adds the weights after an update to the average; `number` counts the updates from 0.
    pub fn update(&mut self, network: &Network, number: usize) {
        struct Collect(GradientsParams);
        impl ModuleVisitor for Collect {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.register(param.id, param.val());
            }
        }
        struct Blend {
            newest: GradientsParams,
            decay: f64,
        }
        impl ModuleMapper for Blend {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let (id, average, mapper) = param.consume();
                let average = match self.newest.remove::<D>(id) {
                    Some(newest) => average.mul_scalar(self.decay) + newest.mul_scalar(1.0 - self.decay),
                    None => average,
                };
                Param::from_mapped_value(id, average, mapper)
            }
        }
        let mut newest = Collect(GradientsParams::new());
        network.valid().visit(&mut newest);
        let decay = self.decay.min((1 + number) as f64 / (10 + number) as f64);
        self.network = self.network.clone().map(&mut Blend { newest: newest.0, decay });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_model::NetworkSpec;

    #[test]
    fn it_follows_the_weights_slowly() {
        let json =
            include_str!("../../../../configs/models/cnn6.json").replace("512", "8").replace("256", "8");
        let spec = NetworkSpec::from_json(&json).unwrap();
        let architecture = spec.architecture();
        let [first, second] = [1, 2].map(|seed| Weights::init(architecture, seed));
        let device = Device::flex();
        let newest = Network::new(architecture, &second, &device.clone().autodiff());
        let mut ema = Ema::new(0.75, architecture, &first, &device);
        // The decay of the first update is 0.1, because it warms up.
        ema.update(&newest, 0);
        ema.update(&newest, 1000);
        let average = ema.network().weights(architecture).unwrap();
        for name in ["layers.0.weight", "layers.21.weight", "layers.29.weight"] {
            let triples =
                first.get(name).values.iter().zip(&second.get(name).values).zip(&average.get(name).values);
            for ((first, second), average) in triples {
                let expected = second + (first - second) * 0.1 * 0.75;
                assert!((average - expected).abs() < 1e-5, "{name}: {average} is not {expected}");
            }
        }
        assert_eq!(newest.weights(architecture).unwrap(), second, "the network itself does not change");
    }
}
