//! The types of the ONNX file format (onnx.proto), for code that reads or writes graphs.

use prost::Message as _;

pub use prost::DecodeError;
pub use tract_onnx::pb::*;

/// Decodes the bytes of an `.onnx` file.
///
/// # Errors
/// If they are not a message of this format.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, DecodeError> {
    ModelProto::decode(bytes)
}

/// Encodes a model as the bytes of an `.onnx` file.
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}
