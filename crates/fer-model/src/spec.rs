//! The architecture as data: what a model's JSON says, checked.
//!
//! The JSON is the model: the burn network, the weights file and the ONNX graph all follow from an
//! [`Architecture`], which a [`NetworkSpec`] makes an emotion model of. One that exists has passed the shape check,
//! so the code behind it need not repeat it.

use serde::{Deserialize, Serialize};

use crate::{Emotion, Preprocessing};

/// What the network takes: `[batch, channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// 1 for grey, 3 for colour; an emotion network with 3 gets the grey face replicated.
    pub channels: usize,
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
}

/// How a convolution treats its border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// `kernel / 2` zeros on every side: with stride 1 the side stays (odd kernels only).
    #[default]
    Same,
    /// None: windows lie inside, with stride 1 the side shrinks by `kernel - 1`.
    Valid,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(value: &usize) -> bool {
    *value == 1
}

/// One layer. `kind` names it in JSON; unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// 2-D convolution.
    Conv {
        /// Output channels.
        channels: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Pixels from one window to the next, both ways.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        stride: usize,
        /// Border.
        #[serde(default)]
        padding: Padding,
        /// Whether a bias is added; pointless directly under a batch norm.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Batch normalisation over channels or features (epsilon 1e-5).
    BatchNorm,
    /// Rectifier.
    Relu,
    /// Maximum over `size`×`size` windows, stride `size`, remainder dropped.
    MaxPool {
        /// Side of the window.
        size: usize,
    },
    /// Zeroes activations while training.
    Dropout {
        /// Probability of zeroing, in `[0, 1)`.
        rate: f64,
    },
    /// `[channels, height, width]` to `[features]`, row-major.
    Flatten,
    /// Fully connected.
    Dense {
        /// Output features.
        units: usize,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    },
}

impl LayerSpec {
    /// The name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
            Self::BatchNorm => "batch_norm",
            Self::Relu => "relu",
            Self::MaxPool { .. } => "max_pool",
            Self::Dropout { .. } => "dropout",
            Self::Flatten => "flatten",
            Self::Dense { .. } => "dense",
        }
    }
}

/// The shape of one sample between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[channels, height, width]`
    Image {
        /// Channels.
        channels: usize,
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// `[features]`
    Vector(usize),
}

impl Shape {
    /// Channels of an image, features of a vector: what a batch norm has statistics for.
    pub fn channels(self) -> usize {
        match self {
            Self::Image { channels, .. } => channels,
            Self::Vector(features) => features,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image { channels, height, width } => write!(f, "{channels}×{height}×{width}"),
            Self::Vector(features) => write!(f, "{features}"),
        }
    }
}

/// One tensor of a network: what the weights file must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// `layers.<index>.<weight|bias|running_mean|running_var>`
    pub name: String,
    /// Convolution `[out, in, kernel, kernel]`, dense `[in, out]`, the others `[channels]`.
    pub shape: Vec<usize>,
    /// Whether the optimiser changes it (running statistics it does not).
    pub trainable: bool,
}

impl ParameterSpec {
    /// How many numbers.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no number in it; never so in a checked spec.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is wrong with a spec, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// The text is not JSON or lacks a field.
    #[error("model spec: {0}")]
    Json(String),
    /// A layer's JSON does not read as a layer.
    #[error("layer {index}: {message}")]
    LayerJson {
        /// Counted from 0.
        index: usize,
        /// What the reader expected.
        message: String,
    },
    /// A layer does not fit what comes before it.
    #[error("layer {index} ({kind}): {message}")]
    Layer {
        /// Counted from 0.
        index: usize,
        /// Its kind.
        kind: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// Input, outputs, labels or preprocessing.
    #[error("model spec: {0}")]
    Field(String),
}

/// One output of a network: layers on top of the trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSpec {
    /// The output's name in the ONNX graph.
    pub output: String,
    /// Whether the graph ends in a softmax over channels or features; training wants the scores before it.
    #[serde(default)]
    pub softmax: bool,
    /// From the trunk's last activation on.
    pub layers: Vec<LayerSpec>,
}

/// The layers of a network: a trunk, and heads that each take what it gives. Layers are counted through, first the
/// trunk's, then each head's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Architecture {
    input: InputSpec,
    layers: Vec<LayerSpec>,
    heads: Vec<HeadSpec>,
}

/// The fields as they stand in the file, before the check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchitectureDraft {
    input: InputSpec,
    layers: Vec<LayerSpec>,
    heads: Vec<HeadSpec>,
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ArchitectureDraft { input, layers, heads } = ArchitectureDraft::deserialize(deserializer)?;
        Self::new(input, layers, heads).map_err(serde::de::Error::custom)
    }
}

