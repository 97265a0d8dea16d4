//! Layers to ONNX nodes.

use std::collections::BTreeMap;

use fer_engine::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, encode,
    tensor_proto::DataType,
};

use super::INPUT;
use super::batch_norm::{BatchNorm, EPSILON};
use super::proto::{fixed, float, int, ints, symbol, tensor_info, text};
use crate::spec::{Architecture, HeadSpec, LayerSpec, Padding, Shape, Step};
use crate::weights::{Array, Weights};

/// Operator set that every current ONNX Runtime and tract support.
const OPSET: i64 = 17;

/// The version of the file format that goes with the operator set.
const IR_VERSION: i64 = 8;

/// Collects the nodes and constants of a graph, one operator after the other.
#[derive(Default)]
pub(super) struct Builder {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Name of the value that the next operator takes.
    value: String,
    /// Prefix of all names.
    prefix: String,
    /// Names of the tapped values.
    taps: BTreeMap<String, String>,
}

impl Builder {
    /// Starts at the graph's input.
    pub(super) fn new() -> Self {
        Self { value: INPUT.to_owned(), ..Self::default() }
    }

    /// Name of the value that the next operator takes.
    pub(super) fn value(&self) -> &str {
        &self.value
    }

    /// Lets the next operator take another value.
    pub(super) fn start_at(&mut self, value: &str) {
        value.clone_into(&mut self.value);
    }

    /// Lets the next operator take the value that a head starts from: its tap's, or else the trunk's.
    pub(super) fn start_head(&mut self, head: &HeadSpec, trunk: &str) {
        let tapped = head.from.as_ref().and_then(|tap| self.taps.get(tap));
        self.value = tapped.map_or(trunk, String::as_str).to_owned();
    }

    /// Sets the prefix of all names from now on.
    pub(super) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// Adds the layers, one after the other.
    pub(super) fn layers(&mut self, steps: &[Step], weights: &Weights) {
        let mut rest = steps;
        while let [step, behind @ ..] = rest {
            let linear = matches!(step.layer, LayerSpec::Conv { .. } | LayerSpec::Dense { .. });
            let norm = behind.first().filter(|next| linear && next.layer == LayerSpec::BatchNorm);
            self.layer(step, norm, weights);
            rest = if norm.is_some() { &behind[1..] } else { behind };
        }
    }

    /// Adds one layer, with the batch norm behind it folded in.
    fn layer(&mut self, step: &Step, norm: Option<&Step>, weights: &Weights) {
        match &step.layer {
            LayerSpec::Conv { .. } | LayerSpec::Dense { .. } => self.linear(step, norm, weights),
            LayerSpec::BatchNorm => {
                let roles = ["weight", "bias", "running_mean", "running_var"];
                let parameters = roles.map(|role| (role, weights.get(&step.parameter_name(role)).clone()));
                self.node(step, "BatchNormalization", parameters, vec![float("epsilon", EPSILON)]);
            }
            LayerSpec::Relu => self.node(step, "Relu", [], vec![]),
            LayerSpec::Relu6 => {
                let bounds = [("low", 0.0), ("high", 6.0)];
                let bounds = bounds.map(|(role, bound)| (role, Array { shape: vec![], values: vec![bound] }));
                self.node(step, "Clip", bounds, vec![]);
            }
            LayerSpec::Elu { alpha } => self.node(step, "Elu", [], vec![float("alpha", *alpha as f32)]),
            LayerSpec::MaxPool { size } => self.pool(step, "MaxPool", *size),
            LayerSpec::AvgPool { size } => self.pool(step, "AveragePool", *size),
            LayerSpec::GlobalAvgPool => {
                self.node(step, "GlobalAveragePool", [], vec![]);
                self.flatten(&format!("{}.flat", step.name));
            }
            LayerSpec::Flatten => self.flatten(&step.name),
            LayerSpec::Dropout { .. } => {}
            LayerSpec::Residual { .. } | LayerSpec::InvertedResidual { .. } => {
                let input = self.value.clone();
                let mut summands = Vec::new();
                for branch in &step.branches {
                    self.value.clone_from(&input);
                    self.layers(branch, weights);
                    summands.push(self.value.clone());
                }
                if summands.len() > 1 {
                    self.push(&step.name, "Add", summands, vec![]);
                }
            }
            LayerSpec::Upsample { factor } => self.upsample(step, *factor),
            LayerSpec::Tap { name } => {
                self.taps.insert(name.clone(), self.value.clone());
            }
            LayerSpec::Add { tap, .. } => {
                let input = self.value.clone();
                self.value = self.taps.get(tap).cloned().unwrap_or_default();
                for lateral in &step.branches {
                    self.layers(lateral, weights);
                }
                let summands = vec![input, self.value.clone()];
                self.push(&step.name, "Add", summands, vec![]);
            }
        }
    }

