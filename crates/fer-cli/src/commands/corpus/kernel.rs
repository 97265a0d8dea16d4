//! The kernel of a corpus: photos and videos of this program's models, on threads that `fer-corpus` starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fer_corpus::kernel::{Kernel, Kernels, Session};
use fer_corpus::store::Fetched;
use fer_table::{Metadata, Row, kernel};
use fer_video::{Limits, Selection};
use fer_vision::{Analyzer, Origin, Thumbnail, Tracker};
use serde::{Deserialize, Serialize};

use crate::commands::analyze;
use crate::frames;
use crate::models::{ModelSettings, Models};

/// What decides about the rows. It travels with the plan.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Settings {
    models: ModelSettings,
    every: Option<Duration>,
    from: Option<Duration>,
    to: Option<Duration>,
}

impl Settings {
    pub(super) fn new(models: ModelSettings, selection: Selection) -> Self {
        let Selection { every, from, to } = selection;
        Self { models, every, from, to }
    }

    fn selection(&self) -> Selection {
        Selection { every: self.every, from: self.from, to: self.to }
    }
}

/// What the tables say about themselves.
pub(super) fn metadata_of(models: &Models, settings: &Settings) -> Metadata {
    let mut metadata = models.metadata();
    metadata.extend(analyze::metadata_of(&settings.selection()));
    metadata
}

/// Opens models as the settings of a run say.
pub(super) struct FaceKernels {
    /// The library of ONNX Runtime on this machine.
    pub(super) onnxruntime: Option<PathBuf>,
}

impl Kernels for FaceKernels {
    fn open(&self, settings: &str, metadata: &Metadata) -> Result<Box<dyn Kernel>, String> {
        let settings: Settings =
            serde_json::from_str(settings).map_err(|error| format!("the settings of the run: {error}"))?;
        let args = settings.models.to_args(1, self.onnxruntime.clone());
        let models = Models::open(&args).map_err(|error| format!("{error:#}"))?;
        let mine = metadata_of(&models, &settings);
        if let Some((key, theirs)) = metadata.iter().find(|(key, value)| mine.get(*key) != Some(*value)) {
            let here = mine.get(key).map_or("missing", String::as_str);
            return Err(format!(
                "`{key}` is {here} here and {theirs} where the run was started; install the same version and models everywhere"
            ));
        }
        Ok(Box::new(FaceKernel { models, settings }))
    }

    fn is_video(&self) -> fn(&[u8]) -> bool {
        fer_video::is_video
    }
}

struct FaceKernel {
    models: Models,
    settings: Settings,
}

impl Kernel for FaceKernel {
    fn session(&self) -> Result<Box<dyn Session>, String> {
        let analyzer = self.models.parts.analyzer().map_err(|error| error.to_string())?;
        let limits = Limits { threads: 1, max_pixels: self.settings.models.max_pixels };
        Ok(Box::new(FaceSession { analyzer, selection: self.settings.selection(), limits }))
    }
}

struct FaceSession {
    analyzer: Analyzer,
    selection: Selection,
    limits: Limits,
}

impl Session for FaceSession {
    fn analyze(&mut self, uri: &str, contents: Fetched, rows: &mut dyn FnMut(Vec<Row>) -> bool) {
        match contents {
            Fetched::Bytes(bytes) => {
                rows(kernel::photo(&mut self.analyzer, uri, &bytes));
            }
            Fetched::File(file) => self.video((*file).as_ref(), &Origin::photo(Some(uri.to_owned())), rows),
        }
    }
}

impl FaceSession {
    /// The rows of a video, frame by frame; the last one says what is wrong with it.
    fn video(&mut self, path: &Path, origin: &Origin, rows: &mut dyn FnMut(Vec<Row>) -> bool) {
        let video = match fer_video::open(path, &self.selection, self.limits) {
            Ok(video) => video,
            Err(error) => {
                rows(vec![Row::failed(origin, error.to_string())]);
                return;
            }
        };
        let (mut tracker, mut count, mut damage) = (Tracker::default(), 0, None);
        for frame in video {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    damage = Some(error);
                    break;
                }
            };
            count += 1;
            let origin = frames::origin_of(origin.clone(), frame.number, frame.time);
            let found = match self.analyzer.analyze_pixels(&frame.pixels) {
                Ok(analysis) => {
                    let thumbnail = Thumbnail::of(&frame.pixels);
                    let tracks = tracker.update(frame.time, &thumbnail, &analysis.faces);
                    Row::of_frame(&origin, &analysis, &tracks)
                }
                Err(error) => vec![Row::failed(&origin, error.to_string())],
            };
            if !rows(found) {
                return;
            }
        }
        if let Some(row) = frames::last_row(origin.clone(), count, damage.as_ref()) {
            rows(vec![row]);
        }
    }
}
