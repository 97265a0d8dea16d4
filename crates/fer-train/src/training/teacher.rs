//! Distillation (Hinton, Vinyals & Dean 2015): training rows are to be answered in part as another model answers them,
//! above all an ensemble, whose doubts say more about a face than one label does.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use fer_model::{Emotion, NetworkSpec};
use serde::{Deserialize, Serialize};

use crate::data::dataset::Sample;
use crate::evaluation::evaluate::{mean, view_logits};
use crate::evaluation::scorer::Scorer;
use crate::evaluation::views::Views;
use crate::training::device::Compute;
use crate::training::shards::Shards;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    /// Folder of a bundle with the network's labels.
    pub bundle: PathBuf,
    /// Of its answer in what is to be answered; the rest is the label, or the votes.
    #[serde(default = "half")]
    pub share: f64,
    /// By which its logits are divided: above 1, its answers say less.
    #[serde(default = "one")]
    pub temperature: f64,
}

fn half() -> f64 {
    0.5
}

fn one() -> f64 {
    1.0
}

impl Teacher {
    pub fn check(&self) -> Result<()> {
        let Self { share, temperature, .. } = self;
        ensure!(*share > 0.0 && *share <= 1.0, "teacher.share is {share}; expected above 0, to 1");
        ensure!(
            temperature.is_finite() && *temperature > 0.0,
            "teacher.temperature is {temperature}; expected a number above 0"
        );
        Ok(())
    }

    /// Puts its answers, the mean of each face's and its mirror image's, into the samples' votes.
    pub fn teach(
        &self,
        samples: &mut [Sample],
        spec: &NetworkSpec,
        compute: &Compute,
        shards: &Shards,
    ) -> Result<()> {
        let bundle = crate::open_bundle(&self.bundle)?;
        let labels = bundle.network().labels();
        ensure!(
            labels == spec.labels(),
            "the teacher {} tells other labels apart than {}",
            self.bundle.display(),
            spec.name()
        );
        let scorer = Scorer::of_bundle(shards, &bundle, &compute.device);
        let views = view_logits(&scorer, samples, Views::Flip);
        let answers = mean(&views, samples.len(), self.temperature);
        let share = self.share as f32;
        for (sample, answer) in samples.iter_mut().zip(answers) {
            let mut votes = sample.votes.unwrap_or_else(|| only(sample.label)).map(|own| (1.0 - share) * own);
            for (label, probability) in labels.iter().zip(answer) {
                votes[label.index()] += share * probability as f32;
            }
            sample.votes = Some(votes);
        }
        Ok(())
    }
}

/// All votes for one label.
fn only(label: Emotion) -> [f32; Emotion::COUNT] {
    Emotion::ALL.map(|emotion| f32::from(u8::from(emotion == label)))
}