/// A layer among its neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The layer.
    pub layer: &'a LayerSpec,
    /// What it gets.
    pub input: Shape,
    /// What it gives.
    pub output: Shape,
}

impl Architecture {
    /// Layers that fit each other.
    ///
    /// # Errors
    /// The first layer that does not fit, or an input that makes no sense.
    pub fn new(input: InputSpec, layers: Vec<LayerSpec>, heads: Vec<HeadSpec>) -> Result<Self, SpecError> {
        let field = |message: String| Err(SpecError::Field(message));
        let InputSpec { channels, height, width } = input;
        if !matches!(channels, 1 | 3) {
            return field(format!(
                "input.channels is {channels}; expected 1 (grey) or 3 (colour, or grey replicated)"
            ));
        }
        if height == 0 || width == 0 || height > 1024 || width > 1024 {
            return field(format!("input is {height}×{width}; expected sides from 1 to 1024"));
        }
        if heads.is_empty() {
            return field("there is no head; expected at least one output".to_owned());
        }
        if let Some((_, twice)) = heads
            .iter()
            .enumerate()
            .find(|(i, head)| heads[..*i].iter().any(|other| other.output == head.output))
        {
            return field(format!("output '{}' stands twice", twice.output));
        }
        let architecture = Self { input, layers, heads };
        architecture.shapes()?;
        Ok(architecture)
    }

    /// What it takes.
    pub fn input(&self) -> InputSpec {
        self.input
    }

    /// The shape of the input as the first layer sees it.
    pub fn input_shape(&self) -> Shape {
        let InputSpec { channels, height, width } = self.input;
        Shape::Image { channels, height, width }
    }

    /// The trunk's layers.
    pub fn layers(&self) -> &[LayerSpec] {
        &self.layers
    }

    /// Each head with the numbers of its layers.
    pub fn heads(&self) -> impl Iterator<Item = (&HeadSpec, std::ops::Range<usize>)> {
        let mut first = self.layers.len();
        self.heads.iter().map(move |head| {
            let range = first..first + head.layers.len();
            first = range.end;
            (head, range)
        })
    }

    /// Whether every layer works at any height and width from the input's on: then the graph does too.
    pub fn is_fully_convolutional(&self) -> bool {
        let flat = |layer: &LayerSpec| matches!(layer, LayerSpec::Flatten | LayerSpec::Dense { .. });
        !self.all_layers().any(flat)
    }

    fn all_layers(&self) -> impl Iterator<Item = &LayerSpec> {
        self.layers.iter().chain(self.heads.iter().flat_map(|head| &head.layers))
    }

    /// Every layer's input and output shape.
    fn shapes(&self) -> Result<Vec<(Shape, Shape)>, SpecError> {
        let mut shapes = Vec::new();
        let mut follow = |layers: &[LayerSpec], mut shape: Shape| {
            for layer in layers {
                let output = output_shape(layer, shape).map_err(|message| SpecError::Layer {
                    index: shapes.len(),
                    kind: layer.kind(),
                    message,
                })?;
                shapes.push((shape, output));
                shape = output;
            }
            Ok(shape)
        };
        let trunk = follow(&self.layers, self.input_shape())?;
        for head in &self.heads {
            follow(&head.layers, trunk)?;
        }
        Ok(shapes)
    }

    /// All layers, the trunk's and then each head's.
    pub fn steps(&self) -> Vec<Step<'_>> {
        let shapes = self.shapes().unwrap_or_else(|e| unreachable!("an Architecture has been checked: {e}"));
        self.all_layers().zip(shapes).map(|(layer, (input, output))| Step { layer, input, output }).collect()
    }

    /// The shape that a head gives.
    pub fn output_shape(&self, head: &std::ops::Range<usize>) -> Shape {
        let steps = self.steps();
        let trunk = self.layers.len().checked_sub(1);
        let last = if head.is_empty() { trunk } else { head.end.checked_sub(1) };
        last.and_then(|last| steps.get(last)).map_or(self.input_shape(), |step| step.output)
    }

    /// Every tensor that the network needs, in layer order.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let mut parameters = Vec::new();
        for (index, Step { layer, input, output }) in self.steps().into_iter().enumerate() {
            let mut add = |role: &str, shape: Vec<usize>, trainable| {
                parameters.push(ParameterSpec { name: parameter_name(index, role), shape, trainable });
            };
            match *layer {
                LayerSpec::Conv { channels, kernel, bias, .. } => {
                    add("weight", vec![channels, input.channels(), kernel, kernel], true);
                    if bias {
                        add("bias", vec![channels], true);
                    }
                }
                LayerSpec::Dense { units, bias } => {
                    add("weight", vec![input.channels(), units], true);
                    if bias {
                        add("bias", vec![units], true);
                    }
                }
                LayerSpec::BatchNorm => {
                    add("weight", vec![output.channels()], true);
                    add("bias", vec![output.channels()], true);
                    add("running_mean", vec![output.channels()], false);
                    add("running_var", vec![output.channels()], false);
                }
                LayerSpec::Relu
                | LayerSpec::MaxPool { .. }
                | LayerSpec::Dropout { .. }
                | LayerSpec::Flatten => {}
            }
        }
        parameters
    }

    /// How many numbers the optimiser changes.
    pub fn trainable_parameters(&self) -> usize {
        self.parameters().iter().filter(|p| p.trainable).map(ParameterSpec::len).sum()
    }
}

