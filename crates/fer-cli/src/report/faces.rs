//! The contact sheet: for each label the faces that the network was surest of, cut out of the original files.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fer_image::{DecodeLimits, resize};
use fer_model::Emotion;
use fer_video::{Limits, Selection};
use fer_vision::FaceRecord;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use serde::Serialize;

/// Examples of each label.
const EACH: usize = 6;

/// Longest side of an example, in pixels.
const SIDE: u32 = 144;

/// The faces of which an example would be made.
#[derive(Default)]
pub(crate) struct Candidates([Vec<(f32, FaceRecord)>; Emotion::COUNT]);

impl Candidates {
    /// Offers a face. Only the surest ones are kept, and of each track only one.
    pub(crate) fn offer(&mut self, emotion: Emotion, probability: f32, record: &FaceRecord) {
        let best = &mut self.0[emotion.index()];
        let same = |other: &FaceRecord| {
            record.track_id.is_some() && (&other.source, other.track_id) == (&record.source, record.track_id)
        };
        if let Some((known, kept)) = best.iter_mut().find(|(_, kept)| same(kept)) {
            if probability > *known {
                (*known, *kept) = (probability, record.clone());
            }
        } else if best.len() < EACH || best.iter().any(|(known, _)| probability > *known) {
            best.push((probability, record.clone()));
        }
        best.sort_by(|a, b| b.0.total_cmp(&a.0));
        best.truncate(EACH);
    }
}

/// A face in the page.
#[derive(Serialize)]
pub(crate) struct Example {
    /// The picture, as a `data:` URL.
    url: String,
    /// File and time.
    origin: String,
    percent: u32,
}

/// The faces in the page.
#[derive(Serialize)]
pub(crate) struct Examples {
    /// Label and its examples.
    labels: Vec<(&'static str, Vec<Example>)>,
    /// Faces whose file could not be read again.
    missing: usize,
}

impl Examples {
    /// Cuts the faces out of their files. Names are relative to the working directory, as they were for `fer analyze`.
    pub(crate) fn of(candidates: &Candidates) -> Self {
        let mut missing = 0;
        let labels = Emotion::ALL.into_iter().zip(&candidates.0).map(|(emotion, faces)| {
            let examples = faces.iter().filter_map(|(probability, record)| {
                let example = example(*probability, record);
                missing += usize::from(example.is_none());
                example
            });
            (emotion.name(), examples.collect::<Vec<_>>())
        });
        let labels = labels.filter(|(_, examples)| !examples.is_empty()).collect();
        Self { labels, missing }
    }
}

fn example(probability: f32, record: &FaceRecord) -> Option<Example> {
    let source = record.source.as_deref()?;
    let picture = match record.timestamp_ms {
        None => fer_image::read(Path::new(source), DecodeLimits::default()).ok()?,
        Some(time) => frame(Path::new(source), Duration::from_millis(time))?,
    };
    let face = cut(&picture, [record.x?, record.y?, record.width?, record.height?])?;
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 85).encode_image(&face).ok()?;
    let time = record.timestamp_ms.map_or(String::new(), |time| format!(", {:.1} s", time as f64 / 1000.0));
    Some(Example {
        url: format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)),
        origin: format!("{source}{time}"),
        percent: (100.0 * probability).round() as u32,
    })
}

/// The frame of a video at a time.
fn frame(path: &Path, time: Duration) -> Option<RgbImage> {
    let from = time.saturating_sub(Duration::from_millis(2));
    let selection = Selection { from: Some(from), to: None, every: None };
    let limits = Limits { threads: 1, max_pixels: DecodeLimits::default().max_pixels };
    Some(fer_video::open(path, &selection, limits).ok()?.next()?.ok()?.pixels)
}

/// The square around a box, a quarter larger, as far as it lies in the picture.
fn cut(picture: &RgbImage, [x, y, width, height]: [f32; 4]) -> Option<RgbImage> {
    let side = 1.25 * width.max(height);
    let [left, top] =
        [x + 0.5 * width - 0.5 * side, y + 0.5 * height - 0.5 * side].map(|edge| edge.max(0.0) as u32);
    if left >= picture.width() || top >= picture.height() {
        return None;
    }
    let side = side as u32;
    let [wide, high] = [side.min(picture.width() - left), side.min(picture.height() - top)];
    if wide == 0 || high == 0 {
        return None;
    }
    let face = image::imageops::crop_imm(picture, left, top, wide, high).to_image();
    Some(resize::limited(&face, SIDE).map_or(face, |(small, _)| small))
}
