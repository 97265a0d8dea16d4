//! ONNX Runtime behind [`Session`]. The only file that speaks to `ort`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::{EngineError, Outputs, Session, Tensor};

/// The loaded library; clones share it.
#[derive(Clone)]
pub(crate) struct OnnxRuntime(Arc<Loaded>);

struct Loaded {
    library: PathBuf,
    environment: Environment,
}

/// `ort` takes one library a process. Sessions need the environment, so it stays.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    pub(crate) fn load(library: &Path) -> Result<Self, EngineError> {
        let failed = |message: String| EngineError::Library { path: library.to_owned(), message };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded.as_ref() {
            Some(runtime) if runtime.library() == library => Ok(runtime.clone()),
            Some(runtime) => Err(EngineError::Loaded { path: runtime.library().to_owned() }),
            None if !library.is_file() => Err(failed("there is no such file".to_owned())),
            None => {
                let builder = ort::init_from(library).map_err(|e| failed(e.to_string()))?;
                let environment = builder.build().map_err(|e| failed(e.to_string()))?;
                let runtime = Self(Arc::new(Loaded { library: library.to_owned(), environment }));
                Ok(loaded.insert(runtime).clone())
            }
        }
    }

    pub(crate) fn library(&self) -> &Path {
        &self.0.library
    }

    pub(crate) fn open(&self, onnx: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        let failed = |e: ort::Error| EngineError::Graph(e.to_string());
        // A library that does not know an option goes on without it.
        let session = ort::session::Session::builder(&self.0.environment)
            .map_err(failed)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .unwrap_or_else(ort::Error::recover)
            .with_intra_threads(1)
            .unwrap_or_else(ort::Error::recover)
            .with_intra_op_spinning(false)
            .unwrap_or_else(ort::Error::recover)
            .commit_from_memory(onnx)
            .map_err(failed)?;
        Ok(Box::new(OrtSession(session)))
    }
}

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
