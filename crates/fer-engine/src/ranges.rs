//! The values that a graph computes on typical inputs: what a conversion to 8-bit integers needs to know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::int8;
use crate::onnx::{
    ModelProto, StringStringEntryProto, TypeProto, ValueInfoProto, decode, encode, tensor_proto::DataType,
    type_proto,
};
use crate::{Engine, EngineError, Tensor};

/// Key of the ranges in a graph's metadata.
const KEY: &str = "fer.activation_ranges";

/// The least and the greatest number in each value (ONNX's word for the result of an operator) that a conversion to 8-bit integers
/// converts, by the value's name.
///
/// [`ActivationRanges::attach`] writes them into a graph, where [`Engine::open`] finds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActivationRanges(BTreeMap<String, [f32; 2]>);

impl ActivationRanges {
    /// Runs a graph in single precision on typical inputs, and notes the ranges of the values. A few hundred faces or a few dozen
    /// photos are enough.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a graph, or if it cannot run on an input.
    pub fn measure(
        engine: &Engine,
        graph: &[u8],
        inputs: impl IntoIterator<Item = Tensor>,
    ) -> Result<Self, EngineError> {
        let mut model = decode(graph)?;
        let names = int8::values(&model);
        let input = expose(&mut model, &names);
        let mut session = engine.clone().in_single_precision().open(&encode(&model))?;
        let mut ranges = Self::default();
        for tensor in inputs {
            let outputs = session.run(&tensor)?;
            let results = outputs.iter().filter(|(name, _)| names.contains(*name));
            for (name, tensor) in results.chain(input.as_deref().map(|name| (name, &tensor))) {
                ranges.widen(name, tensor.data());
            }
        }
        Ok(ranges)
    }

    fn widen(&mut self, name: &str, values: &[f32]) {
        let range = self.0.entry(name.to_owned()).or_insert([f32::INFINITY, f32::NEG_INFINITY]);
        for &value in values {
            *range = [range[0].min(value), range[1].max(value)];
        }
    }

    /// The range of a value, if it was measured and is finite.
    pub(crate) fn get(&self, name: &str) -> Option<[f32; 2]> {
        self.0.get(name).copied().filter(|range| range.iter().all(|bound| bound.is_finite()))
    }

    /// Returns the graph with the ranges in its metadata, in place of others that were there.
    ///
    /// # Errors
    /// Returns [`EngineError::Graph`] if the bytes are not a graph.
    pub fn attach(&self, graph: &[u8]) -> Result<Vec<u8>, EngineError> {
        let mut model = decode(graph)?;
        model.metadata_props.retain(|entry| entry.key != KEY);
        let value = serde_json::to_string(self).map_err(|error| EngineError::Graph(error.to_string()))?;
        model.metadata_props.push(StringStringEntryProto { key: KEY.to_owned(), value });
        Ok(encode(&model))
    }

    /// The ranges in a graph's metadata; `None` if it has none.
    pub(crate) fn of(model: &ModelProto) -> Option<Self> {
        let entry = model.metadata_props.iter().find(|entry| entry.key == KEY)?;
        serde_json::from_str(&entry.value).ok()
    }
}

/// Makes the values outputs of the graph. Returns the name of its input, if that is one of them.
fn expose(model: &mut ModelProto, names: &BTreeSet<String>) -> Option<String> {
    let graph = model.graph.as_mut()?;
    let input = graph.input.first().map(|input| input.name.clone()).filter(|name| names.contains(name));
    for name in names {
        let is_output = graph.output.iter().any(|output| output.name == *name);
        if input.as_ref() != Some(name) && !is_output {
            let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
            let r#type =
                TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
            let info =
                ValueInfoProto { name: name.clone(), r#type: Some(r#type), ..ValueInfoProto::default() };
            graph.output.push(info);
        }
    }
    input
}
