//! What the detector costs the emotion network: FER-2013 faces are pasted into larger pictures, detected there, cut out by
//! the crop rule, and scored beside the original crops.
//!
//! Detection and crop are those of serving: [`Analyzer`] and the bundle's [`FaceSpec`].

use anyhow::Result;
use fer_dataset::{SIDE, Sample};
use fer_detect::DetectorModel;
use fer_engine::Engine;
use fer_image::sample::bilinear;
use fer_image::{BoundingBox, CropRule, FaceCrop, FaceLocation};
use fer_model::{Bundle, FaceSpec, NetworkSpec};
use fer_vision::{Analyzer, AnalyzerConfig};
use image::{Rgb, RgbImage};
use indicatif::ParallelProgressIterator as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;

use crate::evaluation::scorer::Scorer;
use crate::evaluation::views::{Views, view_logits};
use crate::progress;
use crate::training::shards::most_probable;

/// Largest angles by which pasted faces are turned, in degrees.
pub const TILTS: [f32; 2] = [0.0, 15.0];

/// Sides of the pasted faces in pixels, used in turn.
const SIDES: [f32; 4] = [48.0, 72.0, 110.0, 160.0];

/// Side of the picture, as a multiple of the side of the face.
const ROOM: f32 = 2.5;

/// Intersection over union with the pasted face from which a detected box counts as that face.
const MIN_OVERLAP: f32 = 0.3;

/// Scores of one crop rule on faces that a detector had to find first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DetectedScore {
    /// See [`CropRule::scale`].
    pub crop_scale: f32,
    /// See [`CropRule::shift_down`].
    pub crop_shift: f32,
    /// See [`CropRule::level_eyes`].
    pub level_eyes: bool,
    /// Largest angle by which a face was turned, in degrees.
    pub tilt: f32,
    /// Number of faces that were found.
    pub found: usize,
    /// Number of found faces that the rule cuts no crop out for; neither accuracy counts them.
    pub uncropped: usize,
    /// Accuracy on the crops of the found faces.
    pub accuracy: f64,
    /// Accuracy on the original crops of the same faces.
    pub accuracy_original: f64,
}

/// Accuracy on detected crops beside that on the original ones, for each crop rule. The rules replace the bundle's. Faces
/// are turned by up to `tilt` degrees.
///
/// # Errors
/// If the detector fails.
pub fn score(
    bundle: &Bundle,
    scorer: &Scorer<'_>,
    samples: &[Sample],
    rules: &[CropRule],
    tilt: f32,
) -> Result<Vec<DetectedScore>> {
    let found = find(bundle, samples, tilt)?;
    let (original, found): (Vec<Sample>, Vec<Found>) =
        samples.iter().zip(found).filter_map(|(sample, found)| Some((sample.clone(), found?))).unzip();
    let logits = view_logits(scorer, &original, Views::Plain);
    let original_right: Vec<bool> =
        logits[0].iter().zip(&original).map(|(row, sample)| is_right(row, sample, scorer.spec)).collect();
    let scores = rules.iter().map(|&rule| {
        let face = FaceSpec { crop: rule, ..bundle.face() };
        let crops: Vec<_> = found.iter().map(|found| face.extract(&found.picture, &found.location)).collect();
        let right = right_crops(scorer, &crops, &original);
        let cropped = right.iter().flatten().count();
        let fraction = |count: usize| count as f64 / cropped.max(1) as f64;
        let originals = right.iter().zip(&original_right).filter(|(crop, right)| crop.is_some() && **right);
        DetectedScore {
            crop_scale: rule.scale,
            crop_shift: rule.shift_down,
            level_eyes: rule.level_eyes,
            tilt,
            found: found.len(),
            uncropped: found.len() - cropped,
            accuracy: fraction(right.iter().flatten().filter(|right| **right).count()),
            accuracy_original: fraction(originals.count()),
        }
    });
    Ok(scores.collect())
}

