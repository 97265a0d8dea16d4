//! The burn network that an architecture describes. Behind the feature `burn`: serving does not link it.

use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamId, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, PaddingConfig2d, Relu};
use burn::tensor::{Device, Tensor, TensorData};

use crate::spec::{Architecture, LayerSpec, Padding, Step, parameter_name};
use crate::weights::{Array, Weights, WeightsError};

/// One layer of a [`Network`].
#[derive(Module, Debug)]
enum Layer {
    Conv(Conv2d),
    BatchNorm(BatchNorm),
    Relu(Relu),
    MaxPool(MaxPool2d),
    Dropout(Dropout),
    Flatten(Flatten),
    Dense(Linear),
}

/// `[batch, channels, height, width]` to `[batch, features]`.
#[derive(Module, Debug)]
struct Flatten;

/// A trainable network.
///
/// Parameter ids follow from the architecture, not from chance, so an optimiser's state fits again after a restart.
#[derive(Module, Debug)]
pub struct Network {
    trunk: Vec<Layer>,
    heads: Vec<Head>,
}

#[derive(Module, Debug)]
struct Head {
    layers: Vec<Layer>,
}

/// What flows between layers.
#[derive(Clone)]
enum Activation {
    Image(Tensor<4>),
    Vector(Tensor<2>),
}

impl Network {
    /// Builds the network with `weights` on `device`; give an autodiff device for training.
    pub fn new(architecture: &Architecture, weights: &Weights, device: &Device) -> Self {
        let mut ids = 1_u64..;
        let mut next_id = || ParamId::from(ids.next().unwrap_or_else(|| unreachable!("ids do not run out")));
        let mut layers: Vec<Layer> = architecture
            .steps()
            .into_iter()
            .enumerate()
            .map(|(index, Step { layer, input, output })| {
                let array = |role: &str| weights.get(&parameter_name(index, role));
                match *layer {
                    LayerSpec::Conv { channels, kernel, stride, padding, bias } => {
                        let pad = kernel / 2;
                        let padding = match padding {
                            Padding::Same => PaddingConfig2d::Explicit(pad, pad, pad, pad),
                            Padding::Valid => PaddingConfig2d::Valid,
                        };
                        let mut conv = Conv2dConfig::new([input.channels(), channels], [kernel, kernel])
                            .with_stride([stride, stride])
                            .with_padding(padding)
                            .with_bias(bias)
                            .init(device);
                        conv.weight = trainable(next_id(), array("weight"), device);
                        conv.bias = bias.then(|| trainable(next_id(), array("bias"), device));
                        Layer::Conv(conv)
                    }
                    LayerSpec::BatchNorm => {
                        let mut norm = BatchNormConfig::new(output.channels()).init(device);
                        norm.gamma = trainable(next_id(), array("weight"), device);
                        norm.beta = trainable(next_id(), array("bias"), device);
                        norm.running_mean =
                            RunningState::with_id(next_id(), tensor(array("running_mean"), device));
                        norm.running_var =
                            RunningState::with_id(next_id(), tensor(array("running_var"), device));
                        Layer::BatchNorm(norm)
                    }
                    LayerSpec::Relu => Layer::Relu(Relu::new()),
                    LayerSpec::MaxPool { size } => Layer::MaxPool(MaxPool2dConfig::new([size, size]).init()),
                    LayerSpec::Dropout { rate } => Layer::Dropout(DropoutConfig::new(rate).init()),
                    LayerSpec::Flatten => Layer::Flatten(Flatten),
                    LayerSpec::Dense { bias, .. } => Layer::Dense(Linear {
                        weight: trainable(next_id(), array("weight"), device),
                        bias: bias.then(|| trainable(next_id(), array("bias"), device)),
                    }),
                }
            })
            .collect();
        let mut heads: Vec<Head> = Vec::new();
        for (_, range) in architecture.heads().collect::<Vec<_>>().into_iter().rev() {
            heads.insert(0, Head { layers: layers.split_off(range.start) });
        }
        Self { trunk: layers, heads }
    }

