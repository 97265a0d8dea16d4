//! Softmax, and a probability for each emotion.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::Emotion;

/// The softmax of `logits / temperature`, computed in double precision.
///
/// Returns one probability for each logit. They are NaN if a logit is not finite or the temperature is 0 or NaN.
pub fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> =
        logits.iter().map(|&logit| ((f64::from(logit) - highest) / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The probability above which an answer is certain if the model does not say: above it, a calibrated model is more likely to
/// be right than wrong.
pub(crate) const EVEN_CHANCE: f32 = 0.5;

/// One probability for each emotion.
///
/// Invariant: finite, each in `[0, 1]`, sum 1 ± 1e-4. Emotions that a model has no label for have probability 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probabilities {
    values: [f32; Emotion::COUNT],
    /// See [`Probabilities::is_uncertain`].
    certain_above: f32,
}

impl Probabilities {
    /// The [`softmax`] of `logits / temperature`, assigned to the emotions in `labels`.
    ///
    /// `logits` and `labels` have one entry for each class. Returns `None` if their lengths differ, if there is no class,
    /// if a logit is not finite, or if the temperature is not a positive number.
    pub fn from_logits(logits: &[f32], labels: &[Emotion], temperature: f32) -> Option<Self> {
        let finite = logits.iter().all(|logit| logit.is_finite());
        if logits.len() != labels.len() || logits.is_empty() || !finite {
            return None;
        }
        if temperature.is_nan() || temperature <= 0.0 {
            return None;
        }
        let mut values = [0.0; Emotion::COUNT];
        for (label, probability) in labels.iter().zip(softmax(logits, f64::from(temperature))) {
            values[label.index()] = probability as f32;
        }
        Some(Self { values, certain_above: EVEN_CHANCE })
    }

    /// The same probabilities with another threshold of [`Probabilities::is_uncertain`].
    #[must_use]
    pub fn certain_above(self, threshold: f32) -> Self {
        Self { certain_above: threshold, ..self }
    }

    /// Probabilities that were written down before, in the order of [`Emotion::ALL`]. Returns `None` unless each is in
    /// `[0, 1]` and their sum is 1 ± 1e-4.
    pub fn from_values(values: [f32; Emotion::COUNT]) -> Option<Self> {
        let sum: f32 = values.iter().sum();
        let valid = values.iter().all(|value| (0.0..=1.0).contains(value)) && (sum - 1.0).abs() <= 1e-4;
        valid.then_some(Self { values, certain_above: EVEN_CHANCE })
    }

    /// The mean over several faces; `None` if there are none.
    pub fn mean<'a>(faces: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut sum = [0.0; Emotion::COUNT];
        let (mut count, mut certain_above) = (0_u32, EVEN_CHANCE);
        for face in faces {
            count += 1;
            certain_above = face.certain_above;
            for (total, value) in sum.iter_mut().zip(face.values) {
                *total += value;
            }
        }
        (count > 0).then(|| Self { values: sum.map(|total| total / count as f32), certain_above })
    }

    /// Interpolates towards `other`: weight 0 gives `self`, weight 1 gives `other`. Weights outside of `[0, 1]` are
    /// clamped. The threshold of certainty is that of `other`.
    #[must_use]
    pub fn towards(&self, other: &Self, weight: f32) -> Self {
        let weight = weight.clamp(0.0, 1.0);
        let values = std::array::from_fn(|i| self.values[i] + weight * (other.values[i] - self.values[i]));
        Self { values, ..*other }
    }

    /// The probability of one emotion.
    pub fn get(&self, emotion: Emotion) -> f32 {
        self.values[emotion.index()]
    }

    /// Emotions with their probabilities, in the order of [`Emotion::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Emotion, f32)> + '_ {
        Emotion::ALL.into_iter().zip(self.values)
    }

    /// The most probable emotion; the first one if several are equally probable.
    pub fn dominant(&self) -> Emotion {
        self.iter().fold((Emotion::Angry, f32::MIN), |best, next| if next.1 > best.1 { next } else { best }).0
    }

    /// Whether the most probable emotion has at most the probability from which the model's answers count as certain, see
    /// [`Calibration`](crate::bundle::Calibration); 0.5 if the model does not say.
    pub fn is_uncertain(&self) -> bool {
        self.get(self.dominant()) <= self.certain_above
    }
}

