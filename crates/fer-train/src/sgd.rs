//! Stochastic gradient descent with Nesterov momentum (Sutskever et al. 2013, as PyTorch formulates it), and
//! weight decay on everything but biases and batch-norm scales.
//!
//! burn's own optimiser restores its state on the default device, which may be a GPU that is not there; and
//! our parameter ids follow from the spec, so the state is simply one velocity a parameter.

use std::collections::{BTreeMap, HashSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use fer_model::network::Network;

/// Velocity by parameter id: shape and values, as a checkpoint stores it.
pub(crate) type Velocity = BTreeMap<u64, (Vec<usize>, Vec<f32>)>;

pub(crate) struct Sgd {
    momentum: f64,
    weight_decay: f64,
    undecayed: HashSet<ParamId>,
    velocity: GradientsParams,
}

impl Sgd {
    pub(crate) fn new(network: &Network, momentum: f64, weight_decay: f64) -> Self {
        let undecayed = network.rank_one_parameters().into_iter().collect();
        Self { momentum, weight_decay, undecayed, velocity: GradientsParams::new() }
    }

    /// One update of every parameter that has a gradient.
    pub(crate) fn step(
        &mut self,
        network: Network,
        gradients: GradientsParams,
        learning_rate: f64,
    ) -> Network {
        network.map(&mut Update { sgd: self, gradients, learning_rate })
    }

    pub(crate) fn velocity(&self, network: &Network) -> Velocity {
        struct Collect<'a>(&'a GradientsParams, Velocity);
        impl ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(velocity) = self.0.get::<D>(param.id) {
                    let data = velocity.into_data();
                    let shape = data.shape().to_vec();
                    let values =
                        data.try_to_vec().unwrap_or_else(|e| unreachable!("velocities are f32: {e:?}"));
                    self.1.insert(param.id.val(), (shape, values));
                }
            }
        }
        let mut collect = Collect(&self.velocity, Velocity::new());
        network.visit(&mut collect);
        collect.1
    }

    /// Takes up a stored velocity; entries whose shape is another parameter's are refused by name.
    pub(crate) fn restore(
        &mut self,
        network: &Network,
        stored: Velocity,
        device: &Device,
    ) -> Result<(), String> {
        struct Restore<'a> {
            velocity: &'a mut GradientsParams,
            stored: Velocity,
            device: &'a Device,
            wrong: Option<String>,
        }
        impl ModuleVisitor for Restore<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some((shape, values)) = self.stored.remove(&param.id.val()) else { return };
                if shape != param.val().dims() {
                    let expected = param.val().dims();
                    self.wrong =
                        Some(format!("velocity {} has shape {shape:?}, expected {expected:?}", param.id));
                    return;
                }
                let tensor = Tensor::<D>::from_data(TensorData::new(values, shape), self.device);
                self.velocity.register(param.id, tensor);
            }
        }
        let mut restore = Restore { velocity: &mut self.velocity, stored, device, wrong: None };
        network.visit(&mut restore);
        match (restore.wrong, restore.stored.keys().next()) {
            (Some(message), _) => Err(message),
            (None, Some(id)) => Err(format!("velocity {id} belongs to no parameter")),
            (None, None) => Ok(()),
        }
    }
}

struct Update<'a> {
    sgd: &'a mut Sgd,
    gradients: GradientsParams,
    learning_rate: f64,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let value = tensor.inner();
        let gradient = if self.sgd.undecayed.contains(&id) {
            gradient
        } else {
            gradient + value.clone().mul_scalar(self.sgd.weight_decay)
        };
        let velocity = match self.sgd.velocity.remove::<D>(id) {
            Some(velocity) => velocity.mul_scalar(self.sgd.momentum) + gradient.clone(),
            None => gradient.clone(),
        };
        self.sgd.velocity.register(id, velocity.clone());
        let direction = gradient + velocity.mul_scalar(self.sgd.momentum);
        let value = value - direction.mul_scalar(self.learning_rate);
        Param::from_mapped_value(id, Tensor::from_inner(value).require_grad(), mapper)
    }
}
