//! The opened models, and the analyzers that are made of them. An analyzer is lent to one thread at a time.
//!
//! Threads live as long as one call, and analyzers stay. So a process that forks, as Spark's workers do, has no threads to lose.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::{Engine, Precision};
use fer_image::DecodeLimits;
use fer_model::{Bundle, LabelSet};
use fer_vision::{AnalyzeError, Analyzer, AnalyzerConfig};
use pyo3::exceptions::{PyFileNotFoundError, PyRuntimeError, PyRuntimeWarning, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

/// Most inference threads.
const MOST_THREADS: usize = 1024;

/// The arguments of `Analyzer`. They are kept, because pickling hands them to another process.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) model: Option<PathBuf>,
    pub(crate) detector: Option<PathBuf>,
    pub(crate) min_face: Option<f32>,
    pub(crate) threads: Option<usize>,
    pub(crate) onnxruntime: Option<Runtime>,
    pub(crate) labels: Option<String>,
    pub(crate) precision: Option<String>,
}

/// The choice of the engine. Without one, ONNX Runtime is used if the package `onnxruntime` is installed, and otherwise tract.
#[derive(Clone, FromPyObject, IntoPyObject)]
pub(crate) enum Runtime {
    /// ONNX Runtime must be used, or must not.
    Wanted(bool),
    /// The shared library of ONNX Runtime.
    Library(PathBuf),
}

/// The opened models.
pub(crate) struct Models {
    engine: Engine,
    detector: DetectorModel,
    bundle: Bundle,
    config: AnalyzerConfig,
    /// Number of inference threads, at least one.
    pub(crate) threads: usize,
    idle: Mutex<Vec<Analyzer>>,
}

impl Models {
    /// Opens the models, and one analyzer, so that models that do not fit are an error here.
    ///
    /// # Errors
    /// `FileNotFoundError`, `ValueError` or `RuntimeError` with a message that names the argument.
    pub(crate) fn open(py: Python<'_>, settings: &Settings) -> PyResult<Arc<Self>> {
        let Settings { model, detector, min_face, threads, onnxruntime, labels, precision } = settings;
        let invalid =
            |name: &str, error: &dyn std::fmt::Display| PyValueError::new_err(format!("{name}: {error}"));
        let bundle = match model {
            Some(folder) => {
                check_folder(folder)?;
                Bundle::open(folder).map_err(|error| invalid("model", &error))?
            }
            None => Bundle::embedded().map_err(|error| invalid("the embedded model", &error))?,
        };
        let labels = labels.as_deref().map(str::parse::<LabelSet>).transpose();
        let labels = labels.map_err(|error| invalid("labels", &error))?;
        let bundle = bundle.with_labels(labels).map_err(|error| invalid("labels", &error))?;
        if let Some(folder) = detector.as_deref().filter(|name| *name != Path::new(DetectorModel::MTCNN)) {
            check_folder(folder)?;
        }
        let detector =
            DetectorModel::select(detector.as_deref()).map_err(|error| invalid("detector", &error))?;
        let threads = match *threads {
            None => std::thread::available_parallelism().map_or(1, usize::from),
            Some(threads @ 1..=MOST_THREADS) => threads,
            Some(threads) => {
                return Err(invalid("threads", &format!("{threads} is not between 1 and {MOST_THREADS}")));
            }
        };
        let config = AnalyzerConfig {
            decode: DecodeLimits::default(),
            detector: DetectorOptions { min_face: *min_face, ..DetectorOptions::default() },
            ..AnalyzerConfig::default()
        };
        let precision = precision.as_deref().map(str::parse::<Precision>).transpose();
        let precision = precision.map_err(|error| invalid("precision", &error))?;
        let engine = select_engine(py, onnxruntime.as_ref())?
            .with_precision(precision)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let models = Self { engine, detector, bundle, config, threads, idle: Mutex::default() };
        let first =
            py.detach(|| models.analyzer()).map_err(|error| PyValueError::new_err(error.to_string()))?;
        models.give_back(first);
        Ok(Arc::new(models))
    }

    /// Name of the engine.
    pub(crate) fn engine(&self) -> &'static str {
        self.engine.kind().name()
    }

    /// What convolutions are computed in.
    pub(crate) fn precision(&self) -> &'static str {
        self.engine.precision().name()
    }

    /// Name of the emotion model.
    pub(crate) fn model(&self) -> &str {
        self.bundle.name()
    }

    /// Labels that the answers follow.
    pub(crate) fn labels(&self) -> &'static str {
        self.bundle.head().label_set.name()
    }

    fn analyzer(&self) -> Result<Analyzer, AnalyzeError> {
        Analyzer::new(&self.engine, &self.detector, &self.bundle, self.config.clone())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Analyzer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an analyzer for the next thread; those of more callers than there are threads are dropped.
    fn give_back(&self, analyzer: Analyzer) {
        let mut idle = self.idle();
        if idle.len() < self.threads {
            idle.push(analyzer);
        }
    }
}

/// The right to use one analyzer. It is taken when the work begins, and given back when the lease ends.
pub(crate) struct Lease {
    models: Arc<Models>,
    analyzer: Option<Analyzer>,
}

impl Lease {
    pub(crate) fn new(models: &Arc<Models>) -> Self {
        Self { models: Arc::clone(models), analyzer: None }
    }

    /// Calls `work` with the analyzer. One in which a panic occurred is not used again.
    ///
    /// # Errors
    /// If an analyzer cannot be opened, and the errors of `work`.
    pub(crate) fn run<T, E: From<AnalyzeError>>(
        &mut self,
        work: impl FnOnce(&mut Analyzer) -> Result<T, E>,
    ) -> Result<T, E> {
        let kept = self.analyzer.take().or_else(|| self.models.idle().pop());
        let mut analyzer = kept.map_or_else(|| self.models.analyzer(), Ok)?;
        let result = work(&mut analyzer);
        self.analyzer = Some(analyzer);
        result
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(analyzer) = self.analyzer.take() {
            self.models.give_back(analyzer);
        }
    }
}

fn check_folder(folder: &Path) -> PyResult<()> {
    if folder.is_dir() {
        return Ok(());
    }
    const NOT_FOUND: i32 = 2;
    Err(PyFileNotFoundError::new_err((NOT_FOUND, "No such folder", folder.as_os_str().to_owned())))
}

fn select_engine(py: Python<'_>, wanted: Option<&Runtime>) -> PyResult<Engine> {
    let failed = |error: fer_engine::EngineError| PyRuntimeError::new_err(error.to_string());
    let installed = || -> PyResult<Option<PathBuf>> {
        py.import(intern!(py, "fer_rs._onnxruntime"))?.call_method0(intern!(py, "library"))?.extract()
    };
    match wanted {
        Some(Runtime::Wanted(false)) => Ok(Engine::tract()),
        Some(Runtime::Library(library)) => Engine::onnx_runtime(library).map_err(failed),
        Some(Runtime::Wanted(true)) => {
            let library = installed()?.ok_or_else(|| {
                PyRuntimeError::new_err(
                    "onnxruntime=True: the package onnxruntime (1.24 or later) is not installed; run \
                     `pip install onnxruntime`, or give the path of its shared library",
                )
            })?;
            Engine::onnx_runtime(&library).map_err(failed)
        }
        None => {
            let Some(library) = installed()? else { return Ok(Engine::tract()) };
            Engine::onnx_runtime(&library).or_else(|error| {
                let message =
                    std::ffi::CString::new(format!("{error}; tract is used instead, which is slower"))?;
                PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 2)?;
                Ok(Engine::tract())
            })
        }
    }
}
