//! Reads a CSV file with a header and a `Usage` column.

use std::path::{Path, PathBuf};

use crate::error::DatasetError;
use crate::usage::Usage;

/// A CSV file that is read row by row. Columns are found by their name in the header; errors name line and column.
pub(crate) struct Table {
    path: PathBuf,
    reader: csv::Reader<std::fs::File>,
    headers: csv::StringRecord,
    record: csv::StringRecord,
    usage: usize,
}

impl Table {
    pub(crate) fn open(path: &Path) -> Result<Self, DatasetError> {
        if !path.exists() {
            return Err(DatasetError::Missing(path.to_owned()));
        }
        let failed = |cause| DatasetError::Read { path: path.to_owned(), cause };
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_path(path).map_err(failed)?;
        let headers = reader.headers().map_err(failed)?.clone();
        let record = csv::StringRecord::new();
        let mut table = Self { path: path.to_owned(), reader, headers, record, usage: 0 };
        table.usage = table.column("Usage")?;
        Ok(table)
    }

    pub(crate) fn column(&self, name: &'static str) -> Result<usize, DatasetError> {
        let index = self.headers.iter().position(|header| header.eq_ignore_ascii_case(name));
        index.ok_or_else(|| DatasetError::Header { path: self.path.clone(), column: name })
    }

    pub(crate) fn next(&mut self) -> Result<bool, DatasetError> {
        let read = self.reader.read_record(&mut self.record);
        read.map_err(|cause| DatasetError::Read { path: self.path.clone(), cause })
    }

    pub(crate) fn field(&self, name: &'static str, column: usize) -> Result<&str, DatasetError> {
        self.record.get(column).ok_or_else(|| self.wrong(name, "the row ends before it".to_owned()))
    }

    pub(crate) fn usage(&self) -> Result<Usage, DatasetError> {
        let name = self.field("Usage", self.usage)?;
        Usage::ALL.into_iter().find(|usage| usage.name() == name).ok_or_else(|| {
            let message = format!("unknown '{name}'; expected Training, PublicTest or PrivateTest");
            self.wrong("Usage", message)
        })
    }

    pub(crate) fn wrong(&self, column: &'static str, message: String) -> DatasetError {
        DatasetError::Row { path: self.path.clone(), line: self.line(), column, message }
    }

    /// Line of the row that was read last.
    pub(crate) fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }
}
