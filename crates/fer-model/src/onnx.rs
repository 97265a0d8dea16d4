//! The graph that serving runs: architecture and weights as ONNX, built in memory; an ensemble is one graph.
//!
//! Input `input` `[n, channels, height, width]`, preprocessed; one output a head, by its name, with the softmax that
//! it asks for. Height and width are free where the network is fully convolutional. Batch norm is folded where it
//! directly follows a convolution or a dense layer, and emitted as it is elsewhere: behind a ReLU, folding forward
//! into a padded convolution would be wrong at the border. Dropout is left out.

use fer_engine::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    encode,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

use crate::spec::{Architecture, HeadSpec, LOGITS, LayerSpec, Padding, Shape, Step};
use crate::weights::{Array, Weights};

/// Name of the graph's input.
pub const INPUT: &str = "input";

/// Fits every ONNX Runtime of the last years, and tract.
const OPSET: i64 = 17;

/// Goes with that opset.
const IR_VERSION: i64 = 8;

/// As in the burn network.
const EPSILON: f32 = 1e-5;

/// The model file's bytes. `name` is the graph's.
pub fn graph(name: &str, architecture: &Architecture, weights: &Weights) -> Vec<u8> {
    let mut builder = Builder { value: INPUT.to_owned(), ..Builder::default() };
    let steps = architecture.steps();
    builder.layers(&steps[..architecture.layers().len()], weights);
    let trunk = builder.value.clone();
    let mut outputs = Vec::new();
    for (head, range) in architecture.heads() {
        builder.value.clone_from(&trunk);
        builder.layers(&steps[range.clone()], weights);
        builder.output(head);
        outputs.push((head.output.clone(), architecture.output_shape(&range)));
    }
    builder.finish(name, architecture, &outputs)
}

/// The model file's bytes of an ensemble: output `logits` `[n, labels]` is the logarithm of the mean over the members of
/// their softmax, and no probability in it is below 1e-37. The members, at least one, are of one input.
pub fn ensemble(name: &str, members: &[(&Architecture, &Weights)]) -> Vec<u8> {
    let mut builder = Builder::default();
    let mut probabilities = Vec::new();
    for (member, (architecture, weights)) in members.iter().enumerate() {
        builder.prefix = format!("members.{member}.");
        INPUT.clone_into(&mut builder.value);
        builder.layers(&architecture.steps(), weights);
        builder.push("softmax", "Softmax", vec![builder.value.clone()], vec![int("axis", 1)]);
        probabilities.push(builder.value.clone());
    }
    builder.prefix.clear();
    builder.push("mean", "Mean", probabilities, vec![]);
    let floor = builder.initializer("floor", &Array { shape: vec![], values: vec![1e-37] });
    builder.push("bounded", "Max", vec![builder.value.clone(), floor], vec![]);
    builder.push(LOGITS, "Log", vec![builder.value.clone()], vec![]);
    let (architecture, _) = members[0];
    let output = architecture.output_shape(&(0..architecture.steps().len()));
    builder.finish(name, architecture, &[(LOGITS.to_owned(), output)])
}

/// A batch norm as `x * scale + shift`, in double precision.
struct Norm {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Norm {
    fn of(step: &Step, weights: &Weights) -> Self {
        let values = |role: &str| &weights.get(&step.parameter_name(role)).values;
        let (weight, bias) = (values("weight"), values("bias"));
        let (mean, var) = (values("running_mean"), values("running_var"));
        let scale: Vec<f64> = weight
            .iter()
            .zip(var)
            .map(|(weight, var)| f64::from(*weight) / (f64::from(*var) + f64::from(EPSILON)).sqrt())
            .collect();
        let shift =
            bias.iter().zip(mean).zip(&scale).map(|((b, m), s)| f64::from(*b) - f64::from(*m) * s).collect();
        Self { scale, shift }
    }

    /// Scales channel by channel through `scale_weights`, and the linear layer's offset with it.
    fn fold(&self, offset: &mut [f32], mut scale_weights: impl FnMut(usize, f32)) {
        for (channel, offset) in offset.iter_mut().enumerate() {
            scale_weights(channel, self.scale[channel] as f32);
            *offset = (f64::from(*offset) * self.scale[channel] + self.shift[channel]) as f32;
        }
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// The value that the next node takes.
    value: String,
    /// Of all names.
    prefix: String,
}

impl Builder {
    /// The nodes of the layers, one after the other.
    fn layers(&mut self, steps: &[Step], weights: &Weights) {
        let mut rest = steps;
        while let [step, behind @ ..] = rest {
            let linear = matches!(step.layer, LayerSpec::Conv { .. } | LayerSpec::Dense { .. });
            let norm = behind.first().filter(|next| linear && next.layer == LayerSpec::BatchNorm);
            self.layer(step, norm, weights);
            rest = if norm.is_some() { &behind[1..] } else { behind };
        }
    }

