//! What the detector costs the emotion network: FER-2013 faces pasted into larger pictures, found again, cut out by the
//! crop rule, and scored beside the original crops.

use anyhow::Result;
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::Engine;
use fer_image::BoundingBox;
use fer_image::{CropRule, FaceCrop, FaceLocation};
use fer_model::NetworkSpec;
use image::{Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::data::dataset::{SIDE, Sample};

/// Sides of the pasted faces in pixels; they take turns.
const SIDES: [f32; 4] = [48.0, 72.0, 110.0, 160.0];

/// Side of the picture for a side of the face.
const ROOM: f32 = 2.5;

/// A face that was pasted into a picture and found there.
pub struct Found {
    picture: RgbImage,
    place: FaceLocation,
}

impl Found {
    /// The face as the emotion network gets it.
    pub fn crop(&self, rule: CropRule, spec: &NetworkSpec) -> Option<FaceCrop> {
        FaceCrop::extract(&self.picture, &self.place, rule, spec.preprocessing().face_size(spec.input()))
    }
}

/// Pastes and detects each sample, turned by an angle of up to `tilt` degrees; `None` where nothing is found at its
/// place.
pub fn find(samples: &[Sample], tilt: f32) -> Result<Vec<Option<Found>>> {
    let (engine, model) = (Engine::tract(), DetectorModel::embedded());
    samples
        .par_iter()
        .enumerate()
        .map_init(
            || model.detector(&engine, &DetectorOptions::default()),
            |detector, (number, sample)| {
                let detector = detector.as_mut().map_err(|e| anyhow::anyhow!("{e}"))?;
                let (picture, wanted) = paste(sample, number, tilt);
                let faces = detector.detect(&picture)?;
                let best = faces
                    .iter()
                    .max_by(|a, b| a.bounding_box.iou(&wanted).total_cmp(&b.bounding_box.iou(&wanted)));
                Ok(best.filter(|face| face.bounding_box.iou(&wanted) > 0.3).map(|face| {
                    let place = FaceLocation { bounding_box: face.bounding_box, eyes: face.landmarks.eyes() };
                    Found { picture, place }
                }))
            },
        )
        .collect()
}

/// The face on a plain picture of its border's mean grey, and the box that it fills there.
fn paste(sample: &Sample, number: usize, tilt: f32) -> (RgbImage, BoundingBox) {
    let mut random = StdRng::seed_from_u64(number as u64);
    let side = SIDES[number % SIDES.len()];
    let room = (ROOM * side).round();
    let [x, y] = std::array::from_fn(|_| random.random_range(0.2 * side..=room - 1.2 * side));
    let angle = if tilt > 0.0 { random.random_range(-tilt..=tilt).to_radians() } else { 0.0 };
    let (sin, cos) = angle.sin_cos();
    let pixel = |x: usize, y: usize| f32::from(sample.pixels[y * SIDE + x]);
    let last = SIDE - 1;
    let border = (0..last).map(|i| pixel(i, 0) + pixel(i + 1, last) + pixel(0, i + 1) + pixel(last, i));
    let grey = border.sum::<f32>() / (4 * last) as f32;
    let picture = RgbImage::from_fn(room as u32, room as u32, |column, row| {
        let (across, down) = (column as f32 + 0.5 - x - 0.5 * side, row as f32 + 0.5 - y - 0.5 * side);
        let of = |turned: f32| (turned / side + 0.5) * SIDE as f32 - 0.5;
        let (u, v) = (of(cos * across + sin * down), of(cos * down - sin * across));
        let inside = |t: f32| t > -0.5 && t < SIDE as f32 - 0.5;
        let value = if inside(u) && inside(v) {
            let clamp = |t: f32| (t.max(0.0) as usize).min(last);
            let (u0, v0) = (u.floor(), v.floor());
            let (right, low) = (u - u0, v - v0);
            let line = |v: f32| {
                pixel(clamp(u0), clamp(v)) * (1.0 - right) + pixel(clamp(u0 + 1.0), clamp(v)) * right
            };
            line(v0) * (1.0 - low) + line(v0 + 1.0) * low
        } else {
            grey
        };
        Rgb([value.round() as u8; 3])
    });
    (picture, BoundingBox { x, y, width: side, height: side })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_model::Emotion;

    #[test]
    fn a_pasted_face_is_the_face() {
        let pixels = Box::new(std::array::from_fn(|i| (i % SIDE * 5) as u8));
        let sample = Sample { line: 0, label: Emotion::Happy, votes: None, pixels };
        let (picture, at) = paste(&sample, 0, 0.0);
        assert_eq!((picture.width(), at.width), (120, 48.0));
        let value = |x: f32| i32::from(picture.get_pixel(x as u32, (at.y + 24.0) as u32).0[0]);
        assert!((value(at.x + 10.0) - 50).abs() <= 5 && (value(at.x + 40.0) - 200).abs() <= 5);
        // Outside: the border's mean.
        assert!((value(1.0) - 118).abs() <= 3, "{}", value(1.0));
        let (tilted, _) = paste(&sample, 1, 15.0);
        assert_eq!(tilted.width(), 180);
        assert_ne!(tilted, paste(&sample, 1, 0.0).0);
    }
}
