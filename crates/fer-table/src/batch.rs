//! Rows as Arrow record batches.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float32Builder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use crate::cell::{Column, Kind, Value};
use crate::{Metadata, Row, TableError};

/// The Arrow schema of a table of [`Row`]s. Every column may be null.
pub fn schema(metadata: &Metadata) -> SchemaRef {
    schema_of(&Row::columns(), metadata)
}

/// The rows as a batch of [`schema`], whose metadata is `schema`'s.
///
/// # Errors
/// If `schema` has other columns.
pub fn to_batch(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch, TableError> {
    batch_of(&Row::columns(), rows.iter().map(Row::values), schema)
}

/// The rows of a batch that has the columns of [`Row::columns`], in any order. Columns that are missing are null, and other
/// columns are ignored. Integers and floating-point numbers may be of either width, and texts of any of Arrow's types.
///
/// `first` is the number of the batch's first row, counted from 1, for error messages.
///
/// # Errors
/// If `source` or `status` is missing, or a cell has another type.
pub fn from_batch(batch: &RecordBatch, first: u64) -> Result<Vec<Row>, TableError> {
    let columns = Row::columns();
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let found = positions(&columns, &names)?;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for index in 0..batch.num_rows() {
        let number = first + index as u64;
        let cell_error =
            |column: &str, problem| TableError::Cell { row: number, column: column.into(), problem };
        let cells = columns.iter().zip(&found).map(|(column, position)| match position {
            Some(position) => value(batch.column(*position), index, column.kind)
                .map_err(|problem| cell_error(&column.name, problem)),
            None => Ok(Value::Null),
        });
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        rows.push(Row::from_values(cells).map_err(|(column, problem)| cell_error(column, problem))?);
    }
    Ok(rows)
}

/// Where each column is among the names of a table.
///
/// # Errors
/// If the names are not those of a table of rows.
pub(crate) fn positions(columns: &[Column], names: &[String]) -> Result<Vec<Option<usize>>, TableError> {
    for required in ["source", "status"] {
        if !names.iter().any(|name| name == required) {
            let message = format!(
                "it has no column `{required}` (tables that were written with --columns py-feat or fer cannot be read back)"
            );
            return Err(TableError::Columns(message));
        }
    }
    Ok(columns.iter().map(|column| names.iter().position(|name| *name == column.name)).collect())
}

pub(crate) fn schema_of(columns: &[Column], metadata: &Metadata) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| {
            let data_type = match column.kind {
                Kind::Int32 => DataType::Int32,
                Kind::Int64 => DataType::Int64,
                Kind::Float => DataType::Float32,
                Kind::Text => DataType::Utf8,
                Kind::Bool => DataType::Boolean,
            };
            Field::new(column.name.as_ref(), data_type, true)
        })
        .collect();
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Builds a batch of cells. A cell whose value is not of its column's kind becomes null; the rows of this crate have none.
pub(crate) fn batch_of(
    columns: &[Column],
    rows: impl Iterator<Item = Vec<Value>>,
    schema: &SchemaRef,
) -> Result<RecordBatch, TableError> {
    let mut builders: Vec<Builder> = columns.iter().map(|column| Builder::new(column.kind)).collect();
    for row in rows {
        for (builder, value) in builders.iter_mut().zip(row) {
            builder.append(&value);
        }
    }
    let arrays = builders.into_iter().map(Builder::finish).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
}

