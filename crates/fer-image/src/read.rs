//! Photos from files, through the one decoder.

use std::io;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::{DecodeError, DecodeLimits, decode};

/// Why a file gives no photo. The message names the file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file's bytes are not a photo that [`decode()`] accepts.
    #[error("cannot read {path}: {cause}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with its bytes.
        cause: DecodeError,
    },
}

/// Reads a JPEG, PNG or WebP file and decodes it as [`decode()`] does: upright, opaque, 8-bit RGB.
///
/// # Errors
/// [`ReadError`], which names the file.
pub fn read(path: &Path, limits: DecodeLimits) -> Result<RgbImage, ReadError> {
    let bytes = std::fs::read(path).map_err(|cause| ReadError::Io { path: path.to_owned(), cause })?;
    decode(&bytes, limits).map_err(|cause| ReadError::Decode { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let missing = read(Path::new("nowhere.jpg"), DecodeLimits::default()).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read nowhere.jpg: "), "{missing}");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let text = read(&manifest, DecodeLimits::default()).unwrap_err();
        assert!(matches!(text, ReadError::Decode { cause: DecodeError::NotAnImage, .. }), "{text}");
        assert!(text.to_string().contains("Cargo.toml"), "{text}");
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/astronaut.png");
        assert_eq!(read(&sample, DecodeLimits::default()).unwrap().dimensions(), (512, 512));
    }
}
