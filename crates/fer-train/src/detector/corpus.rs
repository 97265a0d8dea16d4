//! The photos that a detector learns from, and the ones that it is measured by.

use std::path::Path;

use anyhow::Result;
use fer_network::mix;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::annotations::{self, Photo};
use super::complete::SOURCE;
use super::config::{DetectorTraining, Views};
use super::scene::Scene;

/// Decoded training photos, and the validation photos by their paths.
pub struct Corpus {
    /// Photos to learn from: those with faces, those without, and turned copies of those with faces.
    pub scenes: Vec<Scene>,
    /// Photos to measure by.
    pub validation: Vec<Photo>,
}

impl Corpus {
    /// Splits the annotated photos by a hash of seed and path, so that a photo stays in its part when others are added, and
    /// decodes the training photos.
    ///
    /// # Errors
    /// Returns an error that names the photo that cannot be read.
    pub fn open(
        config: &DetectorTraining,
        photos: Vec<Photo>,
        negatives: Vec<Photo>,
        folder: &Path,
    ) -> Result<Self> {
        let (mut validation, mut training): (Vec<_>, Vec<_>) =
            photos.into_iter().partition(|photo| is_validation(photo, config));
        // A face that another detector added is no truth to measure by.
        for row in validation.iter_mut().flat_map(|photo| &mut photo.faces) {
            row.ignore |= u8::from(row.source == SOURCE);
        }
        training.extend(negatives);
        let pixels = annotations::open_all(folder, &training)?;
        let scenes = training.iter().zip(pixels).map(|(photo, image)| Scene::new(image, photo, config));
        let mut scenes: Vec<Scene> = scenes.collect();
        scenes.extend(turned(&scenes, &config.views, config.seed));
        Ok(Self { scenes, validation })
    }
}

fn is_validation(photo: &Photo, config: &DetectorTraining) -> bool {
    let hash = photo.path.bytes().fold(config.seed, |hash, byte| mix([hash, u64::from(byte), 0]));
    let landmarks_only = photo.faces.iter().any(|row| config.rule(&row.source).landmarks_only);
    !landmarks_only && (hash % 10_000) as f64 / 10_000.0 < config.validation_share
}

/// Returns a copy of each scene with faces, turned by a random angle.
pub(super) fn turned(scenes: &[Scene], views: &Views, seed: u64) -> Vec<Scene> {
    let most = views.turn as f32;
    if most <= 0.0 {
        return Vec::new();
    }
    let with_faces: Vec<(usize, &Scene)> =
        scenes.iter().enumerate().filter(|(_, scene)| scene.has_faces()).collect();
    with_faces
        .par_iter()
        .map(|(position, scene)| {
            let mut random = StdRng::seed_from_u64(mix([seed, *position as u64, 1]));
            scene.turned(random.random_range(-most..=most))
        })
        .collect()
}
