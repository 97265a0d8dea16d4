//! Convolutions in 8-bit integers, for processors that multiply four of them in the time of one `f32`.
//!
//! Values are unsigned bytes. Each value has its own scale and zero point, which follow from the [`ActivationRanges`]. Weights are
//! signed bytes with a scale for each output channel (Jacob et al. 2018, arXiv:1712.05877). Convolutions with the ReLU behind them
//! become `QLinearConv`, additions ONNX Runtime's `QLinearAdd`; pooling and nearest-neighbour resizing work on the bytes as they
//! are. Everything else stays as it was: dense layers, which are a hundredth of the work here, the convolutions that give the
//! outputs, and a strided convolution of the input, which takes less time than turning a whole picture into bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use half::f16;

use crate::EngineError;
use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, decode, encode,
    tensor_proto::DataType,
};
use crate::ranges::ActivationRanges;

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";

/// Largest weight as a signed byte; the range is symmetric.
const MOST: f32 = 127.0;

/// Returns whether this processor has instructions for products of bytes that do not overflow. Without them 8-bit convolutions are
/// slower than those in `f32`, or wrong.
pub(crate) fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512vnni")
        || std::arch::is_x86_feature_detected!("avxvnni");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// The names of the values whose ranges a conversion needs.
pub(crate) fn values(model: &ModelProto) -> BTreeSet<String> {
    let Some(graph) = &model.graph else { return BTreeSet::new() };
    let plan = Plan::of(graph);
    let steps = plan.steps.values();
    steps.flat_map(|step| step.inputs.iter().chain([&step.result])).cloned().collect()
}

/// Returns a graph with the operators converted whose values' ranges its metadata knows; without ranges, the same graph.
///
/// # Errors
/// Returns [`EngineError::Graph`] if the bytes are not a graph.
pub(crate) fn converted(onnx: &[u8]) -> Result<Cow<'_, [u8]>, EngineError> {
    let mut model = decode(onnx)?;
    let Some(ranges) = ActivationRanges::of(&model) else { return Ok(Cow::Borrowed(onnx)) };
    convert(&mut model, &ranges);
    Ok(Cow::Owned(encode(&model)))
}

fn convert(model: &mut ModelProto, ranges: &ActivationRanges) {
    let Some(graph) = &mut model.graph else { return };
    let plan = Plan::of(graph);
    let constants = Constants::of(graph);
    let floats = graph.input.iter().map(|input| input.name.clone()).collect();
    let mut writer =
        Writer { constants, ranges, graph: GraphProto::default(), bytes: HashMap::new(), floats };
    for (number, node) in graph.node.iter().enumerate() {
        match plan.steps.get(&number) {
            Some(step) if writer.is_possible(step) => writer.step(node, step),
            // The ReLU of a converted operator is part of that operator.
            _ if node.output.iter().all(|result| writer.bytes.contains_key(result)) => {}
            _ => writer.other(node),
        }
    }
    for output in &graph.output {
        writer.as_floats(&output.name);
    }
    let written = writer.graph;
    graph.node = written.node;
    graph.initializer.extend(written.initializer);
    let opset = OperatorSetIdProto { domain: MICROSOFT.to_owned(), version: 1 };
    model.opset_import.push(opset);
}

/// An operator that can be converted.
struct Step {
    /// The values that it takes, without constants.
    inputs: Vec<String>,
    /// Its result, or that of the ReLU behind it.
    result: String,
}

/// The operators that can be converted, by their numbers.
struct Plan {
    steps: BTreeMap<usize, Step>,
}

