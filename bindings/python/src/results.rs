//! Analyses as the dataclasses of `fer_rs._results`, and those as rows of a table again.

use std::collections::HashMap;

use fer_detect::{Face, Landmarks};
use fer_image::BoundingBox;
use fer_model::{Emotion, Probabilities};
use fer_table::Row;
use fer_vision::{Analysis, FaceAnalysis, ImageSize, ModelLabel, Origin, Timing, TrackedFace};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

const MODULE: &str = "fer_rs._results";

/// Makes an `Analysis`. `tracks` has one entry for each face of a frame, and is empty for a photo.
pub(crate) fn of_analysis<'py>(
    py: Python<'py>,
    origin: &Origin,
    analysis: &Analysis,
    tracks: &[TrackedFace],
) -> PyResult<Bound<'py, PyAny>> {
    let faces = PyList::empty(py);
    for (index, face) in analysis.faces.iter().enumerate() {
        faces.append(of_face(py, face, tracks.get(index))?)?;
    }
    let ImageSize { width, height } = analysis.image;
    let times = (origin.frame, origin.timestamp_ms);
    class(py, "Analysis")?.call1((&origin.source, width, height, faces, times.0, times.1))
}

/// Makes an `Analysis` of a picture that could not be analysed.
pub(crate) fn of_failure<'py>(
    py: Python<'py>,
    source: Option<&str>,
    message: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let nothing = || py.None();
    let arguments = (source, nothing(), nothing(), PyList::empty(py), nothing(), nothing(), message);
    class(py, "Analysis")?.call1(arguments)
}

/// Probabilities by the names of the emotions, in the order of [`Emotion::ALL`].
pub(crate) fn of_probabilities<'py>(
    py: Python<'py>,
    probabilities: &Probabilities,
) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    for (emotion, probability) in probabilities.iter() {
        named.set_item(emotion.name(), probability)?;
    }
    Ok(named)
}

/// The list type of `analyze_batch`, with these analyses.
pub(crate) fn batch<'py>(py: Python<'py>, analyses: Bound<'py, PyList>) -> PyResult<Bound<'py, PyAny>> {
    class(py, "Batch")?.call1((analyses,))
}

fn of_face<'py>(
    py: Python<'py>,
    found: &FaceAnalysis,
    track: Option<&TrackedFace>,
) -> PyResult<Bound<'py, PyAny>> {
    let BoundingBox { x, y, width, height } = found.face.bounding_box;
    let Landmarks { left_eye, right_eye, nose, mouth_left, mouth_right } = found.face.landmarks;
    let point = |[x, y]: [f32; 2]| (x, y);
    let bounding_box = class(py, "Box")?.call1((x, y, width, height))?;
    let points = (point(left_eye), point(right_eye), point(nose), point(mouth_left), point(mouth_right));
    let landmarks = class(py, "Landmarks")?.call1(points)?;
    let shown = track.map_or(&found.emotions, |track| &track.emotions);
    let raw = track.map(|_| of_probabilities(py, &found.emotions)).transpose()?;
    class(py, "Face")?.call1((
        bounding_box,
        found.face.confidence,
        landmarks,
        of_probabilities(py, shown)?,
        shown.dominant().name(),
        shown.is_uncertain(),
        track.map(|track| track.track_id),
        raw,
    ))
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE_OBJECT: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE_OBJECT.get_or_try_init(py, || py.import(MODULE).map(Bound::unbind))?;
    module.bind(py).getattr(name)
}

/// The attributes of an `Analysis`.
#[derive(FromPyObject)]
pub(crate) struct PyAnalysis {
    source: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    faces: Vec<PyFace>,
    frame: Option<u64>,
    timestamp_ms: Option<u64>,
    error: Option<String>,
}

/// The attributes of a `Face`.
#[derive(FromPyObject)]
struct PyFace {
    #[pyo3(attribute("box"))]
    bounding_box: [f32; 4],
    confidence: f32,
    landmarks: [[f32; 2]; 5],
    emotions: HashMap<String, f32>,
    track_id: Option<u64>,
    raw_emotions: Option<HashMap<String, f32>>,
}

impl PyAnalysis {
    /// The rows of a table.
    ///
    /// # Errors
    /// `ValueError` if the probabilities of a face are none.
    pub(crate) fn rows(self) -> PyResult<Vec<Row>> {
        let origin = Origin { source: self.source, frame: self.frame, timestamp_ms: self.timestamp_ms };
        if let Some(message) = self.error {
            return Ok(vec![Row::failed(&origin, message)]);
        }
        let mut faces = Vec::with_capacity(self.faces.len());
        let mut tracks = Vec::new();
        for face in &self.faces {
            let shown = probabilities(&face.emotions)?;
            let raw = face.raw_emotions.as_ref().map_or(Ok(shown), probabilities)?;
            faces.push(FaceAnalysis { face: face.detection(), emotions: raw });
            tracks.extend(face.track_id.map(|track_id| TrackedFace { track_id, emotions: shown }));
        }
        let image = ImageSize { width: self.width.unwrap_or(0), height: self.height.unwrap_or(0) };
        let model = ModelLabel { name: String::new(), engine: "" };
        let analysis = Analysis { image, faces, mood: None, timing_ms: Timing::default(), model };
        Ok(match self.frame {
            Some(_) => Row::of_frame(&origin, &analysis, &tracks),
            None => Row::of_photo(&origin, &analysis),
        })
    }
}

impl PyFace {
    fn detection(&self) -> Face {
        let [x, y, width, height] = self.bounding_box;
        let [left_eye, right_eye, nose, mouth_left, mouth_right] = self.landmarks;
        Face {
            bounding_box: BoundingBox { x, y, width, height },
            confidence: self.confidence,
            landmarks: Landmarks { left_eye, right_eye, nose, mouth_left, mouth_right },
        }
    }
}

fn probabilities(named: &HashMap<String, f32>) -> PyResult<Probabilities> {
    let values = Emotion::ALL.map(|emotion| named.get(emotion.name()).copied().unwrap_or(f32::NAN));
    Probabilities::from_values(values).ok_or_else(|| {
        let names = Emotion::ALL.map(Emotion::name).join(", ");
        PyValueError::new_err(format!(
            "emotions must have probabilities of {names} that add up to 1, not {named:?}"
        ))
    })
}
