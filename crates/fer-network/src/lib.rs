//! The burn network that an architecture describes, for training. Serving runs the same weights as an ONNX graph and
//! does not link this crate.

mod cpu;
mod dropout;
mod gpu;
#[cfg(feature = "libtorch")]
mod libtorch;
mod network;
mod replica;
mod seed;

pub use dropout::DropoutMasks;
pub use network::{Network, SingleLayer};
pub use replica::{Replica, RunningStatistics};
pub use seed::mix;
