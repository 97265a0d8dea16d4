//! One layer of a network by itself, to find the one that a device computes wrongly.

use burn::module::Param;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use fer_model::spec::{Architecture, Shape, Step};

use super::{Activation, Layer, Network, Sequence, array};

/// A layer that is no block, with its place in the architecture.
pub struct SingleLayer<'a> {
    layer: &'a Layer,
    step: Step,
}

impl Network {
    /// All layers except blocks, which are replaced by the layers of their branches; in the order of the architecture that
    /// the network was made from.
    pub fn single_layers(&self, architecture: &Architecture) -> Vec<SingleLayer<'_>> {
        let mut found = Vec::new();
        for (step, layer) in architecture.steps().iter().zip(self.layers()) {
            collect(step.clone(), layer, &mut found);
        }
        found
    }
}

fn collect<'a>(step: Step, layer: &'a Layer, found: &mut Vec<SingleLayer<'a>>) {
    if layer.branches().is_empty() {
        found.push(SingleLayer { layer, step });
        return;
    }
    for (steps, Sequence { layers }) in step.branches.into_iter().zip(layer.branches()) {
        for (step, layer) in steps.into_iter().zip(layers) {
            collect(step, layer, found);
        }
    }
}

impl SingleLayer<'_> {
    /// Name, kind and shapes.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Forward and backward in training mode without dropout, for a loss whose gradient is different everywhere. Updates the running
    /// statistics of a batch norm.
    ///
    /// # Shapes
    /// - input: row-major, `samples` times the shape of the step's input
    /// - returns, each row-major, the output, the gradient of the input, those of the parameters, and the running statistics,
    ///   with the name of each
    pub fn forward_backward(
        &self,
        input: Vec<f32>,
        samples: usize,
        device: &Device,
    ) -> Vec<(&'static str, Vec<f32>)> {
        let mut results = Vec::new();
        match self.step.input {
            Shape::Image { channels, height, width } => {
                let data = TensorData::new(input, [samples, channels, height, width]);
                let x = Tensor::<4>::from_data(data, device).require_grad();
                let gradients = self.backward(Activation::Image(x.clone()), &mut results);
                results.extend(x.grad(&gradients).map(|grad| ("gradient of the input", array(grad).values)));
                self.parameter_gradients(&gradients, &mut results);
            }
            Shape::Vector(features) => {
                let data = TensorData::new(input, [samples, features]);
                let x = Tensor::<2>::from_data(data, device).require_grad();
                let gradients = self.backward(Activation::Vector(x.clone()), &mut results);
                results.extend(x.grad(&gradients).map(|grad| ("gradient of the input", array(grad).values)));
                self.parameter_gradients(&gradients, &mut results);
            }
        }
        results
    }

    fn backward(&self, x: Activation, results: &mut Vec<(&'static str, Vec<f32>)>) -> Gradients {
        match self.layer.forward(x, None) {
            Activation::Image(y) => uneven(y, results),
            Activation::Vector(y) => uneven(y, results),
        }
    }

    fn parameter_gradients(&self, gradients: &Gradients, results: &mut Vec<(&'static str, Vec<f32>)>) {
        let mut put = |name, values: Option<Vec<f32>>| results.extend(values.map(|values| (name, values)));
        match self.layer {
            Layer::Conv(conv) => {
                put("gradient of the weight", gradient(&conv.weight, gradients));
                put("gradient of the bias", conv.bias.as_ref().and_then(|bias| gradient(bias, gradients)));
            }
            Layer::Dense(dense) => {
                put("gradient of the weight", gradient(&dense.weight, gradients));
                put("gradient of the bias", dense.bias.as_ref().and_then(|bias| gradient(bias, gradients)));
            }
            Layer::BatchNorm(norm) => {
                put("gradient of the weight", gradient(&norm.gamma, gradients));
                put("gradient of the bias", gradient(&norm.beta, gradients));
                put("running mean", Some(array(norm.running_mean.value_sync()).values));
                put("running variance", Some(array(norm.running_var.value_sync()).values));
            }
            _ => {}
        }
    }
}

/// Gradients of the output's product with the sines of its places.
fn uneven<const D: usize>(y: Tensor<D>, results: &mut Vec<(&'static str, Vec<f32>)>) -> Gradients {
    results.push(("output", array(y.clone().inner()).values));
    let shape = y.dims();
    let factors: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.7).sin()).collect();
    let factors = Tensor::<D>::from_data(TensorData::new(factors, shape), &y.device());
    (y * factors).sum().backward()
}

fn gradient<const D: usize>(parameter: &Param<Tensor<D>>, gradients: &Gradients) -> Option<Vec<f32>> {
    parameter.val().grad(gradients).map(|gradient| array(gradient).values)
}
