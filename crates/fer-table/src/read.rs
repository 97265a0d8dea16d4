//! Reads tables back, a few thousand rows at a time. The format is recognised by the first bytes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, Schema};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::batch::{from_batch, positions};
use crate::cell::{Column, Value};
use crate::{Format, Metadata, Row, TableError};

/// Rows of a piece.
const PIECE: usize = 4096;

/// A table that is being read: an iterator of pieces of a few thousand rows.
pub struct TableReader {
    metadata: Metadata,
    source: Source,
    /// Number of rows that have been read.
    rows: u64,
}

enum Source {
    Parquet(ParquetRecordBatchReader),
    File(Box<FileReader<BufReader<File>>>),
    Stream(Box<StreamReader<BufReader<File>>>),
    Csv { reader: Box<csv::Reader<BufReader<File>>>, columns: Vec<Column>, positions: Vec<Option<usize>> },
    JsonLines { input: BufReader<File>, columns: Vec<Column> },
}

/// Opens a table in any of the formats.
///
/// # Errors
/// If the file cannot be read, is damaged, or is not a table of [`Row`]s.
pub fn read(path: &Path) -> Result<TableReader, TableError> {
    let mut file = BufReader::new(File::open(path)?);
    let columns = Row::columns();
    let mut metadata = Metadata::new();
    let source = match Format::of_contents(path, &mut file)? {
        Format::Parquet => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file.into_inner())?.with_batch_size(PIECE);
            metadata = metadata_of(builder.schema());
            Source::Parquet(builder.build()?)
        }
        Format::Arrow => {
            let reader = FileReader::try_new(file, None)?;
            metadata = metadata_of(&reader.schema());
            Source::File(Box::new(reader))
        }
        Format::ArrowStream => {
            let reader = StreamReader::try_new(file, None)?;
            metadata = metadata_of(&reader.schema());
            Source::Stream(Box::new(reader))
        }
        Format::JsonLines => Source::JsonLines { input: file, columns },
        Format::Csv => {
            let mut reader = csv::Reader::from_reader(file);
            let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
            let positions = positions(&columns, &names)?;
            Source::Csv { reader: Box::new(reader), columns, positions }
        }
    };
    Ok(TableReader { metadata, source, rows: 0 })
}

fn metadata_of(schema: &Schema) -> Metadata {
    schema.metadata().clone().into_iter().collect()
}

impl TableReader {
    /// What the table says about itself; empty for CSV and JSON Lines.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The next rows; empty at the end.
    fn piece(&mut self) -> Result<Vec<Row>, TableError> {
        let first = self.rows + 1;
        let rows = match &mut self.source {
            Source::Parquet(reader) => batches(reader, first)?,
            Source::File(reader) => batches(reader, first)?,
            Source::Stream(reader) => batches(reader, first)?,
            Source::Csv { reader, columns, positions } => csv_rows(reader, columns, positions, first)?,
            Source::JsonLines { input, columns } => json_rows(input, columns, first)?,
        };
        self.rows += rows.len() as u64;
        Ok(rows)
    }
}

impl Iterator for TableReader {
    type Item = Result<Vec<Row>, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.piece() {
            Ok(rows) if rows.is_empty() => None,
            other => Some(other),
        }
    }
}

/// The rows of the next batch that has any.
fn batches(
    mut next: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    first: u64,
) -> Result<Vec<Row>, TableError> {
    let filled = next.find(|batch| batch.as_ref().map_or(true, |batch| batch.num_rows() > 0));
    filled.map_or(Ok(Vec::new()), |batch| from_batch(&batch?, first))
}

fn csv_rows(
    reader: &mut csv::Reader<BufReader<File>>,
    columns: &[Column],
    positions: &[Option<usize>],
    first: u64,
) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    for (record, number) in reader.records().take(PIECE).zip(first..) {
        let record = record?;
        let cells = columns.iter().zip(positions).map(|(column, position)| {
            let text = position.and_then(|position| record.get(position)).unwrap_or_default();
            Value::parse(text, column.kind).map_err(|problem| (column.name.to_string(), problem))
        });
        rows.push(row(cells, number)?);
    }
    Ok(rows)
}

