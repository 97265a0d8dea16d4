//! What a data set holds: counts by emotion and pixel statistics.

use fer_dataset::{PIXELS, Sample};
use fer_model::Emotion;
use serde::Serialize;

/// Figures of one split.
#[derive(Serialize)]
pub struct SplitFigures {
    /// The split's name in the CSV.
    pub split: &'static str,
    /// Number of faces.
    pub faces: usize,
    /// Number of faces of each emotion, in label order.
    pub counts: Vec<(Emotion, usize)>,
    /// Mean of all pixels, on the scale 0 to 1.
    pub mean: f64,
    /// Standard deviation of all pixels, on the same scale.
    pub std: f64,
    /// Number of faces whose pixels all have the same grey level.
    pub blank: usize,
}

impl SplitFigures {
    /// Computes the figures; there must be at least one sample.
    pub fn of(split: &'static str, samples: &[Sample]) -> Self {
        let (mut sum, mut squares) = (0_u64, 0_u64);
        for sample in samples {
            for &luma in sample.pixels.iter() {
                sum += u64::from(luma);
                squares += u64::from(luma) * u64::from(luma);
            }
        }
        let pixels = (samples.len() * PIXELS) as f64;
        let mean = sum as f64 / pixels / 255.0;
        let variance = squares as f64 / pixels / (255.0 * 255.0) - mean * mean;
        let count = |emotion| samples.iter().filter(|sample| sample.label == emotion).count();
        let blank = |sample: &&Sample| sample.pixels.iter().all(|&luma| luma == sample.pixels[0]);
        Self {
            split,
            faces: samples.len(),
            counts: Emotion::ALL.map(|emotion| (emotion, count(emotion))).to_vec(),
            mean,
            std: variance.max(0.0).sqrt(),
            blank: samples.iter().filter(blank).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let face = |label, levels: [u8; 2]| Sample {
            line: 0,
            label,
            votes: None,
            pixels: Box::new(std::array::from_fn(|i| levels[i % 2])),
        };
        let samples = [face(Emotion::Happy, [0, 255]), face(Emotion::Sad, [51, 51])];
        let figures = SplitFigures::of("Training", &samples);
        assert!((figures.mean - 0.35).abs() < 1e-9);
        assert!((figures.std - (0.25_f64 + 0.02 - 0.35 * 0.35).sqrt()).abs() < 1e-9, "{}", figures.std);
        assert_eq!((figures.blank, figures.counts[Emotion::Happy.index()].1), (1, 1));
    }
}