    /// The nodes of one layer, with the batch norm behind it folded in.
    fn layer(&mut self, step: &Step, norm: Option<&Step>, weights: &Weights) {
        let array = |role: &str| weights.get(&step.parameter_name(role));
        let norm = norm.map(|norm| Norm::of(norm, weights));
        match step.layer {
            LayerSpec::Conv { channels, kernel, stride, padding, groups, bias } => {
                let mut weight = array("weight").clone();
                let mut offset = if bias { array("bias").values.clone() } else { vec![0.0; channels] };
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
            LayerSpec::Dense { units, bias } => {
                let mut weight = array("weight").clone();
                let mut offset = if bias { array("bias").values.clone() } else { vec![0.0; units] };
                if let Some(norm) = norm {
                    norm.fold(&mut offset, |unit, scale| {
                        for value in weight.values.iter_mut().skip(unit).step_by(units) {
                            *value *= scale;
                        }
                    });
                }
                self.node(step, "Gemm", [("weight", weight), ("bias", vector(offset))], vec![]);
            }
            LayerSpec::BatchNorm => {
                let roles = ["weight", "bias", "running_mean", "running_var"];
                let parameters = roles.map(|role| (role, array(role).clone()));
                self.node(step, "BatchNormalization", parameters, vec![float("epsilon", EPSILON)]);
            }
            LayerSpec::Relu => self.node(step, "Relu", [], vec![]),
            LayerSpec::Relu6 => {
                let bounds = [("low", 0.0), ("high", 6.0)];
                let bounds = bounds.map(|(role, bound)| (role, Array { shape: vec![], values: vec![bound] }));
                self.node(step, "Clip", bounds, vec![]);
            }
            LayerSpec::Elu { alpha } => self.node(step, "Elu", [], vec![float("alpha", alpha as f32)]),
            LayerSpec::MaxPool { size } => self.pool(step, "MaxPool", size),
            LayerSpec::AvgPool { size } => self.pool(step, "AveragePool", size),
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
        }
    }

    fn pool(&mut self, step: &Step, operator: &str, size: usize) {
        let sides = [size as i64; 2];
        self.node(step, operator, [], vec![ints("kernel_shape", &sides), ints("strides", &sides)]);
    }

    fn flatten(&mut self, name: &str) {
        self.push(name, "Flatten", vec![self.value.clone()], vec![int("axis", 1)]);
    }

    /// Ends a head: the value that its layers left gets the output's name, by a softmax or as it is.
    fn output(&mut self, head: &HeadSpec) {
        let (operator, attributes) =
            if head.softmax { ("Softmax", vec![int("axis", 1)]) } else { ("Identity", Vec::new()) };
        self.push(&head.output, operator, vec![self.value.clone()], attributes);
    }

    /// An operator on the value as it is, with parameters of its layer.
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

    /// A constant; returns its full name.
    fn initializer(&mut self, name: &str, array: &Array) -> String {
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

    /// An operator whose result, of the same name, is the value from now on.
    fn push(&mut self, name: &str, operator: &str, input: Vec<String>, attribute: Vec<AttributeProto>) {
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

    fn finish(self, name: &str, architecture: &Architecture, outputs: &[(String, Shape)]) -> Vec<u8> {
        let free = architecture.is_fully_convolutional();
        let info = |name: &str, shape: Shape| match shape {
            Shape::Image { channels, .. } if free => {
                let sides = if name == INPUT { ["height", "width"] } else { ["cells_down", "cells_across"] };
                tensor_info(name, vec![fixed(channels), symbol(sides[0]), symbol(sides[1])])
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

fn fixed(side: usize) -> dimension::Value {
    dimension::Value::DimValue(side as i64)
}

fn symbol(name: &str) -> dimension::Value {
    dimension::Value::DimParam(name.to_owned())
}

/// `[n, sides…]` of `f32`.
fn tensor_info(name: &str, sides: Vec<dimension::Value>) -> ValueInfoProto {
    let dim = std::iter::once(symbol("n"))
        .chain(sides)
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), ..ValueInfoProto::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    attribute(name, AttributeType::Ints, |a| a.ints = values.to_vec())
}

fn int(name: &str, value: i64) -> AttributeProto {
    attribute(name, AttributeType::Int, |a| a.i = value)
}

fn float(name: &str, value: f32) -> AttributeProto {
    attribute(name, AttributeType::Float, |a| a.f = value)
}

fn attribute(name: &str, kind: AttributeType, set: impl FnOnce(&mut AttributeProto)) -> AttributeProto {
    let mut attribute =
        AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() };
    set(&mut attribute);
    attribute
}
