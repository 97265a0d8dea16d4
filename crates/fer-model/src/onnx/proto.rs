//! Small constructors of ONNX's protobuf messages.

use fer_engine::onnx::{
    AttributeProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

pub(super) fn fixed(side: usize) -> dimension::Value {
    dimension::Value::DimValue(side as i64)
}

pub(super) fn symbol(name: &str) -> dimension::Value {
    dimension::Value::DimParam(name.to_owned())
}

/// A tensor of `f32` with shape `[n, sides…]`.
pub(super) fn tensor_info(name: &str, sides: Vec<dimension::Value>) -> ValueInfoProto {
    let dim = std::iter::once(symbol("n"))
        .chain(sides)
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), ..ValueInfoProto::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    attribute(name, AttributeType::Ints, |a| a.ints = values.to_vec())
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    attribute(name, AttributeType::Int, |a| a.i = value)
}

pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    attribute(name, AttributeType::Float, |a| a.f = value)
}

pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    attribute(name, AttributeType::String, |a| a.s = value.as_bytes().to_vec())
}

fn attribute(name: &str, kind: AttributeType, set: impl FnOnce(&mut AttributeProto)) -> AttributeProto {
    let mut attribute =
        AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() };
    set(&mut attribute);
    attribute
}
