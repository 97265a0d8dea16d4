//! `fer_rs.Analyzer`: the class through which Python uses the engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fer_table::kernel;
use fer_video::Selection;
use fer_vision::{Analysis, Origin};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::batch::in_order;
use crate::error::{Failure, guarded, of_table};
use crate::models::{Lease, Models, Runtime, Settings};
use crate::picture::Picture;
use crate::results;
use crate::table;
use crate::video::Video;

/// Finds faces and guesses their expressions. The models are inside of the package, and nothing is downloaded.
///
/// An analyzer may be used by several threads at once, and can be pickled: the copy opens the same models.
///
/// Args:
///     model: Folder of an emotion bundle (model.json, weights.safetensors) to use instead of the one inside.
///     detector: Folder of a face detector to use instead of the one inside, or "mtcnn" for the cascade inside.
///     min_face: Side of the smallest face in pixels, measured in the picture after reducing its longer side to 800. None is the
///         detector's own, 12 for the one inside.
///     threads: Inference threads of a batch, a table or a video. None is one for each core. Results do not depend on it.
///     onnxruntime: None uses ONNX Runtime, which is two to four times faster, if the package onnxruntime (1.24 or later) is installed.
///         True insists on it, False uses tract, which is inside, and a path names ONNX Runtime's shared library.
///     labels: Labels that the answers follow, "fer2013" or "ferplus". None is the model's own choice; a model knows those it was
///         trained on.
///     precision: What convolutions are computed in, "f32" or "int8". None is "int8" for ONNX Runtime on processors that are made
///         for it, and otherwise "f32".
///
/// Raises:
///     FileNotFoundError: If a folder does not exist.
///     ValueError: If a model or a setting is not valid.
///     RuntimeError: If ONNX Runtime is wanted and cannot be loaded.
#[pyclass(frozen, module = "fer_rs")]
pub(crate) struct Analyzer {
    models: Arc<Models>,
    settings: Settings,
}

/// What becomes of a picture of a batch that cannot be analysed.
#[derive(Clone, Copy)]
enum OnError {
    Raise,
    Keep,
}

#[pymethods]
impl Analyzer {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    #[pyo3(signature = (model=None, detector=None, min_face=None, threads=None, onnxruntime=None, labels=None, precision=None))]
    fn new(
        py: Python<'_>,
        model: Option<PathBuf>,
        detector: Option<PathBuf>,
        min_face: Option<f32>,
        threads: Option<usize>,
        onnxruntime: Option<Runtime>,
        labels: Option<String>,
        precision: Option<String>,
    ) -> PyResult<Self> {
        let settings = Settings { model, detector, min_face, threads, onnxruntime, labels, precision };
        guarded(|| Ok(Self { models: Models::open(py, &settings)?, settings }))
    }

