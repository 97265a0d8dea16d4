//! Metrics of a classifier, computed from its probabilities: accuracy with interval, per-class metrics, confusion, calibration.

use std::collections::BTreeMap;

use fer_model::bundle::Score;
use fer_model::{Emotion, softmax};
use serde::Serialize;

use crate::training::shards::most_probable;

/// Bins of the reliability diagram and of the expected calibration error (Guo et al. 2017).
const BINS: usize = 15;

/// Metrics of a classifier on one split.
#[derive(Clone, Debug, Serialize)]
pub struct Metrics {
    /// Number of faces.
    pub samples: usize,
    /// Fraction of the faces whose label is the most probable one.
    pub accuracy: f64,
    /// 95 % interval of the accuracy (Wilson 1927).
    pub accuracy_interval: [f64; 2],
    /// Mean recall of the emotions that occur.
    pub balanced_accuracy: f64,
    /// See [`calibration_error`].
    pub ece: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Metrics of each label.
    pub per_class: BTreeMap<Emotion, ClassMetrics>,
    /// The network's labels, in the order of its logits.
    pub labels: Vec<Emotion>,
    /// Number of faces by true label (row) and predicted label (column), in the order of `labels`.
    pub confusion: Vec<Vec<usize>>,
    /// The bins of confidence that are not empty.
    pub reliability: Vec<Bin>,
}

/// Metrics of one label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// Number of faces with this label.
    pub support: usize,
    /// Fraction of the predictions of this label that are right; `None` if it was never predicted.
    pub precision: Option<f64>,
    /// Fraction of the faces with this label that were predicted so; `None` without such faces.
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall.
    pub f1: Option<f64>,
}

/// Faces whose highest probability lies in `(low, low + 1 / BINS]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Lower bound of the probability.
    pub low: f64,
    /// Number of faces.
    pub faces: usize,
    /// Mean of their highest probabilities.
    pub confidence: f64,
    /// Fraction of them that are right.
    pub accuracy: f64,
}

impl Metrics {
    /// Computes the metrics.
    ///
    /// # Shapes
    /// - probabilities: `[faces, labels]`
    /// - truth: `[faces]`, each of them one of `labels`
    pub fn of(probabilities: &[Vec<f64>], truth: &[Emotion], labels: &[Emotion]) -> Self {
        let place = |emotion: &Emotion| labels.iter().position(|label| label == emotion).unwrap_or(0);
        let samples = truth.len();
        let mut confusion = vec![vec![0; labels.len()]; labels.len()];
        let mut pairs = Vec::with_capacity(samples);
        let mut loss = 0.0;
        for (row, emotion) in probabilities.iter().zip(truth) {
            let (own, answer) = (place(emotion), most_probable(row));
            confusion[own][answer] += 1;
            loss -= row[own].max(f64::MIN_POSITIVE).ln();
            pairs.push((row[answer], f64::from(u8::from(own == answer))));
        }
        let right: usize = (0..labels.len()).map(|i| confusion[i][i]).sum();
        let reliability = reliability(&pairs);
        let per_class: BTreeMap<Emotion, ClassMetrics> = labels
            .iter()
            .enumerate()
            .map(|(i, &label)| {
                let support: usize = confusion[i].iter().sum();
                let answered: usize = confusion.iter().map(|row| row[i]).sum();
                let right = confusion[i][i] as f64;
                let of = |count: usize| (count > 0).then(|| right / count as f64);
                let f1 = (support + answered > 0).then(|| 2.0 * right / (support + answered) as f64);
                (label, ClassMetrics { support, precision: of(answered), recall: of(support), f1 })
            })
            .collect();
        let recalls: Vec<f64> = per_class.values().filter_map(|class| class.recall).collect();
        let all = samples.max(1) as f64;
        Self {
            samples,
            accuracy: right as f64 / all,
            accuracy_interval: wilson(right, samples),
            balanced_accuracy: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
            ece: calibration_error(&reliability),
            loss: loss / all,
            per_class,
            labels: labels.to_vec(),
            confusion,
            reliability,
        }
    }

    /// The part that a bundle keeps.
    pub fn score(&self) -> Score {
        let recalls = self
            .per_class
            .iter()
            .filter_map(|(emotion, class)| class.recall.map(|recall| (emotion.name().to_owned(), recall)));
        let confusion = self.confusion.clone();
        Score { samples: self.samples, accuracy: self.accuracy, recall: recalls.collect(), confusion }
    }
}

