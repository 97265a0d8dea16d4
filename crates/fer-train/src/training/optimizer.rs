//! The optimisers, with weight decay on everything except biases and batch-norm scales.
//!
//! burn's own optimisers restore their state on the default device, which may be an absent GPU. Here the state is one or two
//! tensors per parameter, because parameter ids follow from the specification.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, bail};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use fer_network::Network;
use serde::{Deserialize, Serialize};

/// Which optimiser, and its constants. The defaults are PyTorch's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum (Sutskever et al. 2013, as PyTorch formulates it).
    Sgd {
        /// Weight of the previous velocity.
        #[serde(default = "momentum")]
        momentum: f64,
        /// Whether to use Nesterov's momentum.
        #[serde(default = "yes")]
        nesterov: bool,
        /// L2 penalty, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Kingma & Ba 2015.
    Adam {
        /// Decay of the first moment.
        #[serde(default = "beta_1")]
        beta_1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta_2")]
        beta_2: f64,
        /// Added to the root of the second moment.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// L2 penalty, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW {
        /// Decay of the first moment.
        #[serde(default = "beta_1")]
        beta_1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta_2")]
        beta_2: f64,
        /// Added to the root of the second moment.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Fraction by which a weight shrinks, multiplied by the learning rate.
        #[serde(default = "decoupled_decay")]
        weight_decay: f64,
    },
}

fn yes() -> bool {
    true
}

fn momentum() -> f64 {
    0.9
}

fn beta_1() -> f64 {
    0.9
}

fn beta_2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

fn decoupled_decay() -> f64 {
    0.01
}

impl OptimizerConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field and the range.
    pub fn check(&self) -> Result<()> {
        let fraction = |name: &str, value: f64| {
            if (0.0..1.0).contains(&value) {
                return Ok(());
            }
            bail!("optimizer.{name} is {value}; expected 0 to below 1")
        };
        match *self {
            Self::Sgd { momentum, weight_decay, .. } => {
                fraction("momentum", momentum)?;
                fraction("weight_decay", weight_decay)
            }
            Self::Adam { beta_1, beta_2, epsilon, weight_decay }
            | Self::AdamW { beta_1, beta_2, epsilon, weight_decay } => {
                fraction("beta_1", beta_1)?;
                fraction("beta_2", beta_2)?;
                fraction("weight_decay", weight_decay)?;
                if epsilon.is_finite() && epsilon > 0.0 {
                    return Ok(());
                }
                bail!("optimizer.epsilon is {epsilon}; expected a number above 0")
            }
        }
    }
}

/// Shapes and values of the moments, as a checkpoint stores them. The key is the moment (0 for velocity or first moment, 1
/// for the second moment) and the parameter id.
pub type OptimizerState = BTreeMap<(usize, u64), (Vec<usize>, Vec<f32>)>;

/// An optimiser with its state.
pub struct Optimizer {
    config: OptimizerConfig,
    undecayed: HashSet<ParamId>,
    moments: [GradientsParams; 2],
}

impl Optimizer {
    /// An optimiser without state.
    pub fn new(network: &Network, config: OptimizerConfig) -> Self {
        let undecayed = network.rank_one_parameters().into_iter().collect();
        Self { config, undecayed, moments: [GradientsParams::new(), GradientsParams::new()] }
    }

    /// Updates every parameter that has a gradient. `number` counts the updates from 0. If the norm of the gradients over all
    /// parameters is larger than `clip`, they are scaled down to it.
    pub fn step(
        &mut self,
        network: Network,
        gradients: GradientsParams,
        learning_rate: f64,
        number: usize,
        clip: Option<f64>,
    ) -> Network {
        let factor = clip.map_or(1.0, |most| {
            let norm = norm(&network, &gradients);
            if norm > most { most / norm } else { 1.0 }
        });
        network.map(&mut Update { optimizer: self, gradients, factor, learning_rate, number })
    }

