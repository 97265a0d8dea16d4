//! Writes rows piece by piece. Memory is bounded: at most [`PENDING`] rows, or a Parquet row group, are held.

use std::io::Write;

use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::batch::{batch_of, schema_of};
use crate::cell::{Column, Value};
use crate::{Format, Layout, Metadata, Row, TableError};

/// Rows that are collected before they become an Arrow batch.
const PENDING: usize = 4096;

/// Rows of a Parquet row group. Its compressed pages are held in memory until it is complete.
const ROW_GROUP: usize = 65_536;

/// Writes a table into `W`.
pub struct TableWriter<W: Write + Send> {
    layout: Layout,
    columns: Vec<Column>,
    sink: Sink<W>,
}

enum Sink<W: Write + Send> {
    Csv(Box<csv::Writer<W>>),
    JsonLines(W),
    Batches { output: Batches<W>, schema: SchemaRef, pending: Vec<Vec<Value>> },
}

enum Batches<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    File(Box<FileWriter<W>>),
    Stream(Box<StreamWriter<W>>),
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a table. Files should be buffered.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn new(output: W, format: Format, layout: Layout, metadata: &Metadata) -> Result<Self, TableError> {
        let columns = layout.columns();
        let schema = schema_of(&columns, metadata);
        let batches =
            |output| Sink::Batches { output, schema: SchemaRef::clone(&schema), pending: Vec::new() };
        let sink = match format {
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(output);
                writer.write_record(columns.iter().map(|column| column.name.as_ref()))?;
                Sink::Csv(Box::new(writer))
            }
            Format::JsonLines => Sink::JsonLines(output),
            Format::Arrow => batches(Batches::File(Box::new(FileWriter::try_new(output, &schema)?))),
            Format::ArrowStream => {
                batches(Batches::Stream(Box::new(StreamWriter::try_new(output, &schema)?)))
            }
            Format::Parquet => {
                let properties = parquet_properties(metadata)?;
                let writer = ArrowWriter::try_new(output, SchemaRef::clone(&schema), Some(properties))?;
                batches(Batches::Parquet(Box::new(writer)))
            }
        };
        Ok(Self { layout, columns, sink })
    }

    /// Adds all rows of one picture.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn write(&mut self, picture: &[Row]) -> Result<(), TableError> {
        let cells = self.layout.cells(picture);
        match &mut self.sink {
            Sink::Csv(writer) => {
                for row in cells {
                    writer.write_record(row.iter().map(|value| value.to_text().into_owned()))?;
                }
            }
            Sink::JsonLines(output) => {
                for row in cells {
                    for (index, (column, value)) in self.columns.iter().zip(&row).enumerate() {
                        let separator = if index == 0 { '{' } else { ',' };
                        write!(output, "{separator}\"{}\":{}", column.name, value.to_json())?;
                    }
                    output.write_all(b"}\n")?;
                }
            }
            Sink::Batches { output, schema, pending } => {
                pending.extend(cells);
                if pending.len() >= PENDING {
                    output.write(&self.columns, schema, pending)?;
                }
            }
        }
        Ok(())
    }

    /// Hands what is complete on to the output, so that a reader of a pipe sees it. Parquet and Arrow files are not flushed:
    /// each flush would make a row group or a batch of a few rows.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn flush(&mut self) -> Result<(), TableError> {
        match &mut self.sink {
            Sink::Csv(writer) => writer.flush()?,
            Sink::JsonLines(output) => output.flush()?,
            Sink::Batches { output: output @ Batches::Stream(_), schema, pending } if !pending.is_empty() => {
                output.write(&self.columns, schema, pending)?;
            }
            Sink::Batches { .. } => {}
        }
        Ok(())
    }

    /// Writes what is left and the end of the table, and flushes the output.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(self) -> Result<(), TableError> {
        match self.sink {
            Sink::Csv(mut writer) => writer.flush()?,
            Sink::JsonLines(mut output) => output.flush()?,
            Sink::Batches { mut output, schema, mut pending } => {
                output.write(&self.columns, &schema, &mut pending)?;
                match output {
                    Batches::Parquet(mut writer) => {
                        writer.finish()?;
                        writer.sync()?;
                    }
                    Batches::File(mut writer) => {
                        writer.finish()?;
                        writer.get_mut().flush()?;
                    }
                    Batches::Stream(mut writer) => {
                        writer.finish()?;
                        writer.get_mut().flush()?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<W: Write + Send> Batches<W> {
    fn write(
        &mut self,
        columns: &[Column],
        schema: &SchemaRef,
        pending: &mut Vec<Vec<Value>>,
    ) -> Result<(), TableError> {
        let batch = batch_of(columns, pending.drain(..), schema)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match self {
            Self::Parquet(writer) => writer.write(&batch)?,
            Self::File(writer) => writer.write(&batch)?,
            Self::Stream(writer) => {
                writer.write(&batch)?;
                writer.flush()?;
            }
        }
        Ok(())
    }
}

/// The metadata is stored twice: in the Arrow schema, which Arrow's libraries read, and as Parquet's key-value metadata, which
/// others read.
fn parquet_properties(metadata: &Metadata) -> Result<WriterProperties, TableError> {
    let pairs = metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_key_value_metadata(Some(pairs.collect()))
        .set_created_by(format!("fer {}", env!("CARGO_PKG_VERSION")))
        .build())
}
