//! Soft targets: the label of a face or the votes on it, for each head of a network, smoothed and weighted by class.

use fer_dataset::Sample;
use fer_model::{Emotion, LabelSet, NetworkSpec};

use crate::training::config::ClassWeights;

/// Makes the soft targets of the training rows.
pub struct Targets {
    labels: Vec<Emotion>,
    label_sets: Vec<LabelSet>,
    smoothing: f32,
    /// Factor on the loss of each label.
    weights: Vec<f32>,
}

impl Targets {
    /// `smoothing` is the probability mass of a label that is spread evenly over all labels; the frequencies of the classes are
    /// counted in `training`.
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
        let label_sets = spec.label_sets().to_vec();
        Self { labels, label_sets, smoothing: smoothing as f32, weights }
    }

    /// The soft targets of a sample: for each head one value for each label, which sum to 1 before the class weights. A head for
    /// FER+ gets only zeros if the sample has no votes, so that it does not learn from it.
    ///
    /// A network whose only head is for FER-2013's labels learns the votes in their place if there are any.
    pub fn row(&self, sample: &Sample) -> Vec<f32> {
        let label = || self.labels.iter().map(|&emotion| self.smoothed(sample.label == emotion)).collect();
        let votes = sample.votes_among(&self.labels);
        let heads = self.label_sets.iter().map(|set| match (set, &votes) {
            (LabelSet::Fer2013, Some(votes)) if self.label_sets.len() == 1 => votes.clone(),
            (LabelSet::Fer2013, _) => label(),
            (LabelSet::FerPlus, Some(votes)) => votes.clone(),
            (LabelSet::FerPlus, None) => vec![0.0; self.labels.len()],
        });
        let heads: Vec<Vec<f32>> = heads.collect();
        heads
            .iter()
            .flat_map(|head| head.iter().zip(&self.weights).map(|(target, weight)| target * weight))
            .collect()
    }

    fn smoothed(&self, is_label: bool) -> f32 {
        self.smoothing / self.labels.len() as f32 + (1.0 - self.smoothing) * f32::from(u8::from(is_label))
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
    fn each_head_has_the_targets_of_its_label_set() {
        let both = spec(include_str!("../../../../configs/models/cnn6-ferplus.json"));
        let targets = Targets::new(&both, 0.14, None, &[]);
        let voted = targets.row(&sample(Emotion::Happy, Some([0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0])));
        assert!(
            voted[..7]
                .iter()
                .zip([0.02, 0.02, 0.02, 0.88, 0.02, 0.02, 0.02])
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert_eq!(voted[7..], [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(targets.row(&sample(Emotion::Happy, None))[7..], [0.0; 7]);
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
