//! Errors of engines, graphs and tensors.

use std::path::PathBuf;

use crate::library;
use crate::onnx::DecodeError;

/// Why an engine, a graph or a tensor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file is missing, is not ONNX Runtime, or is a version that is too old.
    #[error("cannot load ONNX Runtime from {path}: {message}; version 1.24 or later is needed")]
    Library {
        /// The shared library.
        path: PathBuf,
        /// The loader's message.
        message: String,
    },
    /// ONNX Runtime is wanted, and its library is neither named nor found.
    #[error("--engine onnxruntime: {} was not found; name it with --onnxruntime FILE", library::NAME)]
    NoLibrary,
    /// 8-bit integers are wanted, and the engine is tract or the processor has no instructions for them.
    #[error(
        "--precision int8: only ONNX Runtime computes in 8-bit integers, on processors with AVX-512 VNNI, AVX-VNNI or Arm's dot product; \
         leave the option out"
    )]
    Int8,
    /// The process has already loaded another library.
    #[error("this process has loaded ONNX Runtime from {path} already; a process can load only one library")]
    Loaded {
        /// The library that is loaded.
        path: PathBuf,
    },
    /// The engine cannot open the bytes as a graph.
    #[error("the graph cannot be opened: {0}")]
    Graph(String),
    /// The number of values is not the product of the shape.
    #[error("a tensor of shape {shape:?} cannot hold {values} values")]
    Shape {
        /// The dimensions.
        shape: Vec<usize>,
        /// The number of values.
        values: usize,
    },
    /// The forward pass failed.
    #[error("the graph cannot run on an input of shape {shape:?}: {message}")]
    Run {
        /// The input's shape.
        shape: Vec<usize>,
        /// The engine's message.
        message: String,
    },
    /// The graph has no output of this name.
    #[error("the graph has no output '{name}'; it has {found}")]
    MissingOutput {
        /// The name that was asked for.
        name: String,
        /// The names that the graph has, separated by commas.
        found: String,
    },
}

impl From<DecodeError> for EngineError {
    fn from(error: DecodeError) -> Self {
        Self::Graph(error.to_string())
    }
}
