//! The three networks' ONNX bytes, as they lie in a folder.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// P-, R- and O-Net. Input `input`: RGB, NCHW, `(x - 127.5) / 128`. Outputs `reg`, `prob` and, of O-Net,
/// `lmk`; P-Net has stride 2 and a window of 12.
#[derive(Clone)]
pub struct DetectorModel {
    pub(crate) pnet: Vec<u8>,
    pub(crate) rnet: Vec<u8>,
    pub(crate) onet: Vec<u8>,
}

/// A file of the three cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {cause}; a detector's folder holds pnet.onnx, rnet.onnx and onet.onnx")]
pub struct ModelFileError {
    path: PathBuf,
    cause: io::Error,
}

impl DetectorModel {
    /// The networks that are part of the program; `assets/models/mtcnn` says how they were trained.
    pub fn embedded() -> Self {
        Self::from_bytes(
            include_bytes!("../../../assets/models/mtcnn/pnet.onnx"),
            include_bytes!("../../../assets/models/mtcnn/rnet.onnx"),
            include_bytes!("../../../assets/models/mtcnn/onet.onnx"),
        )
    }

    /// Reads `pnet.onnx`, `rnet.onnx` and `onet.onnx`.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn open(folder: &Path) -> Result<Self, ModelFileError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|cause| ModelFileError { path, cause })
        };
        Ok(Self { pnet: read("pnet.onnx")?, rnet: read("rnet.onnx")?, onet: read("onet.onnx")? })
    }

    /// The three graphs, P-Net's first.
    pub fn graphs(&self) -> [&[u8]; 3] {
        [&self.pnet, &self.rnet, &self.onet]
    }

    /// Takes the three graphs.
    pub fn from_bytes(pnet: &[u8], rnet: &[u8], onet: &[u8]) -> Self {
        Self { pnet: pnet.to_vec(), rnet: rnet.to_vec(), onet: onet.to_vec() }
    }
}
