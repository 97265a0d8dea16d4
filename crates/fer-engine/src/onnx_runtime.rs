//! ONNX Runtime behind [`Session`]. Only this file uses `ort`.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, TensorRef};

use crate::{EngineError, Outputs, PATCH, PatchSession, Session, Tensor};

/// The loaded library. Clones share it.
#[derive(Clone)]
pub(crate) struct OnnxRuntime(Arc<Loaded>);

struct Loaded {
    library: PathBuf,
    environment: Environment,
}

/// What became of loading a library.
enum State {
    Untried,
    Loaded(OnnxRuntime),
    Failed(PathBuf),
}

/// `ort` loads one library per process. Sessions need its environment, so it stays loaded. It must not be asked again after it
/// failed: `ort` 2.0.0-rc.14 then uses a handle that was never written.
static STATE: Mutex<State> = Mutex::new(State::Untried);

impl OnnxRuntime {
    pub(crate) fn load(library: &Path) -> Result<Self, EngineError> {
        let failed = |message: String| EngineError::Library { path: library.to_owned(), message };
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Loaded(runtime) if runtime.library() == library => Ok(runtime.clone()),
            State::Loaded(runtime) => Err(EngineError::Loaded { path: runtime.library().to_owned() }),
            State::Failed(other) => {
                let other = other.display();
                Err(failed(format!("this process could not load {other} before, and it can try only once")))
            }
            State::Untried if !library.is_file() => Err(failed("there is no such file".to_owned())),
            State::Untried => {
                *state = State::Failed(library.to_owned());
                let builder = ort::init_from(library).map_err(|e| failed(e.to_string()))?;
                let environment = builder.build().map_err(|e| failed(e.to_string()))?;
                let runtime = Self(Arc::new(Loaded { library: library.to_owned(), environment }));
                *state = State::Loaded(runtime.clone());
                Ok(runtime)
            }
        }
    }

    pub(crate) fn library(&self) -> &Path {
        &self.0.library
    }

    pub(crate) fn open(&self, onnx: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.session(onnx)?))
    }

    pub(crate) fn open_for_patches(&self, onnx: &[u8]) -> Result<Box<dyn PatchSession>, EngineError> {
        Ok(Box::new(self.session(onnx)?))
    }

    fn session(&self, onnx: &[u8]) -> Result<OrtSession, EngineError> {
        let failed = |e: ort::Error| EngineError::Graph(e.to_string());
        // A library that does not know an option runs without it.
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
        Ok(OrtSession { session, shapes: HashMap::new() })
    }
}

/// Number of input shapes for which a session remembers the shapes of the outputs.
const MAX_SHAPES: usize = 1024;

/// An output's name and shape.
type Output = (String, Vec<usize>);

/// A session that allocates the outputs itself: `ort` 2.0.0-rc.14 never frees the type of an output that the library
/// allocated (`Value::from_session_output_ptr`), which leaks some 300 bytes per run. The outputs' shapes depend on the
/// input's, so the first run with each input shape records them.
struct OrtSession {
    session: ort::session::Session,
    shapes: HashMap<Vec<usize>, Vec<Output>>,
}

/// What inputs are made of.
trait Element: PrimitiveTensorElementType + Clone + fmt::Debug + 'static {}

impl Element for f32 {}
impl Element for u8 {}

impl OrtSession {
    fn run_on<T: Element>(&mut self, shape: &[usize], values: &[T]) -> Result<Outputs, EngineError> {
        let failed = |e: Box<dyn std::error::Error>| EngineError::Run {
            shape: shape.to_vec(),
            message: e.to_string(),
        };
        if let Some(outputs) = self.shapes.get(shape) {
            return Self::run_into(&mut self.session, (shape, values), outputs).map_err(failed);
        }
        let outputs = Self::run_first(&mut self.session, (shape, values)).map_err(failed)?;
        if self.shapes.len() >= MAX_SHAPES {
            self.shapes.clear();
        }
        let shapes = outputs.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec()));
        self.shapes.insert(shape.to_vec(), shapes.collect());
        Ok(outputs)
    }

    fn run_into<T: Element>(
        session: &mut ort::session::Session,
        input: (&[usize], &[T]),
        outputs: &[Output],
    ) -> Result<Outputs, Box<dyn std::error::Error>> {
        let mut selected = OutputSelector::default();
        for (name, shape) in outputs {
            let zeros = vec![0.0_f32; shape.iter().product()];
            let tensor = ort::value::Tensor::from_array((shape.as_slice(), zeros))?;
            selected = selected.preallocate(name.as_str(), tensor);
        }
        let options = RunOptions::new()?.with_outputs(selected);
        let view = TensorRef::from_array_view(input)?;
        extract(&session.run_with_options(ort::inputs![view], &options)?)
    }

    fn run_first<T: Element>(
        session: &mut ort::session::Session,
        input: (&[usize], &[T]),
    ) -> Result<Outputs, Box<dyn std::error::Error>> {
        let view = TensorRef::from_array_view(input)?;
        extract(&session.run(ort::inputs![view])?)
    }
}

fn extract(outputs: &SessionOutputs<'_>) -> Result<Outputs, Box<dyn std::error::Error>> {
    let tensors = outputs.iter().map(|(name, value)| {
        let (shape, data) = value.try_extract_tensor::<f32>()?;
        let shape: Vec<usize> = shape.iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect();
        Ok((name.to_owned(), Tensor::new(shape, data.to_vec())?))
    });
    Ok(Outputs::new(tensors.collect::<Result<_, Box<dyn std::error::Error>>>()?))
}

impl Session for OrtSession {
    fn run(&mut self, input: &Tensor) -> Result<Outputs, EngineError> {
        self.run_on(input.shape(), input.data())
    }
}

impl PatchSession for OrtSession {
    fn run(&mut self, patches: &[u8], rows: usize, columns: usize) -> Result<Outputs, EngineError> {
        self.run_on(&[1, rows, columns, PATCH], patches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
    }

    /// One test, because all tests of this crate share a process and a process loads one library: errors about a missing
    /// library must be seen before it, errors about another library after it.
    #[test]
    fn a_process_loads_one_library() {
        let missing = OnnxRuntime::load(Path::new("nowhere.so")).err().unwrap().to_string();
        assert!(missing.contains("nowhere.so") && missing.contains("1.24"), "{missing}");
        let Some(library) = fer_testing::onnx_runtime() else { return };
        let runtime = OnnxRuntime::load(&library).unwrap();
        let other = OnnxRuntime::load(Path::new("nowhere.so")).err().unwrap();
        assert!(matches!(other, EngineError::Loaded { .. }), "{other}");
        if cfg!(target_os = "linux") {
            memory_does_not_grow_with_runs(&runtime);
        }
    }

    fn memory_does_not_grow_with_runs(runtime: &OnnxRuntime) {
        let graph = std::fs::read(workspace("assets/models/mtcnn/pnet.onnx")).unwrap();
        let mut session = runtime.open(&graph).unwrap();
        let mut run = |count: usize| {
            for number in 0..count {
                let [height, width] = [[30, 40], [21, 28], [15, 20]][number % 3];
                let picture = Tensor::new([1, 3, height, width], vec![0.3; 3 * height * width]).unwrap();
                assert!(session.run(&picture).is_ok());
            }
            resident_memory()
        };
        let (before, after) = (run(300), run(6000));
        assert!(after < before + 1024, "{before} KiB, then {after} KiB");
    }

    /// Returns the resident memory of this process in KiB, as Linux reports it.
    fn resident_memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}
