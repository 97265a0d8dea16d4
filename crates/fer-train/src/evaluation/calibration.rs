//! Calibration of a head: the temperature at which its probabilities fit what people said, and the probability above which its
//! answers are certain.
//!
//! Every face that people rated counts. With the votes of FER+, a calibrated probability is the fraction of people who would give
//! the answer; with FER-2013's single labels, it is the fraction of faces on which the answer is the label.

use fer_dataset::Sample;
use fer_model::bundle::Calibration;
use fer_model::{Emotion, LabelSet, softmax};

use crate::evaluation::metrics::{calibration_error, fit_temperature, reliability};
use crate::training::shards::most_probable;

/// Fraction of the certain answers that must be right, at least.
const CERTAIN_ACCURACY: f64 = 0.8;

/// Logits of faces, and what people said about each.
pub struct Rated {
    /// `[faces, labels]`
    pub logits: Vec<Vec<f32>>,
    /// `[faces, labels]`, probabilities.
    pub targets: Vec<Vec<f64>>,
}

/// The samples that people rated by a label set, with what they said as probabilities of `labels`: the votes on a face for FER+,
/// otherwise its label.
pub fn rated(samples: &[Sample], labels: &[Emotion], set: LabelSet) -> (Vec<Sample>, Vec<Vec<f64>>) {
    let of_sample = |sample: &Sample| match set {
        LabelSet::FerPlus => {
            let votes = sample.votes_among(labels)?;
            Some(votes.into_iter().map(f64::from).collect())
        }
        LabelSet::Fer2013 => labels
            .contains(&sample.label)
            .then(|| labels.iter().map(|label| f64::from(u8::from(sample.label == *label))).collect()),
    };
    samples.iter().filter_map(|sample| Some((sample.clone(), of_sample(sample)?))).unzip()
}

impl Rated {
    /// The temperature with the lowest cross-entropy, and the calibration at that temperature. An answer is certain above the
    /// lowest probability, in hundredths and at least one half, above which four of five are what most people said.
    pub fn fit(&self) -> (f32, Calibration) {
        let temperature = fit_temperature(&self.logits, &self.targets) as f32;
        let thresholds = (50..100).map(|hundredths| f64::from(hundredths) / 100.0);
        let mut tried = thresholds.map(|threshold| self.measure(temperature, threshold));
        let found = tried.find(|calibration| calibration.certain_accuracy >= CERTAIN_ACCURACY);
        (temperature, found.unwrap_or_else(|| self.measure(temperature, 0.99)))
    }

    /// The calibration at a temperature, with the probability above which an answer is certain.
    pub fn measure(&self, temperature: f32, certain_above: f64) -> Calibration {
        let (mut pairs, mut certain, mut right) = (Vec::with_capacity(self.logits.len()), 0, 0);
        for (logits, target) in self.logits.iter().zip(&self.targets) {
            let probabilities = softmax(logits, f64::from(temperature));
            let answer = most_probable(&probabilities);
            pairs.push((probabilities[answer], target[answer]));
            // In single precision, as serving compares them.
            if probabilities[answer] as f32 > certain_above as f32 {
                certain += 1;
                right += usize::from(target.iter().all(|other| *other <= target[answer]));
            }
        }
        let fraction = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        Calibration {
            faces: pairs.len(),
            error: calibration_error(&reliability(&pairs)),
            certain_above,
            certain: fraction(certain, pairs.len()),
            certain_accuracy: fraction(right, certain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faces of which people agree on the answer as often as a calibrated model says at temperature 2.
    fn agreeing(levels: &[f32]) -> Rated {
        let logits: Vec<Vec<f32>> = levels.iter().map(|&level| vec![level, 0.0]).collect();
        let targets = logits.iter().map(|row| softmax(row, 2.0)).collect();
        Rated { logits, targets }
    }

    #[test]
    fn votes_are_fitted() {
        let (temperature, calibration) = agreeing(&[0.5, 1.0, 2.0, 3.0, 5.0]).fit();
        assert!((temperature - 2.0).abs() < 0.01, "{temperature}");
        assert!(calibration.error < 0.01, "{}", calibration.error);
        // Most people give every answer, so that none above one half is in doubt.
        assert_eq!(
            (calibration.certain_above, calibration.certain, calibration.certain_accuracy),
            (0.5, 1.0, 1.0)
        );
    }

    #[test]
    fn certain_answers_are_right_four_times_of_five() {
        // Of ten faces at each of three probabilities, 5, 7 and 9 are right.
        let mut rated = Rated { logits: Vec::new(), targets: Vec::new() };
        for (probability, right) in [(0.55_f32, 5), (0.7, 7), (0.9, 9)] {
            for number in 0..10 {
                rated.logits.push(vec![(probability / (1.0 - probability)).ln(), 0.0]);
                rated.targets.push(if number < right { vec![1.0, 0.0] } else { vec![0.0, 1.0] });
            }
        }
        let (temperature, calibration) = rated.fit();
        assert!((0.8..1.2).contains(&temperature), "{temperature}");
        assert!((0.55..0.7).contains(&calibration.certain_above), "{}", calibration.certain_above);
        assert_eq!((calibration.certain, calibration.certain_accuracy), (2.0 / 3.0, 0.8));
        let all = rated.measure(1.0, 0.5);
        assert!(
            (all.certain, all.certain_accuracy) == (1.0, 0.7) && (all.error - 0.05 / 3.0).abs() < 1e-6,
            "{}",
            all.error
        );
    }

    #[test]
    fn faces_without_votes_are_not_rated() {
        let votes = |happy, sad| {
            let mut votes = [0.0; Emotion::COUNT];
            (votes[Emotion::Happy.index()], votes[Emotion::Sad.index()]) = (happy, sad);
            Some(votes)
        };
        let pixels = || Box::new([0; fer_dataset::PIXELS]);
        let face = |votes| Sample { line: 0, label: Emotion::Sad, votes, pixels: pixels() };
        let samples = [face(votes(0.5, 0.5)), face(None), face(votes(0.0, 0.0))];
        let labels = [Emotion::Happy, Emotion::Sad];
        let (faces, targets) = rated(&samples, &labels, LabelSet::FerPlus);
        assert_eq!((faces.len(), targets), (1, vec![vec![0.5, 0.5]]));
        let (faces, targets) = rated(&samples, &labels, LabelSet::Fer2013);
        assert_eq!((faces.len(), targets), (3, vec![vec![0.0, 1.0]; 3]));
    }
}
