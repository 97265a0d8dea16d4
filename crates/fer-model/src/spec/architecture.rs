//! Layers that fit each other: the trunk, the heads, and the shape of everything between them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layer::{LayerSpec, Shape};
use super::{InputSpec, SpecError};

/// One tensor of a network, which the weights file must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// `layers.<index>.<weight|bias|running_mean|running_var>`; within a block or an add
    /// `layers.<index>.<body|shortcut|lateral>.<index>.…`.
    pub name: String,
    /// Convolution `[out, in / groups, kernel, kernel]`, dense `[in, out]`, all others `[channels]`.
    pub shape: Vec<usize>,
    /// Whether the optimiser updates it; running statistics are not trainable.
    pub trainable: bool,
}

impl ParameterSpec {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no values. This is never the case in a checked spec.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One output of a network: the layers on top of the trunk, or of one of its taps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSpec {
    /// The output's name in the ONNX graph.
    pub output: String,
    /// Whether the ONNX graph ends in a softmax over channels or features. Training uses the logits before it.
    #[serde(default)]
    pub softmax: bool,
    /// Name of the tap that the head starts from; the trunk's output if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Layers from there on.
    pub layers: Vec<LayerSpec>,
}

/// The layers of a network: a trunk, and heads that each take the trunk's output or one of its taps. Layers are numbered
/// through: first the trunk's, then each head's.
///
/// Invariant: the layers fit each other; [`Architecture::steps`] are their checked shapes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Architecture {
    input: InputSpec,
    layers: Vec<LayerSpec>,
    heads: Vec<HeadSpec>,
    #[serde(skip)]
    steps: Vec<Step>,
    #[serde(skip)]
    taps: Taps,
}

/// The fields of the file, before the check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchitectureFields {
    input: InputSpec,
    layers: Vec<LayerSpec>,
    heads: Vec<HeadSpec>,
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ArchitectureFields { input, layers, heads } = ArchitectureFields::deserialize(deserializer)?;
        Self::new(input, layers, heads).map_err(serde::de::Error::custom)
    }
}

/// A layer with its name and its shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Prefix of its tensors' names.
    pub name: String,
    /// The layer.
    pub layer: LayerSpec,
    /// Shape of its input.
    pub input: Shape,
    /// Shape of its output.
    pub output: Shape,
    /// The summands of a block, or the layers of an add's tapped value; a branch without steps is the identity. Empty for
    /// any other layer.
    pub branches: Vec<Vec<Step>>,
}

impl Step {
    /// The name of one of its tensors.
    pub fn parameter_name(&self, role: &str) -> String {
        format!("{}.{role}", self.name)
    }

    /// Multiplications with a weight for one sample, including branches. Norms and activations are not counted.
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

