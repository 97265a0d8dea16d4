//! The burn network that an architecture describes.

use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamId, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, PaddingConfig2d, Relu};
use burn::tensor::{Device, Tensor, TensorData, activation};
use fer_model::spec::{Architecture, LayerSpec, Padding, Step};
use fer_model::weights::{Array, Weights, WeightsError};

use crate::dropout::{Dropout, DropoutMasks};
use crate::replica::RunningStatistics;
use crate::{cpu, gpu};

mod single;

pub use single::SingleLayer;

/// One layer of a [`Network`].
#[derive(Module, Debug)]
enum Layer {
    Conv(Conv2d),
    BatchNorm(BatchNorm),
    Relu(Relu),
    Relu6(Relu6),
    Elu(Elu),
    MaxPool(MaxPool2d),
    AvgPool(AvgPool2d),
    GlobalAvgPool(GlobalAvgPool),
    Dropout(Dropout),
    Flatten(Flatten),
    Dense(Linear),
    Sum(Sum),
    Upsample(Upsample),
    Tap(Tap),
    Add(Add),
}

/// `min(max(x, 0), 6)`
#[derive(Module, Debug)]
struct Relu6;

/// `x` where it is at least 0, otherwise `alpha · (exp(x) − 1)`.
#[derive(Module, Debug)]
struct Elu {
    alpha: f64,
}

/// The mean of each channel: `[batch, channels, height, width]` to `[batch, channels]`.
#[derive(Module, Debug)]
struct GlobalAvgPool;

/// `[batch, channels, height, width]` to `[batch, features]`.
#[derive(Module, Debug)]
struct Flatten;

/// A block: the sum of its branches' outputs.
#[derive(Module, Debug)]
struct Sum {
    branches: Vec<Sequence>,
}

/// Repeats every pixel along both axes.
#[derive(Module, Debug)]
struct Upsample {
    factor: usize,
}

/// Keeps its input for an [`Add`] or a head. Taps are numbered in the order of the trunk.
#[derive(Module, Debug)]
struct Tap;

/// The sum of its input and of a tapped value behind its own layers.
#[derive(Module, Debug)]
struct Add {
    /// Number of the tap.
    tap: usize,
    lateral: Sequence,
}

/// Layers on top of a tapped value. The trunk's output counts as the last tap.
#[derive(Module, Debug)]
struct Head {
    tap: usize,
    layers: Sequence,
}

/// Layers that run one after the other; an empty sequence is the identity.
#[derive(Module, Debug)]
struct Sequence {
    layers: Vec<Layer>,
}

/// A trainable network.
///
/// Parameter ids follow from the architecture, so that a stored optimiser state fits after a restart.
#[derive(Module, Debug)]
pub struct Network {
    trunk: Sequence,
    heads: Vec<Head>,
}

/// The values between two layers.
#[derive(Clone)]
enum Activation {
    Image(Tensor<4>),
    Vector(Tensor<2>),
}

impl std::ops::Add for Activation {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Image(a), Self::Image(b)) => Self::Image(a + b),
            (Self::Vector(a), Self::Vector(b)) => Self::Vector(a + b),
            _ => unreachable!("a checked spec adds values of the same shape"),
        }
    }
}

impl Network {
    /// Builds the network with `weights` on `device`; give an autodiff device for training.
    pub fn new(architecture: &Architecture, weights: &Weights, device: &Device) -> Self {
        let taps = Vec::new();
        let mut builder = Builder { weights, device, next_id: 1, dropout_layers: 0, taps };
        let steps = architecture.steps();
        let trunk = builder.sequence(&steps[..architecture.layers().len()]);
        let heads = architecture.heads().map(|(head, range)| Head {
            tap: head.from.as_ref().map_or(builder.taps.len(), |name| builder.tap(name)),
            layers: builder.sequence(&steps[range]),
        });
        let heads = heads.collect();
        Self { trunk, heads }
    }

    /// Logits, not probabilities, because the training loss takes logits. One tensor per head, in the order of the spec.
    /// Dropout is off; [`Replica`](crate::Replica) is the network in training.
    ///
    /// # Shapes
    /// - images: `[batch, channels, height, width]`, of the input's size and preprocessed
    /// - returns `[batch, features]`; an output that is still an image is flattened, channels first
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<2>> {
        self.forward_with(images, None)
    }

