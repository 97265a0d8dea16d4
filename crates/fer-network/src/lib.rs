//! The burn network that an architecture describes, for training. Serving runs the same weights as an ONNX graph and
//! does not link this crate.

mod cpu;
mod network;

pub use network::Network;
