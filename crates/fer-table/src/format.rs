//! The formats that tables are written in and read from.

use std::io::{self, BufRead as _};
use std::path::Path;

/// The format of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet, compressed with Zstandard.
    Parquet,
    /// Comma-separated values with a header; null is an empty cell.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// An Arrow IPC file, also known as Feather.
    Arrow,
    /// An Arrow IPC stream, for pipes.
    ArrowStream,
}

impl Format {
    /// The extensions by which [`Format::of_path`] recognises a format.
    pub const EXTENSIONS: &str = "parquet, csv, jsonl, ndjson, arrow, feather, arrows";

    /// The format by the extension of a file's name, in upper or lower case.
    pub fn of_path(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" => Self::Parquet,
            "csv" => Self::Csv,
            "jsonl" | "ndjson" => Self::JsonLines,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            "arrows" => Self::ArrowStream,
            _ => return None,
        })
    }

    /// The format by the first bytes of a file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        Self::of_contents(path, &mut io::BufReader::new(std::fs::File::open(path)?))
    }

    /// The format by the first bytes of a file. An empty file can only be a JSON Lines table without rows, if its name says so.
    pub(crate) fn of_contents(path: &Path, file: &mut io::BufReader<std::fs::File>) -> io::Result<Self> {
        let start = file.fill_buf()?;
        Ok(match start {
            [] if Self::of_path(path) == Some(Self::JsonLines) => Self::JsonLines,
            [b'P', b'A', b'R', b'1', ..] => Self::Parquet,
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Self::Arrow,
            [0xff, 0xff, 0xff, 0xff, ..] => Self::ArrowStream,
            [b'{', ..] => Self::JsonLines,
            _ => Self::Csv,
        })
    }
}