    /// [`Network::forward`] with dropout if there are masks.
    pub(crate) fn forward_with(&self, images: Tensor<4>, masks: Option<DropoutMasks>) -> Vec<Tensor<2>> {
        let (mut taps, mut value) = (Vec::<Activation>::new(), Activation::Image(images));
        for layer in &self.trunk.layers {
            value = match layer {
                Layer::Add(add) => value + add.lateral.forward(taps[add.tap].clone(), masks),
                layer => layer.forward(value, masks),
            };
            if let Layer::Tap(_) = layer {
                taps.push(value.clone());
            }
        }
        taps.push(value);
        let outputs =
            self.heads.iter().map(|head| match head.layers.forward(taps[head.tap].clone(), masks) {
                Activation::Vector(logits) => logits,
                Activation::Image(map) => map.flatten(1, 3),
            });
        outputs.collect()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.trunk.layers.iter().chain(self.heads.iter().flat_map(|head| &head.layers.layers))
    }

    /// All batch norms in the order of the layers, those inside of blocks included.
    fn batch_norms(&self) -> Vec<&BatchNorm> {
        let mut norms = Vec::new();
        for layer in self.layers() {
            layer.batch_norms(&mut norms);
        }
        norms
    }

    /// What the forward passes on this thread made of the running statistics.
    pub(crate) fn running_statistics(&self) -> RunningStatistics {
        let norms = self.batch_norms().into_iter();
        RunningStatistics(
            norms.map(|norm| [norm.running_mean.value_sync(), norm.running_var.value_sync()]).collect(),
        )
    }

    /// Sets every running statistic to its mean over the replicas of a step. The sum is in the order of `replicas`, so the
    /// result does not depend on which thread was first.
    pub fn set_running_statistics(&self, replicas: &[RunningStatistics]) {
        for (number, norm) in self.batch_norms().into_iter().enumerate() {
            for (kind, state) in [&norm.running_mean, &norm.running_var].into_iter().enumerate() {
                let values = replicas.iter().map(|replica| replica.0[number][kind].clone());
                if let Some(sum) = values.reduce(|sum, next| sum + next) {
                    state.update(sum.div_scalar(replicas.len() as f64));
                    // An update stays pending until the thread that made it asks for the value.
                    state.value_sync();
                }
            }
        }
    }

    /// The current weights, under the names of the architecture.
    ///
    /// # Errors
    /// [`WeightsError::NotFinite`] after a training that diverged.
    pub fn weights(&self, architecture: &Architecture) -> Result<Weights, WeightsError> {
        let mut arrays = BTreeMap::new();
        for (step, layer) in architecture.steps().iter().zip(self.layers()) {
            layer.take_weights(step, &mut arrays);
        }
        Weights::new(architecture, arrays)
    }

    /// Ids of biases and batch-norm scales, which weight decay leaves alone.
    pub fn rank_one_parameters(&self) -> Vec<ParamId> {
        let mut ids = Vec::new();
        for layer in self.layers() {
            layer.rank_one_parameters(&mut ids);
        }
        ids
    }
}

/// Builds burn's layers with the numbers of a weights file.
struct Builder<'a> {
    weights: &'a Weights,
    device: &'a Device,
    /// Id of the next parameter.
    next_id: u64,
    /// Dropout layers so far.
    dropout_layers: usize,
    /// Names of the taps so far.
    taps: Vec<String>,
}

