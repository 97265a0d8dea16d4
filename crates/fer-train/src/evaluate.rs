//! Scores of a network on one split, single pass.

use std::collections::BTreeMap;

use fer_model::bundle::Score;
use fer_model::network::Network;
use fer_model::{Emotion, NetworkSpec};

use crate::dataset::Sample;
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