    /// Name of the engine: "tract" or "onnxruntime".
    #[getter]
    fn engine(&self) -> &'static str {
        self.models.engine()
    }

    /// What convolutions are computed in: "f32" or "int8".
    #[getter]
    fn precision(&self) -> &'static str {
        self.models.precision()
    }

    /// Name of the emotion model.
    #[getter]
    fn model(&self) -> &str {
        self.models.model()
    }

    /// Labels that the answers follow: "fer2013" or "ferplus".
    #[getter]
    fn labels(&self) -> &'static str {
        self.models.labels()
    }

    /// Number of inference threads.
    #[getter]
    fn threads(&self) -> usize {
        self.models.threads
    }

    fn __repr__(&self) -> String {
        let Models { threads, .. } = *self.models;
        format!("<fer_rs.Analyzer: {} on {}, {threads} threads>", self.models.model(), self.models.engine())
    }

    /// The constructor's arguments, for pickle.
    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let Settings { model, detector, min_face, threads, onnxruntime, labels, precision } =
            self.settings.clone();
        (model, detector, min_face, threads, onnxruntime, labels, precision).into_pyobject(py)
    }

    /// Analyses one picture, on the calling thread. Other threads of Python go on meanwhile.
    ///
    /// Args:
    ///     image: A path of a photo (JPEG, PNG, WebP); the photo's bytes; a PIL image; or a numpy array of uint8 with the shape
    ///         [height, width] (grey), [height, width, 3] (RGB) or [height, width, 4] (RGB and alpha, laid over white).
    ///     bgr: The colours of an array are blue, green, red, as OpenCV gives them.
    ///
    /// Returns:
    ///     An Analysis. Coordinates are pixels of the upright picture. Without a face, its list of faces is empty.
    ///
    /// Raises:
    ///     OSError: If a file cannot be read, such as FileNotFoundError.
    ///     ValueError: If the photo cannot be decoded, has more than 40 million pixels, or the array has another shape.
    ///     TypeError: If image is something else, such as an array of floating-point numbers.
    #[pyo3(signature = (image, *, bgr=false))]
    fn analyze<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        bgr: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        guarded(|| {
            let picture = Picture::of(image, bgr)?;
            let analysis = py.detach(|| Lease::new(&self.models).run(|analyzer| picture.analyze(analyzer)));
            let analysis = analysis.map_err(|failure| failure.into_exception(&picture.name()))?;
            results::of_analysis(py, &Origin::photo(picture.source), &analysis, &[])
        })
    }

    /// Classifies a whole picture as one face, without looking for faces.
    ///
    /// Args:
    ///     image: As for analyze.
    ///     bgr: As for analyze.
    ///
    /// Returns:
    ///     The probability of each of the seven emotions.
    ///
    /// Raises:
    ///     As analyze does.
    #[pyo3(signature = (image, *, bgr=false))]
    fn classify<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, PyAny>,
        bgr: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        guarded(|| {
            let picture = Picture::of(image, bgr)?;
            let name = picture.name();
            let work = || {
                Lease::new(&self.models).run(|analyzer| {
                    let pixels = picture.into_pixels(analyzer)?;
                    analyzer.classify_whole(&pixels).map_err(Failure::from)
                })
            };
            let probabilities = py.detach(work).map_err(|failure| failure.into_exception(&name))?;
            let probabilities =
                probabilities.ok_or_else(|| PyValueError::new_err("the picture has no pixels"))?;
            results::of_probabilities(py, &probabilities)
        })
    }

    /// Analyses pictures on all threads. Other threads of Python go on meanwhile, and Ctrl-C ends it.
    ///
    /// Args:
    ///     images: Any iterable of what analyze takes. A generator is read as the work goes on, so that only a few pictures for
    ///         each thread are in memory.
    ///     bgr: As for analyze.
    ///     on_error: "raise" raises the exception of the first picture that cannot be analysed. "keep" gives that picture an
    ///         Analysis whose error says why.
    ///
    /// Returns:
    ///     A Batch: a list with an Analysis for each picture, in the order of the pictures.
    ///
    /// Raises:
    ///     As analyze does, with on_error="raise". What the iterable raises, always.
    #[pyo3(signature = (images, *, bgr=false, on_error="raise"))]
    fn analyze_batch<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        bgr: bool,
        on_error: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        guarded(|| {
            let on_error = OnError::of(on_error)?;
            if images.is_instance_of::<PyString>() || images.is_instance_of::<PyBytes>() {
                return Err(PyTypeError::new_err("analyze_batch takes several pictures; analyze takes one"));
            }
            let analyses = PyList::empty(py);
            let receive = |(source, name): (Option<String>, String), outcome: Result<Analysis, Failure>| {
                let analysis = match (outcome, on_error) {
                    (Ok(analysis), _) => results::of_analysis(py, &Origin::photo(source), &analysis, &[]),
                    (Err(failure), OnError::Raise) => Err(failure.into_exception(&name)),
                    (Err(failure), OnError::Keep) => {
                        results::of_failure(py, source.as_deref(), &failure.to_string())
                    }
                };
                analyses.append(analysis?)
            };
            let pictures = images.try_iter()?.enumerate().map(|(index, image)| {
                let picture = Picture::of(&image?, bgr).map_err(|error| at_index(py, index, error))?;
                let name = picture.source.clone().unwrap_or_else(|| format!("picture {index}"));
                Ok(((picture.source.clone(), name), picture))
            });
            in_order(
                py,
                &self.models,
                pictures,
                |analyzer, picture: Picture| picture.analyze(analyzer),
                receive,
            )?;
            results::batch(py, analyses)
        })
    }

    /// Analyses the photos of an Arrow record batch or table on all threads, for engines that move record batches: Spark's
    /// mapInArrow, Ray Data's map_batches, Daft.
    ///
    /// Args:
    ///     batch: A pyarrow RecordBatch or Table, a polars DataFrame, or another object with Arrow's PyCapsule interface. It needs a
    ///         column `uri` of texts and a column `bytes` of binaries. Other columns are ignored.
    ///
    /// Returns:
    ///     A row for each face, photo without a face and photo that could not be analysed (status and message say why), with the
    ///     columns of docs/tables.md; uri becomes source. It is a pyarrow RecordBatch or Table if that was given, otherwise a
    ///     FaceTable.
    ///
    /// Raises:
    ///     ValueError: If a column is missing or has another type.
    ///     TypeError: If batch is something else.
    fn analyze_table<'py>(&self, py: Python<'py>, batch: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        guarded(|| {
            let photos: Vec<_> = table::batches(batch)?
                .into_iter()
                .flat_map(|batch| (0..batch.num_rows()).map(move |row| Ok(((), batch.slice(row, 1)))))
                .collect();
            let mut rows = Vec::new();
            let receive = |(), outcome: Result<Result<_, _>, Failure>| {
                let outcome = outcome.map_err(|failure| failure.into_exception("the table"))?;
                rows.extend(outcome.map_err(of_table)?);
                Ok(())
            };
            let work = |analyzer: &mut fer_vision::Analyzer, photo| Ok(kernel::rows(analyzer, &photo));
            in_order(py, &self.models, photos.into_iter(), work, receive)?;
            table::like(batch, &rows)
        })
    }

    /// Analyses the frames of a video on all threads. Faces are followed from frame to frame, and their probabilities are smoothed
    /// over time. Videos are read with ffmpeg, which must be installed.
    ///
    /// Args:
    ///     path: Any file that ffmpeg reads.
    ///     fps: Take the first frame of each interval of 1 / fps seconds. None takes all frames.
    ///     start: Begin at this time in seconds.
    ///     end: End before this time in seconds.
    ///
    /// Returns:
    ///     A Video: an iterator with an Analysis for each frame, whose memory does not grow with the video.
    ///
    /// Raises:
    ///     FileNotFoundError: If there is no such file.
    ///     ValueError: If the file is not a video or a time is not valid; from the iterator, if the file is damaged.
    ///     RuntimeError: If ffmpeg is not installed.
    #[pyo3(signature = (path, *, fps=None, start=None, end=None))]
    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands arguments over")]
    fn analyze_video(
        &self,
        py: Python<'_>,
        path: PathBuf,
        fps: Option<f64>,
        start: Option<f64>,
        end: Option<f64>,
    ) -> PyResult<Video> {
        guarded(|| Video::open(py, &self.models, &path, selection(fps, start, end)?))
    }
}