impl Plan {
    fn of(graph: &GraphProto) -> Self {
        let mut users: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        for node in &graph.node {
            for input in &node.input {
                users.entry(input).or_default().push(node);
            }
        }
        let input = graph.input.first().map_or("", |input| input.name.as_str());
        let is_output = |name: &str| graph.output.iter().any(|output| output.name == name);
        let steps = graph.node.iter().enumerate().filter_map(|(number, node)| {
            let takes = match node.op_type.as_str() {
                "Conv" => 1,
                "Add" => 2,
                _ => return None,
            };
            let strided_input = node.input.first().is_some_and(|name| name == input)
                && integers(node, "strides").is_some_and(|strides| strides.iter().any(|stride| *stride > 1));
            let mut result = node.output.first()?;
            if let Some([user]) = users.get(result.as_str()).map(Vec::as_slice)
                && user.op_type == "Relu"
                && !is_output(result)
            {
                result = user.output.first()?;
            }
            // A head ends with one of these, which gives the output its name.
            let ends = |user: &&NodeProto| {
                matches!(user.op_type.as_str(), "Identity" | "Softmax")
                    && user.output.iter().any(|name| is_output(name))
            };
            let ends = users.get(result.as_str()).is_none_or(|users| users.iter().any(ends));
            if strided_input || ends || is_output(result) {
                return None;
            }
            let inputs = node.input.iter().take(takes).cloned().collect();
            Some((number, Step { inputs, result: result.clone() }))
        });
        Self { steps: steps.collect() }
    }
}

fn integers<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    let attribute: &AttributeProto = node.attribute.iter().find(|attribute| attribute.name == name)?;
    Some(&attribute.ints)
}

/// The constants of a graph as `f32`.
struct Constants(HashMap<String, (Vec<i64>, Vec<f32>)>);

impl Constants {
    /// Constants in half precision are those that a `Cast` turns into `f32`.
    fn of(graph: &GraphProto) -> Self {
        let mut constants: HashMap<String, _> = graph
            .initializer
            .iter()
            .filter_map(|tensor| Some((tensor.name.clone(), numbers(tensor)?)))
            .collect();
        for node in graph.node.iter().filter(|node| node.op_type == "Cast") {
            if let ([input], [output]) = (node.input.as_slice(), node.output.as_slice())
                && let Some(constant) = constants.get(input)
            {
                constants.insert(output.clone(), constant.clone());
            }
        }
        Self(constants)
    }

    fn get(&self, name: &str) -> Option<&(Vec<i64>, Vec<f32>)> {
        self.0.get(name)
    }
}

