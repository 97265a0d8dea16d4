//! What every kind of detector offers, and the choice of the kind.

use std::path::Path;
use std::time::Duration;

use fer_engine::{Engine, EngineError};
use image::RgbImage;

use crate::face::Face;
use crate::manifest::{self, ManifestError};
use crate::mtcnn::{Mtcnn, MtcnnModel};
use crate::single_shot::{SingleShot, SingleShotModel};

/// An opened detector. It owns its sessions, so each thread opens its own.
pub trait FaceDetector: Send {
    /// Finds the faces of a picture, the most confident first. Boxes lie within the picture.
    ///
    /// # Errors
    /// Returns an error if a network fails. A picture without faces gives an empty list.
    fn detect(&mut self, image: &RgbImage) -> Result<Vec<Face>, DetectError>;

    /// Returns the time spent inside the engine since the last call of this method.
    fn take_inference_time(&mut self) -> Duration;
}

/// What a caller may choose for any kind of detector. `None` leaves the manifest's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectorOptions {
    /// Side of the smallest face to look for, in pixels.
    pub min_face: Option<f32>,
    /// Largest number of faces to return; the most confident ones are kept.
    pub max_faces: Option<usize>,
    /// Least confidence of a face that is returned. A cascade applies it to its last network.
    pub min_score: Option<f32>,
}

/// A detector's settings and files, read and verified.
#[derive(Clone)]
pub enum DetectorModel {
    /// A cascade of three networks.
    Mtcnn(MtcnnModel),
    /// One network over the whole picture.
    SingleShot(SingleShotModel),
}

impl DetectorModel {
    /// The name of the embedded cascade.
    pub const MTCNN: &'static str = "mtcnn";

    /// Returns the default detector, which is part of the program. `assets/models/single_shot` describes its training.
    pub fn embedded() -> Self {
        Self::SingleShot(SingleShotModel::embedded())
    }

    /// Returns the detector that a user names: [`MTCNN`](Self::MTCNN) for the embedded cascade, the folder of another one, or
    /// the default without a name.
    ///
    /// # Errors
    /// Returns a [`ManifestError`] that names the file and what is wrong with it.
    pub fn select(name: Option<&Path>) -> Result<Self, ManifestError> {
        match name {
            None => Ok(Self::embedded()),
            Some(name) if name == Path::new(Self::MTCNN) => Ok(Self::Mtcnn(MtcnnModel::embedded())),
            Some(folder) => Self::open(folder),
        }
    }

    /// Reads a detector's folder: `model.json` and the files that it lists. A folder without `model.json` must hold
    /// facenet-pytorch's `pnet.onnx`, `rnet.onnx` and `onet.onnx`, which run with facenet-pytorch's thresholds.
    ///
    /// # Errors
    /// Returns a [`ManifestError`] that names the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, ManifestError> {
        let Some(manifest) = manifest::read(folder)? else {
            return MtcnnModel::open_bare(folder).map(Self::Mtcnn);
        };
        match manifest.kind()?.as_str() {
            MtcnnModel::KIND => MtcnnModel::open(folder, &manifest).map(Self::Mtcnn),
            SingleShotModel::KIND => SingleShotModel::open(folder, &manifest).map(Self::SingleShot),
            kind => Err(manifest.unknown_kind(kind, &[MtcnnModel::KIND, SingleShotModel::KIND])),
        }
    }

    /// Returns the least confidence of a face that the detector returns unless the caller chooses another.
    pub fn min_score(&self) -> f32 {
        match self {
            Self::Mtcnn(model) => model.config().thresholds[2],
            Self::SingleShot(model) => model.config().threshold,
        }
    }

    /// Opens the detector for one thread at a time.
    ///
    /// # Errors
    /// Returns an error if an option is out of range or the engine does not open a graph.
    pub fn detector(
        &self,
        engine: &Engine,
        options: &DetectorOptions,
    ) -> Result<Box<dyn FaceDetector>, DetectError> {
        match self {
            Self::Mtcnn(model) => Ok(Box::new(Mtcnn::open(engine, model, model.config().with(options))?)),
            Self::SingleShot(model) => {
                Ok(Box::new(SingleShot::open(engine, model, model.config().with(options))?))
            }
        }
    }
}

/// Why a detector cannot be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A setting is out of range.
    #[error("detector: {0}")]
    Config(String),
    /// The engine cannot open or run one of the networks.
    #[error("detector, {net}: {cause}")]
    Engine {
        /// The network's name, such as `P-Net`.
        net: &'static str,
        /// The engine's error.
        cause: EngineError,
    },
    /// A network has outputs of another shape than its kind of detector needs.
    #[error(
        "detector, {net}: output '{output}' has shape {shape:?}; the documentation of fer_detect::mtcnn and \
         fer_detect::single_shot describes the expected layout"
    )]
    Layout {
        /// The network's name.
        net: &'static str,
        /// The output's name.
        output: &'static str,
        /// The shape that the network returned.
        shape: Vec<usize>,
    },
}