impl Builder<'_> {
    fn next_id(&mut self) -> ParamId {
        self.next_id += 1;
        ParamId::from(self.next_id - 1)
    }

    fn trainable<const D: usize>(&mut self, step: &Step, role: &str) -> Param<Tensor<D>> {
        let array = self.weights.get(&step.parameter_name(role));
        Param::initialized(self.next_id(), tensor(array, self.device)).set_require_grad(true)
    }

    fn running<const D: usize>(&mut self, step: &Step, role: &str) -> RunningState<Tensor<D>> {
        let array = self.weights.get(&step.parameter_name(role));
        RunningState::with_id(self.next_id(), tensor(array, self.device))
    }

    /// The number of a tap.
    fn tap(&self, name: &str) -> usize {
        let found = self.taps.iter().position(|tap| tap == name);
        found.unwrap_or_else(|| unreachable!("a checked spec has every tap that it names"))
    }

    fn sequence(&mut self, steps: &[Step]) -> Sequence {
        Sequence { layers: steps.iter().map(|step| self.layer(step)).collect() }
    }

    fn layer(&mut self, step: &Step) -> Layer {
        match step.layer {
            LayerSpec::Conv { channels, kernel, stride, padding, groups, bias } => {
                let pad = kernel / 2;
                let padding = match padding {
                    Padding::Same => PaddingConfig2d::Explicit(pad, pad, pad, pad),
                    Padding::Valid => PaddingConfig2d::Valid,
                };
                let mut conv = Conv2dConfig::new([step.input.channels(), channels], [kernel, kernel])
                    .with_stride([stride, stride])
                    .with_padding(padding)
                    .with_groups(groups)
                    .with_bias(bias)
                    .init(self.device);
                conv.weight = self.trainable(step, "weight");
                conv.bias = bias.then(|| self.trainable(step, "bias"));
                Layer::Conv(conv)
            }
            LayerSpec::BatchNorm => {
                let mut norm = BatchNormConfig::new(step.output.channels()).init(self.device);
                norm.gamma = self.trainable(step, "weight");
                norm.beta = self.trainable(step, "bias");
                norm.running_mean = self.running(step, "running_mean");
                norm.running_var = self.running(step, "running_var");
                Layer::BatchNorm(norm)
            }
            LayerSpec::Relu => Layer::Relu(Relu::new()),
            LayerSpec::Relu6 => Layer::Relu6(Relu6),
            LayerSpec::Elu { alpha } => Layer::Elu(Elu { alpha }),
            LayerSpec::MaxPool { size } => Layer::MaxPool(MaxPool2dConfig::new([size, size]).init()),
            LayerSpec::AvgPool { size } => Layer::AvgPool(AvgPool2dConfig::new([size, size]).init()),
            LayerSpec::GlobalAvgPool => Layer::GlobalAvgPool(GlobalAvgPool),
            LayerSpec::Dropout { rate } => {
                self.dropout_layers += 1;
                Layer::Dropout(Dropout::new(rate, self.dropout_layers))
            }
            LayerSpec::Flatten => Layer::Flatten(Flatten),
            LayerSpec::Dense { bias, .. } => Layer::Dense(Linear {
                weight: self.trainable(step, "weight"),
                bias: bias.then(|| self.trainable(step, "bias")),
            }),
            LayerSpec::Residual { .. } | LayerSpec::InvertedResidual { .. } => {
                Layer::Sum(Sum { branches: step.branches.iter().map(|steps| self.sequence(steps)).collect() })
            }
            LayerSpec::Upsample { factor } => Layer::Upsample(Upsample { factor }),
            LayerSpec::Tap { ref name } => {
                self.taps.push(name.clone());
                Layer::Tap(Tap)
            }
            LayerSpec::Add { ref tap, .. } => Layer::Add(Add {
                tap: self.tap(tap),
                lateral: self.sequence(step.branches.first().map_or(&[][..], Vec::as_slice)),
            }),
        }
    }
}

impl Sequence {
    fn forward(&self, input: Activation, masks: Option<DropoutMasks>) -> Activation {
        self.layers.iter().fold(input, |activation, layer| layer.forward(activation, masks))
    }
}

impl Layer {
    fn forward(&self, activation: Activation, masks: Option<DropoutMasks>) -> Activation {
        use Activation::{Image, Vector};
        match (self, activation) {
            (Self::Conv(layer), Image(x)) => Image(conv(layer, x)),
            (Self::BatchNorm(norm), Image(x)) => Image(batch_norm(norm, x)),
            (Self::BatchNorm(norm), Vector(x)) => Vector(batch_norm(norm, x)),
            (Self::Relu(relu), Image(x)) => Image(relu.forward(x)),
            (Self::Relu(relu), Vector(x)) => Vector(relu.forward(x)),
            (Self::Relu6(_), Image(x)) => Image(x.clamp(0.0, 6.0)),
            (Self::Relu6(_), Vector(x)) => Vector(x.clamp(0.0, 6.0)),
            (Self::Elu(elu), Image(x)) => Image(activation::elu(x, elu.alpha)),
            (Self::Elu(elu), Vector(x)) => Vector(activation::elu(x, elu.alpha)),
            (Self::MaxPool(pool), Image(x)) => Image(cpu::max_pool(pool, x)),
            (Self::AvgPool(pool), Image(x)) => Image(pool.forward(x)),
            (Self::GlobalAvgPool(_), Image(x)) => {
                let features: Tensor<3> = x.flatten(2, 3);
                Vector(features.mean_dim(2).squeeze_dim(2))
            }
            (Self::Dropout(dropout), Image(x)) => Image(dropout.forward(x, masks)),
            (Self::Dropout(dropout), Vector(x)) => Vector(dropout.forward(x, masks)),
            (Self::Flatten(_), Image(x)) => Vector(x.flatten(1, 3)),
            (Self::Dense(dense), Vector(x)) => Vector(dense.forward(x)),
            (Self::Sum(sum), x) => sum.forward(&x, masks),
            (Self::Upsample(layer), Image(x)) => Image(cpu::upsample(x, layer.factor)),
            (Self::Tap(_), x) => x,
            (Self::Add(_), _) => unreachable!("a checked spec has taps and adds only in the trunk"),
            (Self::Dense(_), Image(_))
            | (
                Self::Conv(_)
                | Self::MaxPool(_)
                | Self::AvgPool(_)
                | Self::GlobalAvgPool(_)
                | Self::Flatten(_)
                | Self::Upsample(_),
                Vector(_),
            ) => unreachable!("a checked spec's layers fit each other"),
        }
    }