impl Serialize for Probabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Emotion::COUNT))?;
        for (emotion, probability) in self.iter() {
            map.serialize_entry(emotion.name(), &probability)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_survives_large_logits() {
        let p = Probabilities::from_logits(&[900.0, 0.0, -900.0, 899.0, 1.0, 2.0, 3.0], &Emotion::ALL, 1.0)
            .unwrap();
        assert!((p.iter().map(|(_, v)| v).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(p.dominant(), Emotion::Angry);
        assert!((p.get(Emotion::Happy) - 0.268_94).abs() < 1e-4);
    }

    #[test]
    fn six_classes_leave_the_seventh_at_zero() {
        let labels: Vec<_> = Emotion::ALL.into_iter().filter(|e| *e != Emotion::Disgust).collect();
        let p = Probabilities::from_logits(&[0.0, 0.0, 0.0, 0.0, 0.0, 5.0], &labels, 1.0).unwrap();
        assert_eq!(p.get(Emotion::Disgust), 0.0);
        assert_eq!(p.dominant(), Emotion::Neutral);
    }

    #[test]
    fn half_is_uncertain() {
        let of =
            |logits: &[f32]| Probabilities::from_logits(logits, &Emotion::ALL[..logits.len()], 1.0).unwrap();
        assert!(of(&[2.0, 2.0]).is_uncertain() && of(&[1.0, 0.9, 0.8]).is_uncertain());
        assert!(!of(&[2.1, 2.0]).is_uncertain());
    }

    #[test]
    fn the_threshold_of_certainty_stays() {
        let of = |logits: &[f32]| Probabilities::from_logits(logits, &Emotion::ALL[..2], 1.0).unwrap();
        // 0.73 and 0.88
        let (less, more) = (of(&[1.0, 0.0]).certain_above(0.8), of(&[2.0, 0.0]).certain_above(0.8));
        assert!(less.is_uncertain() && !more.is_uncertain());
        assert!(less.towards(&more, 0.1).is_uncertain() && !more.towards(&less, 0.1).is_uncertain());
        assert!(Probabilities::mean([&less]).unwrap().is_uncertain());
    }

    #[test]
    fn temperature_flattens() {
        let sharp = Probabilities::from_logits(&[2.0, 0.0], &Emotion::ALL[..2], 1.0).unwrap();
        let flat = Probabilities::from_logits(&[2.0, 0.0], &Emotion::ALL[..2], 4.0).unwrap();
        assert!(flat.get(Emotion::Angry) < sharp.get(Emotion::Angry));
    }

    #[test]
    fn nan_and_mismatch_are_refused() {
        assert!(Probabilities::from_logits(&[f32::NAN; 7], &Emotion::ALL, 1.0).is_none());
        assert!(Probabilities::from_logits(&[0.0; 6], &Emotion::ALL, 1.0).is_none());
        assert!(Probabilities::from_logits(&[0.0; 7], &Emotion::ALL, 0.0).is_none());
    }

    #[test]
    fn written_values_give_the_same_probabilities() {
        let p =
            Probabilities::from_logits(&[0.3, -1.0, 2.0, 0.0, 1.0, 2.0, 3.0], &Emotion::ALL, 1.0).unwrap();
        assert_eq!(Probabilities::from_values(Emotion::ALL.map(|emotion| p.get(emotion))), Some(p));
        assert_eq!(Probabilities::from_values([0.5; 7]), None);
        assert_eq!(Probabilities::from_values([f32::NAN; 7]), None);
        assert_eq!(Probabilities::from_values([2.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), None);
    }

    #[test]
    fn softmax_keeps_the_precision_of_f64() {
        let probabilities = softmax(&[1.0, 2.0, 3.0], 0.5);
        let powers = [-4.0_f64, -2.0, 0.0].map(f64::exp);
        let sum: f64 = powers.iter().sum();
        for (probability, power) in probabilities.iter().zip(powers) {
            assert!((probability - power / sum).abs() < 1e-15, "{probability}");
        }
        assert_eq!(softmax(&[], 1.0), Vec::<f64>::new());
        assert_eq!(softmax(&[3e38, -3e38], 1.0), [1.0, 0.0]);
    }
}
