//! The choice between tract and ONNX Runtime.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::int8::Scaling;
use crate::onnx_runtime::OnnxRuntime;
use crate::{EngineError, PatchSession, Session, int8, library, tract};

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

/// What convolutions are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    F32,
    /// 8-bit integers, in graphs that know the ranges of their values ([`ActivationRanges`](crate::ActivationRanges)). Other graphs
    /// run in single precision.
    Int8,
}

impl Precision {
    /// Returns the name used in JSON and in options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = [Self::F32, Self::Int8];
        known
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| format!("unknown precision '{name}'; expected f32 or int8"))
    }
}

/// A started engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    runtime: Runtime,
    precision: Precision,
}

#[derive(Clone)]
enum Runtime {
    Tract,
    OnnxRuntime(OnnxRuntime),
}

impl Engine {
    /// Returns the engine that is linked into the program.
    pub const fn tract() -> Self {
        Self { runtime: Runtime::Tract, precision: Precision::F32 }
    }

    /// Loads ONNX Runtime from a shared library, which stays loaded until the process ends. It computes in 8-bit integers if the
    /// processor has instructions for them (AVX-512 VNNI, AVX-VNNI, or Arm's dot product).
    ///
    /// # Errors
    /// Returns [`EngineError::Library`] if the library cannot be loaded, and [`EngineError::Loaded`] if the process has
    /// already loaded another one.
    pub fn onnx_runtime(library: &Path) -> Result<Self, EngineError> {
        let precision = if int8::is_fast() { Precision::Int8 } else { Precision::F32 };
        let runtime = OnnxRuntime::load(library)?;
        Ok(Self { runtime: Runtime::OnnxRuntime(runtime), precision })
    }

    /// Returns the same engine, computing in single precision.
    #[must_use]
    pub fn in_single_precision(self) -> Self {
        Self { precision: Precision::F32, ..self }
    }

    /// Returns the same engine, computing in a precision; without one, as before.
    ///
    /// # Errors
    /// Returns [`EngineError::Int8`] if the engine or the processor is not made for 8-bit integers.
    pub fn with_precision(self, precision: Option<Precision>) -> Result<Self, EngineError> {
        match precision {
            Some(Precision::F32) => Ok(self.in_single_precision()),
            Some(Precision::Int8) if self.precision != Precision::Int8 => Err(EngineError::Int8),
            _ => Ok(self),
        }
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
        match self.runtime {
            Runtime::Tract => EngineKind::Tract,
            Runtime::OnnxRuntime(_) => EngineKind::OnnxRuntime,
        }
    }

    /// Returns the precision in which the engine computes graphs that know the ranges of their values.
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Describes the engine for people: its kind, and for ONNX Runtime its precision and the path of the library.
    pub fn describe(&self) -> String {
        match &self.runtime {
            Runtime::Tract => "tract".to_owned(),
            Runtime::OnnxRuntime(runtime) => {
                format!("ONNX Runtime in {} ({})", self.precision, runtime.library().display())
            }
        }
    }

    /// Opens a graph with one input for use by one thread at a time. It runs only on the calling thread: parallelism comes
    /// from several sessions, because helper threads that spin make a busy machine several times slower.
    ///
    /// # Errors
    /// Returns [`EngineError::Graph`] if the engine cannot open the graph.
    pub fn open(&self, onnx: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        match &self.runtime {
            Runtime::Tract => tract::open(onnx),
            Runtime::OnnxRuntime(runtime) if self.precision == Precision::Int8 => {
                runtime.open(&int8::converted(onnx)?)
            }
            Runtime::OnnxRuntime(runtime) => runtime.open(onnx),
        }
    }

    /// Opens a graph that takes a whole picture, with the values `(byte - mean) / scale`, so that it takes the picture's bytes
    /// instead. `None` if the engine does not compute in 8-bit integers, or if the graph does not know the ranges of its values or
    /// does not start with a convolution over 3×3 pixels with stride 2; such a graph is for [`Engine::open`].
    ///
    /// # Errors
    /// Returns [`EngineError::Graph`] if the engine cannot open the graph.
    pub fn open_for_patches(
        &self,
        onnx: &[u8],
        mean: f32,
        scale: f32,
    ) -> Result<Option<Box<dyn PatchSession>>, EngineError> {
        match &self.runtime {
            Runtime::OnnxRuntime(runtime) if self.precision == Precision::Int8 => {
                let graph = int8::converted_for_patches(onnx, Scaling { mean, scale })?;
                graph.map(|graph| runtime.open_for_patches(&graph)).transpose()
            }
            _ => Ok(None),
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
