//! Fresh weights, before training.

use super::{Array, Weights};
use crate::spec::Architecture;

impl Weights {
    /// Fresh weights: convolutions and dense layers are He-normal (He et al. 2015, fan-in, gain √2), batch norms are the
    /// identity, and biases are zero. The same seed gives the same values on every machine.
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
}

/// SplitMix64 (Steele, Lea & Flood 2014): good enough for initial weights, and the same on every platform.
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

    /// Normal values of mean 0, by the Box–Muller transform.
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

    fn architecture() -> Architecture {
        let spec = NetworkSpec::from_json(include_str!("../../../../configs/models/cnn6.json")).unwrap();
        spec.architecture().clone()
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
}
