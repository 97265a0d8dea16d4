//! Mini-batches of training faces: augmented, blended, preprocessed, with what they are to answer.

use anyhow::{Context, Result};
use fer_model::NetworkSpec;
use fer_model::spec::InputSpec;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand_distr::Distribution;

use crate::data::dataset::Sample;
use crate::data::targets::Targets;
use crate::training::config::TrainingConfig;
use crate::training::shards::MiniBatch;
use crate::training::train::mix;

pub struct Batches<'a> {
    pub config: &'a TrainingConfig,
    pub spec: &'a NetworkSpec,
    pub targets: Targets,
    pub training: Vec<Sample>,
}

impl Batches<'_> {
    /// The given training rows, which stand at `first` of their mini-batch.
    pub fn part(&self, rows: &[usize], blend: &Blend, first: usize, epoch: usize) -> MiniBatch {
        let InputSpec { channels, height, width } = self.spec.input();
        let preprocessing = self.spec.preprocessing();
        let mut batch = MiniBatch {
            pixels: Vec::with_capacity(rows.len() * channels * height * width),
            targets: Vec::with_capacity(rows.len() * self.spec.labels().len()),
        };
        let face = |row: usize| {
            let seed = mix([self.config.seed, epoch as u64, row as u64]);
            let sample = &self.training[row];
            (self.config.augmentation.view(&sample.pixels, self.spec, seed), self.targets.row(sample))
        };
        for (place, &row) in (first..).zip(rows) {
            let (mut view, mut target) = face(row);
            if let Some(&other) = blend.partners.get(place) {
                let (other_view, other_target) = face(other);
                let mixed = |a: f32, b: f32| blend.share * a + (1.0 - blend.share) * b;
                view.iter_mut().zip(other_view).for_each(|(a, b)| *a = mixed(*a, b));
                target.iter_mut().zip(other_target).for_each(|(a, b)| *a = mixed(*a, b));
            }
            for _ in 0..channels {
                batch.pixels.extend(view.iter().map(|&luma| preprocessing.normalise(luma)));
            }
            batch.targets.extend(target);
        }
        batch
    }
}

/// Which face each one of a mini-batch is blended with, and how much of itself it keeps.
pub struct Blend {
    /// None where nothing is blended.
    partners: Vec<usize>,
    share: f32,
}

impl Blend {
    pub fn of(rows: &[usize], config: &TrainingConfig, step: usize) -> Result<Self> {
        let alpha = config.augmentation.mixup;
        if alpha == 0.0 {
            return Ok(Self { partners: Vec::new(), share: 1.0 });
        }
        let mut random = StdRng::seed_from_u64(mix([config.seed, step as u64, 2]));
        let share = rand_distr::Beta::new(alpha, alpha).context("augmentation.mixup")?.sample(&mut random);
        let mut partners = rows.to_vec();
        partners.shuffle(&mut random);
        Ok(Self { partners, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::PIXELS;
    use fer_model::Emotion;

    #[test]
    fn blended_faces_answer_for_both() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/training/cnn6.json");
        let still = ["flip", "rotation_degrees", "scale", "shift_pixels", "brightness", "contrast"];
        let mut set: Vec<String> = still.iter().map(|key| format!("augmentation.{key}=0")).collect();
        set.push("augmentation.mixup=0.4".to_owned());
        let config = TrainingConfig::read(&path, &set).unwrap();
        let spec = include_str!("../../../../configs/models/cnn6.json");
        let spec = NetworkSpec::from_json(spec).unwrap();
        let face = |label, level| Sample { line: 0, label, votes: None, pixels: Box::new([level; PIXELS]) };
        let training = vec![face(Emotion::Happy, 200), face(Emotion::Sad, 100)];
        let targets = Targets::new(&spec, 0.0, None, &training);
        let batches = Batches { config: &config, spec: &spec, targets, training };
        let blend = Blend::of(&[0, 1], &config, 3).unwrap();
        assert!((0.0..=1.0).contains(&blend.share));
        let swapped = Blend { partners: vec![1, 0], share: 0.75 };
        let whole = batches.part(&[0, 1], &swapped, 0, 0);
        let happy = &whole.targets[..7];
        assert!((happy[3] - 0.75).abs() < 1e-6 && (happy[4] - 0.25).abs() < 1e-6, "{happy:?}");
        let expected = spec.preprocessing().normalise(175.0);
        assert!(whole.pixels[..PIXELS].iter().all(|pixel| (pixel - expected).abs() < 1e-5));
        // However the mini-batch is cut, it is the same.
        let second = batches.part(&[1], &swapped, 1, 0);
        assert_eq!((&second.pixels[..], &second.targets[..]), (&whole.pixels[PIXELS..], &whole.targets[7..]));
    }
}