/// The logits of the faces that are found and cut out by the bundle's rule, with their indices.
///
/// # Errors
/// If the detector fails.
pub fn logits(
    bundle: &Bundle,
    scorer: &Scorer<'_>,
    samples: &[Sample],
    tilt: f32,
) -> Result<Vec<(usize, Vec<f32>)>> {
    let found = find(bundle, samples, tilt)?;
    let crop = |found: &Found| bundle.face().extract(&found.picture, &found.location);
    let crops = found.iter().enumerate().filter_map(|(number, found)| Some((number, crop(found.as_ref()?)?)));
    let (numbers, crops): (Vec<usize>, Vec<FaceCrop>) = crops.unzip();
    let crops: Vec<&FaceCrop> = crops.iter().collect();
    let logits = scorer.logits(crops.len(), |range| input(&crops[range], scorer.spec));
    Ok(numbers.into_iter().zip(logits).collect())
}

/// Whether the network is right about each crop; `None` where there is no crop. `crops` and `samples` have equal lengths.
fn right_crops(scorer: &Scorer<'_>, crops: &[Option<FaceCrop>], samples: &[Sample]) -> Vec<Option<bool>> {
    let spec = scorer.spec;
    let there: Vec<&FaceCrop> = crops.iter().flatten().collect();
    let logits = scorer.logits(there.len(), |range| input(&there[range], spec));
    let mut logits = logits.iter();
    crops
        .iter()
        .zip(samples)
        .map(|(crop, sample)| {
            crop.as_ref()?;
            logits.next().map(|row| is_right(row, sample, spec))
        })
        .collect()
}

/// What the network gets for some crops: normalised pixels, row-major `[faces, channels, height, width]`.
fn input(crops: &[&FaceCrop], spec: &NetworkSpec) -> Vec<f32> {
    let mut pixels = Vec::new();
    for crop in crops {
        spec.preprocessing().apply(crop.luma(), spec.input(), &mut pixels);
    }
    pixels
}

fn is_right(logits: &[f32], sample: &Sample, spec: &NetworkSpec) -> bool {
    spec.labels()[most_probable(logits)] == sample.label
}

/// A face that was pasted into a picture and found there.
struct Found {
    picture: RgbImage,
    location: FaceLocation,
}

/// Pastes each sample, turned by up to `tilt` degrees, and detects it; `None` where nothing is found in its place.
fn find(bundle: &Bundle, samples: &[Sample], tilt: f32) -> Result<Vec<Option<Found>>> {
    let (engine, detector) = (Engine::tract(), DetectorModel::embedded());
    samples
        .par_iter()
        .enumerate()
        .map_init(
            || Analyzer::new(&engine, &detector, bundle, AnalyzerConfig::default()),
            |analyzer, (number, sample)| {
                let analyzer = analyzer.as_mut().map_err(|e| anyhow::anyhow!("{e}"))?;
                let (picture, wanted) = paste(sample, number, tilt);
                let faces = analyzer.find(&picture)?;
                let best = faces
                    .iter()
                    .max_by(|a, b| a.bounding_box.iou(&wanted).total_cmp(&b.bounding_box.iou(&wanted)));
                Ok(best
                    .filter(|face| face.bounding_box.iou(&wanted) > MIN_OVERLAP)
                    .map(|face| Found { picture, location: face.location() }))
            },
        )
        .progress_with(progress::bar(samples.len(), "faces"))
        .collect()
}

