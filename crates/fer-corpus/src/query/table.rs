//! Tables as DataFusion reads them. Columns that this project knows keep their types in formats without types.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::prelude::SessionContext;
use fer_table::{Format, Metadata};
use url::Url;

use super::QueryError;

/// Opens a file in any of the formats, or a folder of Parquet files.
///
/// # Errors
/// If it cannot be read.
pub(super) async fn open(
    context: &SessionContext,
    path: &Path,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let failed = |message: String| QueryError::Table { path: path.to_owned(), message };
    let absolute = path.canonicalize().map_err(|error| failed(error.to_string()))?;
    let (format, url, extension) = if absolute.is_dir() {
        let has_parts = has_parquet(&absolute).map_err(|error| failed(error.to_string()))?;
        if !has_parts {
            return Err(failed("the folder has no .parquet file".to_owned()));
        }
        (Format::Parquet, Url::from_directory_path(&absolute), ".parquet")
    } else {
        let format = Format::of_file(&absolute).map_err(|error| failed(error.to_string()))?;
        (format, Url::from_file_path(&absolute), "")
    };
    let url = url.map_err(|()| failed("the path is not valid".to_owned()))?;
    let is_empty = absolute.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
    let table = listing(context, url, format, extension, is_empty).await;
    table.map_err(|error| QueryError::of_table(path, error))
}

fn has_parquet(folder: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        if entry?.path().extension().is_some_and(|extension| extension == "parquet") {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn listing(
    context: &SessionContext,
    url: Url,
    format: Format,
    extension: &str,
    is_empty: bool,
) -> Result<Arc<dyn TableProvider>> {
    let has_types = matches!(format, Format::Parquet | Format::Arrow | Format::ArrowStream);
    let format: Arc<dyn FileFormat> = match format {
        Format::Parquet => Arc::new(ParquetFormat::default()),
        Format::Arrow | Format::ArrowStream => Arc::new(ArrowFormat),
        // All rows decide a column's type: a column may begin with thousands of nulls.
        Format::JsonLines => Arc::new(JsonFormat::default().with_schema_infer_max_rec(usize::MAX)),
        Format::Csv => Arc::new(
            CsvFormat::default()
                .with_has_header(true)
                .with_newlines_in_values(true)
                .with_schema_infer_max_rec(usize::MAX),
        ),
    };
    let url = ListingTableUrl::try_new(url, None)?;
    let options = ListingOptions::new(format).with_file_extension(extension);
    let known = fer_table::schema(&Metadata::new());
    let schema = match (is_empty, has_types) {
        (true, _) => known,
        (false, true) => options.infer_schema(&context.state(), &url).await?,
        (false, false) => {
            let inferred: SchemaRef = options.infer_schema(&context.state(), &url).await?;
            with_known_types(&inferred, &known)
        }
    };
    let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(schema);
    Ok(Arc::new(ListingTable::try_new(config)?))
}

/// The inferred schema, in which a known column has its own type if the values allow it.
fn with_known_types(inferred: &Schema, known: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| match known.field_with_name(field.name()) {
        Ok(known) if fits(field.data_type(), known.data_type()) => {
            Arc::new(Field::new(field.name(), known.data_type().clone(), true))
        }
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(inferred.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Whether values that look like one type can be read as the other.
fn fits(inferred: &DataType, known: &DataType) -> bool {
    let both_integers = inferred.is_integer() && known.is_integer();
    let a_number = inferred.is_numeric() && known.is_floating();
    *inferred == DataType::Null || *known == DataType::Utf8 || inferred == known || both_integers || a_number
}