    /// Scores, not probabilities: the training loss wants logits. One tensor a head, in the spec's order.
    ///
    /// # Shapes
    /// - images: `[batch, channels, height, width]`, of the input's size and preprocessed
    /// - returns `[batch, features]`; what is still an image is flattened, channels first
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<2>> {
        let follow = |layers: &[Layer], input: Activation| {
            layers.iter().fold(input, |activation, layer| layer.forward(activation))
        };
        let trunk = follow(&self.trunk, Activation::Image(images));
        let outputs = self.heads.iter().map(|head| match follow(&head.layers, trunk.clone()) {
            Activation::Vector(scores) => scores,
            Activation::Image(map) => map.flatten(1, 3),
        });
        outputs.collect()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.trunk.iter().chain(self.heads.iter().flat_map(|head| &head.layers))
    }

    /// The weights as they are now, under the architecture's names.
    ///
    /// # Errors
    /// [`WeightsError::NotFinite`] after a training that diverged.
    pub fn weights(&self, architecture: &Architecture) -> Result<Weights, WeightsError> {
        let mut arrays = BTreeMap::new();
        for (index, layer) in self.layers().enumerate() {
            let mut put = |role: &str, array: Array| arrays.insert(parameter_name(index, role), array);
            match layer {
                Layer::Conv(conv) => {
                    put("weight", array(conv.weight.val()));
                    conv.bias.as_ref().map(|bias| put("bias", array(bias.val())));
                }
                Layer::Dense(dense) => {
                    put("weight", array(dense.weight.val()));
                    dense.bias.as_ref().map(|bias| put("bias", array(bias.val())));
                }
                Layer::BatchNorm(norm) => {
                    put("weight", array(norm.gamma.val()));
                    put("bias", array(norm.beta.val()));
                    put("running_mean", array(norm.running_mean.value_sync()));
                    put("running_var", array(norm.running_var.value_sync()));
                }
                Layer::Relu(_) | Layer::MaxPool(_) | Layer::Dropout(_) | Layer::Flatten(_) => {}
            }
        }
        Weights::new(architecture, arrays)
    }

    /// Ids of biases and batch-norm scales, which weight decay leaves alone.
    pub fn rank_one_parameters(&self) -> Vec<ParamId> {
        let mut ids = Vec::new();
        for layer in self.layers() {
            match layer {
                Layer::Conv(Conv2d { bias, .. }) | Layer::Dense(Linear { bias, .. }) => {
                    ids.extend(bias.as_ref().map(|bias| bias.id));
                }
                Layer::BatchNorm(norm) => ids.extend([norm.gamma.id, norm.beta.id]),
                Layer::Relu(_) | Layer::MaxPool(_) | Layer::Dropout(_) | Layer::Flatten(_) => {}
            }
        }
        ids
    }
}

impl Layer {
    fn forward(&self, activation: Activation) -> Activation {
        use Activation::{Image, Vector};
        match (self, activation) {
            (Self::Conv(conv), Image(x)) => Image(conv.forward(x)),
            (Self::BatchNorm(norm), Image(x)) => Image(norm.forward(x)),
            (Self::BatchNorm(norm), Vector(x)) => Vector(norm.forward(x)),
            (Self::Relu(relu), Image(x)) => Image(relu.forward(x)),
            (Self::Relu(relu), Vector(x)) => Vector(relu.forward(x)),
            (Self::MaxPool(pool), Image(x)) => Image(pool.forward(x)),
            (Self::Dropout(dropout), Image(x)) => Image(dropout.forward(x)),
            (Self::Dropout(dropout), Vector(x)) => Vector(dropout.forward(x)),
            (Self::Flatten(_), Image(x)) => Vector(x.flatten(1, 3)),
            (Self::Dense(dense), Vector(x)) => Vector(dense.forward(x)),
            (Self::Dense(_), Image(_)) | (Self::Conv(_) | Self::MaxPool(_) | Self::Flatten(_), Vector(_)) => {
                unreachable!("a checked spec's layers fit each other")
            }
        }
    }
}

fn tensor<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values.clone(), array.shape.clone()), device)
}

fn trainable<const D: usize>(id: ParamId, array: &Array, device: &Device) -> Param<Tensor<D>> {
    Param::initialized(id, tensor(array, device)).set_require_grad(true)
}

fn array<const D: usize>(tensor: Tensor<D>) -> Array {
    let data = tensor.into_data().convert::<f32>();
    let shape = data.shape().to_vec();
    let values = data.try_to_vec().unwrap_or_else(|e| unreachable!("converted to f32 just above: {e:?}"));
    Array { shape, values }
}
