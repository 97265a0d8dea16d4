//! What the weights of a run follow from. A checkpoint keeps it, and a run goes on only under the same settings.

use anyhow::Result;
use fer_dataset::Sample;
use fer_model::NetworkSpec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::training::config::TrainingConfig;

/// The configuration, and the content of the files that it names. `init_from` is read only at the start of a run, so its
/// content does not belong here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSettings {
    /// The configuration with all overrides.
    pub config: TrainingConfig,
    /// The whole specification, because the file that `config.model` names may change.
    pub network: NetworkSpec,
    /// sha256 of the training and the validation rows; PrivateTest is not part of it.
    pub rows_sha256: String,
    /// sha256 of the teacher's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_sha256: Option<String>,
}

/// sha256 in lower-case hexadecimal over labels, soft targets and pixels of several groups of rows.
pub fn rows_sha256(groups: [&[Sample]; 2]) -> String {
    let mut hash = Sha256::new();
    for rows in groups {
        hash.update((rows.len() as u64).to_le_bytes());
        for row in rows {
            hash.update([row.label.index() as u8, u8::from(row.votes.is_some())]);
            row.votes.iter().flatten().for_each(|weight| hash.update(weight.to_le_bytes()));
            hash.update(row.pixels.as_slice());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first place where two JSON documents differ, as `network.layers.0.channels was 4 and is 5 now`.
pub(crate) fn difference(before: &impl Serialize, now: &impl Serialize) -> Result<Option<String>> {
    Ok(first_difference(&serde_json::to_value(before)?, &serde_json::to_value(now)?, ""))
}

fn first_difference(before: &serde_json::Value, now: &serde_json::Value, path: &str) -> Option<String> {
    use serde_json::Value::{Array, Null, Object};
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (before, now) {
        (a, b) if a == b => None,
        (Object(a), Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let value = |object: &serde_json::Map<_, _>, key| object.get(key).cloned().unwrap_or(Null);
            keys.into_iter().find_map(|key| first_difference(&value(a, key), &value(b, key), &below(key)))
        }
        (Array(a), Array(b)) if a.len() == b.len() => (a.iter().zip(b).enumerate())
            .find_map(|(index, (a, b))| first_difference(a, b, &below(&index.to_string()))),
        (Array(a), Array(b)) => Some(format!("{path} had {} entries and has {} now", a.len(), b.len())),
        (Null, b) => Some(format!("{path} was not given and is {b} now")),
        (a, Null) => Some(format!("{path} was {a} and is not given now")),
        (a, b) => Some(format!("{path} was {a} and is {b} now")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let before = json!({"network": {"layers": [{"channels": 4}, {"kind": "relu"}]}, "seed": 1});
        let changed = |path: &str, value: serde_json::Value| {
            let mut now = before.clone();
            *now.pointer_mut(path).unwrap() = value;
            difference(&before, &now).unwrap().unwrap()
        };
        assert_eq!(
            changed("/network/layers/0/channels", json!(5)),
            "network.layers.0.channels was 4 and is 5 now"
        );
        assert_eq!(changed("/network/layers", json!([])), "network.layers had 2 entries and has 0 now");
        assert_eq!(changed("/seed", json!(null)), "seed was 1 and is not given now");
        assert_eq!(difference(&before, &before).unwrap(), None);
    }

    #[test]
    fn every_part_of_a_row_counts() {
        use fer_model::Emotion;
        let row = Sample { line: 2, label: Emotion::Sad, votes: None, pixels: Box::new([7; 48 * 48]) };
        let hash = |change: fn(&mut Sample)| {
            let mut changed = row.clone();
            change(&mut changed);
            rows_sha256([&[changed], &[]])
        };
        let same = hash(|_| {});
        assert_eq!((same.len(), &same), (64, &hash(|row| row.line = 9)), "the line is only for messages");
        assert_ne!(same, hash(|row| row.label = Emotion::Happy));
        assert_ne!(same, hash(|row| row.votes = Some([0.5; 7])));
        assert_ne!(same, hash(|row| row.pixels[100] = 8));
        assert_ne!(same, rows_sha256([&[], std::slice::from_ref(&row)]), "training and validation are apart");
    }
}