fn json_rows(input: &mut impl BufRead, columns: &[Column], first: u64) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    for (line, number) in input.lines().take(PIECE).zip(first..) {
        let parsed = serde_json::from_str(&line?);
        let object: serde_json::Map<String, serde_json::Value> =
            parsed.map_err(|cause| TableError::Json { line: number, cause })?;
        let cells = columns.iter().map(|column| {
            let json = object.get(column.name.as_ref()).unwrap_or(&serde_json::Value::Null);
            Value::from_json(json, column.kind).map_err(|problem| (column.name.to_string(), problem))
        });
        rows.push(row(cells, number)?);
    }
    Ok(rows)
}

fn row(cells: impl Iterator<Item = Result<Value, (String, String)>>, number: u64) -> Result<Row, TableError> {
    let cell_error = |(column, problem)| TableError::Cell { row: number, column, problem };
    let cells = cells.collect::<Result<Vec<_>, _>>().map_err(cell_error)?;
    Row::from_values(cells).map_err(|(column, problem)| cell_error((column.to_owned(), problem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::rows;
    use crate::{Layout, TableWriter};

    fn written(path: &Path, format: Format, layout: Layout, pictures: usize) {
        let metadata = Metadata::from([("fer.model".to_owned(), "cnn6".to_owned())]);
        let file = File::create(path).unwrap();
        let mut writer = TableWriter::new(file, format, layout, &metadata).unwrap();
        for _ in 0..pictures {
            writer.write(&rows()).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn every_format_gives_the_same_rows_again() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["t.parquet", "t.csv", "t.jsonl", "t.arrow", "t.arrows"] {
            let path = folder.path().join(name);
            let format = Format::of_path(&path).unwrap();
            for pictures in [0, 1, 3000] {
                written(&path, format, Layout::Fer, pictures);
                let reader = read(&path).unwrap();
                let named = reader.metadata().get("fer.model").map(String::as_str);
                assert_eq!(named, (!matches!(format, Format::Csv | Format::JsonLines)).then_some("cnn6"));
                let found: Vec<Row> = reader.flat_map(|piece| piece.unwrap()).collect();
                assert_eq!(found.len(), 3 * pictures, "{name}");
                assert!(found.chunks(3).all(|chunk| chunk == rows()), "{name}");
            }
        }
    }

    #[test]
    fn damaged_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let all = read(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            all.unwrap_err().to_string()
        };
        assert!(refused(b"").contains("not a table"));
        assert!(refused(b"a,b\n1,2\n").contains("no column `source`"));
        assert!(refused(b"{\"source\": 3, \"status\": \"ok\"}\n").contains("row 1, column `source`"));
        assert!(refused(b"{\"source\"").starts_with("line 1: "));
        assert!(refused(b"source,status\na,maybe\n").contains("row 1, column `status`"));
        for format in [Format::Parquet, Format::Arrow] {
            written(&path, format, Layout::Fer, 5);
            let bytes = std::fs::read(&path).unwrap();
            refused(&bytes[..bytes.len() / 2]);
        }
        written(&path, Format::Csv, Layout::PyFeat, 2);
        let error = read(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("py-feat"), "{error}");
        assert!(matches!(read(&folder.path().join("absent")), Err(TableError::Io(_))));
    }

    #[test]
    fn a_full_disk_is_an_io_error() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        for format in [Format::Parquet, Format::Csv, Format::JsonLines, Format::Arrow] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let written =
                TableWriter::new(full, format, Layout::Fer, &Metadata::new()).and_then(|mut writer| {
                    writer.write(&rows())?;
                    writer.finish()
                });
            let error = written.unwrap_err();
            assert!(matches!(&error, TableError::Io(cause) if cause.raw_os_error() == Some(28)), "{error:?}");
        }
    }
}