/// Shape and values of a constant of `f32` or `f16` that is stored as raw bytes.
fn numbers(tensor: &TensorProto) -> Option<(Vec<i64>, Vec<f32>)> {
    let values: Vec<f32> = match tensor.data_type {
        kind if kind == DataType::Float as i32 => {
            tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        kind if kind == DataType::Float16 as i32 => {
            let halves = tensor.raw_data.as_chunks::<2>().0.iter();
            halves.map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        _ => return None,
    };
    let count = tensor.dims.iter().product::<i64>();
    (usize::try_from(count) == Ok(values.len())).then(|| (tensor.dims.clone(), values))
}

/// A value as bytes: the names of the bytes, of their scale and of their zero point.
#[derive(Clone)]
struct Bytes {
    value: String,
    scale_name: String,
    zero_point_name: String,
    scale: f32,
}

/// Writes the converted graph.
struct Writer<'a> {
    constants: Constants,
    ranges: &'a ActivationRanges,
    /// The nodes and the new constants.
    graph: GraphProto,
    /// The values that exist as bytes, by their names in the graph.
    bytes: HashMap<String, Bytes>,
    /// The names of the values that exist as `f32`.
    floats: HashSet<String>,
}

impl Writer<'_> {
    /// Whether the ranges of an operator's values are known, or those of the bytes that they are made of.
    fn is_possible(&self, step: &Step) -> bool {
        let is_known = |name: &String| self.bytes.contains_key(name) || self.ranges.get(name).is_some();
        step.inputs.iter().all(is_known) && self.ranges.get(&step.result).is_some()
    }

    fn step(&mut self, node: &NodeProto, step: &Step) {
        let written = match node.op_type.as_str() {
            "Conv" => self.convolution(node, step),
            _ => self.addition(node, step),
        };
        if written.is_none() {
            self.other(node);
        }
    }

    /// `None` if the weights are not constants of a known type.
    fn convolution(&mut self, node: &NodeProto, step: &Step) -> Option<()> {
        let [input, weight, offset] = node.input.as_slice() else { return None };
        let (dims, weights) = self.constants.get(weight)?.clone();
        let offsets = self.constants.get(offset)?.1.clone();
        let per_channel = weights.len().checked_div(offsets.len()).filter(|count| *count > 0)?;
        let input = self.as_bytes(input)?;
        let result = self.describe(&step.result)?;
        let mut scales = Vec::new();
        let mut bytes = Vec::new();
        for channel in weights.chunks_exact(per_channel) {
            let greatest = channel.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
            let scale = (greatest / MOST).max(f32::MIN_POSITIVE);
            bytes
                .extend(channel.iter().map(|weight| (weight / scale).round().clamp(-MOST, MOST) as i8 as u8));
            scales.push(scale);
        }
        let offsets = offsets.iter().zip(&scales).flat_map(|(offset, scale)| {
            let steps = f64::from(*offset) / (f64::from(input.scale) * f64::from(*scale));
            (steps.round() as i32).to_le_bytes()
        });
        let (channels, offsets) = (scales.len(), offsets.collect());
        let one_each = vec![channels as i64];
        let name = |role: &str| format!("{}.{role}", node.name);
        let inputs = vec![
            input.value,
            input.scale_name,
            input.zero_point_name,
            self.constant(name("int8"), DataType::Int8, dims, bytes),
            self.constant(name("scales"), DataType::Float, one_each.clone(), floats(&scales)),
            self.constant(name("zero_points"), DataType::Int8, one_each.clone(), vec![0; channels]),
            result.scale_name.clone(),
            result.zero_point_name.clone(),
            self.constant(name("int32"), DataType::Int32, one_each, offsets),
        ];
        self.push(node, "QLinearConv", inputs, &result.value);
        self.bytes.insert(step.result.clone(), result);
        Some(())
    }

    fn addition(&mut self, node: &NodeProto, step: &Step) -> Option<()> {
        let [first, second] = step.inputs.as_slice() else { return None };
        let summands = [self.as_bytes(first)?, self.as_bytes(second)?];
        let result = self.describe(&step.result)?;
        let mut inputs = Vec::new();
        for Bytes { value, scale_name, zero_point_name, .. } in summands.into_iter().chain([result.clone()]) {
            inputs.extend([value, scale_name, zero_point_name]);
        }
        // The sum's own bytes are no input.
        inputs.remove(6);
        self.push(node, "QLinearAdd", inputs, &result.value);
        if let Some(node) = self.graph.node.last_mut() {
            MICROSOFT.clone_into(&mut node.domain);
        }
        self.bytes.insert(step.result.clone(), result);
        Some(())
    }

    /// An operator that stays what it is. Pooling and nearest-neighbour resizing of bytes give bytes of the same scale.
    fn other(&mut self, node: &NodeProto) {
        if matches!(node.op_type.as_str(), "MaxPool" | "Resize")
            && let ([input, rest @ ..], [output]) = (node.input.as_slice(), node.output.as_slice())
            && let Some(input) = self.bytes.get(input).cloned()
        {
            let result = Bytes { value: format!("{output}.bytes"), ..input };
            let inputs = [input.value].into_iter().chain(rest.iter().cloned()).collect();
            self.push(node, &node.op_type, inputs, &result.value);
            self.bytes.insert(output.clone(), result);
            return;
        }
        for input in &node.input {
            self.as_floats(input);
        }
        self.floats.extend(node.output.iter().cloned());
        self.graph.node.push(node.clone());
    }

    fn push(&mut self, node: &NodeProto, operator: &str, input: Vec<String>, output: &str) {
        self.graph.node.push(NodeProto {
            input,
            output: vec![output.to_owned()],
            op_type: operator.to_owned(),
            ..node.clone()
        });
    }

    /// A value as bytes, which are made of the `f32` if they do not exist yet.
    fn as_bytes(&mut self, name: &str) -> Option<Bytes> {
        if let Some(bytes) = self.bytes.get(name) {
            return Some(bytes.clone());
        }
        let bytes = self.describe(name)?;
        let Bytes { value, scale_name, zero_point_name, .. } = bytes.clone();
        self.operator("QuantizeLinear", vec![name.to_owned(), scale_name, zero_point_name], value);
        self.bytes.insert(name.to_owned(), bytes.clone());
        Some(bytes)
    }

    /// Makes sure that a value exists as `f32`.
    fn as_floats(&mut self, name: &str) {
        if let Some(Bytes { value, scale_name, zero_point_name, .. }) = self.bytes.get(name).cloned()
            && self.floats.insert(name.to_owned())
        {
            self.operator("DequantizeLinear", vec![value, scale_name, zero_point_name], name.to_owned());
        }
    }

    fn operator(&mut self, operator: &str, input: Vec<String>, output: String) {
        self.graph.node.push(NodeProto {
            input,
            name: format!("{output}.{operator}"),
            output: vec![output],
            op_type: operator.to_owned(),
            ..NodeProto::default()
        });
    }

    /// Scale and zero point of a value's range, which is made to include zero.
    fn describe(&mut self, name: &str) -> Option<Bytes> {
        let [least, most] = self.ranges.get(name)?;
        let (least, most) = (least.min(0.0), most.max(0.0));
        let scale = ((most - least) / 255.0).max(f32::MIN_POSITIVE);
        let zero_point = (-least / scale).round() as u8;
        let scale_name = self.constant(format!("{name}.scale"), DataType::Float, vec![], floats(&[scale]));
        let zero_point_name =
            self.constant(format!("{name}.zero_point"), DataType::Uint8, vec![], vec![zero_point]);
        Some(Bytes { value: format!("{name}.bytes"), scale_name, zero_point_name, scale })
    }

    fn constant(&mut self, name: String, kind: DataType, dims: Vec<i64>, raw_data: Vec<u8>) -> String {
        self.graph.initializer.push(TensorProto {
            dims,
            data_type: kind as i32,
            name: name.clone(),
            raw_data,
            ..TensorProto::default()
        });
        name
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{
        TensorShapeProto, TypeProto, ValueInfoProto,
        attribute_proto::AttributeType,
        tensor_shape_proto::{Dimension, dimension::Value::DimValue},
        type_proto,
    };
    use crate::{Engine, Tensor};

    const SIDE: usize = 8;
    const CHANNELS: usize = 4;

    /// A value between -1 and 1 that looks random.
    fn noise(number: usize) -> f32 {
        (number as f32 * 12.9898).sin()
    }

    fn info(name: &str, shape: &[usize]) -> ValueInfoProto {
        let dim = |side: &usize| Dimension { value: Some(DimValue(*side as i64)), ..Dimension::default() };
        let shape = Some(TensorShapeProto { dim: shape.iter().map(dim).collect() });
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
        let r#type =
            Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
        ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
    }

    fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) -> NodeProto {
        let attribute = attributes.iter().map(|(name, values)| AttributeProto {
            name: (*name).to_owned(),
            r#type: AttributeType::Ints as i32,
            ints: values.to_vec(),
            ..AttributeProto::default()
        });
        NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: operator.to_owned(),
            attribute: attribute.collect(),
            ..NodeProto::default()
        }
    }

    /// Two convolutions with ReLU and pooling between them; the graph ends with a third convolution.
    fn model(first_stride: i64) -> ModelProto {
        let weights = |name: &str, inputs: usize| {
            let count = CHANNELS * inputs * 9;
            let values: Vec<f32> = (0..count).map(|number| noise(number + inputs) / inputs as f32).collect();
            let dims = vec![CHANNELS as i64, inputs as i64, 3, 3];
            TensorProto {
                dims,
                data_type: DataType::Float as i32,
                name: name.to_owned(),
                raw_data: floats(&values),
                ..TensorProto::default()
            }
        };
        let offsets = TensorProto {
            dims: vec![CHANNELS as i64],
            data_type: DataType::Float as i32,
            name: "b".to_owned(),
            raw_data: floats(&[0.1, -0.2, 0.0, 0.3]),
            ..TensorProto::default()
        };
        let conv: &[(&str, &[i64])] = &[("kernel_shape", &[3, 3]), ("pads", &[1; 4])];
        let strides = [first_stride; 2];
        let first: &[(&str, &[i64])] = &[("kernel_shape", &[3, 3]), ("pads", &[1; 4]), ("strides", &strides)];
        let pool: &[(&str, &[i64])] = &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])];
        let side = SIDE / 2 / first_stride as usize;
        let graph = GraphProto {
            name: "test".to_owned(),
            node: vec![
                node("Conv", &["x", "w1", "b"], "c1", first),
                node("Relu", &["c1"], "r1", &[]),
                node("MaxPool", &["r1"], "p1", pool),
                node("Conv", &["p1", "w2", "b"], "c2", conv),
                node("Relu", &["c2"], "r2", &[]),
                node("Conv", &["r2", "w2", "b"], "y", conv),
            ],
            initializer: vec![weights("w1", 1), weights("w2", CHANNELS), offsets],
            input: vec![info("x", &[1, 1, SIDE, SIDE])],
            output: vec![info("y", &[1, CHANNELS, side, side])],
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(graph),
            ..ModelProto::default()
        }
    }

    fn input() -> Tensor {
        Tensor::new([1, 1, SIDE, SIDE], (0..SIDE * SIDE).map(noise).collect()).unwrap()
    }

    fn with_ranges(first_stride: i64) -> Vec<u8> {
        let graph = encode(&model(first_stride));
        ActivationRanges::measure(&Engine::tract(), &graph, [input()]).unwrap().attach(&graph).unwrap()
    }

    fn operators(onnx: &[u8]) -> Vec<String> {
        decode(onnx).unwrap().graph.unwrap().node.into_iter().map(|node| node.op_type).collect()
    }

    #[test]
    fn convolutions_become_convolutions_of_bytes() {
        let graph = with_ranges(1);
        let converted = converted(&graph).unwrap();
        assert_eq!(
            operators(&converted),
            ["QuantizeLinear", "QLinearConv", "MaxPool", "QLinearConv", "DequantizeLinear", "Conv"]
        );
        // tract computes the operators of the standard in bytes too, only slowly.
        let run = |onnx: &[u8]| crate::tract::open(onnx).unwrap().run(&input()).unwrap().take("y").unwrap();
        let (exact, bytes) = (run(&graph), run(&converted));
        let length =
            |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
        let error = length(&mut exact.data().iter().zip(bytes.data()).map(|(a, b)| a - b));
        let relative = error / length(&mut exact.data().iter().copied());
        assert!(relative > 0.0 && relative < 0.02, "{relative}");
    }

    #[test]
    fn a_strided_convolution_of_the_input_stays() {
        let converted = converted(&with_ranges(2)).unwrap().into_owned();
        assert_eq!(
            operators(&converted),
            ["Conv", "Relu", "MaxPool", "QuantizeLinear", "QLinearConv", "DequantizeLinear", "Conv"]
        );
    }

    #[test]
    fn a_graph_without_ranges_stays() {
        let graph = encode(&model(1));
        assert_eq!(*converted(&graph).unwrap(), *graph);
        // Ranges of which one is missing convert what they can.
        let ranges: ActivationRanges = serde_json::from_str(r#"{"p1": [0, 2], "r2": [0, 2]}"#).unwrap();
        let converted = converted(&ranges.attach(&graph).unwrap()).unwrap().into_owned();
        assert_eq!(operators(&converted)[..5], ["Conv", "Relu", "MaxPool", "QuantizeLinear", "QLinearConv"]);
        assert!(super::converted(b"no graph").is_err());
    }
}
