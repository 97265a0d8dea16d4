//! The engines, and opening a graph on one of them.

use std::fmt;
use std::path::Path;

use crate::onnx_runtime::OnnxRuntime;
use crate::{EngineError, Session, tract};

/// Which runtime does the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// tract: pure Rust, part of the program.
    Tract,
    /// Microsoft's ONNX Runtime: a shared library, two to four times as fast.
    OnnxRuntime,
}

impl EngineKind {
    /// The engine's name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::OnnxRuntime => "onnxruntime",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A started engine; clones share it.
#[derive(Clone)]
pub struct Engine(Runtime);

#[derive(Clone)]
enum Runtime {
    Tract,
    OnnxRuntime(OnnxRuntime),
}

impl Engine {
    /// Returns tract, which is part of the program.
    pub const fn tract() -> Self {
        Self(Runtime::Tract)
    }

    /// Loads ONNX Runtime from a shared library, which stays loaded until the process ends.
    ///
    /// # Errors
    /// [`EngineError::Library`] if it cannot be loaded; [`EngineError::Loaded`] if the process has already loaded another
    /// library.
    pub fn onnx_runtime(library: &Path) -> Result<Self, EngineError> {
        OnnxRuntime::load(library).map(Runtime::OnnxRuntime).map(Self)
    }

    /// Returns which engine this is.
    pub const fn kind(&self) -> EngineKind {
        match self.0 {
            Runtime::Tract => EngineKind::Tract,
            Runtime::OnnxRuntime(_) => EngineKind::OnnxRuntime,
        }
    }

    /// Describes the engine for people: its kind, and the library it was loaded from.
    pub fn describe(&self) -> String {
        match &self.0 {
            Runtime::Tract => "tract".to_owned(),
            Runtime::OnnxRuntime(runtime) => format!("ONNX Runtime ({})", runtime.library().display()),
        }
    }

    /// Opens a graph with one input for use by one thread at a time. The session runs only on the calling thread:
    /// parallelism comes from several sessions, and helper threads that spin make a busy machine several times slower.
    ///
    /// # Errors
    /// [`EngineError::Graph`] if the bytes are no graph that the engine can run.
    pub fn open(&self, onnx: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        match &self.0 {
            Runtime::Tract => tract::open(onnx),
            Runtime::OnnxRuntime(runtime) => runtime.open(onnx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_libraries_and_graphs_are_errors() {
        let missing = Engine::onnx_runtime(Path::new("nowhere.so")).err().unwrap().to_string();
        assert!(missing.contains("nowhere.so") && missing.contains("1.24"), "{missing}");
        let engine = Engine::tract();
        assert_eq!(engine.kind().to_string(), "tract");
        assert!(matches!(engine.open(b"not a graph"), Err(EngineError::Graph(_))));
    }
}