enum Builder {
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float(Float32Builder),
    Text(StringBuilder),
    Bool(BooleanBuilder),
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Int32 => Self::Int32(Int32Builder::new()),
            Kind::Int64 => Self::Int64(Int64Builder::new()),
            Kind::Float => Self::Float(Float32Builder::new()),
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
        }
    }

    fn append(&mut self, value: &Value) {
        match (self, value) {
            (Self::Int32(builder), Value::Int(number)) => builder.append_option(i32::try_from(*number).ok()),
            (Self::Int32(builder), _) => builder.append_null(),
            (Self::Int64(builder), Value::Int(number)) => builder.append_value(*number),
            (Self::Int64(builder), _) => builder.append_null(),
            (Self::Float(builder), Value::Float(number)) => builder.append_value(*number),
            (Self::Float(builder), _) => builder.append_null(),
            (Self::Text(builder), Value::Text(text)) => builder.append_value(text),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Bool(builder), Value::Bool(truth)) => builder.append_value(*truth),
            (Self::Bool(builder), _) => builder.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Int32(mut builder) => Arc::new(builder.finish()),
            Self::Int64(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Bool(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// One cell of an array, as a value of the kind that its column must have.
fn value(array: &ArrayRef, index: usize, kind: Kind) -> Result<Value, String> {
    if array.is_null(index) {
        return Ok(Value::Null);
    }
    let integer = |number: u64| i64::try_from(number).map_err(|_| format!("{number} is too large"));
    Ok(match (kind, array.data_type()) {
        (_, DataType::Null) => Value::Null,
        (Kind::Int32 | Kind::Int64, DataType::Int32) => {
            Value::Int(array.as_primitive::<Int32Type>().value(index).into())
        }
        (Kind::Int32 | Kind::Int64, DataType::Int64) => {
            Value::Int(array.as_primitive::<Int64Type>().value(index))
        }
        (Kind::Int32 | Kind::Int64, DataType::UInt32) => {
            Value::Int(array.as_primitive::<UInt32Type>().value(index).into())
        }
        (Kind::Int32 | Kind::Int64, DataType::UInt64) => {
            Value::Int(integer(array.as_primitive::<UInt64Type>().value(index))?)
        }
        (Kind::Float, DataType::Float32) => Value::Float(array.as_primitive::<Float32Type>().value(index)),
        (Kind::Float, DataType::Float64) => {
            Value::Float(array.as_primitive::<Float64Type>().value(index) as f32)
        }
        (Kind::Text, _) => match text(array, index) {
            Some(text) => Value::Text(text.to_owned()),
            None => return Err(format!("has the type {}, which is not text", array.data_type())),
        },
        (Kind::Bool, DataType::Boolean) => Value::Bool(array.as_boolean().value(index)),
        (kind, other) => return Err(format!("has the type {other}, but {kind:?} is expected")),
    })
}

/// The text in a cell that is not null; `None` if the array holds no texts.
pub(crate) fn text(array: &ArrayRef, index: usize) -> Option<&str> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(index)),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(index)),
        DataType::Utf8View => Some(array.as_string_view().value(index)),
        _ => None,
    }
}

/// The bytes in a cell that is not null; `None` if the array holds no bytes.
pub(crate) fn bytes(array: &ArrayRef, index: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(index)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(index)),
        DataType::BinaryView => Some(array.as_binary_view().value(index)),
        _ => None,
    }
}

/// A column of a batch by its name.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, TableError> {
    let missing = || ArrowError::SchemaError(format!("the batch has no column `{name}`"));
    Ok(batch.column_by_name(name).ok_or_else(missing)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::rows;

    #[test]
    fn rows_become_a_batch_and_rows_again() {
        let metadata = Metadata::from([("fer.version".to_owned(), "1".to_owned())]);
        let schema = schema(&metadata);
        let batch = to_batch(&rows(), &schema).unwrap();
        assert_eq!(batch.schema().metadata()["fer.version"], "1");
        assert_eq!(batch.column_by_name("frame").unwrap().data_type(), &DataType::Int64);
        assert_eq!(batch.column_by_name("happy").unwrap().data_type(), &DataType::Float32);
        assert_eq!(from_batch(&batch, 1).unwrap(), rows());
    }

    #[test]
    fn other_tables_are_refused_with_what_is_wrong() {
        let batch = to_batch(&rows(), &schema(&Metadata::new())).unwrap();
        let no_status: Vec<usize> =
            (0..batch.num_columns()).filter(|&i| batch.schema().field(i).name() != "status").collect();
        let error = from_batch(&batch.project(&no_status).unwrap(), 1).unwrap_err().to_string();
        assert!(error.contains("no column `status`"), "{error}");
        let status = batch.schema().index_of("status").unwrap();
        let mut columns = batch.columns().to_vec();
        columns[status] = Arc::clone(&columns[0]);
        let wrong = RecordBatch::try_new(batch.schema(), columns).unwrap();
        let error = from_batch(&wrong, 41).unwrap_err().to_string();
        assert!(error.starts_with("row 41, column `status`: "), "{error}");
    }
}
