//! What became of a part: the only rows that the engine moves.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use fer_table::Row;

/// Counts over the table of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Name of the part.
    pub part: String,
    /// Photos and frames that were analysed.
    pub pictures: u64,
    /// Rows with a face.
    pub faces: u64,
    /// Pictures in which no face was found.
    pub faceless: u64,
    /// Rows of objects and frames that failed.
    pub failed: u64,
}

const COUNTS: [&str; 4] = ["pictures", "faces", "faceless", "failed"];

impl Summary {
    /// Adds the rows of one picture.
    pub(super) fn add(&mut self, rows: &[Row]) {
        let Some(first) = rows.first() else { return };
        if first.record.face.is_some() {
            self.pictures += 1;
            self.faces += rows.len() as u64;
        } else if first.record.message.is_some() {
            self.failed += 1;
        } else {
            self.pictures += 1;
            self.faceless += 1;
        }
    }

    pub(super) fn schema() -> SchemaRef {
        let counts = COUNTS.map(|name| Field::new(name, DataType::Int64, false));
        let fields = std::iter::once(Field::new("part", DataType::Utf8, false)).chain(counts);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    pub(super) fn to_batch(&self) -> Result<RecordBatch, DataFusionError> {
        let part: ArrayRef = Arc::new(StringArray::from_iter_values([&self.part]));
        let counts = [self.pictures, self.faces, self.faceless, self.failed].map(|count| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            Arc::new(Int64Array::from_iter_values([count])) as ArrayRef
        });
        let columns = std::iter::once(part).chain(counts).collect();
        Ok(RecordBatch::try_new(Self::schema(), columns)?)
    }

    pub(super) fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, DataFusionError> {
        let wrong = || {
            DataFusionError::Execution("the cluster gave other columns than those of a summary".to_owned())
        };
        let parts = batch.column(0).as_string_opt::<i32>().ok_or_else(wrong)?;
        let count = |column: usize, row: usize| {
            let counts =
                batch.columns().get(column).and_then(|column| column.as_primitive_opt::<Int64Type>());
            counts.map(|counts| counts.value(row).unsigned_abs()).ok_or_else(wrong)
        };
        let summary = |row| {
            Ok(Self {
                part: parts.value(row).to_owned(),
                pictures: count(1, row)?,
                faces: count(2, row)?,
                faceless: count(3, row)?,
                failed: count(4, row)?,
            })
        };
        (0..batch.num_rows()).map(summary).collect()
    }
}
