//! The rows of a result: an iterator of record batches, and the formats that they are written in.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv::WriterBuilder as CsvWriterBuilder;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::{FileWriter, StreamWriter};
use datafusion::arrow::json::WriterBuilder as JsonWriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use datafusion::execution::SendableRecordBatchStream;
use fer_table::{Format, TableError};
use futures_util::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::runtime::Runtime;

use super::QueryError;

/// The rows of a result, which are computed while they are taken.
pub struct Rows {
    // Dropped before the runtime that its tasks run on.
    stream: SendableRecordBatchStream,
    runtime: Runtime,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.runtime.block_on(self.stream.next())?;
        Some(batch.map_err(QueryError::from_engine))
    }
}

impl Rows {
    pub(super) fn new(runtime: Runtime, stream: SendableRecordBatchStream) -> Self {
        Self { stream, runtime }
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The rows as a table of aligned columns, for people. All rows are held in memory.
    ///
    /// # Errors
    /// If a row cannot be computed.
    pub fn to_text(self) -> Result<String, QueryError> {
        let schema = self.schema();
        let batches = self.collect::<Result<Vec<_>, _>>()?;
        let table = pretty_format_batches_with_schema(schema, &batches).map_err(failed)?;
        Ok(table.to_string())
    }

    /// Writes the rows as a table, piece by piece, and returns their number.
    ///
    /// # Errors
    /// If a row cannot be computed, or the output cannot be written.
    pub fn write(self, mut output: impl Write + Send, format: Format) -> Result<u64, QueryError> {
        let schema = self.schema();
        match format {
            Format::Csv => self.write_csv(&mut output),
            Format::JsonLines => {
                let rows = self.each(|batch| {
                    let mut bytes = Vec::new();
                    let builder = JsonWriterBuilder::new().with_explicit_nulls(true);
                    let mut writer = builder.build::<_, LineDelimited>(&mut bytes);
                    writer.write(batch).and_then(|()| writer.finish()).map_err(failed)?;
                    output.write_all(&bytes).map_err(|error| QueryError::Write(error.into()))
                })?;
                flushed(&mut output, rows)
            }
            Format::Arrow => {
                let mut writer = FileWriter::try_new(output, &schema).map_err(failed)?;
                let rows = self.each(|batch| writer.write(batch).map_err(failed))?;
                writer.finish().map_err(failed)?;
                flushed(writer.get_mut(), rows)
            }
            Format::ArrowStream => {
                let mut writer = StreamWriter::try_new(output, &schema).map_err(failed)?;
                let rows = self.each(|batch| writer.write(batch).map_err(failed))?;
                writer.finish().map_err(failed)?;
                flushed(writer.get_mut(), rows)
            }
            Format::Parquet => {
                let level = ZstdLevel::default();
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .set_created_by(format!("fer {}", env!("CARGO_PKG_VERSION")))
                    .build();
                let unwritten = |error| QueryError::Write(TableError::from(error));
                let mut writer = ArrowWriter::try_new(output, schema, Some(properties)).map_err(unwritten)?;
                let rows = self.each(|batch| writer.write(batch).map_err(unwritten))?;
                writer.finish().map_err(unwritten)?;
                writer.sync().map_err(|error| QueryError::Write(error.into()))?;
                Ok(rows)
            }
        }
    }

    /// The header, and the rows of each batch. They pass through memory, because Arrow's writer hides why an output fails.
    fn write_csv(self, output: &mut impl Write) -> Result<u64, QueryError> {
        let mut bytes = Vec::new();
        let header = RecordBatch::new_empty(self.schema());
        CsvWriterBuilder::new().with_header(true).build(&mut bytes).write(&header).map_err(failed)?;
        let rows = self.each(|batch| {
            CsvWriterBuilder::new().with_header(false).build(&mut bytes).write(batch).map_err(failed)?;
            output.write_all(&bytes).map_err(|error| QueryError::Write(error.into()))?;
            bytes.clear();
            Ok(())
        })?;
        output.write_all(&bytes).map_err(|error| QueryError::Write(error.into()))?;
        flushed(output, rows)
    }

    fn each(self, mut write: impl FnMut(&RecordBatch) -> Result<(), QueryError>) -> Result<u64, QueryError> {
        let mut rows = 0;
        for batch in self {
            let batch = batch?;
            write(&batch)?;
            rows += batch.num_rows() as u64;
        }
        Ok(rows)
    }
}

fn failed(error: ArrowError) -> QueryError {
    QueryError::Write(error.into())
}

fn flushed(output: &mut impl Write, rows: u64) -> Result<u64, QueryError> {
    output.flush().map_err(|error| QueryError::Write(error.into()))?;
    Ok(rows)
}
