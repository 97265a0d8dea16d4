//! What a photo does to a face before the network sees it, and FER-2013's crops do not show: few pixels, blur, compression,
//! noise, another brightness curve, and things in front of the face.

use fer_image::DecodeLimits;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rand::Rng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

/// How often a training face is degraded, and how. Nothing is by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Degradation {
    /// Probability that the face had only 20 to 40 pixels along each side.
    pub low_resolution: f64,
    /// Probability of a blur: one to three passes of a (1, 2, 1) filter.
    pub blur: f64,
    /// Probability of JPEG compression with a quality of 20 to 80.
    pub jpeg: f64,
    /// Probability of Gaussian noise with a standard deviation of 2 to 12 grey levels.
    pub noise: f64,
    /// The brightness curve has an exponent of e to the power of ± this.
    pub gamma: f32,
    /// Probability that a rectangle of one grey level covers a tenth to a half of each side (random erasing, Zhong et al. 2020).
    pub cover: f64,
}

impl Degradation {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field and the range.
    pub fn check(&self) -> Result<(), String> {
        let Self { low_resolution, blur, jpeg, noise, gamma, cover } = *self;
        let probabilities = [
            ("low_resolution", low_resolution),
            ("blur", blur),
            ("jpeg", jpeg),
            ("noise", noise),
            ("cover", cover),
        ];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("augmentation.degradation.{name} is {value}; expected 0 to 1"));
            }
        }
        if !(0.0..=2.0).contains(&gamma) {
            return Err(format!("augmentation.degradation.gamma is {gamma}; expected 0 to 2"));
        }
        Ok(())
    }

    /// Degrades a face at random, in the order in which a photo would be: what covers the face comes before the camera, the
    /// compression last. Draws nothing from `random` for what is turned off.
    ///
    /// # Shapes
    /// - face: row-major grey levels 0 to 255 of `height` rows of `width`
    pub fn apply(&self, face: &mut [f32], [height, width]: [usize; 2], random: &mut StdRng) {
        let happens =
            |probability: f64, random: &mut StdRng| probability > 0.0 && random.random_bool(probability);
        if happens(self.cover, random) {
            cover(face, [height, width], random);
        }
        if self.gamma > 0.0 {
            let exponent = random.random_range(-self.gamma..=self.gamma).exp();
            face.iter_mut().for_each(|level| *level = 255.0 * (*level / 255.0).powf(exponent));
        }
        if happens(self.low_resolution, random) {
            let side = random.random_range(20..=40);
            through(face, [height, width], [side.min(height), side.min(width)]);
        }
        if happens(self.blur, random) {
            (0..random.random_range(1..=3)).for_each(|_| smooth(face, width));
        }
        if happens(self.noise, random) {
            let deviation = random.random_range(2.0..12.0_f32);
            let noise =
                Normal::new(0.0, deviation).unwrap_or_else(|_| unreachable!("{deviation} is positive"));
            face.iter_mut().for_each(|level| *level = (*level + noise.sample(random)).clamp(0.0, 255.0));
        }
        if happens(self.jpeg, random) {
            compress(face, [height, width], random.random_range(20..=80));
        }
    }
}

/// Fills a random rectangle with a random grey level.
fn cover(face: &mut [f32], [height, width]: [usize; 2], random: &mut StdRng) {
    let mut span = |side: usize| {
        let length = random.random_range(side / 10..=side / 2).max(1);
        let first = random.random_range(0..=side - length);
        first..first + length
    };
    let (rows, columns) = (span(height), span(width));
    let level = random.random_range(0.0..=255.0);
    face.chunks_exact_mut(width)
        .skip(rows.start)
        .take(rows.len())
        .for_each(|row| row[columns.clone()].fill(level));
}

/// Resizes a face to a smaller size and back, as serving resizes.
fn through(face: &mut [f32], size: [usize; 2], smaller: [usize; 2]) {
    let resized = fer_image::resize::grey(&levels(face), size, smaller)
        .and_then(|small| fer_image::resize::grey(&small, smaller, size));
    if let Some(resized) = resized {
        face.iter_mut().zip(resized).for_each(|(level, resized)| *level = f32::from(resized));
    }
}

