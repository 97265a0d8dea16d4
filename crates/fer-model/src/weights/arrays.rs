//! Named arrays and the safetensors files that hold them: the only place that knows the format.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use super::WeightsError;

/// How a value is stored in the file. In memory it is always an `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightsDtype {
    /// 32 bits.
    #[default]
    F32,
    /// IEEE 754 half precision, also for running statistics.
    F16,
}

/// Arrays by name, not checked against an architecture.
pub type Arrays = BTreeMap<String, Array>;

/// Texts by name that a file holds beside its arrays.
pub type Metadata = BTreeMap<String, String>;

/// One tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Size along each axis, as in [`crate::spec::ParameterSpec`].
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub values: Vec<f32>,
}

/// Reads the bytes of a safetensors file: those arrays whose names are `wanted`.
///
/// # Errors
/// If the file is damaged, or if a wanted array has values of another type than `F32` and `F16`.
pub fn read_arrays(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Arrays, WeightsError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut arrays = Arrays::new();
    for (name, view) in file.iter().filter(|(name, _)| wanted(name)) {
        let values = match view.dtype() {
            Dtype::F32 => {
                view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            Dtype::F16 => view
                .data()
                .as_chunks::<2>()
                .0
                .iter()
                .map(|bytes| half::f16::from_le_bytes(*bytes).to_f32())
                .collect(),
            other => {
                return Err(WeightsError::Dtype { name: name.to_owned(), dtype: format!("{other:?}") });
            }
        };
        arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
    }
    Ok(arrays)
}

/// Reads the metadata of a safetensors file; it is empty if the file has none.
///
/// # Errors
/// If the file is damaged.
pub fn read_metadata(bytes: &[u8]) -> Result<Metadata, WeightsError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    Ok(header.metadata().iter().flatten().map(|(name, text)| (name.clone(), text.clone())).collect())
}

/// The bytes of a safetensors file.
///
/// # Errors
/// If an array does not have `shape.product()` values.
pub fn write_arrays<'a>(
    arrays: impl IntoIterator<Item = (String, &'a Array)>,
    dtype: WeightsDtype,
) -> Result<Vec<u8>, WeightsError> {
    encode(arrays, dtype, None)
}

/// The bytes of a safetensors file with metadata.
///
/// # Errors
/// If an array does not have `shape.product()` values.
pub fn write_arrays_with<'a>(
    arrays: impl IntoIterator<Item = (String, &'a Array)>,
    dtype: WeightsDtype,
    metadata: Metadata,
) -> Result<Vec<u8>, WeightsError> {
    encode(arrays, dtype, Some(metadata.into_iter().collect()))
}

fn encode<'a>(
    arrays: impl IntoIterator<Item = (String, &'a Array)>,
    dtype: WeightsDtype,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, WeightsError> {
    let encode = |values: &[f32]| -> Vec<u8> {
        match dtype {
            WeightsDtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            WeightsDtype::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        }
    };
    let stored = match dtype {
        WeightsDtype::F32 => Dtype::F32,
        WeightsDtype::F16 => Dtype::F16,
    };
    let encoded: Vec<_> =
        arrays.into_iter().map(|(name, array)| (name, array.shape.clone(), encode(&array.values))).collect();
    let views = encoded
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(stored, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(serialize(views, metadata)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_metadata_round_trip() {
        let arrays = Arrays::from([
            ("a.1".to_owned(), Array { shape: vec![2, 1], values: vec![1.5, -2.0] }),
            ("b".to_owned(), Array { shape: vec![], values: vec![0.25] }),
        ]);
        let named = || arrays.iter().map(|(name, array)| (name.clone(), array));
        let metadata = Metadata::from([("state".to_owned(), "{\"epoch\":3}".to_owned())]);
        for dtype in [WeightsDtype::F32, WeightsDtype::F16] {
            let bytes = write_arrays_with(named(), dtype, metadata.clone()).unwrap();
            assert_eq!(read_arrays(&bytes, |_| true).unwrap(), arrays);
            assert_eq!(read_metadata(&bytes).unwrap(), metadata);
            assert_eq!(read_arrays(&bytes, |name| name == "b").unwrap().len(), 1);
        }
        let plain = write_arrays(named(), WeightsDtype::F32).unwrap();
        assert_eq!(read_metadata(&plain).unwrap(), Metadata::new());
    }

    #[test]
    fn a_shape_that_does_not_fit_its_values_is_refused() {
        let array = Array { shape: vec![3], values: vec![1.0; 2] };
        assert!(write_arrays([("short".to_owned(), &array)], WeightsDtype::F32).is_err());
    }

    #[test]
    fn integers_are_refused_unless_they_are_not_wanted() {
        let count = 7_i64.to_le_bytes();
        let view = TensorView::new(Dtype::I64, vec![1], &count).unwrap();
        let bytes = serialize([("count", view)], None).unwrap();
        let message = read_arrays(&bytes, |_| true).unwrap_err().to_string();
        assert!(message.contains("'count' has dtype I64; expected F32 or F16"), "{message}");
        assert!(read_arrays(&bytes, |name| name != "count").unwrap().is_empty());
    }
}
