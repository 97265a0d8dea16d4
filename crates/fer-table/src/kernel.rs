//! The kernel: bytes of photos in, rows of faces out. It knows no engine, so that the command line, a query engine and bindings
//! of other languages can all call it. A photo that cannot be analysed is a row and never an error.

use arrow_array::{Array as _, RecordBatch};
use fer_vision::{Analyzer, Origin};

use crate::batch::{bytes, column, text};
use crate::{Metadata, Row, TableError, schema, to_batch};

/// The rows of one photo. `uri` becomes its `source`.
pub fn photo(analyzer: &mut Analyzer, uri: &str, bytes: &[u8]) -> Vec<Row> {
    let origin = Origin::photo(Some(uri.to_owned()));
    match analyzer.analyze(bytes) {
        Ok(analysis) => Row::of_photo(&origin, &analysis),
        Err(error) => vec![Row::failed(&origin, error.to_string())],
    }
}

/// The rows of a batch of photos, in the order of the photos, as a batch of [`schema`].
///
/// The input needs a column `uri` of texts and a column `bytes` of binaries; other columns are ignored. A null in either is a
/// row with the status `error`.
///
/// # Errors
/// If a column is missing or has another type.
pub fn batch(analyzer: &mut Analyzer, photos: &RecordBatch) -> Result<RecordBatch, TableError> {
    to_batch(&rows(analyzer, photos)?, &schema(&Metadata::new()))
}

/// The rows of [`batch`]. Callers with several threads give each a slice of the batch, which copies nothing.
///
/// # Errors
/// If a column is missing or has another type.
pub fn rows(analyzer: &mut Analyzer, photos: &RecordBatch) -> Result<Vec<Row>, TableError> {
    let (uris, contents) = (column(photos, "uri")?, column(photos, "bytes")?);
    let mut rows = Vec::new();
    for index in 0..photos.num_rows() {
        let wrong_type = |name: &str| TableError::Columns(format!("the column `{name}` has another type"));
        let uri = match uris.is_null(index) {
            true => None,
            false => Some(text(uris, index).ok_or_else(|| wrong_type("uri"))?),
        };
        match (uri, contents.is_null(index)) {
            (Some(uri), false) => {
                let bytes = bytes(contents, index).ok_or_else(|| wrong_type("bytes"))?;
                rows.extend(photo(analyzer, uri, bytes));
            }
            (uri, _) => {
                let origin = Origin::photo(uri.map(str::to_owned));
                rows.push(Row::failed(&origin, "the row has no uri or no bytes"));
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_batch;
    use arrow_array::{ArrayRef, BinaryArray, Int32Array, StringArray};
    use fer_detect::DetectorModel;
    use fer_engine::Engine;
    use fer_model::Bundle;
    use fer_vision::{AnalyzerConfig, RecordStatus};
    use std::path::Path;
    use std::sync::Arc;

    fn analyzer() -> Analyzer {
        let bundle = Bundle::embedded().unwrap();
        Analyzer::new(&Engine::tract(), &DetectorModel::embedded(), &bundle, AnalyzerConfig::default())
            .unwrap()
    }

    #[test]
    fn good_and_bad_photos_are_rows_in_their_order() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/astronaut.png");
        let sample = std::fs::read(sample).unwrap();
        let uris: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("d")]));
        let contents: ArrayRef = Arc::new(BinaryArray::from(vec![
            Some(sample.as_slice()),
            Some(&sample[..1000]),
            Some(b"x".as_slice()),
            None,
        ]));
        let input = RecordBatch::try_from_iter([("bytes", contents), ("uri", Arc::clone(&uris))]).unwrap();
        let mut analyzer = analyzer();
        let rows = from_batch(&batch(&mut analyzer, &input).unwrap(), 1).unwrap();
        let found: Vec<_> = rows.iter().map(|r| (r.record.source.as_deref(), r.record.status)).collect();
        let failed = RecordStatus::Error;
        let expected =
            [(Some("a"), RecordStatus::Ok), (Some("b"), failed), (None, failed), (Some("d"), failed)];
        assert_eq!(found, expected);
        assert_eq!(rows[0], photo(&mut analyzer, "a", &sample)[0]);
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4]));
        let wrong = RecordBatch::try_from_iter([("bytes", numbers), ("uri", uris)]).unwrap();
        assert!(batch(&mut analyzer, &wrong).unwrap_err().to_string().contains("`bytes`"));
    }
}
