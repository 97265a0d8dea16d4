//! What can go wrong between a file of bytes and its outputs.

use std::path::PathBuf;

/// Why an engine or a graph cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// ONNX Runtime is not there, is too old, or is not ONNX Runtime.
    #[error("cannot load ONNX Runtime from {path}: {message}; version 1.24 or later is needed")]
    Library {
        /// The shared library.
        path: PathBuf,
        /// By the loader.
        message: String,
    },
    /// The process has loaded another library.
    #[error("this process has loaded ONNX Runtime from {path} already; it takes one library")]
    Loaded {
        /// The one that is loaded.
        path: PathBuf,
    },
    /// The bytes are no graph that the engine can run.
    #[error("the graph cannot be opened: {0}")]
    Graph(String),
    /// A shape and a number of values that do not belong together.
    #[error("a tensor of shape {shape:?} cannot hold {values} values")]
    Shape {
        /// Dimensions.
        shape: Vec<usize>,
        /// How many values came with them.
        values: usize,
    },
    /// The forward pass failed.
    #[error("the graph cannot run on an input of shape {shape:?}: {message}")]
    Run {
        /// Of the input.
        shape: Vec<usize>,
        /// By the engine.
        message: String,
    },
    /// The graph has other outputs.
    #[error("the graph has no output '{name}'; it has {found}")]
    MissingOutput {
        /// Wanted.
        name: String,
        /// There.
        found: String,
    },
}
