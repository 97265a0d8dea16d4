//! Scores of a network on one split, single pass.

use std::collections::BTreeMap;

use anyhow::Result;
use fer_model::bundle::Score;
use fer_model::network::Network;
use fer_model::{CropRule, Emotion, NetworkSpec};

use crate::dataset::Sample;
use crate::detected;
use crate::shards::{Shards, most_probable};
use crate::train::preprocessed;

/// Accuracy, and recall of every emotion that occurs.
pub(crate) fn score(shards: &Shards, network: &Network, spec: &NetworkSpec, samples: &[Sample]) -> Score {
    let logits = shards.logits(network, spec, samples.len(), |range| preprocessed(samples, spec, range));
    let answers = logits.iter().map(|row| spec.labels()[most_probable(row)]);
    let outcomes: Vec<(Emotion, bool)> =
        samples.iter().zip(answers).map(|(sample, answer)| (sample.label, sample.label == answer)).collect();
    tally(&outcomes)
}

/// What came of faces that a detector had to find first.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct DetectedScore {
    /// How they were cut out; see [`CropRule`].
    pub(crate) crop_scale: f32,
    pub(crate) crop_shift: f32,
    pub(crate) level_eyes: bool,
    /// Largest angle by which a face was turned, in degrees.
    pub(crate) tilt: f32,
    /// Faces that were found.
    pub(crate) found: usize,
    /// On the crops of these.
    pub(crate) accuracy: f64,
    /// On the original crops of the same faces.
    pub(crate) accuracy_original: f64,
}

/// Accuracy on detected crops beside that on the original ones, for each rule; see [`detected::find`].
pub(crate) fn on_detected(
    shards: &Shards,
    network: &Network,
    spec: &NetworkSpec,
    samples: &[Sample],
    rules: &[CropRule],
    tilt: f32,
) -> Result<Vec<DetectedScore>> {
    let found = detected::find(samples, tilt)?;
    let (original, found): (Vec<Sample>, Vec<detected::Found>) =
        samples.iter().zip(found).filter_map(|(sample, found)| Some((sample.clone(), found?))).unzip();
    let accuracy_original = score(shards, network, spec, &original).accuracy;
    let scores = rules.iter().map(|&rule| {
        let logits = shards.logits(network, spec, found.len(), |range| {
            let mut pixels = Vec::new();
            for face in &found[range] {
                if let Some(crop) = face.crop(rule, spec) {
                    spec.preprocessing().apply(crop.luma(), spec.input(), &mut pixels);
                }
            }
            pixels
        });
        let right =
            logits.iter().zip(&original).filter(|(row, of)| spec.labels()[most_probable(row)] == of.label);
        DetectedScore {
            crop_scale: rule.scale,
            crop_shift: rule.shift_down,
            level_eyes: rule.level_eyes,
            tilt,
            found: found.len(),
            accuracy: right.count() as f64 / found.len().max(1) as f64,
            accuracy_original,
        }
    });
    Ok(scores.collect())
}

fn tally(outcomes: &[(Emotion, bool)]) -> Score {
    let right =
        |of: &[(Emotion, bool)]| of.iter().filter(|(_, right)| *right).count() as f64 / of.len() as f64;
    let recall = Emotion::ALL
        .into_iter()
        .map(|emotion| (emotion, outcomes.iter().copied().filter(|o| o.0 == emotion).collect::<Vec<_>>()))
        .filter(|(_, of)| !of.is_empty())
        .map(|(emotion, of)| (emotion.name().to_owned(), right(&of)))
        .collect::<BTreeMap<_, _>>();
    Score { samples: outcomes.len(), accuracy: right(outcomes), recall }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_by_true_label() {
        use Emotion::{Happy, Sad};
        let score = tally(&[(Happy, true), (Happy, false), (Happy, true), (Sad, false)]);
        assert_eq!((score.samples, score.accuracy), (4, 0.5));
        assert!((score.recall["happy"] - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(score.recall["sad"], 0.0);
        assert_eq!(score.recall.len(), 2);
    }
}
