//! Runs ONNX graphs on tract, which is linked in, or on ONNX Runtime, which is loaded from a shared library.
//!
//! The meaning of the tensors is left to the callers. `ort` and tract stay inside this crate, so that another runtime can
//! take their place behind [`Session`].

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
    /// Runs one forward pass. The shape of the input may differ from call to call if the graph allows it.
    ///
    /// # Errors
    /// [`EngineError::Run`] if the input does not fit the graph.
    fn run(&mut self, input: Tensor) -> Result<Outputs, EngineError>;
}
