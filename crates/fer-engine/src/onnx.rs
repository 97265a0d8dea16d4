//! The types of the ONNX file format (onnx.proto), for code that writes graphs.

use prost::Message as _;

pub use tract_onnx::pb::*;

/// Encodes a model as the bytes of an `.onnx` file.
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}
