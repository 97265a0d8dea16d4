//! The choice of an engine, once a process, and its sessions. The only file that speaks to `ort`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::{EngineError, Outputs, Session, Tensor};

/// Which runtime does the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Pure Rust, part of the program.
    Tract,
    /// Microsoft's, two to four times faster, a shared library.
    OnnxRuntime,
}

impl EngineKind {
    /// As in JSON.
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
pub struct Engine(Arc<Started>);

struct Started {
    library: Option<PathBuf>,
    environment: Environment,
}

/// `ort` takes its implementation once a process, so the first choice stays.
static CHOSEN: Mutex<Option<Engine>> = Mutex::new(None);

impl Engine {
    /// The engine that is part of the program.
    ///
    /// # Errors
    /// [`EngineError::Chosen`] where the process runs ONNX Runtime already.
    pub fn tract() -> Result<Self, EngineError> {
        Self::choose(None, || {
            ort::set_api(ort_tract::api());
            ort::init().build().map_err(|e| EngineError::Start(e.to_string()))
        })
    }

    /// ONNX Runtime from a shared library.
    ///
    /// # Errors
    /// [`EngineError::Library`] where it cannot be loaded (tract can still be chosen then);
    /// [`EngineError::Chosen`] where the process runs another engine already.
    pub fn onnx_runtime(library: &Path) -> Result<Self, EngineError> {
        let failed = |message: String| EngineError::Library { path: library.to_owned(), message };
        Self::choose(Some(library), || {
            if !library.is_file() {
                return Err(failed("there is no such file".to_owned()));
            }
            let builder = ort::init_from(library).map_err(|e| failed(e.to_string()))?;
            builder.build().map_err(|e| EngineError::Start(e.to_string()))
        })
    }

    fn choose(
        library: Option<&Path>,
        start: impl FnOnce() -> Result<Environment, EngineError>,
    ) -> Result<Self, EngineError> {
        let mut chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner);
        match chosen.as_ref() {
            Some(engine) if engine.0.library.as_deref() == library => Ok(engine.clone()),
            Some(engine) => Err(EngineError::Chosen { running: engine.describe() }),
            None => {
                let started = Started { library: library.map(Path::to_owned), environment: start()? };
                Ok(chosen.insert(Self(Arc::new(started))).clone())
            }
        }
    }

    /// Which one it is.
    pub fn kind(&self) -> EngineKind {
        if self.0.library.is_some() { EngineKind::OnnxRuntime } else { EngineKind::Tract }
    }

    /// For people: the kind, and where it came from.
    pub fn describe(&self) -> String {
        match &self.0.library {
            Some(library) => format!("ONNX Runtime ({})", library.display()),
            None => "tract".to_owned(),
        }
    }

    /// Opens a graph for use by one thread at a time. It runs on the calling thread alone: parallelism comes
    /// from several sessions, and spinning helper threads make a busy machine several times slower.
    ///
    /// # Errors
    /// [`EngineError::Graph`].
    pub fn open(&self, onnx: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        let failed = |message: String| EngineError::Graph(message);
        // An engine that does not know an option goes on without it.
        let session = ort::session::Session::builder(&self.0.environment)
            .map_err(|e| failed(e.to_string()))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .unwrap_or_else(ort::Error::recover)
            .with_intra_threads(1)
            .unwrap_or_else(ort::Error::recover)
            .with_intra_op_spinning(false)
            .unwrap_or_else(ort::Error::recover)
            .commit_from_memory(onnx)
            .map_err(|e| failed(e.to_string()))?;
        Ok(Box::new(OrtSession(session)))
    }
}

/// The environment that it needs lives as long as the process, in [`CHOSEN`].
struct OrtSession(ort::session::Session);

impl Session for OrtSession {
    fn run(&mut self, input: Tensor) -> Result<Outputs, EngineError> {
        let failed = |message: String| EngineError::Run { shape: input.shape().to_vec(), message };
        let view =
            TensorRef::from_array_view((input.shape(), input.data())).map_err(|e| failed(e.to_string()))?;
        let outputs = self.0.run(ort::inputs![view]).map_err(|e| failed(e.to_string()))?;
        let tensors = outputs.iter().map(|(name, value)| {
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(|e| failed(e.to_string()))?;
            let shape: Vec<usize> = shape.iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect();
            Ok((name.to_owned(), Tensor::new(shape, data.to_vec())?))
        });
        Ok(Outputs::new(tensors.collect::<Result<_, EngineError>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_libraries_and_graphs_are_errors_and_the_choice_stays() {
        let missing = Engine::onnx_runtime(Path::new("nowhere.so")).err().unwrap().to_string();
        assert!(missing.contains("nowhere.so") && missing.contains("1.24"), "{missing}");
        let engine = Engine::tract().unwrap();
        assert_eq!(engine.kind().to_string(), "tract");
        assert!(Engine::tract().is_ok(), "the same choice again is the same engine");
        assert!(matches!(Engine::onnx_runtime(Path::new("nowhere.so")), Err(EngineError::Chosen { .. })));
        assert!(matches!(engine.open(b"not a graph"), Err(EngineError::Graph(_))));
    }
}