/// The name of an emotion network's one output, which is outside of the JSON.
pub const LOGITS: &str = "logits";

/// An emotion network: layers to the logits of its labels, and how a face becomes its input. The softmax is outside
/// of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    name: String,
    preprocessing: Preprocessing,
    labels: Vec<Emotion>,
    architecture: Architecture,
}

/// The fields as they stand in the file, before the check. Layers stay raw so that an error can name the index.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    name: String,
    input: InputSpec,
    preprocessing: Preprocessing,
    labels: Vec<Emotion>,
    layers: Vec<serde_json::Value>,
}

impl<'de> Deserialize<'de> for NetworkSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_draft(Draft::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for NetworkSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            name: &'a str,
            input: InputSpec,
            preprocessing: Preprocessing,
            labels: &'a [Emotion],
            layers: &'a [LayerSpec],
        }
        let Self { name, preprocessing, labels, architecture } = self;
        let (input, layers) = (architecture.input(), architecture.layers());
        Fields { name, input, preprocessing: *preprocessing, labels, layers }.serialize(serializer)
    }
}

impl NetworkSpec {
    /// Reads and checks a model's JSON.
    ///
    /// # Errors
    /// Names the layer by index, what was found and what was expected.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        Self::from_draft(serde_json::from_str(text).map_err(|e| SpecError::Json(e.to_string()))?)
    }

    fn from_draft(draft: Draft) -> Result<Self, SpecError> {
        let Draft { name, input, preprocessing, labels, layers } = draft;
        let layers = layers
            .into_iter()
            .enumerate()
            .map(|(index, layer)| {
                serde_json::from_value(layer)
                    .map_err(|e| SpecError::LayerJson { index, message: e.to_string() })
            })
            .collect::<Result<_, _>>()?;
        let logits = HeadSpec { output: LOGITS.to_owned(), softmax: false, layers: Vec::new() };
        let architecture = Architecture::new(input, layers, vec![logits])?;
        let spec = Self { name, preprocessing, labels, architecture };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), SpecError> {
        let field = |message: String| Err(SpecError::Field(message));
        if let Err(message) = self.preprocessing.check() {
            return field(message);
        }
        if let Some(twice) = self.labels.iter().enumerate().find(|(i, l)| self.labels[..*i].contains(l)) {
            return field(format!("label '{}' stands twice", twice.1));
        }
        let steps = self.architecture.steps();
        match steps.last().map(|step| step.output) {
            Some(Shape::Vector(units)) if units == self.labels.len() => Ok(()),
            last => {
                let index = steps.len().saturating_sub(1);
                let found = last.map_or("nothing".to_owned(), |shape| shape.to_string());
                let kind = steps.last().map_or("missing", |step| step.layer.kind());
                let message = format!(
                    "the head gives {found}, but there are {} labels; expected a dense layer with {} units",
                    self.labels.len(),
                    self.labels.len()
                );
                Err(SpecError::Layer { index, kind, message })
            }
        }
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its layers.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// What it takes.
    pub fn input(&self) -> InputSpec {
        self.architecture.input()
    }

    /// How pixels become the input.
    pub fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    /// The emotion of each logit, in order.
    pub fn labels(&self) -> &[Emotion] {
        &self.labels
    }
}

/// The weights file's name for one tensor of a layer.
pub(crate) fn parameter_name(layer: usize, role: &str) -> String {
    format!("layers.{layer}.{role}")
}

/// Sizes that no sane model has; above them, arithmetic on a hostile file could overflow.
const MOST: usize = 1 << 20;

