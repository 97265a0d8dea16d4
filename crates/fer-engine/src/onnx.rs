//! The types of the ONNX file format (onnx.proto), for those who write graphs.

use prost::Message as _;

pub use tract_onnx::pb::*;

/// The bytes of an `.onnx` file.
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}