    /// The state, for a checkpoint.
    pub fn state(&self, network: &Network) -> OptimizerState {
        struct Collect<'a>(&'a [GradientsParams; 2], OptimizerState);
        impl ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                for (place, moments) in self.0.iter().enumerate() {
                    let Some(moment) = moments.get::<D>(param.id) else { continue };
                    let data = moment.into_data();
                    let shape = data.shape().to_vec();
                    let values = data.try_to_vec().unwrap_or_else(|e| unreachable!("moments are f32: {e:?}"));
                    self.1.insert((place, param.id.val()), (shape, values));
                }
            }
        }
        let mut collect = Collect(&self.moments, OptimizerState::new());
        network.visit(&mut collect);
        collect.1
    }

    /// Restores a stored state.
    ///
    /// # Errors
    /// If an entry does not fit the parameters of the network.
    pub fn restore(&mut self, network: &Network, stored: OptimizerState, device: &Device) -> Result<()> {
        struct Restore<'a> {
            moments: &'a mut [GradientsParams; 2],
            stored: OptimizerState,
            device: &'a Device,
            wrong: Option<String>,
        }
        impl ModuleVisitor for Restore<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                for place in 0..self.moments.len() {
                    let Some((shape, values)) = self.stored.remove(&(place, param.id.val())) else {
                        continue;
                    };
                    if shape != param.val().dims() {
                        let expected = param.val().dims();
                        self.wrong = Some(format!("{} has shape {shape:?}, expected {expected:?}", param.id));
                        return;
                    }
                    let tensor = Tensor::<D>::from_data(TensorData::new(values, shape), self.device);
                    self.moments[place].register(param.id, tensor);
                }
            }
        }
        let mut restore = Restore { moments: &mut self.moments, stored, device, wrong: None };
        network.visit(&mut restore);
        match (restore.wrong, restore.stored.keys().next()) {
            (Some(message), _) => bail!("the optimiser's state: {message}"),
            (None, Some((_, id))) => bail!("the optimiser's state: {id} is not a parameter"),
            (None, None) => Ok(()),
        }
    }
}

/// Euclidean norm over all parameters' gradients.
fn norm(network: &Network, gradients: &GradientsParams) -> f64 {
    struct Squares<'a>(&'a GradientsParams, Option<Tensor<1>>);
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                let square = (gradient.clone() * gradient).sum();
                self.1 = Some(match self.1.take() {
                    Some(sum) => sum + square,
                    None => square,
                });
            }
        }
    }
    let mut squares = Squares(gradients, None);
    network.visit(&mut squares);
    squares.1.map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()).sqrt())
}

struct Update<'a> {
    optimizer: &'a mut Optimizer,
    gradients: GradientsParams,
    factor: f64,
    learning_rate: f64,
    number: usize,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(mut gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        if self.factor < 1.0 {
            gradient = gradient.mul_scalar(self.factor);
        }
        let value = self.updated(id, tensor.inner(), gradient);
        Param::from_mapped_value(id, Tensor::from_inner(value).require_grad(), mapper)
    }
}