fn output_shape(layer: &LayerSpec, input: Shape) -> Result<Shape, String> {
    let image = || match input {
        Shape::Image { channels, height, width } => Ok((channels, height, width)),
        Shape::Vector(n) => {
            Err(format!("needs an image, but gets a vector of {n}; it belongs before the flatten"))
        }
    };
    let positive = |what: &str, value: usize| match value {
        0 => Err(format!("{what} is 0; expected at least 1")),
        1..=MOST => Ok(()),
        _ => Err(format!("{what} is {value}; expected at most {MOST}")),
    };
    match *layer {
        LayerSpec::Conv { channels, kernel, stride, padding, .. } => {
            let (_, height, width) = image()?;
            positive("channels", channels)?;
            positive("kernel", kernel)?;
            positive("stride", stride)?;
            if kernel > height || kernel > width {
                return Err(format!("kernel {kernel} is larger than its input {height}×{width}"));
            }
            match padding {
                Padding::Same if kernel % 2 == 0 => {
                    Err(format!("kernel {kernel} is even; same padding expects an odd one"))
                }
                Padding::Same => {
                    let side = |side: usize| (side - 1) / stride + 1;
                    Ok(Shape::Image { channels, height: side(height), width: side(width) })
                }
                Padding::Valid => {
                    let side = |side: usize| (side - kernel) / stride + 1;
                    Ok(Shape::Image { channels, height: side(height), width: side(width) })
                }
            }
        }
        LayerSpec::MaxPool { size } => {
            let (channels, height, width) = image()?;
            positive("size", size)?;
            if size > height || size > width {
                return Err(format!("size {size} is larger than its input {height}×{width}"));
            }
            Ok(Shape::Image { channels, height: height / size, width: width / size })
        }
        LayerSpec::Flatten => {
            let (channels, height, width) = image()?;
            Ok(Shape::Vector(channels * height * width))
        }
        LayerSpec::Dense { units, .. } => match input {
            Shape::Vector(_) => positive("units", units).map(|()| Shape::Vector(units)),
            Shape::Image { .. } => {
                Err(format!("needs a vector, but gets an image {input}; expected a flatten before"))
            }
        },
        LayerSpec::Dropout { rate } if !(0.0..1.0).contains(&rate) => {
            Err(format!("rate is {rate}; expected 0 to below 1"))
        }
        LayerSpec::BatchNorm | LayerSpec::Relu | LayerSpec::Dropout { .. } => Ok(input),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CNN6: &str = include_str!("../../../configs/models/cnn6.json");

    fn error(from: &str, to: &str) -> String {
        assert!(CNN6.contains(from), "the config has no {from}");
        NetworkSpec::from_json(&CNN6.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn cnn6_has_the_published_size() {
        let spec = NetworkSpec::from_json(CNN6).unwrap();
        assert_eq!(spec.architecture().trainable_parameters(), 2_866_631);
        let again = NetworkSpec::from_json(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn a_number_in_the_json_changes_the_network() {
        let wider = CNN6.replacen("\"channels\": 64", "\"channels\": 65", 1);
        assert_ne!(NetworkSpec::from_json(&wider).unwrap().architecture().trainable_parameters(), 2_866_631);
    }

    #[test]
    fn errors_name_the_layer_and_what_was_expected() {
        let unknown = error("\"channels\": 64", "\"chanels\": 64");
        assert!(unknown.starts_with("layer 0:") && unknown.contains("chanels"), "{unknown}");
        let large = error("\"kernel\": 3", "\"kernel\": 49");
        assert!(large.starts_with("layer 0 (conv): kernel 49 is larger than its input 48×48"), "{large}");
        let head = error("\"units\": 7", "\"units\": 8");
        assert!(head.contains("gives 8, but there are 7 labels"), "{head}");
        let flat = error("    { \"kind\": \"flatten\" },\n", "");
        assert!(flat.contains("layer 20 (dense): needs a vector, but gets an image 512×3×3"), "{flat}");
        let label = error("\"disgust\"", "\"digust\"");
        assert!(label.contains("digust"), "{label}");
        let twice = error("\"disgust\"", "\"angry\"");
        assert!(twice.contains("'angry' stands twice"), "{twice}");
        let rate = error("\"rate\": 0.4", "\"rate\": 1.0");
        assert!(rate.contains("rate is 1; expected 0 to below 1"), "{rate}");
        let grey = error("\"channels\": 1", "\"channels\": 2");
        assert!(grey.contains("expected 1 (grey) or 3"), "{grey}");
        let std = error("\"std\": 0.255", "\"std\": 0");
        assert!(std.contains("std"), "{std}");
    }
}
