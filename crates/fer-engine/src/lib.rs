//! Runs an ONNX graph: on tract, which is linked in, or on ONNX Runtime, which is loaded where it is found.
//!
//! What the tensors mean is the callers' business. `ort` and tract stay inside this crate, so that another
//! runtime can take its place behind [`Session`].

mod engine;
mod error;
pub mod onnx;
mod onnx_runtime;
mod tensor;
mod tract;

pub use engine::{Engine, EngineKind};
pub use error::EngineError;
pub use tensor::{Outputs, Tensor};

/// An opened graph with one input.
pub trait Session: Send {
    /// One forward pass; the input's shape may differ from call to call where the graph allows it.
    ///
    /// # Errors
    /// [`EngineError::Run`] where the input does not fit the graph.
    fn run(&mut self, input: Tensor) -> Result<Outputs, EngineError>;
}