impl OnError {
    fn of(name: &str) -> PyResult<Self> {
        match name {
            "raise" => Ok(Self::Raise),
            "keep" => Ok(Self::Keep),
            other => Err(PyValueError::new_err(format!(
                "on_error is {other:?}, but must be \"raise\" or \"keep\""
            ))),
        }
    }
}

/// The exception with the index of the picture in front of its message.
fn at_index(py: Python<'_>, index: usize, error: PyErr) -> PyErr {
    let message = format!("picture {index}: {}", error.value(py));
    if error.get_type(py).module().is_ok_and(|module| module == "builtins") {
        return PyErr::from_type(error.get_type(py), message);
    }
    error
}

fn selection(fps: Option<f64>, start: Option<f64>, end: Option<f64>) -> PyResult<Selection> {
    let time = |name: &str, seconds: Option<f64>| -> PyResult<Option<Duration>> {
        let invalid =
            |seconds: f64| PyValueError::new_err(format!("{name} is {seconds}, not a time in seconds"));
        seconds.map(|seconds| Duration::try_from_secs_f64(seconds).map_err(|_| invalid(seconds))).transpose()
    };
    let every = match fps {
        Some(fps) if (0.001..=1000.0).contains(&fps) => Some(Duration::from_secs_f64(1.0 / fps)),
        Some(fps) => {
            return Err(PyValueError::new_err(format!("fps is {fps}, but must be between 0.001 and 1000")));
        }
        None => None,
    };
    let (from, to) = (time("start", start)?, time("end", end)?);
    if to.is_some_and(|to| to <= from.unwrap_or_default()) {
        return Err(PyValueError::new_err("end must be later than start"));
    }
    Ok(Selection { from, to, every })
}