/// Pastes a face into a plain picture in the mean grey of the face's border. Also returns the box that the face fills.
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
        let to_face = |offset: f32| (offset / side + 0.5) * SIDE as f32 - 0.5;
        let (u, v) = (to_face(cos * across + sin * down), to_face(cos * down - sin * across));
        let inside = |t: f32| t > -0.5 && t < SIDE as f32 - 0.5;
        let clamp = |t: f32| (t.max(0.0) as usize).min(last);
        let value =
            if inside(u) && inside(v) { bilinear(u, v, |u, v| pixel(clamp(u), clamp(v))) } else { grey };
        Rgb([value.round() as u8; 3])
    });
    (picture, BoundingBox { x, y, width: side, height: side })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use fer_model::Emotion;
    use fer_model::weights::{Array, Weights};
    use fer_network::Network;

    use super::*;
    use crate::training::shards::Shards;

    /// A face of the sample photo in FER-2013's size.
    fn astronaut() -> Sample {
        let photo =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/astronaut.png");
        let photo = image::open(photo).unwrap().into_luma8();
        let face = image::imageops::crop_imm(&photo, 170, 58, 110, 110).to_image();
        let face =
            image::imageops::resize(&face, SIDE as u32, SIDE as u32, image::imageops::FilterType::Triangle);
        let pixels = Box::new(<[u8; SIDE * SIDE]>::try_from(face.into_raw()).unwrap());
        Sample { line: 0, label: Emotion::Happy, votes: None, pixels }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Issue 13, section 1: training and serving could drift apart between the photo and the network.
    #[test]
    fn the_networks_input_is_that_of_serving_bit_by_bit() {
        let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/emotion");
        let folder = tempfile::tempdir().unwrap();
        for (level_eyes, tilt) in [(false, 0.0), (false, 15.0), (true, 15.0)] {
            let shipped = Bundle::open(&shipped).unwrap();
            let mut builder = shipped.to_builder();
            builder.crop.level_eyes = level_eyes;
            builder.write(folder.path()).unwrap();
            let bundle = &Bundle::open(folder.path()).unwrap();
            // Number 2 is pasted with a side of 110 pixels.
            let samples = vec![astronaut(); 3];
            let found = find(bundle, &samples, tilt).unwrap().pop().flatten().expect("the face is found");
            let crop = bundle.face().extract(&found.picture, &found.location).unwrap();
            let evaluated = input(&[&crop], bundle.network());

            let mut png = std::io::Cursor::new(Vec::new());
            found.picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
            let photo = fer_image::decode(&png.into_inner(), fer_image::DecodeLimits::default()).unwrap();
            let (engine, detector) = (Engine::tract(), DetectorModel::embedded());
            let mut analyzer = Analyzer::new(&engine, &detector, bundle, AnalyzerConfig::default()).unwrap();
            let (faces, crops) = analyzer.crops(&photo).unwrap();
            let same = faces.iter().position(|face| face.bounding_box == found.location.bounding_box);
            let served = analyzer.classifier().input(&crops[same.unwrap()..=same.unwrap()]);
            assert_eq!(bits(&evaluated), bits(&served), "level eyes {level_eyes}, tilt {tilt}");
            assert!(served.iter().any(|value| value.abs() > 0.5), "the input shows something");
        }
    }

    /// Bright faces are happy, dark ones sad.
    #[test]
    fn a_missing_crop_shifts_no_row() {
        let spec = NetworkSpec::from_json(
            r#"{"name": "bright", "input": {"channels": 1, "height": 48, "width": 48},
                "preprocessing": {"mean": 0.5, "std": 0.25}, "labels": ["happy", "sad"],
                "layers": [{"kind": "global_avg_pool"}, {"kind": "dense", "units": 2}]}"#,
        )
        .unwrap();
        let arrays = spec.architecture().parameters().into_iter().map(|parameter| {
            let values = if parameter.name.ends_with("weight") { vec![1.0, -1.0] } else { vec![0.0; 2] };
            (parameter.name, Array { shape: parameter.shape, values })
        });
        let weights = Weights::new(spec.architecture(), arrays.collect()).unwrap();
        let shards = Shards::new(Device::flex(), 1).unwrap();
        let network = Network::new(spec.architecture(), &weights, &Device::flex());
        let scorer = Scorer::of_network(&shards, &spec, 0, network);
        let face =
            |label, level| Sample { line: 0, label, votes: None, pixels: Box::new([level; SIDE * SIDE]) };
        let samples = [
            face(Emotion::Happy, 200),
            face(Emotion::Sad, 30),
            face(Emotion::Happy, 220),
            face(Emotion::Sad, 20),
            face(Emotion::Happy, 10),
        ];
        let crops: Vec<_> = samples
            .iter()
            .enumerate()
            .map(|(i, sample)| {
                (i != 1).then(|| FaceCrop::from_square(sample.pixels.as_slice(), SIDE, [SIDE; 2]))?
            })
            .collect();
        let right = right_crops(&scorer, &crops, &samples);
        assert_eq!(right, [Some(true), None, Some(true), Some(true), Some(false)]);
    }

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
