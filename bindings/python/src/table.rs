//! Arrow tables that cross to Python, both ways, through the Arrow PyCapsule interface: no value is copied.
//!
//! <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{Array as _, RecordBatch, RecordBatchIterator, RecordBatchReader, StructArray};
use arrow_pyarrow::{FromPyArrow as _, IntoPyArrow as _, Table};
use arrow_schema::ArrowError;
use fer_table::{Metadata, Row, schema, to_batch};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::error::{guarded, of_table};
use crate::results::PyAnalysis;

/// Faces as a table in Arrow's memory, one row each, with the columns of docs/tables.md.
///
/// pyarrow, polars, pandas, duckdb and others take it without a copy: `pyarrow.table(faces)`, `polars.DataFrame(faces)`.
#[pyclass(frozen, module = "fer_rs")]
pub(crate) struct FaceTable {
    batch: RecordBatch,
}

impl FaceTable {
    pub(crate) fn of(rows: &[Row]) -> PyResult<Self> {
        let batch = to_batch(rows, &schema(&Metadata::new())).map_err(of_table)?;
        Ok(Self { batch })
    }
}

#[pymethods]
impl FaceTable {
    /// Number of rows.
    #[getter]
    fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Names of the columns, in order.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<fer_rs.FaceTable: {} rows, {} columns>", self.batch.num_rows(), self.batch.num_columns())
    }

    /// Arrow's PyCapsule interface: the schema.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.batch.schema_ref().as_ref()).map_err(of_arrow)?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    /// Arrow's PyCapsule interface: the schema and the rows as one struct array. `requested_schema` is ignored.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        drop(requested_schema);
        let array = FFI_ArrowArray::new(&StructArray::from(self.batch.clone()).to_data());
        Ok((self.__arrow_c_schema__(py)?, PyCapsule::new_with_value(py, array, c"arrow_array")?))
    }

    /// Arrow's PyCapsule interface: the rows as a stream of one batch. `requested_schema` is ignored.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        stream(py, Box::new(RecordBatchIterator::new([Ok(self.batch.clone())], self.batch.schema())))
    }
}

/// The rows of any number of analyses as one table.
#[pyfunction]
pub(crate) fn to_arrow(analyses: &Bound<'_, PyAny>) -> PyResult<FaceTable> {
    guarded(|| {
        let mut rows = Vec::new();
        for analysis in analyses.try_iter()? {
            rows.extend(analysis?.extract::<PyAnalysis>()?.rows()?);
        }
        FaceTable::of(&rows)
    })
}

/// A capsule with a stream of record batches.
pub(crate) fn stream<'py>(
    py: Python<'py>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

/// The record batches of a Python object that offers them through the PyCapsule interface.
///
/// # Errors
/// `TypeError` if it offers none.
pub(crate) fn batches(table: &Bound<'_, PyAny>) -> PyResult<Vec<RecordBatch>> {
    if table.hasattr("__arrow_c_array__")? {
        return Ok(vec![RecordBatch::from_pyarrow_bound(table)?]);
    }
    if table.hasattr("__arrow_c_stream__")? {
        let reader = ArrowArrayStreamReader::from_pyarrow_bound(table)?;
        return reader.collect::<Result<_, _>>().map_err(of_arrow);
    }
    Err(PyTypeError::new_err(format!(
        "expected an Arrow record batch or table with the columns `uri` and `bytes`, such as pyarrow's or polars', not {}",
        table.get_type().fully_qualified_name()?
    )))
}

/// The rows as the kind of table that was given: a `RecordBatch` or `Table` of pyarrow, and for all others a [`FaceTable`].
pub(crate) fn like<'py>(given: &Bound<'py, PyAny>, rows: &[Row]) -> PyResult<Bound<'py, PyAny>> {
    let py = given.py();
    let table = FaceTable::of(rows)?;
    let kind = given.get_type();
    if kind.module()? != "pyarrow.lib" {
        return Ok(table.into_pyobject(py)?.into_any());
    }
    match kind.name()?.to_string().as_str() {
        "RecordBatch" => table.batch.into_pyarrow(py),
        _ => Table::try_new(vec![table.batch.clone()], table.batch.schema())
            .map_err(of_arrow)?
            .into_pyarrow(py),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn of_arrow(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
