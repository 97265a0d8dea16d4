//! Soft targets: the label of a face or the votes on it, smoothed and weighted by class.

use fer_dataset::Sample;
use fer_model::{Emotion, NetworkSpec};

use crate::training::config::ClassWeights;

/// Makes the soft targets of the training rows.
pub struct Targets {
    labels: Vec<Emotion>,
    smoothing: f32,
    /// Factor on the loss of each label.
    weights: Vec<f32>,
}

impl Targets {
    /// `smoothing` is the probability mass that is spread evenly over the labels; the frequencies of the classes are counted
    /// in `training`.
    pub fn new(
        spec: &NetworkSpec,
        smoothing: f64,
        weights: Option<&ClassWeights>,
        training: &[Sample],
    ) -> Self {
        let labels = spec.labels().to_vec();
        let balanced = |emotion: &Emotion| {
            let count = training.iter().filter(|sample| sample.label == *emotion).count();
            training.len() as f32 / (labels.len() * count.max(1)) as f32
        };
        let weights = match weights {
            None => vec![1.0; labels.len()],
            Some(ClassWeights::Balanced) => labels.iter().map(balanced).collect(),
            Some(ClassWeights::Each(each)) => {
                labels.iter().map(|emotion| each.get(emotion).map_or(1.0, |&weight| weight as f32)).collect()
            }
        };
        Self { labels, smoothing: smoothing as f32, weights }
    }

    /// The soft target of a sample, one value for each label of the network.
    pub fn row(&self, sample: &Sample) -> Vec<f32> {
        let vote = |emotion: Emotion| match sample.votes {
            Some(votes) => votes[emotion.index()],
            None => f32::from(u8::from(sample.label == emotion)),
        };
        // Votes for emotions that are not among the labels do not count.
        let sum: f32 = self.labels.iter().map(|&emotion| vote(emotion)).sum();
        let floor = self.smoothing / self.labels.len() as f32;
        let weighted = self.labels.iter().zip(&self.weights).map(|(&emotion, weight)| {
            let target =
                if sum > 0.0 { vote(emotion) / sum } else { f32::from(u8::from(sample.label == emotion)) };
            weight * (floor + (1.0 - self.smoothing) * target)
        });
        weighted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sample(label: Emotion, votes: Option<[f32; Emotion::COUNT]>) -> Sample {
        Sample { line: 0, label, votes, pixels: Box::new([0; fer_dataset::PIXELS]) }
    }

    fn spec(json: &str) -> NetworkSpec {
        NetworkSpec::from_json(json).unwrap()
    }

    const CNN6: &str = include_str!("../../../../configs/models/cnn6.json");
    const SHALLOW: &str = include_str!("../../../../configs/models/shallow.json");

    #[test]
    fn smoothing_spreads_a_part_evenly() {
        let row = Targets::new(&spec(CNN6), 0.14, None, &[]).row(&sample(Emotion::Happy, None));
        let expected = [0.02, 0.02, 0.02, 0.88, 0.02, 0.02, 0.02];
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{row:?}");
    }

    #[test]
    fn votes_replace_the_label_except_for_emotions_that_are_no_labels() {
        let votes = [0.25, 0.5, 0.0, 0.25, 0.0, 0.0, 0.0];
        let happy = sample(Emotion::Happy, Some(votes));
        assert_eq!(Targets::new(&spec(CNN6), 0.0, None, &[]).row(&happy), votes);
        assert_eq!(Targets::new(&spec(SHALLOW), 0.0, None, &[]).row(&happy), [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]);
        let disgusted = sample(Emotion::Happy, Some([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        assert_eq!(
            Targets::new(&spec(SHALLOW), 0.0, None, &[]).row(&disgusted),
            [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn balanced_weights_are_one_on_average() {
        let training: Vec<Sample> = (0..70)
            .map(|row| sample(if row < 6 { Emotion::ALL[row] } else { Emotion::Neutral }, None))
            .collect();
        let targets = Targets::new(&spec(CNN6), 0.0, Some(&ClassWeights::Balanced), &training);
        let sum: f32 = training.iter().map(|sample| targets.row(sample).iter().sum::<f32>()).sum();
        assert!((sum / 70.0 - 1.0).abs() < 1e-5, "{sum}");
        let each = ClassWeights::Each(BTreeMap::from([(Emotion::Sad, 3.0)]));
        let row = Targets::new(&spec(CNN6), 0.0, Some(&each), &training).row(&training[4]);
        assert_eq!(row[4], 3.0);
    }
}
