//! A picture as Python gives it, in a form that other threads can analyse without the interpreter.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use fer_vision::{Analysis, Analyzer};
use image::RgbImage;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};

use crate::error::Failure;
use crate::pixels;

/// Largest photo file, in bytes.
const MOST_BYTES: u64 = 256 << 20;

/// A picture and the name by which results and errors call it.
pub(crate) struct Picture {
    /// The path as it was given; `None` for bytes and pixels.
    pub(crate) source: Option<String>,
    content: Content,
}

enum Content {
    File(PathBuf),
    /// An encoded photo.
    Bytes(PyBackedBytes),
    /// Upright pixels.
    Pixels(RgbImage),
}

impl Picture {
    /// Reads a path (`str` or `os.PathLike`), an encoded photo (`bytes`, `bytearray` or `memoryview`), a PIL image or a numpy
    /// array. Files are not opened yet. `bgr` is the order of an array's colours.
    ///
    /// # Errors
    /// `TypeError` or `ValueError` with a sentence that says what to do.
    pub(crate) fn of(image: &Bound<'_, PyAny>, bgr: bool) -> PyResult<Self> {
        let unnamed = |content| Ok(Self { source: None, content });
        if image.is_instance_of::<PyBytes>() || image.is_instance_of::<PyByteArray>() {
            return unnamed(Content::Bytes(image.extract()?));
        }
        if image.is_instance_of::<PyMemoryView>() {
            return unnamed(Content::Bytes(image.call_method0("tobytes")?.extract()?));
        }
        if image.is_instance_of::<PyString>() || image.hasattr("__fspath__")? {
            let path: PathBuf = image.extract()?;
            return Ok(Self {
                source: Some(path.to_string_lossy().into_owned()),
                content: Content::File(path),
            });
        }
        if let Some(pixels) = pixels::of_pil(image)? {
            return unnamed(Content::Pixels(pixels));
        }
        if let Some(pixels) = pixels::of_array(image, bgr)? {
            return unnamed(Content::Pixels(pixels));
        }
        Err(PyTypeError::new_err(format!(
            "a picture is a path, bytes, a PIL image or a numpy array of uint8, not {}",
            image.get_type().fully_qualified_name()?
        )))
    }

    /// The picture's name in messages.
    pub(crate) fn name(&self) -> String {
        self.source.clone().unwrap_or_else(|| "the picture".to_owned())
    }

    /// Analyses the picture.
    pub(crate) fn analyze(&self, analyzer: &mut Analyzer) -> Result<Analysis, Failure> {
        let encoded = |analyzer: &mut Analyzer, bytes: &[u8]| {
            analyzer.analyze(bytes).map_err(|error| match fer_video::is_video(bytes) {
                true => Failure::Video,
                false => error.into(),
            })
        };
        match &self.content {
            Content::File(path) => encoded(analyzer, &read(path)?),
            Content::Bytes(bytes) => encoded(analyzer, bytes),
            Content::Pixels(pixels) => Ok(analyzer.analyze_pixels(pixels)?),
        }
    }

    /// The upright pixels, decoded within the analyzer's limits.
    pub(crate) fn into_pixels(self, analyzer: &Analyzer) -> Result<RgbImage, Failure> {
        let decode = |bytes: &[u8]| {
            let decoded = fer_image::decode(bytes, analyzer.limits());
            decoded.map_err(|error| Failure::Analyze(error.into()))
        };
        match self.content {
            Content::File(path) => decode(&read(&path)?),
            Content::Bytes(bytes) => decode(&bytes),
            Content::Pixels(pixels) => Ok(pixels),
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let failed = |cause| Failure::Read { path: path.clone(), cause };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(MOST_BYTES + 1);
    // The first bytes are enough to recognise a video, whose rest need not be read.
    file.set_limit(400);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if fer_video::is_video(&bytes) {
        return Err(Failure::Video);
    }
    file.set_limit(MOST_BYTES);
    file.read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(Failure::TooLarge { path: path.clone(), most: MOST_BYTES }),
        false => Ok(bytes),
    }
}