    /// Its tensors in layer order, including those of branches.
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

/// Shapes of the tapped values, by name.
type Taps = BTreeMap<String, Shape>;

/// Number and kind of a layer that does not fit, and why.
type Misfit = (usize, &'static str, String);

/// Checks layers that follow each other from `shape` on; they are named by `prefix` and numbered from `first`.
///
/// # Errors
/// Number and kind of the first layer that does not fit, and why.
fn check_layers(
    layers: &[LayerSpec],
    prefix: &str,
    first: usize,
    mut shape: Shape,
) -> Result<Vec<Step>, Misfit> {
    let mut steps = Vec::new();
    for (index, layer) in (first..).zip(layers) {
        let name = format!("{prefix}.{index}");
        let step = check_layer(layer, name, shape).map_err(|message| (index, layer.kind(), message))?;
        shape = step.output;
        steps.push(step);
    }
    Ok(steps)
}

/// Checks the layers of a trunk. Returns them with the shapes of its taps.
///
/// # Errors
/// Number and kind of the first layer that does not fit, and why.
fn check_trunk(layers: &[LayerSpec], mut shape: Shape) -> Result<(Vec<Step>, Taps), Misfit> {
    let (mut steps, mut taps) = (Vec::new(), Taps::new());
    for (index, layer) in layers.iter().enumerate() {
        let name = format!("layers.{index}");
        let step = match layer {
            LayerSpec::Tap { name: tap } => match taps.insert(tap.clone(), shape) {
                Some(_) => Err(format!("the name '{tap}' is given twice")),
                None => {
                    Ok(Step { name, layer: layer.clone(), input: shape, output: shape, branches: Vec::new() })
                }
            },
            LayerSpec::Add { tap, layers } => check_add(layer, tap, layers, name, shape, &taps),
            _ => check_layer(layer, name, shape),
        };
        let step = step.map_err(|message| (index, layer.kind(), message))?;
        shape = step.output;
        steps.push(step);
    }
    Ok((steps, taps))
}

fn check_add(
    layer: &LayerSpec,
    tap: &str,
    lateral: &[LayerSpec],
    name: String,
    input: Shape,
    taps: &Taps,
) -> Result<Step, String> {
    let tapped = tapped(taps, tap)?;
    let steps = check_layers(lateral, &format!("{name}.lateral"), 0, tapped)
        .map_err(|(index, kind, message)| format!("lateral layer {index} ({kind}): {message}"))?;
    let found = steps.last().map_or(tapped, |step| step.output);
    if found != input {
        return Err(format!(
            "the layer before gives {input}, but the tap '{tap}' {found}; they cannot be added"
        ));
    }
    Ok(Step { name, layer: layer.clone(), input, output: input, branches: vec![steps] })
}

fn tapped(taps: &Taps, name: &str) -> Result<Shape, String> {
    let names = taps.keys().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { "none".to_owned() } else { names };
    let missing = || format!("there is no tap '{name}' before it; the taps are: {names}");
    taps.get(name).copied().ok_or_else(missing)
}

fn check_layer(layer: &LayerSpec, name: String, input: Shape) -> Result<Step, String> {
    layer.check_block(input)?;
    let mut branches: Vec<Vec<Step>> = Vec::new();
    let mut output = None;
    for (branch, layers) in layer.branches(input) {
        let steps = check_layers(&layers, &format!("{name}.{branch}"), 0, input)
            .map_err(|(index, kind, message)| format!("{branch} layer {index} ({kind}): {message}"))?;
        let branch_output = steps.last().map_or(input, |step| step.output);
        match output {
            Some(other) if other != branch_output => {
                return Err(format!(
                    "the body gives {other}, but the {branch} {branch_output}; they cannot be added"
                ));
            }
            _ => output = Some(branch_output),
        }
        branches.push(steps);
    }
    let output = output.map_or_else(|| layer.output_shape(input), Ok)?;
    Ok(Step { name, layer: layer.clone(), input, output, branches })
}

impl Architecture {
    /// Checks that the layers fit each other.
    ///
    /// # Errors
    /// Names the first layer that does not fit, or says what is wrong with the input or the heads.
    pub fn new(input: InputSpec, layers: Vec<LayerSpec>, heads: Vec<HeadSpec>) -> Result<Self, SpecError> {
        check_input(input)?;
        check_heads(&heads)?;
        let mut architecture = Self { input, layers, heads, steps: Vec::new(), taps: Taps::new() };
        (architecture.steps, architecture.taps) = architecture.check_steps()?;
        Ok(architecture)
    }

    /// Channels, height and width of the input.
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

    /// Whether every layer works at any height and width that is at least the input's. The ONNX graph then does too.
    pub fn is_fully_convolutional(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.output, Shape::Image { .. }))
    }

    fn check_steps(&self) -> Result<(Vec<Step>, Taps), SpecError> {
        let misfit = |(index, kind, message): Misfit| SpecError::Layer { index, kind, message };
        let (mut steps, taps) = check_trunk(&self.layers, self.input_shape()).map_err(misfit)?;
        let trunk = steps.last().map_or(self.input_shape(), |step| step.output);
        for (head, range) in self.heads() {
            let shape = match &head.from {
                None => trunk,
                Some(tap) => tapped(&taps, tap)
                    .map_err(|message| SpecError::Field(format!("output '{}': {message}", head.output)))?,
            };
            steps.extend(check_layers(&head.layers, "layers", range.start, shape).map_err(misfit)?);
        }
        Ok((steps, taps))
    }

    /// All layers with their shapes: the trunk's and then each head's.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The output shape of a head, given the numbers of its layers.
    pub fn output_shape(&self, head: &HeadSpec, layers: &std::ops::Range<usize>) -> Shape {
        if !layers.is_empty() {
            return self.steps[layers.end - 1].output;
        }
        let tapped = head.from.as_ref().and_then(|tap| self.taps.get(tap).copied());
        let trunk = self.layers.len().checked_sub(1).map(|last| self.steps[last].output);
        tapped.or(trunk).unwrap_or(self.input_shape())
    }

