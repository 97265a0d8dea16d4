//! The graph that serving runs: architecture and weights as ONNX, built in memory.
//!
//! Input `input` `[n, channels, height, width]`, preprocessed; one output a head, by its name, with the softmax that
//! it asks for. Height and width are free where the network is fully convolutional. Batch norm is folded where it
//! directly follows a convolution or a dense layer, and emitted as it is elsewhere: behind a ReLU, folding forward
//! into a padded convolution would be wrong at the border. Dropout is left out.

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

use crate::spec::{Architecture, HeadSpec, LayerSpec, Padding, Shape, Step, parameter_name};
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
    builder.layers(&steps, 0..architecture.layers().len(), weights);
    let trunk = builder.value.clone();
    let mut outputs = Vec::new();
    for (head, range) in architecture.heads() {
        builder.value.clone_from(&trunk);
        builder.layers(&steps, range.clone(), weights);
        builder.output(head);
        outputs.push((head.output.clone(), architecture.output_shape(&range)));
    }
    builder.finish(name, architecture, &outputs)
}

/// A batch norm as `x * scale + shift`, in double precision.
struct Norm {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Norm {
    fn of(layer: usize, weights: &Weights) -> Self {
        let values = |role: &str| &weights.get(&parameter_name(layer, role)).values;
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
}

impl Builder {
    /// The nodes of the layers in `range`, one after the other.
    fn layers(&mut self, steps: &[Step], range: std::ops::Range<usize>, weights: &Weights) {
        let mut index = range.start;
        while index < range.end {
            let layer = steps[index].layer;
            let array = |role: &str| weights.get(&parameter_name(index, role));
            let next = range.contains(&(index + 1)).then(|| steps[index + 1].layer);
            let folded = matches!(next, Some(LayerSpec::BatchNorm));
            let norm = || Norm::of(index + 1, weights);
            match *layer {
                LayerSpec::Conv { channels, kernel, stride, padding, bias } => {
                    let mut weight = array("weight").clone();
                    let mut offset = if bias { array("bias").values.clone() } else { vec![0.0; channels] };
                    if folded {
                        let per_channel = weight.values.len() / channels;
                        norm().fold(&mut offset, |channel, scale| {
                            for value in &mut weight.values[channel * per_channel..][..per_channel] {
                                *value *= scale;
                            }
                        });
                    }
                    let pad = if padding == Padding::Same { kernel as i64 / 2 } else { 0 };
                    let parameters = [("weight", weight), ("bias", vector(offset))];
                    self.node(
                        index,
                        "Conv",
                        parameters,
                        vec![
                            ints("kernel_shape", &[kernel as i64; 2]),
                            ints("strides", &[stride as i64; 2]),
                            ints("pads", &[pad; 4]),
                        ],
                    );
                }
                LayerSpec::Dense { units, bias } => {
                    let mut weight = array("weight").clone();
                    let mut offset = if bias { array("bias").values.clone() } else { vec![0.0; units] };
                    if folded {
                        norm().fold(&mut offset, |unit, scale| {
                            for value in weight.values.iter_mut().skip(unit).step_by(units) {
                                *value *= scale;
                            }
                        });
                    }
                    self.node(index, "Gemm", [("weight", weight), ("bias", vector(offset))], vec![]);
                }
                LayerSpec::BatchNorm => {
                    let roles = ["weight", "bias", "running_mean", "running_var"];
                    let parameters = roles.map(|role| (role, array(role).clone()));
                    self.node(index, "BatchNormalization", parameters, vec![float("epsilon", EPSILON)]);
                }
                LayerSpec::Relu => self.node(index, "Relu", [], vec![]),
                LayerSpec::MaxPool { size } => {
                    let sides = [size as i64; 2];
                    self.node(
                        index,
                        "MaxPool",
                        [],
                        vec![ints("kernel_shape", &sides), ints("strides", &sides)],
                    );
                }
                LayerSpec::Flatten => {
                    self.node(index, "Flatten", [], vec![int("axis", 1)]);
                }
                LayerSpec::Dropout { .. } => {}
            }
            let linear = matches!(layer, LayerSpec::Conv { .. } | LayerSpec::Dense { .. });
            index += if linear && folded { 2 } else { 1 };
        }
    }

    /// Ends a head: the value that its layers left gets the output's name, by a softmax or as it is.
    fn output(&mut self, head: &HeadSpec) {
        let (operator, attribute) =
            if head.softmax { ("Softmax", vec![int("axis", 1)]) } else { ("Identity", Vec::new()) };
        self.nodes.push(NodeProto {
            input: vec![self.value.clone()],
            output: vec![head.output.clone()],
            name: head.output.clone(),
            op_type: operator.to_owned(),
            attribute,
            ..NodeProto::default()
        });
    }

    fn node<const N: usize>(
        &mut self,
        layer: usize,
        operator: &str,
        parameters: [(&str, Array); N],
        attribute: Vec<AttributeProto>,
    ) {
        let mut input = vec![self.value.clone()];
        for (role, array) in parameters {
            let name = parameter_name(layer, role);
            input.push(name.clone());
            self.initializers.push(TensorProto {
                dims: array.shape.iter().map(|&side| side as i64).collect(),
                data_type: DataType::Float as i32,
                name,
                raw_data: array.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                ..TensorProto::default()
            });
        }
        self.value = format!("layers.{layer}");
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
        model.encode_to_vec()
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
