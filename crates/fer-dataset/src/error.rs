//! Why a data set cannot be used.

use std::path::PathBuf;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file does not exist.
    #[error("{0} not found: run `cargo xtask download-dataset`, or name the CSV with --data")]
    Missing(PathBuf),
    /// The file cannot be read as CSV.
    #[error("{path}: {cause}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        cause: csv::Error,
    },
    /// A column is missing.
    #[error("{path}: no column '{column}'")]
    Header {
        /// The file.
        path: PathBuf,
        /// The name of the column.
        column: &'static str,
    },
    /// A folder cannot be listed.
    #[error("{path}: {cause}")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] fer_image::ReadError),
    /// A picture is empty.
    #[error("{0}: it has no pixels")]
    NoPixels(PathBuf),
    /// Pictures of a folder cannot be read; one message for each, which names the file.
    #[error("{} of the pictures cannot be read: {}", .0.len(), .0.join("; "))]
    Pictures(Vec<String>),
    /// A folder holds no picture.
    #[error("{0} holds no pictures; expected train/<emotion>/*.png or jpg, and test/<emotion>/…")]
    EmptyFolder(PathBuf),
    /// A field of a row is wrong.
    #[error("{path}, line {line}, column {column}: {message}")]
    Row {
        /// The file or folder.
        path: PathBuf,
        /// Line of the file, where 1 is the header.
        line: u64,
        /// The name of the column.
        column: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The FER+ file has another number of rows than the data.
    #[error("{path} has {found} rows; expected one for each of the data's {expected}")]
    VoteRows {
        /// The file or folder.
        path: PathBuf,
        /// Rows of the FER+ file.
        found: usize,
        /// Rows of the data.
        expected: usize,
    },
}
