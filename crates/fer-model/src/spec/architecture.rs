//! Layers that fit each other: trunk, heads, and what each layer needs in the weights file.

use serde::{Deserialize, Serialize};

use super::layer::{LayerSpec, Shape};
use super::{InputSpec, SpecError};

/// One tensor of a network: what the weights file must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// `layers.<index>.<weight|bias|running_mean|running_var>`; inside of a block
    /// `layers.<index>.<body|shortcut>.<index>.…`.
    pub name: String,
    /// Convolution `[out, in / groups, kernel, kernel]`, dense `[in, out]`, the others `[channels]`.
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
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What its tensors' names begin with.
    pub name: String,
    /// The layer.
    pub layer: LayerSpec,
    /// What it gets.
    pub input: Shape,
    /// What it gives.
    pub output: Shape,
    /// Of a block: what is summed. A branch without steps is the identity.
    pub branches: Vec<Vec<Step>>,
}

impl Step {
    /// The name of one of its tensors.
    pub fn parameter_name(&self, role: &str) -> String {
        format!("{}.{role}", self.name)
    }

    /// Multiplications with a weight for one sample, branches included; norms and activations are not counted.
    pub fn multiply_adds(&self) -> usize {
        let own = match self.layer {
            LayerSpec::Conv { kernel, groups, channels, .. } => {
                self.output.pixels() * channels * (self.input.channels() / groups) * kernel * kernel
            }
            LayerSpec::Dense { units, .. } => self.input.channels() * units,
            _ => 0,
        };
        own + self.branches.iter().flatten().map(Step::multiply_adds).sum::<usize>()
    }

    /// Its tensors, branches included, in layer order.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let mut parameters = Vec::new();
        let mut add = |role: &str, shape: Vec<usize>, trainable| {
            parameters.push(ParameterSpec { name: self.parameter_name(role), shape, trainable });
        };
        match self.layer {
            LayerSpec::Conv { channels, kernel, groups, bias, .. } => {
                add("weight", vec![channels, self.input.channels() / groups, kernel, kernel], true);
                if bias {
                    add("bias", vec![channels], true);
                }
            }
            LayerSpec::Dense { units, bias } => {
                add("weight", vec![self.input.channels(), units], true);
                if bias {
                    add("bias", vec![units], true);
                }
            }
            LayerSpec::BatchNorm => {
                add("weight", vec![self.output.channels()], true);
                add("bias", vec![self.output.channels()], true);
                add("running_mean", vec![self.output.channels()], false);
                add("running_var", vec![self.output.channels()], false);
            }
            _ => {}
        }
        parameters.extend(self.branches.iter().flatten().flat_map(Step::parameters));
        parameters
    }
}

/// Layers one after the other, named by `prefix` and counted from `first`.
///
/// # Errors
/// Place and kind of the first that does not fit, and why.
fn follow(
    layers: &[LayerSpec],
    prefix: &str,
    first: usize,
    mut shape: Shape,
) -> Result<Vec<Step>, (usize, &'static str, String)> {
    let mut steps = Vec::new();
    for (index, layer) in (first..).zip(layers) {
        let name = format!("{prefix}.{index}");
        let step = step(layer, name, shape).map_err(|message| (index, layer.kind(), message))?;
        shape = step.output;
        steps.push(step);
    }
    Ok(steps)
}

fn step(layer: &LayerSpec, name: String, input: Shape) -> Result<Step, String> {
    layer.check_block(input)?;
    let mut branches: Vec<Vec<Step>> = Vec::new();
    let mut output = None;
    for (branch, layers) in layer.branches(input) {
        let steps = follow(&layers, &format!("{name}.{branch}"), 0, input)
            .map_err(|(index, kind, message)| format!("{branch} layer {index} ({kind}): {message}"))?;
        let gives = steps.last().map_or(input, |step| step.output);
        match output {
            Some(other) if other != gives => {
                return Err(format!(
                    "the body gives {other}, but the {branch} {gives}; they cannot be added"
                ));
            }
            _ => output = Some(gives),
        }
        branches.push(steps);
    }
    let output = output.map_or_else(|| layer.output_shape(input), Ok)?;
    Ok(Step { name, layer: layer.clone(), input, output, branches })
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
        architecture.check_steps()?;
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
        self.steps().iter().all(|step| matches!(step.output, Shape::Image { .. }))
    }

    fn check_steps(&self) -> Result<Vec<Step>, SpecError> {
        let layers = |layers: &[LayerSpec], first, shape| {
            follow(layers, "layers", first, shape).map_err(|(index, kind, message)| SpecError::Layer {
                index,
                kind,
                message,
            })
        };
        let mut steps = layers(&self.layers, 0, self.input_shape())?;
        let trunk = steps.last().map_or(self.input_shape(), |step| step.output);
        for (head, range) in self.heads() {
            steps.extend(layers(&head.layers, range.start, trunk)?);
        }
        Ok(steps)
    }

    /// All layers, the trunk's and then each head's.
    pub fn steps(&self) -> Vec<Step> {
        self.check_steps().unwrap_or_else(|e| unreachable!("an Architecture has been checked: {e}"))
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
        self.steps().iter().flat_map(Step::parameters).collect()
    }

    /// How many numbers the optimiser changes.
    pub fn trainable_parameters(&self) -> usize {
        self.parameters().iter().filter(|p| p.trainable).map(ParameterSpec::len).sum()
    }

    /// How many numbers there are, running statistics included.
    pub fn total_parameters(&self) -> usize {
        self.parameters().iter().map(ParameterSpec::len).sum()
    }
}
