//! The choice between tract and ONNX Runtime.

use std::fmt;
use std::path::Path;

use crate::onnx_runtime::OnnxRuntime;
use crate::{EngineError, Session, library, tract};

/// Which runtime runs the graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// tract: pure Rust, linked into the program.
    Tract,
    /// Microsoft's ONNX Runtime: a shared library, two to four times faster.
    OnnxRuntime,
}

impl EngineKind {
    /// Returns the name used in JSON.
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

/// A started engine. Clones share it.
#[derive(Clone)]
pub struct Engine(Runtime);

#[derive(Clone)]
enum Runtime {
    Tract,
    OnnxRuntime(OnnxRuntime),
}

impl Engine {
    /// Returns the engine that is linked into the program.
    pub const fn tract() -> Self {
        Self(Runtime::Tract)
    }

    /// Loads ONNX Runtime from a shared library, which stays loaded until the process ends.
    ///
    /// # Errors
    /// Returns [`EngineError::Library`] if the library cannot be loaded, and [`EngineError::Loaded`] if the process has
    /// already loaded another one.
    pub fn onnx_runtime(library: &Path) -> Result<Self, EngineError> {
        OnnxRuntime::load(library).map(Runtime::OnnxRuntime).map(Self)
    }

    /// Returns the engine of a kind, or without one ONNX Runtime if its library is found and tract otherwise. `library` is
    /// ONNX Runtime's shared library; without it, [`library::find`] looks for it.
    ///
    /// # Errors
    /// Returns [`EngineError::NoLibrary`] if ONNX Runtime is wanted and no library is found, and otherwise the errors of
    /// [`Engine::onnx_runtime`].
    pub fn select(kind: Option<EngineKind>, library: Option<&Path>) -> Result<Self, EngineError> {
        if kind == Some(EngineKind::Tract) {
            return Ok(Self::tract());
        }
        match library.map(Path::to_owned).or_else(library::find) {
            Some(library) => Self::onnx_runtime(&library),
            None if kind.is_none() => Ok(Self::tract()),
            None => Err(EngineError::NoLibrary),
        }
    }

    /// Returns which engine this is.
    pub const fn kind(&self) -> EngineKind {
        match self.0 {
            Runtime::Tract => EngineKind::Tract,
            Runtime::OnnxRuntime(_) => EngineKind::OnnxRuntime,
        }
    }

    /// Describes the engine for people: its kind, and for ONNX Runtime the path of the library.
    pub fn describe(&self) -> String {
        match &self.0 {
            Runtime::Tract => "tract".to_owned(),
            Runtime::OnnxRuntime(runtime) => format!("ONNX Runtime ({})", runtime.library().display()),
        }
    }

    /// Opens a graph with one input for use by one thread at a time. It runs only on the calling thread: parallelism comes
    /// from several sessions, because helper threads that spin make a busy machine several times slower.
    ///
    /// # Errors
    /// Returns [`EngineError::Graph`] if the engine cannot open the graph.
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
    fn bad_graphs_are_errors() {
        let engine = Engine::tract();
        assert_eq!(engine.kind().to_string(), "tract");
        assert!(matches!(engine.open(b"not a graph"), Err(EngineError::Graph(_))));
    }
}
