//! The frames of a video as an iterator. A thread decodes, the workers analyse, and the caller follows the faces from frame to
//! frame. Only a few frames for each worker are in memory, however long the video is.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use fer_image::DecodeLimits;
use fer_table::{Metadata, Row, schema, to_batch};
use fer_video::{Frame, Limits, Selection, VideoError, VideoInfo};
use fer_vision::{Analysis, Origin, Thumbnail, TrackedFace, Tracker};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::batch::{Outcome, PATIENCE, Pool, wait};
use crate::error::{Failure, guarded, of_video};
use crate::models::Models;
use crate::results;
use crate::table::{FaceTable, stream};

/// Rows of a record batch of a stream.
const ROWS: usize = 1024;

/// A video that is being analysed: an iterator of an `Analysis` for each frame.
#[pyclass(frozen, module = "fer_rs")]
pub(crate) struct Video {
    name: String,
    info: VideoInfo,
    frames: Arc<Mutex<Frames>>,
}

/// The frames that are still to come.
struct Frames {
    name: String,
    receiver: Option<Receiver<Pending>>,
    /// The frame whose outcome is waited for.
    current: Option<Pending>,
    tracker: Tracker,
}

/// A frame in work, or why there are no more.
enum Pending {
    Frame { number: u64, time: Duration, outcome: Receiver<Outcome<(Thumbnail, Analysis)>> },
    Broken(VideoError),
}

/// A frame with its analysis.
struct Analysed {
    origin: Origin,
    analysis: Analysis,
    tracks: Vec<TrackedFace>,
}

/// What came within [`PATIENCE`].
enum Step {
    Frame(Box<Analysed>),
    Nothing,
    End,
}

/// Why there is no next frame.
enum Broken {
    Video(VideoError),
    Frame(u64, Failure),
}

impl Video {
    /// Opens a video and begins to analyse it.
    ///
    /// # Errors
    /// `ValueError` if it cannot be read, and `RuntimeError` without ffmpeg.
    pub(crate) fn open(
        py: Python<'_>,
        models: &Arc<Models>,
        path: &Path,
        selection: Selection,
    ) -> PyResult<Self> {
        let name = path.to_string_lossy().into_owned();
        std::fs::metadata(path).map_err(|cause| crate::error::of_file(path, &cause))?;
        let limits = Limits { threads: models.threads, max_pixels: DecodeLimits::default().max_pixels };
        let video = py.detach(|| fer_video::open(path, &selection, limits));
        let video = video.map_err(|error| of_video(&name, &error))?;
        let info = video.info();
        let pool = Pool::start(models, usize::MAX);
        let (sender, receiver) = sync_channel(pool.window);
        std::thread::spawn(move || {
            for frame in video {
                let (pending, last) = match frame {
                    Ok(Frame { number, time, pixels }) => {
                        let outcome = pool.submit(move |analyzer| {
                            let analysis = analyzer.analyze_pixels(&pixels)?;
                            Ok((Thumbnail::of(&pixels), analysis))
                        });
                        (Pending::Frame { number, time, outcome }, false)
                    }
                    Err(error) => (Pending::Broken(error), true),
                };
                // An iterator that is closed has no receiver any more.
                if sender.send(pending).is_err() {
                    return pool.stop();
                }
                if last {
                    break;
                }
            }
        });
        let (receiver, current, tracker) = (Some(receiver), None, Tracker::default());
        let frames = Frames { name: name.clone(), receiver, current, tracker };
        Ok(Self { name, info, frames: Arc::new(Mutex::new(frames)) })
    }

    /// The next frame, or `None` at the end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Box<Analysed>>> {
        loop {
            let step = py.detach(|| lock(&self.frames).step());
            py.check_signals()?;
            match step {
                Ok(Step::Frame(frame)) => return Ok(Some(frame)),
                Ok(Step::Nothing) => {}
                Ok(Step::End) => return Ok(None),
                Err(Broken::Video(error)) => return Err(of_video(&self.name, &error)),
                Err(Broken::Frame(number, failure)) => {
                    return Err(failure.into_exception(&format!("{}, frame {number}", self.name)));
                }
            }
        }
    }
}

#[pymethods]
impl Video {
    /// Length of the video in seconds; `None` if the file does not say it.
    #[getter]
    fn duration(&self) -> Option<f64> {
        self.info.duration.map(|duration| duration.as_secs_f64())
    }

