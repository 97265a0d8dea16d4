//! Convolutions in 8-bit integers, for processors that multiply four of them in the time of one `f32`.
//!
//! Values are unsigned bytes. Each value has its own scale and zero point, which follow from the [`ActivationRanges`]. Weights are
//! signed bytes with a scale for each output channel (Jacob et al. 2018, arXiv:1712.05877). Convolutions with the ReLU behind them
//! become `QLinearConv`, additions ONNX Runtime's `QLinearAdd`; pooling and nearest-neighbour resizing work on the bytes as they
//! are. Everything else stays as it was: dense layers, which are a hundredth of the work here, the convolutions that give the
//! outputs, and a strided convolution of the input, which takes less time than turning a whole picture of `f32` into bytes.
//!
//! A picture that comes as bytes need not be turned into any: the first convolution of a network that starts with one of 3×3 pixels
//! and stride 2 can take [patches](PATCH) of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use half::f16;

use crate::EngineError;
use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    decode, encode,
    tensor_proto::DataType,
    tensor_shape_proto::{
        Dimension,
        dimension::Value::{DimParam, DimValue},
    },
    type_proto,
};
use crate::ranges::ActivationRanges;

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";

/// Largest weight as a signed byte; the range is symmetric.
const MOST: f32 = 127.0;

/// Bytes of a patch: three rows of three RGB pixels, and a zero, because processors multiply four bytes at a time.
pub const PATCH: usize = 28;

/// How the network of a picture sees the picture's bytes: `(byte - mean) / scale`.
#[derive(Clone, Copy)]
pub(crate) struct Scaling {
    pub(crate) mean: f32,
    pub(crate) scale: f32,
}

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
    let first = plan.over_patches.iter().map(|(_, result)| result);
    steps.flat_map(|step| step.inputs.iter().chain([&step.result])).chain(first).cloned().collect()
}

/// Returns a graph with the operators converted whose values' ranges its metadata knows; without ranges, the same graph.
///
/// # Errors
/// Returns [`EngineError::Graph`] if the bytes are not a graph.
pub(crate) fn converted(onnx: &[u8]) -> Result<Cow<'_, [u8]>, EngineError> {
    let mut model = decode(onnx)?;
    let Some(ranges) = ActivationRanges::of(&model) else { return Ok(Cow::Borrowed(onnx)) };
    convert(&mut model, &ranges, None);
    Ok(Cow::Owned(encode(&model)))
}

/// Returns a graph that takes the [patches](PATCH) of a picture, `[1, rows, columns, PATCH]`, in place of its normalised planes, with
/// its other operators converted too. `None` if the graph has no ranges or does not start with a convolution over such patches.
///
/// # Errors
/// Returns [`EngineError::Graph`] if the bytes are not a graph.
pub(crate) fn converted_for_patches(onnx: &[u8], scaling: Scaling) -> Result<Option<Vec<u8>>, EngineError> {
    let mut model = decode(onnx)?;
    let Some(ranges) = ActivationRanges::of(&model) else { return Ok(None) };
    Ok(convert(&mut model, &ranges, Some(scaling)).map(|()| encode(&model)))
}

