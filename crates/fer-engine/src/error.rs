//! Errors of loading an engine, opening a graph and running it.

use std::path::PathBuf;

/// Why an engine or a graph cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file does not exist, is not ONNX Runtime, or is too old.
    #[error("cannot load ONNX Runtime from {path}: {message}; version 1.24 or later is needed")]
    Library {
        /// The shared library.
        path: PathBuf,
        /// The loader's message.
        message: String,
    },
    /// The process has loaded another library.
    #[error("this process has loaded ONNX Runtime from {path} already; a process can load only one library")]
    Loaded {
        /// The library that is loaded.
        path: PathBuf,
    },
    /// The bytes are no ONNX graph, or a graph that the engine cannot run.
    #[error("the graph cannot be opened: {0}")]
    Graph(String),
    /// The number of values is not the product of the shape's sides.
    #[error("a tensor of shape {shape:?} cannot hold {values} values")]
    Shape {
        /// The shape that was asked for.
        shape: Vec<usize>,
        /// Number of values that were given.
        values: usize,
    },
    /// The forward pass failed.
    #[error("the graph cannot run on an input of shape {shape:?}: {message}")]
    Run {
        /// Shape of the input.
        shape: Vec<usize>,
        /// The engine's message.
        message: String,
    },
    /// The graph has no output of this name.
    #[error("the graph has no output '{name}'; it has {found}")]
    MissingOutput {
        /// The name that was asked for.
        name: String,
        /// Names of the graph's outputs.
        found: String,
    },
}