    /// Mean number of frames per second; `None` if the file does not say it.
    #[getter]
    fn frame_rate(&self) -> Option<f64> {
        self.info.frame_rate
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guarded(|| {
            let Some(frame) = self.next(py)? else { return Ok(None) };
            results::of_analysis(py, &frame.origin, &frame.analysis, &frame.tracks).map(Some)
        })
    }

    /// Ends the analysis. Frames that were not taken are lost.
    fn close(&self, py: Python<'_>) {
        py.detach(|| lock(&self.frames).close());
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyAny>) {
        self.close(py);
    }

    /// The rows of all frames that are left, as one table.
    fn to_arrow(&self, py: Python<'_>) -> PyResult<FaceTable> {
        guarded(|| {
            let mut rows = Vec::new();
            while let Some(frame) = self.next(py)? {
                rows.extend(frame.rows());
            }
            FaceTable::of(&rows)
        })
    }

    /// Arrow's PyCapsule interface: the rows of all frames that are left, as a stream of batches whose memory does not grow with
    /// the video. `requested_schema` is ignored.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let reader =
            Batches { frames: Arc::clone(&self.frames), schema: schema(&Metadata::new()), ended: false };
        stream(py, Box::new(reader))
    }

    fn __repr__(&self) -> String {
        format!("<fer_rs.Video: {}>", self.name)
    }
}

fn lock(frames: &Mutex<Frames>) -> std::sync::MutexGuard<'_, Frames> {
    frames.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Analysed {
    fn rows(&self) -> Vec<Row> {
        Row::of_frame(&self.origin, &self.analysis, &self.tracks)
    }
}

impl Frames {
    fn close(&mut self) {
        (self.receiver, self.current) = (None, None);
    }

    fn step(&mut self) -> Result<Step, Broken> {
        let Some(receiver) = &self.receiver else { return Ok(Step::End) };
        let mut pending = match self.current.take() {
            Some(pending) => pending,
            None => match receiver.recv_timeout(PATIENCE) {
                Ok(pending) => pending,
                Err(RecvTimeoutError::Timeout) => return Ok(Step::Nothing),
                Err(RecvTimeoutError::Disconnected) => {
                    self.close();
                    return Ok(Step::End);
                }
            },
        };
        let (number, time, outcome) = match &mut pending {
            Pending::Frame { number, time, outcome } => (*number, *time, wait(outcome)),
            Pending::Broken(_) => {
                self.close();
                let Pending::Broken(error) = pending else { return Ok(Step::End) };
                return Err(Broken::Video(error));
            }
        };
        let Some(outcome) = outcome else {
            self.current = Some(pending);
            return Ok(Step::Nothing);
        };
        let (thumbnail, analysis) = outcome.map_err(|failure| Broken::Frame(number, failure))?;
        let tracks = self.tracker.update(time, &thumbnail, &analysis.faces);
        let timestamp_ms = (time.as_secs_f64() * 1000.0).round() as u64;
        let origin =
            Origin { source: Some(self.name.clone()), frame: Some(number), timestamp_ms: Some(timestamp_ms) };
        Ok(Step::Frame(Box::new(Analysed { origin, analysis, tracks })))
    }
}

/// The frames as record batches, for readers of Arrow's streams.
struct Batches {
    frames: Arc<Mutex<Frames>>,
    schema: SchemaRef,
    ended: bool,
}

impl Batches {
    fn next_batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let external = |message: String| ArrowError::ExternalError(message.into());
        let mut rows = Vec::new();
        while rows.len() < ROWS && !self.ended {
            match lock(&self.frames).step() {
                Ok(Step::Frame(frame)) => rows.extend(frame.rows()),
                Ok(Step::Nothing) => {}
                Ok(Step::End) => self.ended = true,
                Err(Broken::Video(error)) => return Err(external(error.to_string())),
                Err(Broken::Frame(number, failure)) => {
                    return Err(external(format!("frame {number}: {failure}")));
                }
            }
        }
        to_batch(&rows, &self.schema).map_err(|error| external(error.to_string()))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = self.next_batch();
        self.ended |= batch.is_err();
        match batch {
            Ok(batch) if batch.num_rows() == 0 => None,
            batch => Some(batch),
        }
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}