/// Converts what it can. `None` if a graph over patches is wanted and cannot be made.
fn convert(model: &mut ModelProto, ranges: &ActivationRanges, patches: Option<Scaling>) -> Option<()> {
    let graph = model.graph.as_mut()?;
    let plan = Plan::of(graph);
    let constants = Constants::of(graph);
    let floats = graph.input.iter().map(|input| input.name.clone()).collect();
    let mut writer =
        Writer { constants, ranges, graph: GraphProto::default(), bytes: HashMap::new(), floats };
    let mut over_patches = None;
    if let Some(scaling) = patches {
        let (number, result) = plan.over_patches.as_ref()?;
        writer.convolution_of_patches(&graph.node[*number], result, scaling)?;
        take_patches(graph.input.first_mut()?);
        over_patches = Some(*number);
    }
    let others = graph.node.iter().enumerate().filter(|(number, _)| over_patches != Some(*number));
    for (number, node) in others {
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
    Some(())
}

/// Changes the type of a graph's input to that of patches.
fn take_patches(input: &mut ValueInfoProto) {
    let fixed = |side: usize| DimValue(side as i64);
    let dims = [fixed(1), DimParam("rows".to_owned()), DimParam("columns".to_owned()), fixed(PATCH)];
    let dim = dims.map(|value| Dimension { value: Some(value), ..Dimension::default() }).to_vec();
    let shape = Some(TensorShapeProto { dim });
    let tensor = type_proto::Tensor { elem_type: DataType::Uint8 as i32, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    input.r#type = Some(TypeProto { value, ..TypeProto::default() });
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
    /// The convolution of the input that can take patches, and its result.
    over_patches: Option<(usize, String)>,
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
        let is_strided_input = |node: &NodeProto| {
            node.input.first().is_some_and(|name| name == input)
                && integers(node, "strides").is_some_and(|strides| strides.iter().any(|stride| *stride > 1))
        };
        let steps = graph.node.iter().enumerate().filter_map(|(number, node)| {
            let takes = match node.op_type.as_str() {
                "Conv" => 1,
                "Add" => 2,
                _ => return None,
            };
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
            if ends || is_output(result) {
                return None;
            }
            let inputs = node.input.iter().take(takes).cloned().collect();
            Some((number, Step { inputs, result: result.clone() }))
        });
        let (strided, steps): (BTreeMap<usize, Step>, _) =
            steps.partition(|(number, _)| is_strided_input(&graph.node[*number]));
        let has_one_user = users.get(input).is_some_and(|users| users.len() == 1);
        let over_patches = strided
            .into_iter()
            .find(|(number, _)| has_one_user && is_over_patches(&graph.node[*number]))
            .map(|(number, step)| (number, step.result));
        Self { steps, over_patches }
    }
}

/// Whether a convolution goes over 3×3 pixels in steps of two, with one pixel of padding.
fn is_over_patches(node: &NodeProto) -> bool {
    let attributes: [(&str, &[i64]); 3] =
        [("kernel_shape", &[3, 3]), ("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])];
    let is_dense =
        integers(node, "dilations").is_none_or(|dilations| dilations.iter().all(|step| *step == 1));
    is_dense && attributes.into_iter().all(|(name, values)| integers(node, name) == Some(values))
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

/// The weights of a convolution as signed bytes, with a scale for each output channel.
struct Kernels {
    scales: Vec<f32>,
    bytes: Vec<u8>,
}

impl Kernels {
    /// `None` if the weights are not those of so many channels.
    fn of(weights: &[f32], channels: usize) -> Option<Self> {
        let per_channel = weights.len().checked_div(channels).filter(|count| *count > 0)?;
        let (mut scales, mut bytes) = (Vec::new(), Vec::new());
        for channel in weights.chunks_exact(per_channel) {
            let greatest = channel.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
            let scale = (greatest / MOST).max(f32::MIN_POSITIVE);
            let as_byte = |weight: &f32| (weight / scale).round().clamp(-MOST, MOST) as i8 as u8;
            bytes.extend(channel.iter().map(as_byte));
            scales.push(scale);
        }
        Some(Self { scales, bytes })
    }
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
        let kernels = Kernels::of(&weights, offsets.len())?;
        let input = self.as_bytes(input)?;
        let result = self.describe(&step.result)?;
        self.integer_convolution(node, &input, dims, &kernels, &offsets, &result);
        self.bytes.insert(step.result.clone(), result);
        Some(())
    }

    /// The first convolution, over patches of the input: a product of each patch with each kernel. The mean goes into the offsets.
    fn convolution_of_patches(&mut self, node: &NodeProto, result: &str, scaling: Scaling) -> Option<()> {
        let [input, weight, offset] = node.input.as_slice() else { return None };
        let (dims, weights) = self.constants.get(weight)?.clone();
        let offsets = self.constants.get(offset)?.1.clone();
        let [channels, 3, 3, 3] = dims[..] else { return None };
        // From [colour, row, column] to [row, column, colour], as the bytes of a picture lie.
        let weights: Vec<f32> = weights
            .as_chunks::<27>()
            .0
            .iter()
            .flat_map(|kernel| (0..27).map(|place| kernel[place % 3 * 9 + place / 3]).chain([0.0]))
            .collect();
        let kernels = Kernels::of(&weights, offsets.len())?;
        let result_bytes = self.describe(result)?;
        let patches = self.bytes_named(&format!("{input}.planes"), 1.0 / scaling.scale, 0);
        let sums =
            kernels.bytes.chunks_exact(PATCH).zip(&kernels.scales).map(|(kernel, scale)| {
                scale * kernel.iter().map(|weight| f32::from(*weight as i8)).sum::<f32>()
            });
        let mean = scaling.mean / scaling.scale;
        let offsets: Vec<f32> = offsets.iter().zip(sums).map(|(offset, sum)| offset - mean * sum).collect();
        self.graph.node.push(NodeProto {
            input: vec![input.clone()],
            output: vec![patches.value.clone()],
            name: format!("{input}.Transpose"),
            op_type: "Transpose".to_owned(),
            attribute: vec![attribute("perm", &[0, 3, 1, 2])],
            ..NodeProto::default()
        });
        let product = NodeProto { attribute: vec![attribute("kernel_shape", &[1, 1])], ..node.clone() };
        let dims = vec![channels, PATCH as i64, 1, 1];
        self.integer_convolution(&product, &patches, dims, &kernels, &offsets, &result_bytes);
        self.bytes.insert(result.to_owned(), result_bytes);
        Some(())
    }

    fn integer_convolution(
        &mut self,
        node: &NodeProto,
        input: &Bytes,
        dims: Vec<i64>,
        Kernels { scales, bytes }: &Kernels,
        offsets: &[f32],
        result: &Bytes,
    ) {
        let offsets = offsets.iter().zip(scales).flat_map(|(offset, scale)| {
            let steps = f64::from(*offset) / (f64::from(input.scale) * f64::from(*scale));
            (steps.round() as i32).to_le_bytes()
        });
        let offsets = offsets.collect();
        let one_each = vec![scales.len() as i64];
        let name = |role: &str| format!("{}.{role}", node.name);
        let inputs = vec![
            input.value.clone(),
            input.scale_name.clone(),
            input.zero_point_name.clone(),
            self.constant(name("int8"), DataType::Int8, dims, bytes.clone()),
            self.constant(name("scales"), DataType::Float, one_each.clone(), floats(scales)),
            self.constant(name("zero_points"), DataType::Int8, one_each.clone(), vec![0; scales.len()]),
            result.scale_name.clone(),
            result.zero_point_name.clone(),
            self.constant(name("int32"), DataType::Int32, one_each, offsets),
        ];
        self.push(node, "QLinearConv", inputs, &result.value);
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
        Some(self.bytes_named(name, scale, (-least / scale).round() as u8))
    }

    fn bytes_named(&mut self, name: &str, scale: f32, zero_point: u8) -> Bytes {
        let scale_name = self.constant(format!("{name}.scale"), DataType::Float, vec![], floats(&[scale]));
        let zero_point_name =
            self.constant(format!("{name}.zero_point"), DataType::Uint8, vec![], vec![zero_point]);
        Bytes { value: format!("{name}.bytes"), scale_name, zero_point_name, scale }
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

fn attribute(name: &str, integers: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: integers.to_vec(),
        ..AttributeProto::default()
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let attributes = attributes.iter().map(|(name, values)| attribute(name, values));
        NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes.collect(),
            ..NodeProto::default()
        }
    }

    /// Two convolutions with ReLU and pooling between them; the graph ends with a third convolution.
    fn model(channels: usize, first_stride: i64) -> ModelProto {
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
            initializer: vec![weights("w1", channels), weights("w2", CHANNELS), offsets],
            input: vec![info("x", &[1, channels, SIDE, SIDE])],
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

    fn with_ranges(graph: &ModelProto, input: Tensor) -> Vec<u8> {
        let graph = encode(graph);
        ActivationRanges::measure(&Engine::tract(), &graph, [input]).unwrap().attach(&graph).unwrap()
    }

    /// The length of the difference between two outputs, as a part of the first one's length.
    fn relative_error(exact: &[f32], other: &[f32]) -> f32 {
        let length =
            |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
        let error = length(&mut exact.iter().zip(other).map(|(a, b)| a - b));
        error / length(&mut exact.iter().copied())
    }

    fn operators(onnx: &[u8]) -> Vec<String> {
        decode(onnx).unwrap().graph.unwrap().node.into_iter().map(|node| node.op_type).collect()
    }

    #[test]
    fn convolutions_become_convolutions_of_bytes() {
        let graph = with_ranges(&model(1, 1), input());
        let converted = converted(&graph).unwrap();
        assert_eq!(
            operators(&converted),
            ["QuantizeLinear", "QLinearConv", "MaxPool", "QLinearConv", "DequantizeLinear", "Conv"]
        );
        // tract computes the operators of the standard in bytes too, only slowly.
        let run = |onnx: &[u8]| crate::tract::open(onnx).unwrap().run(&input()).unwrap().take("y").unwrap();
        let error = relative_error(run(&graph).data(), run(&converted).data());
        assert!(error > 0.0 && error < 0.02, "{error}");
    }

    #[test]
    fn a_strided_convolution_of_the_input_stays() {
        let converted = converted(&with_ranges(&model(1, 2), input())).unwrap().into_owned();
        assert_eq!(
            operators(&converted),
            ["Conv", "Relu", "MaxPool", "QuantizeLinear", "QLinearConv", "DequantizeLinear", "Conv"]
        );
    }

    #[test]
    fn a_strided_convolution_of_the_input_can_take_patches_of_bytes() {
        let byte = |[row, column, colour]: [usize; 3]| ((row * 67 + column * 29 + colour * 101) % 256) as u8;
        let scaling = Scaling { mean: 127.5, scale: 128.0 };
        let places = |height: usize, width: usize| {
            (0..height).flat_map(move |row| (0..width).map(move |column| [row, column]))
        };
        let values = (0..3).flat_map(|colour| {
            places(SIDE, SIDE).map(move |[row, column]| {
                (f32::from(byte([row, column, colour])) - scaling.mean) / scaling.scale
            })
        });
        let planes = Tensor::new([1, 3, SIDE, SIDE], values.collect()).unwrap();
        let graph = with_ranges(&model(3, 2), planes.clone());
        let patches: Vec<u8> = places(SIDE / 2, SIDE / 2)
            .flat_map(|[row, column]| {
                let pixels = places(3, 3).flat_map(move |[y, x]| {
                    let (y, x) = ((2 * row + y).checked_sub(1), (2 * column + x).checked_sub(1));
                    [0, 1, 2].map(|colour| y.zip(x).map_or(128, |(y, x)| byte([y, x, colour])))
                });
                pixels.chain([0])
            })
            .collect();
        let over_patches = converted_for_patches(&graph, scaling).unwrap().unwrap();
        assert_eq!(
            operators(&over_patches),
            ["Transpose", "QLinearConv", "MaxPool", "QLinearConv", "DequantizeLinear", "Conv"]
        );
        let shape = [1, SIDE / 2, SIDE / 2, PATCH];
        let found = crate::tract::run_on_bytes(&over_patches, &shape, &patches);
        let exact = crate::tract::open(&graph).unwrap().run(&planes).unwrap().take("y").unwrap();
        let error = relative_error(exact.data(), &found);
        assert!(error > 0.0 && error < 0.02, "{error}");
        // Another stride, other channels, or no ranges.
        let other = with_ranges(&model(3, 1), planes);
        for graph in [other, with_ranges(&model(1, 2), input()), encode(&model(3, 2))] {
            assert!(converted_for_patches(&graph, scaling).unwrap().is_none());
        }
    }

    #[test]
    fn a_graph_without_ranges_stays() {
        let graph = encode(&model(1, 1));
        assert_eq!(*converted(&graph).unwrap(), *graph);
        // Ranges of which one is missing convert what they can.
        let ranges: ActivationRanges = serde_json::from_str(r#"{"p1": [0, 2], "r2": [0, 2]}"#).unwrap();
        let converted = converted(&ranges.attach(&graph).unwrap()).unwrap().into_owned();
        assert_eq!(operators(&converted)[..5], ["Conv", "Relu", "MaxPool", "QuantizeLinear", "QLinearConv"]);
        assert!(super::converted(b"no graph").is_err());
    }
}