impl Update<'_> {
    /// The value of a parameter after the step.
    fn updated<const D: usize>(&mut self, id: ParamId, value: Tensor<D>, gradient: Tensor<D>) -> Tensor<D> {
        let decays = !self.optimizer.undecayed.contains(&id);
        let with_l2 = |gradient: Tensor<D>, weight_decay: f64| {
            if decays && weight_decay > 0.0 {
                gradient + value.clone().mul_scalar(weight_decay)
            } else {
                gradient
            }
        };
        match self.optimizer.config {
            OptimizerConfig::Sgd { momentum, nesterov, weight_decay } => {
                let gradient = with_l2(gradient, weight_decay);
                let moments = &mut self.optimizer.moments[0];
                let velocity = match moments.remove::<D>(id) {
                    Some(velocity) => velocity.mul_scalar(momentum) + gradient.clone(),
                    None => gradient.clone(),
                };
                moments.register(id, velocity.clone());
                let direction = if nesterov { gradient + velocity.mul_scalar(momentum) } else { velocity };
                value - direction.mul_scalar(self.learning_rate)
            }
            OptimizerConfig::Adam { beta_1, beta_2, epsilon, weight_decay } => {
                let gradient = with_l2(gradient, weight_decay);
                let direction = self.adam(id, gradient, [beta_1, beta_2], epsilon);
                value - direction.mul_scalar(self.learning_rate)
            }
            OptimizerConfig::AdamW { beta_1, beta_2, epsilon, weight_decay } => {
                let direction = self.adam(id, gradient, [beta_1, beta_2], epsilon);
                let kept = if decays { 1.0 - self.learning_rate * weight_decay } else { 1.0 };
                value.mul_scalar(kept) - direction.mul_scalar(self.learning_rate)
            }
        }
    }

    /// The first moment divided by the root of the second, both corrected for their bias towards the initial zeros.
    fn adam<const D: usize>(
        &mut self,
        id: ParamId,
        gradient: Tensor<D>,
        betas: [f64; 2],
        epsilon: f64,
    ) -> Tensor<D> {
        let square = gradient.clone() * gradient.clone();
        let mut moment = |place: usize, next: Tensor<D>| {
            let beta = betas[place];
            let next = next.mul_scalar(1.0 - beta);
            let moments = &mut self.optimizer.moments[place];
            let moment = match moments.remove::<D>(id) {
                Some(before) => before.mul_scalar(beta) + next,
                None => next,
            };
            moments.register(id, moment.clone());
            moment.div_scalar(1.0 - beta.powf((self.number + 1) as f64))
        };
        let (first, second) = (moment(0, gradient), moment(1, square));
        first / (second.sqrt() + epsilon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_model::spec::Architecture;
    use fer_model::weights::{Array, Weights};

    /// The values of two weights and a bias after some steps that fit `f(x) = 2·x₀ − 3·x₁ + 1` to a fixed batch.
    fn after(steps: usize, config: &OptimizerConfig, clip: Option<f64>) -> Vec<f32> {
        let architecture: Architecture = serde_json::from_str(
            r#"{"input": {"channels": 1, "height": 1, "width": 2}, "layers": [{"kind": "flatten"}],
                "heads": [{"output": "y", "layers": [{"kind": "dense", "units": 1}]}]}"#,
        )
        .unwrap();
        let arrays =
            [("layers.1.weight", vec![2, 1], vec![0.5, -0.25]), ("layers.1.bias", vec![1], vec![0.1])];
        let arrays = arrays.map(|(name, shape, values)| (name.to_owned(), Array { shape, values }));
        let weights = Weights::new(&architecture, BTreeMap::from(arrays)).unwrap();
        let device = Device::flex().autodiff();
        let mut network = Network::new(&architecture, &weights, &device);
        let mut optimizer = Optimizer::new(&network, config.clone());
        for number in 0..steps {
            let inputs = TensorData::new(vec![1.0_f32, 0.5, -0.5, 2.0, 0.25, -1.0], [3, 1, 1, 2]);
            let wanted = TensorData::new(vec![1.5_f32, -6.0, 4.5], [3, 1]);
            let answers = network.forward(Tensor::from_data(inputs, &device)).remove(0);
            let distance = answers - Tensor::<2>::from_data(wanted, &device);
            let gradients = (distance.clone() * distance).sum().backward();
            let gradients = GradientsParams::from_grads(gradients, &network);
            network = optimizer.step(network, gradients, 0.05, number, clip);
            // A checkpoint between two steps changes nothing.
            let state = optimizer.state(&network);
            optimizer = Optimizer::new(&network, config.clone());
            optimizer.restore(&network, state, &Device::flex()).unwrap();
        }
        let weights = network.weights(&architecture).unwrap();
        [&weights.get("layers.1.weight").values[..], &weights.get("layers.1.bias").values].concat()
    }

    fn config(json: &str) -> OptimizerConfig {
        serde_json::from_str(json).unwrap()
    }

    /// The expected values are those of PyTorch 2.9 in float64 on the same function, with weight decay only on the weights.
    #[test]
    fn steps_are_those_of_pytorch() {
        for (json, clip, expected) in [
            (r#"{"kind": "sgd", "weight_decay": 0.01}"#, None, [2.431_842, -3.861_875, 1.349_52]),
            (
                r#"{"kind": "sgd", "momentum": 0.5, "nesterov": false}"#,
                None,
                [1.902_435, -3.599_617, 0.558_561],
            ),
            (r#"{"kind": "sgd"}"#, Some(1.0), [0.627_892, -0.631_537, 0.094_753]),
            (r#"{"kind": "adam", "weight_decay": 0.02}"#, None, [0.649_926, -0.399_856, -0.022_513]),
            (
                r#"{"kind": "adamw", "beta_1": 0.8, "beta_2": 0.95, "weight_decay": 0.1}"#,
                None,
                [0.641_679, -0.395_301, -0.018_878],
            ),
        ] {
            let found = after(3, &config(json), clip);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{json}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn wrong_constants_are_named() {
        let refusal = |json: &str| config(json).check().unwrap_err().to_string();
        assert!(refusal(r#"{"kind": "sgd", "momentum": 1.0}"#).contains("optimizer.momentum is 1"));
        assert!(refusal(r#"{"kind": "adam", "beta_2": -0.1}"#).contains("optimizer.beta_2 is -0.1"));
        assert!(refusal(r#"{"kind": "adamw", "epsilon": 0.0}"#).contains("optimizer.epsilon is 0"));
        assert!(serde_json::from_str::<OptimizerConfig>(r#"{"kind": "sgd", "beta_1": 0.5}"#).is_err());
    }
}