/// Sorts faces into bins by confidence. Each has the probability of its answer and whether that was right, 1 or 0, or the
/// fraction of people who gave it.
pub fn reliability(pairs: &[(f64, f64)]) -> Vec<Bin> {
    let mut bins = vec![(0_usize, 0.0, 0.0); BINS];
    for (confidence, right) in pairs {
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].0 += 1;
        bins[bin].1 += confidence;
        bins[bin].2 += right;
    }
    let filled = bins.into_iter().enumerate().filter(|(_, (faces, ..))| *faces > 0);
    let bin = |(number, (faces, confidence, right)): (usize, (usize, f64, f64))| {
        let mean = |sum: f64| sum / faces as f64;
        Bin { low: number as f64 / BINS as f64, faces, confidence: mean(confidence), accuracy: mean(right) }
    };
    filled.map(bin).collect()
}

/// Expected calibration error: the mean distance between confidence and accuracy over bins of confidence, weighted by the
/// number of faces (Guo et al. 2017).
pub fn calibration_error(bins: &[Bin]) -> f64 {
    let faces: usize = bins.iter().map(|bin| bin.faces).sum();
    let distance = |bin: &Bin| (bin.confidence - bin.accuracy).abs() * bin.faces as f64;
    bins.iter().map(distance).sum::<f64>() / faces.max(1) as f64
}

/// The 95 % score interval of the fraction `right / of` (Wilson 1927).
pub fn wilson(right: usize, of: usize) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    if of == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (of as f64, right as f64 / of as f64);
    let centre = p + Z * Z / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [centre - reach, centre + reach].map(|bound| bound / (1.0 + Z * Z / n))
}

/// The temperature between 0.05 and 20 with the lowest cross-entropy (Guo et al. 2017).
///
/// Golden-section search over the logarithm of the temperature, in which the loss has a single minimum.
///
/// # Shapes
/// - logits: `[faces, labels]`
/// - targets: `[faces, labels]`, probabilities
pub fn fit_temperature(logits: &[Vec<f32>], targets: &[Vec<f64>]) -> f64 {
    let of_face = |row: &[f32], target: &[f64], temperature: f64| -> f64 {
        let probabilities = softmax(row, temperature);
        probabilities.iter().zip(target).map(|(p, target)| -target * p.max(f64::MIN_POSITIVE).ln()).sum()
    };
    let loss = |log: f64| -> f64 {
        logits.iter().zip(targets).map(|(row, target)| of_face(row, target, log.exp())).sum()
    };
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.05_f64.ln(), 20.0_f64.ln());
    while high - low > 1e-4 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if loss(a) < loss(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Emotion::{Happy, Neutral, Sad};

    #[test]
    fn figures_by_hand() {
        let labels = [Happy, Sad, Neutral];
        let rows = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]];
        let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.to_vec()).collect();
        let metrics = Metrics::of(&rows, &[Happy, Happy, Sad, Sad], &labels);
        assert_eq!((metrics.samples, metrics.accuracy, metrics.balanced_accuracy), (4, 0.5, 0.5));
        assert_eq!(metrics.confusion, [[1, 1, 0], [1, 1, 0], [0, 0, 0]]);
        let happy = &metrics.per_class[&Happy];
        assert_eq!(
            (happy.support, happy.precision, happy.recall, happy.f1),
            (2, Some(0.5), Some(0.5), Some(0.5))
        );
        let neutral = &metrics.per_class[&Neutral];
        assert_eq!((neutral.precision, neutral.recall, neutral.f1), (None, None, None));
        // Two faces at 0.8 that are right, one at 0.6 and one at 0.5 that are wrong.
        assert!((metrics.ece - (2.0 * 0.2 + 0.6 + 0.5) / 4.0).abs() < 1e-9, "{}", metrics.ece);
        assert_eq!(metrics.reliability.len(), 3);
        let expected = -(0.8_f64.ln() + 0.3_f64.ln() + 0.3_f64.ln() + 0.8_f64.ln()) / 4.0;
        assert!((metrics.loss - expected).abs() < 1e-9);
        assert_eq!(metrics.score().recall.len(), 2);
    }

    /// A textbook example: 15 of 20.
    #[test]
    fn the_interval_is_wilsons() {
        let [low, high] = wilson(15, 20);
        assert!((low - 0.5313).abs() < 1e-3 && (high - 0.8881).abs() < 1e-3, "{low} {high}");
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }

    /// The logits are three times too large for how often they are right.
    #[test]
    fn the_temperature_is_found() {
        let (mut logits, mut targets, mut soft) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..1000 {
            let margin = (i % 10) as f32 / 3.0;
            let right = 1.0 / (1.0 + (-f64::from(margin)).exp());
            logits.push(vec![3.0 * margin, 0.0]);
            let is_right = ((i / 10) as f64 + 0.5) / 100.0 < right;
            targets.push(if is_right { vec![1.0, 0.0] } else { vec![0.0, 1.0] });
            soft.push(vec![right, 1.0 - right]);
        }
        for targets in [targets, soft] {
            let temperature = fit_temperature(&logits, &targets);
            assert!((temperature - 3.0).abs() < 0.1, "{temperature}");
        }
    }
}
