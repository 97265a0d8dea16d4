//! Mini-batches of training faces: augmented, blended in pairs (mixup) and preprocessed, with their soft targets.

use anyhow::{Context, Result};
use fer_dataset::Sample;
use fer_model::NetworkSpec;
use fer_model::spec::InputSpec;
use fer_network::mix;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand_distr::Distribution;
use rayon::prelude::*;

use crate::data::targets::Targets;
use crate::training::config::TrainingConfig;
use crate::training::shards::MiniBatch;

/// Makes mini-batches of the training rows.
pub struct Batches<'a> {
    /// Configuration of the run.
    pub config: &'a TrainingConfig,
    /// The network's input, preprocessing and labels.
    pub spec: &'a NetworkSpec,
    /// Soft targets of the rows.
    pub targets: Targets,
    /// All training rows.
    pub training: Vec<Sample>,
}

impl Batches<'_> {
    /// Mini-batches in an epoch. An incomplete last one is left out.
    pub fn steps(&self) -> usize {
        self.training.len() / self.config.batch_size
    }

    /// A part of a mini-batch: the training rows with the given indices. `first` is the position of the first one in the
    /// mini-batch. A row's view follows from seed, epoch and row, so it does not depend on how the mini-batch is divided.
    pub fn part(&self, rows: &[usize], blend: &Blend, first: usize, epoch: usize) -> MiniBatch {
        let InputSpec { channels, height, width } = self.spec.input();
        let preprocessing = self.spec.preprocessing();
        let face = |row: usize| {
            let seed = mix([self.config.seed, epoch as u64, row as u64]);
            let sample = &self.training[row];
            (self.config.augmentation.view(&sample.pixels, self.spec, seed), self.targets.row(sample))
        };
        let faces = rows.par_iter().enumerate().map(|(place, &row)| {
            let (mut view, mut target) = face(row);
            if let Some(&other) = blend.partners.get(first + place) {
                let (other_view, other_target) = face(other);
                let mixed = |a: f32, b: f32| blend.weight * a + (1.0 - blend.weight) * b;
                view.iter_mut().zip(other_view).for_each(|(a, b)| *a = mixed(*a, b));
                target.iter_mut().zip(other_target).for_each(|(a, b)| *a = mixed(*a, b));
            }
            view.iter_mut().for_each(|luma| *luma = preprocessing.normalise(*luma));
            (view, target)
        });
        let (views, targets): (Vec<_>, Vec<_>) = faces.unzip();
        let mut pixels = Vec::with_capacity(rows.len() * channels * height * width);
        for view in views {
            (0..channels).for_each(|_| pixels.extend_from_slice(&view));
        }
        MiniBatch { pixels, targets: targets.concat() }
    }
}

/// The face that each face of a mini-batch is blended with (mixup, Zhang et al. 2018).
pub struct Blend {
    /// Row of the partner by position in the mini-batch; empty without mixup.
    partners: Vec<usize>,
    /// Weight of the face itself; its partner has the rest.
    weight: f32,
}

impl Blend {
    /// Draws partners and weight for the rows of a mini-batch.
    ///
    /// # Errors
    /// If `augmentation.mixup` is no parameter of a beta distribution.
    pub fn of(rows: &[usize], config: &TrainingConfig, step: usize) -> Result<Self> {
        let alpha = config.augmentation.mixup;
        if alpha == 0.0 {
            return Ok(Self { partners: Vec::new(), weight: 1.0 });
        }
        let mut random = StdRng::seed_from_u64(mix([config.seed, step as u64, 2]));
        let weight = rand_distr::Beta::new(alpha, alpha).context("augmentation.mixup")?.sample(&mut random);
        let mut partners = rows.to_vec();
        partners.shuffle(&mut random);
        Ok(Self { partners, weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_dataset::PIXELS;
    use fer_model::Emotion;

    #[test]
    fn blended_faces_have_blended_targets() {
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
        assert!((0.0..=1.0).contains(&blend.weight));
        let swapped = Blend { partners: vec![1, 0], weight: 0.75 };
        let whole = batches.part(&[0, 1], &swapped, 0, 0);
        let happy = &whole.targets[..7];
        assert!((happy[3] - 0.75).abs() < 1e-6 && (happy[4] - 0.25).abs() < 1e-6, "{happy:?}");
        let expected = spec.preprocessing().normalise(175.0);
        assert!(whole.pixels[..PIXELS].iter().all(|pixel| (pixel - expected).abs() < 1e-5));
        // A part of the mini-batch is the same as in the whole.
        let second = batches.part(&[1], &swapped, 1, 0);
        assert_eq!((&second.pixels[..], &second.targets[..]), (&whole.pixels[PIXELS..], &whole.targets[7..]));
    }
}
