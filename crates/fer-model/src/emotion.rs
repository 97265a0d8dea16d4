//! The seven emotions of FER-2013 and a probability for each.

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// A facial expression's label.
///
/// Discriminants are the FER-2013 CSV labels, so reordering the variants misreads every data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Emotion {
    /// 0
    Angry,
    /// 1
    Disgust,
    /// 2
    Fear,
    /// 3
    Happy,
    /// 4
    Sad,
    /// 5
    Surprise,
    /// 6
    Neutral,
}

impl Emotion {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// All of them, in the order of the FER-2013 labels.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Angry, Self::Disgust, Self::Fear, Self::Happy, Self::Sad, Self::Surprise, Self::Neutral];

    /// The lower-case English name, as in every JSON of this project.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Angry => "angry",
            Self::Disgust => "disgust",
            Self::Fear => "fear",
            Self::Happy => "happy",
            Self::Sad => "sad",
            Self::Surprise => "surprise",
            Self::Neutral => "neutral",
        }
    }

    /// The emotion of a FER-2013 label, or `None` above 6.
    pub fn from_label(label: u8) -> Option<Self> {
        Self::ALL.get(usize::from(label)).copied()
    }

    /// The position in [`Emotion::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Emotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is none of the seven.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown emotion '{0}': expected angry, disgust, fear, happy, sad, surprise or neutral")]
pub struct UnknownEmotion(pub String);

impl FromStr for Emotion {
    type Err = UnknownEmotion;

    fn from_str(name: &str) -> Result<Self, UnknownEmotion> {
        Self::ALL.into_iter().find(|e| e.name() == name).ok_or_else(|| UnknownEmotion(name.to_owned()))
    }
}

/// One probability per emotion.
///
/// Invariant: finite, each in `[0, 1]`, sum 1 ± 1e-4. Emotions that a model does not know stay at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probabilities([f32; Emotion::COUNT]);

impl Probabilities {
    /// The softmax of `logits / temperature`, placed at the emotions that `labels` names.
    ///
    /// `logits` and `labels` have one entry per class. `None` where their lengths differ, where there is
    /// no class, or where a logit or the temperature does not give a finite probability.
    pub fn from_logits(logits: &[f32], labels: &[Emotion], temperature: f32) -> Option<Self> {
        if logits.len() != labels.len() || logits.is_empty() || temperature.is_nan() || temperature <= 0.0 {
            return None;
        }
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scores: Vec<f32> = logits.iter().map(|logit| ((logit - highest) / temperature).exp()).collect();
        let sum: f32 = scores.iter().sum();
        if logits.iter().any(|logit| !logit.is_finite()) || !sum.is_finite() || sum <= 0.0 {
            return None;
        }
        let mut probabilities = [0.0; Emotion::COUNT];
        for (label, score) in labels.iter().zip(scores) {
            probabilities[label.index()] = score / sum;
        }
        Some(Self(probabilities))
    }

    /// The mean over several faces; `None` for no face.
    pub fn mean<'a>(faces: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut sum = [0.0; Emotion::COUNT];
        let mut count = 0_u32;
        for face in faces {
            count += 1;
            for (total, value) in sum.iter_mut().zip(face.0) {
                *total += value;
            }
        }
        (count > 0).then(|| Self(sum.map(|total| total / count as f32)))
    }

    /// A share of the way to others, 0 to 1.
    #[must_use]
    pub fn towards(&self, others: &Self, share: f32) -> Self {
        let share = share.clamp(0.0, 1.0);
        Self(std::array::from_fn(|i| self.0[i] + share * (others.0[i] - self.0[i])))
    }

    /// The probability of one emotion.
    pub fn get(&self, emotion: Emotion) -> f32 {
        self.0[emotion.index()]
    }

    /// Pairs in the order of [`Emotion::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Emotion, f32)> + '_ {
        Emotion::ALL.into_iter().zip(self.0)
    }

    /// The most probable emotion; the first of equals.
    pub fn dominant(&self) -> Emotion {
        self.iter().fold((Emotion::Angry, f32::MIN), |best, next| if next.1 > best.1 { next } else { best }).0
    }

    /// Whether the most probable emotion has at most half of the probability: more likely wrong than right, as far as the
    /// model is calibrated.
    pub fn is_uncertain(&self) -> bool {
        self.get(self.dominant()) <= 0.5
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
    fn names_round_trip() {
        for (label, emotion) in Emotion::ALL.into_iter().enumerate() {
            assert_eq!(emotion.name().parse(), Ok(emotion));
            assert_eq!(Emotion::from_label(label as u8), Some(emotion));
        }
        assert_eq!(Emotion::from_label(7), None);
        assert!("contempt".parse::<Emotion>().is_err());
    }
}
