//! The weights of a network: tensors by name, checked against its architecture.

mod arrays;
mod init;

use std::collections::BTreeMap;

use crate::spec::Architecture;

pub use arrays::{
    Array, Arrays, Metadata, WeightsDtype, read_arrays, read_metadata, write_arrays, write_arrays_with,
};

/// What is wrong with a weights file.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file is not in the safetensors format, or it is cut off.
    #[error("weights are not a readable safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// The numbers have a type that this project does not use.
    #[error("tensor '{name}' has dtype {dtype}; expected F32 or F16")]
    Dtype {
        /// Name of the tensor.
        name: String,
        /// Type in the file.
        dtype: String,
    },
    /// A tensor of the spec is missing.
    #[error("tensor '{name}' is missing; the spec expects shape {expected:?}")]
    Missing {
        /// Name of the tensor.
        name: String,
        /// Shape in the spec.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the spec says.
    #[error("tensor '{name}' has shape {found:?}; the spec expects {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the spec.
        expected: Vec<usize>,
    },
    /// The spec has no such tensor.
    #[error("tensor '{name}' is not part of the network; the weights belong to another spec")]
    Unused {
        /// Name of the tensor.
        name: String,
    },
    /// A value is NaN or infinite.
    #[error("tensor '{name}' holds a value that is not finite; the file is damaged or its training diverged")]
    NotFinite {
        /// Name of the tensor.
        name: String,
    },
}

/// Every tensor of a network. Invariant: exactly those that the spec names, with its shapes, and all values are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(BTreeMap<String, Array>);

impl Weights {
    /// Checks that the arrays fit the architecture.
    ///
    /// # Errors
    /// Names the first tensor that is missing or unused, has another shape, or is not finite.
    pub fn new(architecture: &Architecture, mut arrays: Arrays) -> Result<Self, WeightsError> {
        let mut checked = BTreeMap::new();
        for parameter in architecture.parameters() {
            let name = parameter.name;
            let Some(array) = arrays.remove(&name) else {
                return Err(WeightsError::Missing { name, expected: parameter.shape });
            };
            if array.shape != parameter.shape
                || array.values.len() != parameter.shape.iter().product::<usize>()
            {
                return Err(WeightsError::Shape { name, found: array.shape, expected: parameter.shape });
            }
            if array.values.iter().any(|value| !value.is_finite()) {
                return Err(WeightsError::NotFinite { name });
            }
            checked.insert(name, array);
        }
        match arrays.into_keys().next() {
            Some(name) => Err(WeightsError::Unused { name }),
            None => Ok(Self(checked)),
        }
    }

    /// One tensor.
    ///
    /// # Panics
    /// If the architecture that the weights were checked against has no such tensor, which is a bug in the caller.
    pub fn get(&self, name: &str) -> &Array {
        self.0
            .get(name)
            .unwrap_or_else(|| unreachable!("weights hold every tensor of their spec, not '{name}'"))
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.0.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// Reads the bytes of a safetensors file.
    ///
    /// # Errors
    /// If the file is damaged or does not fit the architecture.
    pub fn from_safetensors(architecture: &Architecture, bytes: &[u8]) -> Result<Self, WeightsError> {
        Self::new(architecture, read_arrays(bytes, |_| true)?)
    }

    /// The bytes of a safetensors file, in a stable order.
    ///
    /// # Errors
    /// Only if the safetensors library refuses.
    pub fn to_safetensors(&self, dtype: WeightsDtype) -> Result<Vec<u8>, WeightsError> {
        write_arrays(self.iter().map(|(name, array)| (name.to_owned(), array)), dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetworkSpec;

    fn spec() -> NetworkSpec {
        NetworkSpec::from_json(include_str!("../../../../configs/models/cnn6.json")).unwrap()
    }

    fn architecture() -> Architecture {
        spec().architecture().clone()
    }

    #[test]
    fn safetensors_round_trip() {
        let weights = Weights::init(&architecture(), 1);
        let exact = weights.to_safetensors(WeightsDtype::F32).unwrap();
        assert_eq!(Weights::from_safetensors(&architecture(), &exact).unwrap(), weights);
        let half = weights.to_safetensors(WeightsDtype::F16).unwrap();
        assert!(half.len() < exact.len() / 2 + 4096);
        let read = Weights::from_safetensors(&architecture(), &half).unwrap();
        let pair = read.get("layers.0.weight").values.iter().zip(&weights.get("layers.0.weight").values);
        assert!(pair.into_iter().all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = Weights::init(&architecture(), 1).to_safetensors(WeightsDtype::F32).unwrap();
        assert!(Weights::from_safetensors(&architecture(), &bytes[..bytes.len() - 5]).is_err());
        assert!(Weights::from_safetensors(&architecture(), &bytes[..3]).is_err());
        let text = serde_json::to_string(&spec()).unwrap().replace("\"channels\":64", "\"channels\":32");
        let other = NetworkSpec::from_json(&text).unwrap();
        let message = Weights::from_safetensors(other.architecture(), &bytes).unwrap_err().to_string();
        assert!(
            message.contains("layers.0.weight") && message.contains("expects [32, 1, 3, 3]"),
            "{message}"
        );
    }
}