    /// A convolution or a dense layer, with the batch norm behind it folded in.
    fn linear(&mut self, step: &Step, norm: Option<&Step>, weights: &Weights) {
        let array = |role: &str| weights.get(&step.parameter_name(role));
        let norm = norm.map(|norm| BatchNorm::of(norm, weights));
        let mut weight = array("weight").clone();
        let bias = |has_bias: bool, outputs: usize| {
            if has_bias { array("bias").values.clone() } else { vec![0.0; outputs] }
        };
        match step.layer {
            LayerSpec::Conv { channels, kernel, stride, padding, groups, bias: has_bias } => {
                let mut offset = bias(has_bias, channels);
                if let Some(norm) = norm {
                    let per_channel = weight.values.len() / channels;
                    norm.fold(&mut offset, |channel, scale| {
                        for value in &mut weight.values[channel * per_channel..][..per_channel] {
                            *value *= scale;
                        }
                    });
                }
                let pad = if padding == Padding::Same { kernel as i64 / 2 } else { 0 };
                let attributes = vec![
                    ints("kernel_shape", &[kernel as i64; 2]),
                    ints("strides", &[stride as i64; 2]),
                    ints("pads", &[pad; 4]),
                    int("group", groups as i64),
                ];
                self.node(step, "Conv", [("weight", weight), ("bias", vector(offset))], attributes);
            }
            LayerSpec::Dense { units, bias: has_bias } => {
                let mut offset = bias(has_bias, units);
                if let Some(norm) = norm {
                    norm.fold(&mut offset, |unit, scale| {
                        for value in weight.values.iter_mut().skip(unit).step_by(units) {
                            *value *= scale;
                        }
                    });
                }
                self.node(step, "Gemm", [("weight", weight), ("bias", vector(offset))], vec![]);
            }
            _ => {}
        }
    }

    fn pool(&mut self, step: &Step, operator: &str, size: usize) {
        let sides = [size as i64; 2];
        self.node(step, operator, [], vec![ints("kernel_shape", &sides), ints("strides", &sides)]);
    }

    /// Nearest-neighbour resizing in the one mode that repeats pixels without rounding.
    fn upsample(&mut self, step: &Step, factor: usize) {
        let factor = factor as f32;
        let scales = Array { shape: vec![4], values: vec![1.0, 1.0, factor, factor] };
        let scales = self.initializer(&step.parameter_name("scales"), &scales);
        // The second input would be a region of interest, which this mode has not.
        let input = vec![self.value.clone(), String::new(), scales];
        let attributes = vec![
            text("coordinate_transformation_mode", "asymmetric"),
            text("mode", "nearest"),
            text("nearest_mode", "floor"),
        ];
        self.push(&step.name, "Resize", input, attributes);
    }

    fn flatten(&mut self, name: &str) {
        self.push(name, "Flatten", vec![self.value.clone()], vec![int("axis", 1)]);
    }

    /// Ends a head: a softmax or the identity gives its last value the output's name.
    pub(super) fn output(&mut self, head: &HeadSpec) {
        let (operator, attributes) =
            if head.softmax { ("Softmax", vec![int("axis", 1)]) } else { ("Identity", Vec::new()) };
        self.push(&head.output, operator, vec![self.value.clone()], attributes);
    }

    /// Adds an operator on the current value, with the layer's parameters as constants.
    fn node<const N: usize>(
        &mut self,
        step: &Step,
        operator: &str,
        parameters: [(&str, Array); N],
        attributes: Vec<AttributeProto>,
    ) {
        let mut input = vec![self.value.clone()];
        for (role, array) in parameters {
            input.push(self.initializer(&step.parameter_name(role), &array));
        }
        self.push(&step.name, operator, input, attributes);
    }

    /// Adds a constant and returns its full name.
    pub(super) fn initializer(&mut self, name: &str, array: &Array) -> String {
        let name = format!("{}{name}", self.prefix);
        self.initializers.push(TensorProto {
            dims: array.shape.iter().map(|&side| side as i64).collect(),
            data_type: DataType::Float as i32,
            name: name.clone(),
            raw_data: array.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        name
    }

    /// Adds an operator. Its result, which has the same name, becomes the current value.
    pub(super) fn push(
        &mut self,
        name: &str,
        operator: &str,
        input: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.value = format!("{}{name}", self.prefix);
        self.nodes.push(NodeProto {
            input,
            output: vec![self.value.clone()],
            name: self.value.clone(),
            op_type: operator.to_owned(),
            attribute,
            ..NodeProto::default()
        });
    }

    /// The bytes of the ONNX file with these outputs.
    pub(super) fn finish(
        self,
        name: &str,
        architecture: &Architecture,
        outputs: &[(String, Shape)],
    ) -> Vec<u8> {
        let free = architecture.is_fully_convolutional();
        // Outputs of different strides have different sides, so the symbols of each output are named after it.
        let info = |name: &str, shape: Shape| match shape {
            Shape::Image { channels, .. } if free && name == INPUT => {
                tensor_info(name, vec![fixed(channels), symbol("height"), symbol("width")])
            }
            Shape::Image { channels, .. } if free => {
                let [down, across] = ["down", "across"].map(|axis| symbol(&format!("{name}_cells_{axis}")));
                tensor_info(name, vec![fixed(channels), down, across])
            }
            Shape::Image { channels, height, width } => {
                tensor_info(name, [channels, height, width].map(fixed).to_vec())
            }
            Shape::Vector(features) => tensor_info(name, vec![fixed(features)]),
        };
        let graph = GraphProto {
            node: self.nodes,
            name: name.to_owned(),
            initializer: self.initializers,
            input: vec![info(INPUT, architecture.input_shape())],
            output: outputs.iter().map(|(name, shape)| info(name, *shape)).collect(),
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: "fer".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(graph),
            ..ModelProto::default()
        };
        encode(&model)
    }
}

fn vector(values: Vec<f32>) -> Array {
    Array { shape: vec![values.len()], values }
}
