//! A network's numbers by name: initialised, read from and written to safetensors, checked against a spec.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use crate::spec::Architecture;

/// How a number is stored in the file. In memory it is always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightsDtype {
    /// 32 bits.
    #[default]
    F32,
    /// IEEE 754 half precision; running statistics too.
    F16,
}

/// What is wrong with a weights file.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Not safetensors, or cut off.
    #[error("weights are not a readable safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A number type that the project does not write.
    #[error("tensor '{name}' has dtype {dtype}; expected F32 or F16")]
    Dtype {
        /// Tensor.
        name: String,
        /// As stored.
        dtype: String,
    },
    /// The spec wants a tensor that is not there.
    #[error("tensor '{name}' is missing; the spec expects shape {expected:?}")]
    Missing {
        /// Tensor.
        name: String,
        /// By the spec.
        expected: Vec<usize>,
    },
    /// A tensor of another shape.
    #[error("tensor '{name}' has shape {found:?}; the spec expects {expected:?}")]
    Shape {
        /// Tensor.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// By the spec.
        expected: Vec<usize>,
    },
    /// A tensor that the spec does not know.
    #[error("tensor '{name}' is not part of the network; the weights belong to another spec")]
    Unused {
        /// Tensor.
        name: String,
    },
    /// NaN or infinity.
    #[error("tensor '{name}' holds a value that is not finite; the file is damaged or its training diverged")]
    NotFinite {
        /// Tensor.
        name: String,
    },
}

/// Tensors by name, not checked against a spec.
pub type Arrays = BTreeMap<String, Array>;

/// One tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// As in [`crate::spec::ParameterSpec`].
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub values: Vec<f32>,
}

/// Every tensor of a network. Invariant: exactly those that the spec names, with its shapes, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(BTreeMap<String, Array>);

impl Weights {
    /// Takes arrays that fit the spec.
    ///
    /// # Errors
    /// Names the first tensor that is missing, unused, of another shape or not finite.
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

    /// Fresh weights: He-normal convolutions and dense layers (He et al. 2015, fan-in, gain √2), batch
    /// norms at identity, biases at zero. The same seed gives the same numbers on every device.
    pub fn init(architecture: &Architecture, seed: u64) -> Self {
        let mut random = SplitMix(seed);
        let arrays = architecture.parameters().into_iter().map(|parameter| {
            let count = parameter.len();
            let values = match (parameter.name.rsplit('.').next(), parameter.shape.as_slice()) {
                (Some("weight"), [_, fan @ ..]) if parameter.shape.len() == 4 => {
                    random.normals(count, (2.0 / fan.iter().product::<usize>() as f64).sqrt())
                }
                (Some("weight"), [fan, _]) => random.normals(count, (2.0 / *fan as f64).sqrt()),
                (Some("weight" | "running_var"), _) => vec![1.0; count],
                _ => vec![0.0; count],
            };
            (parameter.name, Array { shape: parameter.shape, values })
        });
        Self(arrays.collect())
    }

    /// One tensor.
    ///
    /// # Panics
    /// If the spec that the weights were made for does not name it: a bug in the caller.
    pub fn get(&self, name: &str) -> &Array {
        self.0
            .get(name)
            .unwrap_or_else(|| unreachable!("weights hold every tensor of their spec, not '{name}'"))
    }

    /// All tensors by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.0.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// Reads a safetensors file's bytes.
    ///
    /// # Errors
    /// A damaged file, or one that does not fit the spec.
    pub fn from_safetensors(architecture: &Architecture, bytes: &[u8]) -> Result<Self, WeightsError> {
        Self::new(architecture, read_arrays(bytes, |_| true)?)
    }
    /// The bytes of a safetensors file, in a stable order.
    ///
    /// # Errors
    /// Only where safetensors itself refuses.
    pub fn to_safetensors(&self, dtype: WeightsDtype) -> Result<Vec<u8>, WeightsError> {
        write_arrays(self.iter().map(|(name, array)| (name.to_owned(), array)), dtype)
    }
}

/// Reads those tensors of a safetensors file's bytes whose names are wanted.
///
/// # Errors
/// A damaged file, or numbers that are not 32 or 16 bits wide.
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

/// The bytes of a safetensors file.
///
/// # Errors
/// Only where safetensors itself refuses.
pub fn write_arrays<'a>(
    arrays: impl IntoIterator<Item = (String, &'a Array)>,
    dtype: WeightsDtype,
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
    Ok(serialize(views, None)?)
}

/// SplitMix64 (Steele, Lea & Flood 2014): enough for initial weights, and the same on every platform.
struct SplitMix(u64);

impl SplitMix {
    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Box–Muller.
    fn normals(&mut self, count: usize, std: f64) -> Vec<f32> {
        (0..count)
            .map(|_| {
                let (radius, angle) =
                    ((-2.0 * self.uniform().ln()).sqrt(), std::f64::consts::TAU * self.uniform());
                (radius * angle.cos() * std) as f32
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetworkSpec;

    fn spec() -> NetworkSpec {
        NetworkSpec::from_json(include_str!("../../../configs/models/cnn6.json")).unwrap()
    }

    fn architecture() -> Architecture {
        spec().architecture().clone()
    }

    #[test]
    fn init_is_reproducible_and_scaled() {
        let weights = Weights::init(&architecture(), 7);
        assert_eq!(weights, Weights::init(&architecture(), 7));
        assert_ne!(weights, Weights::init(&architecture(), 8));
        let conv = weights.get("layers.5.weight");
        assert_eq!(conv.shape, [128, 64, 3, 3]);
        let variance = conv.values.iter().map(|v| f64::from(v * v)).sum::<f64>() / conv.values.len() as f64;
        assert!((variance * 576.0 / 2.0 - 1.0).abs() < 0.02, "{variance}");
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
