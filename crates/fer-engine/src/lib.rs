//! Runs ONNX graphs on tract, which is linked into the program, or on ONNX Runtime, which is loaded from a shared library.
//!
//! Callers decide what the tensors mean. `ort` and tract stay inside this crate, so that another runtime can be added
//! behind [`Session`].

mod engine;
mod error;
mod int8;
pub mod library;
pub mod onnx;
mod onnx_runtime;
mod ranges;
mod tensor;
mod tract;

pub use engine::{Engine, EngineKind, Precision};
pub use error::EngineError;
pub use int8::PATCH;
pub use ranges::ActivationRanges;
pub use tensor::{Outputs, Tensor};

/// An opened graph with one input.
pub trait Session: Send {
    /// Runs one forward pass. The caller keeps the input, so that it can use its memory again. The input's shape may differ
    /// from call to call if the graph allows it.
    ///
    /// # Errors
    /// Returns [`EngineError::Run`] if the input does not fit the graph.
    fn run(&mut self, input: &Tensor) -> Result<Outputs, EngineError>;
}

/// An opened graph with one input, the patches of a picture ([`Engine::open_for_patches`]).
///
/// A patch is what the first convolution multiplies for one place of its result: three rows of three RGB pixels, row by row, and a
/// zero, [`PATCH`] bytes. The patch in row `y` and column `x` has the picture's pixel `(2x, 2y)` in its middle; pixels outside of the
/// picture are the normalisation's mean.
pub trait PatchSession: Send {
    /// Runs one forward pass over `rows * columns` patches.
    ///
    /// # Errors
    /// Returns [`EngineError::Run`] if the patches are not so many or do not fit the graph.
    fn run(&mut self, patches: &[u8], rows: usize, columns: usize) -> Result<Outputs, EngineError>;
}
