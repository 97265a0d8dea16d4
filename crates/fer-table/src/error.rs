//! Why a table cannot be read or written.

use std::io;

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// Why a table cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An Arrow batch or an Arrow IPC file is not valid.
    #[error("{0}")]
    Arrow(ArrowError),
    /// A Parquet file is not valid.
    #[error("{0}")]
    Parquet(ParquetError),
    /// A CSV file is not valid.
    #[error("{0}")]
    Csv(csv::Error),
    /// A line of a JSON Lines file is not a JSON object.
    #[error("line {line}: {cause}")]
    Json {
        /// Number of the line, counted from 1.
        line: u64,
        /// Where in the line and why.
        cause: serde_json::Error,
    },
    /// The table has other columns.
    #[error("this is not a table of `fer analyze`: {0}")]
    Columns(String),
    /// A cell does not have the type of its column.
    #[error("row {row}, column `{column}`: {problem}")]
    Cell {
        /// Number of the row, counted from 1.
        row: u64,
        /// Name of the column.
        column: String,
        /// What was found and what is expected.
        problem: String,
    },
}

impl From<ArrowError> for TableError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, cause) => Self::Io(cause),
            other => Self::Arrow(other),
        }
    }
}

impl From<ParquetError> for TableError {
    fn from(error: ParquetError) -> Self {
        match error {
            // `ParquetError` keeps an I/O error as an opaque cause.
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(cause) => Self::Io(*cause),
                Err(cause) => Self::Parquet(ParquetError::External(cause)),
            },
            other => Self::Parquet(other),
        }
    }
}

impl From<csv::Error> for TableError {
    fn from(error: csv::Error) -> Self {
        if !error.is_io_error() {
            return Self::Csv(error);
        }
        match error.into_kind() {
            csv::ErrorKind::Io(cause) => Self::Io(cause),
            other => Self::Io(io::Error::other(format!("{other:?}"))),
        }
    }
}
