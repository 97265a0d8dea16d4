//! Failures as Python's own exceptions, and panics as `RuntimeError`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fer_table::TableError;
use fer_video::VideoError;
use fer_vision::AnalyzeError;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// The message of a panic.
const PANICKED: &str = "the analysis ended unexpectedly; this is a bug of fer_rs";

/// Why a picture has no analysis.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    /// The file is larger than a photo may be.
    #[error("{} has more than {most} bytes", path.display())]
    TooLarge { path: PathBuf, most: u64 },
    /// The bytes are a video.
    #[error("this is a video; analyze_video reads videos")]
    Video,
    /// The pixels cannot be decoded or analysed.
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
    /// The analysis panicked.
    #[error("{PANICKED}")]
    Panicked,
}

impl Failure {
    /// The exception, whose message begins with the picture's name.
    pub(crate) fn into_exception(self, name: &str) -> PyErr {
        match self {
            Self::Read { path, cause } => of_file(&path, &cause),
            Self::TooLarge { .. } => PyValueError::new_err(self.to_string()),
            Self::Video | Self::Analyze(AnalyzeError::Decode(_)) => {
                PyValueError::new_err(format!("{name}: {self}"))
            }
            Self::Analyze(_) | Self::Panicked => PyRuntimeError::new_err(format!("{name}: {self}")),
        }
    }
}

/// `OSError`, or the subclass that fits the system's error number, such as `FileNotFoundError`.
pub(crate) fn of_file(path: &Path, cause: &io::Error) -> PyErr {
    match cause.raw_os_error() {
        // Python chooses the subclass by the number, and wants the system's text without the number that Rust adds.
        Some(number) => {
            let text = cause.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((number, text, path.as_os_str().to_owned()))
        }
        None => PyOSError::new_err(format!("{}: {cause}", path.display())),
    }
}

/// The exception of a video that cannot be read.
pub(crate) fn of_video(name: &str, error: &VideoError) -> PyErr {
    let message = format!("{name}: {error}");
    match error {
        VideoError::NoFfmpeg | VideoError::Process { .. } => PyRuntimeError::new_err(message),
        _ => PyValueError::new_err(message),
    }
}

/// The exception of an Arrow batch that does not fit.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
pub(crate) fn of_table(error: TableError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Calls `work`. A panic in it becomes a `RuntimeError`: pyo3 would raise a `PanicException`, which `except Exception` does not
/// catch.
pub(crate) fn guarded<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    let panicked = |_| Err(PyRuntimeError::new_err(PANICKED));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}