    /// Every tensor that the network needs, in layer order.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.steps.iter().flat_map(Step::parameters).collect()
    }

    /// Number of values that the optimiser updates.
    pub fn trainable_parameters(&self) -> usize {
        self.parameters().iter().filter(|p| p.trainable).map(ParameterSpec::len).sum()
    }

    /// Number of all values, including running statistics.
    pub fn total_parameters(&self) -> usize {
        self.parameters().iter().map(ParameterSpec::len).sum()
    }
}

fn check_input(InputSpec { channels, height, width }: InputSpec) -> Result<(), SpecError> {
    if !matches!(channels, 1 | 3) {
        return Err(SpecError::Field(format!(
            "input.channels is {channels}; expected 1 (grey) or 3 (colour, or grey replicated)"
        )));
    }
    if height == 0 || width == 0 || height > 1024 || width > 1024 {
        let message = format!("input is {height}×{width}; expected sides from 1 to 1024");
        return Err(SpecError::Field(message));
    }
    Ok(())
}

fn check_heads(heads: &[HeadSpec]) -> Result<(), SpecError> {
    if heads.is_empty() {
        return Err(SpecError::Field("there is no head; expected at least one output".to_owned()));
    }
    for (index, head) in heads.iter().enumerate() {
        if heads[..index].iter().any(|other| other.output == head.output) {
            return Err(SpecError::Field(format!("output '{}' is given twice", head.output)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYRAMID: &str = r#"{
        "input": {"channels": 3, "height": 16, "width": 32},
        "layers": [
            {"kind": "conv", "channels": 4, "kernel": 3, "stride": 2},
            {"kind": "tap", "name": "fine"},
            {"kind": "conv", "channels": 8, "kernel": 3, "stride": 2},
            {"kind": "upsample", "factor": 2},
            {"kind": "add", "tap": "fine", "layers": [{"kind": "conv", "channels": 8, "kernel": 1, "bias": false}]}
        ],
        "heads": [
            {"output": "sum", "layers": []},
            {"output": "tapped", "from": "fine", "layers": [{"kind": "conv", "channels": 5, "kernel": 1}]}
        ]
    }"#;

    fn error(from: &str, to: &str) -> String {
        assert!(PYRAMID.contains(from), "there is no {from}");
        serde_json::from_str::<Architecture>(&PYRAMID.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn a_pyramid_has_the_shapes_and_parameters_of_its_lateral_connections() {
        let architecture: Architecture = serde_json::from_str(PYRAMID).unwrap();
        let shapes: Vec<String> = architecture
            .heads()
            .map(|(head, range)| architecture.output_shape(head, &range).to_string())
            .collect();
        assert_eq!(shapes, ["8×8×16", "5×8×16"]);
        assert!(architecture.is_fully_convolutional());
        let names: Vec<String> =
            architecture.parameters().into_iter().map(|parameter| parameter.name).collect();
        assert_eq!(names[4..], ["layers.4.lateral.0.weight", "layers.5.weight", "layers.5.bias"]);
        assert_eq!(architecture.steps()[4].multiply_adds(), 8 * 16 * 8 * 4);
        let again: Architecture =
            serde_json::from_str(&serde_json::to_string(&architecture).unwrap()).unwrap();
        assert_eq!(again, architecture);
    }

    #[test]
    fn taps_that_are_missing_or_do_not_fit_are_named() {
        let missing = error("\"tap\": \"fine\"", "\"tap\": \"fin\"");
        assert!(
            missing.contains("layer 4 (add): there is no tap 'fin' before it; the taps are: 'fine'"),
            "{missing}"
        );
        let head = error("\"from\": \"fine\"", "\"from\": \"coarse\"");
        assert!(head.contains("output 'tapped': there is no tap 'coarse'"), "{head}");
        let shape = error("\"factor\": 2", "\"factor\": 3");
        assert!(shape.contains("gives 8×12×24, but the tap 'fine' 8×8×16"), "{shape}");
        let nested = error(
            "{\"kind\": \"upsample\", \"factor\": 2}",
            "{\"kind\": \"residual\", \"body\": [{\"kind\": \"tap\", \"name\": \"x\"}]}",
        );
        assert!(nested.contains("belongs to the trunk itself"), "{nested}");
        let twice =
            error("{\"kind\": \"upsample\", \"factor\": 2}", "{\"kind\": \"tap\", \"name\": \"fine\"}");
        assert!(twice.contains("layer 3 (tap): the name 'fine' is given twice"), "{twice}");
    }
}