    fn take_weights(&self, step: &Step, arrays: &mut BTreeMap<String, Array>) {
        let mut put = |role: &str, array: Array| arrays.insert(step.parameter_name(role), array);
        match self {
            Self::Conv(conv) => {
                put("weight", array(conv.weight.val()));
                conv.bias.as_ref().map(|bias| put("bias", array(bias.val())));
            }
            Self::Dense(dense) => {
                put("weight", array(dense.weight.val()));
                dense.bias.as_ref().map(|bias| put("bias", array(bias.val())));
            }
            Self::BatchNorm(norm) => {
                put("weight", array(norm.gamma.val()));
                put("bias", array(norm.beta.val()));
                put("running_mean", array(norm.running_mean.value_sync()));
                put("running_var", array(norm.running_var.value_sync()));
            }
            _ => {
                let layers = self.branches().iter().flat_map(|branch| &branch.layers);
                for (step, layer) in step.branches.iter().flatten().zip(layers) {
                    layer.take_weights(step, arrays);
                }
            }
        }
    }

    /// The sequences inside of a block or an add.
    fn branches(&self) -> &[Sequence] {
        match self {
            Self::Sum(sum) => &sum.branches,
            Self::Add(add) => std::slice::from_ref(&add.lateral),
            _ => &[],
        }
    }

    fn batch_norms<'a>(&'a self, norms: &mut Vec<&'a BatchNorm>) {
        match self {
            Self::BatchNorm(norm) => norms.push(norm),
            _ => {
                for layer in self.branches().iter().flat_map(|branch| &branch.layers) {
                    layer.batch_norms(norms);
                }
            }
        }
    }

    fn rank_one_parameters(&self, ids: &mut Vec<ParamId>) {
        match self {
            Self::Conv(Conv2d { bias, .. }) | Self::Dense(Linear { bias, .. }) => {
                ids.extend(bias.as_ref().map(|bias| bias.id));
            }
            Self::BatchNorm(norm) => ids.extend([norm.gamma.id, norm.beta.id]),
            _ => {
                for layer in self.branches().iter().flat_map(|branch| &branch.layers) {
                    layer.rank_one_parameters(ids);
                }
            }
        }
    }
}

impl Sum {
    fn forward(&self, x: &Activation, masks: Option<DropoutMasks>) -> Activation {
        let outputs = self.branches.iter().map(|branch| branch.forward(x.clone(), masks));
        outputs.reduce(|a, b| a + b).unwrap_or_else(|| unreachable!("a block has a branch"))
    }
}

fn conv(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "libtorch")]
    if let Some(y) = crate::libtorch::conv(layer, x.clone()) {
        return y;
    }
    if gpu::is_gpu(&x.device()) { gpu::conv(layer, x) } else { cpu::conv(layer, x) }
}

fn batch_norm<const D: usize>(layer: &BatchNorm, x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "libtorch")]
    if let Some(y) = crate::libtorch::batch_norm(layer, x.clone()) {
        return y;
    }
    if gpu::is_gpu(&x.device()) { gpu::batch_norm(layer, x) } else { cpu::batch_norm(layer, x) }
}

fn tensor<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values.clone(), array.shape.clone()), device)
}

fn array<const D: usize>(tensor: Tensor<D>) -> Array {
    let data = tensor.into_data().convert::<f32>();
    let shape = data.shape().to_vec();
    let values = data.try_to_vec().unwrap_or_else(|e| unreachable!("converted to f32 just above: {e:?}"));
    Array { shape, values }
}