/// Writes a face as JPEG and reads it again.
fn compress(face: &mut [f32], [height, width]: [usize; 2], quality: u8) {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    let written = encoder.write_image(&levels(face), width as u32, height as u32, ExtendedColorType::L8);
    let read = written.ok().and_then(|()| fer_image::decode(&bytes, DecodeLimits::default()).ok());
    if let Some(read) = read {
        face.iter_mut().zip(read.pixels()).for_each(|(level, pixel)| *level = f32::from(pixel.0[0]));
    }
}

/// Replaces each pixel by the weighted mean (1, 2, 1) of itself and its neighbours in both directions. The border stays.
pub(crate) fn smooth(values: &mut [f32], width: usize) {
    for row in values.chunks_exact_mut(width) {
        let mut before = row[0];
        for x in 1..width - 1 {
            let here = row[x];
            row[x] = 0.25 * (before + 2.0 * here + row[x + 1]);
            before = here;
        }
    }
    // Row by row, because a walk down a column of a large crop misses the cache at every step.
    let mut above = values[..width].to_vec();
    for y in 1..values.len() / width - 1 {
        let (here, below) = values[y * width..].split_at_mut(width);
        for ((here, above), below) in here.iter_mut().zip(&mut above).zip(&*below) {
            let before = std::mem::replace(above, *here);
            *here = 0.25 * (before + 2.0 * *here + below);
        }
    }
}

/// Rounded grey levels.
fn levels(face: &[f32]) -> Vec<u8> {
    face.iter().map(|level| level.round() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const SIZE: [usize; 2] = [48, 48];

    /// A face with an edge, a slope and single bright pixels.
    fn face() -> Vec<f32> {
        (0..48 * 48)
            .map(|i| match (i % 48, i / 48) {
                (x, y) if (x * 7 + y * 5) % 97 == 0 => 240.0,
                (x, y) if x > 24 => 60.0 + y as f32,
                (x, _) => 150.0 + x as f32,
            })
            .collect()
    }

    fn degraded(degradation: &Degradation, seed: u64) -> Vec<f32> {
        let mut face = face();
        degradation.apply(&mut face, SIZE, &mut StdRng::seed_from_u64(seed));
        face
    }

    #[test]
    fn nothing_happens_by_default_and_no_random_number_is_drawn() {
        let mut random = StdRng::seed_from_u64(3);
        let mut same = face();
        Degradation::default().apply(&mut same, SIZE, &mut random);
        assert_eq!(same, face());
        assert_eq!(random, StdRng::seed_from_u64(3));
    }

    #[test]
    fn each_one_changes_the_face_but_leaves_a_face() {
        let none = Degradation::default;
        let kinds = [
            Degradation { low_resolution: 1.0, ..none() },
            Degradation { blur: 1.0, ..none() },
            Degradation { jpeg: 1.0, ..none() },
            Degradation { noise: 1.0, ..none() },
            Degradation { gamma: 0.5, ..none() },
            Degradation { cover: 1.0, ..none() },
        ];
        for degradation in kinds {
            for seed in 0..20 {
                let after = degraded(&degradation, seed);
                assert_ne!(after, face(), "{degradation:?}");
                assert!(after.iter().all(|level| (0.0..=255.0).contains(level)), "{degradation:?}");
                let change = after.iter().zip(face()).map(|(a, b)| (a - b).abs()).sum::<f32>() / 2304.0;
                assert!(change < 60.0, "{degradation:?} changes a level by {change} on average");
                assert_eq!(after, degraded(&degradation, seed), "the seed decides");
            }
        }
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = Degradation { jpeg: 1.5, ..Degradation::default() }.check().unwrap_err();
        assert_eq!(wrong, "augmentation.degradation.jpeg is 1.5; expected 0 to 1");
        assert!(Degradation { gamma: -0.1, ..Degradation::default() }.check().is_err());
        assert!(Degradation::default().check().is_ok());
    }

    #[test]
    fn blur_keeps_the_mean() {
        let mut values = vec![0.0; 25];
        values[12] = 1.0;
        smooth(&mut values, 5);
        assert!((values.iter().sum::<f32>() - 1.0).abs() < 1e-6 && (values[12] - 0.25).abs() < 1e-6);
    }
}
