//! Random views of a crop: cut at a border, mirrored, blurred, recoloured, covered.

use fer_detect::mtcnn::{Candidate, Stage, append_crop};
use fer_image::area::Normalization;
use image::RgbImage;
use rand::Rng;
use rand::rngs::StdRng;

use super::config::Views;
use crate::data::degrade::smooth;

/// What the networks are trained on, and what their manifest says.
pub const NORMALIZATION: Normalization = Normalization { mean: 127.5, scale: 128.0 };

/// What a network learns from one crop. Loss terms without a target have no weight.
pub struct Sample {
    /// `[3, side, side]`, normalised.
    pub pixels: Vec<f32>,
    /// Whether the crop shows a face; `None` for a part of one.
    pub face: Option<bool>,
    /// Target of the box regression.
    pub box_regression: Option<[f32; 4]>,
    /// Eyes, nose, corners of the mouth and centre of the mouth as fractions of the crop, where known.
    pub points: [Option<[f32; 2]>; 6],
}

/// Returns what a stage's network sees of a window, or `None` if the window covers no pixel. Now and then the picture is cut
/// off inside the window.
pub fn crop(
    stage: Stage,
    views: &Views,
    image: &RgbImage,
    corners: [f32; 4],
    random: &mut StdRng,
) -> Option<Vec<f32>> {
    let mut pixels = Vec::new();
    let candidate = Candidate { corners, score: 1.0 };
    // P-Net's windows never reach over the border.
    if stage == Stage::Proposal || !random.random_bool(views.cut) {
        return append_crop(stage, image, &candidate, NORMALIZATION, &mut pixels).then_some(pixels);
    }
    let mut kept = corners;
    let edge = random.random_range(0..4);
    let inwards = (kept[edge % 2 + 2] - kept[edge % 2]) * random.random_range(0.0..0.35);
    kept[edge] += if edge < 2 { inwards } else { -inwards };
    let most = [image.width(), image.height()];
    let [x0, y0, x1, y1] = std::array::from_fn(|i| (kept[i].max(0.0) as u32).min(most[i % 2]));
    if x1 <= x0 + 2 || y1 <= y0 + 2 {
        return None;
    }
    let picture = image::imageops::crop_imm(image, x0, y0, x1 - x0, y1 - y0).to_image();
    let [left, top] = [x0 as f32, y0 as f32];
    let corners = [corners[0] - left, corners[1] - top, corners[2] - left, corners[3] - top];
    append_crop(stage, &picture, &Candidate { corners, ..candidate }, NORMALIZATION, &mut pixels)
        .then_some(pixels)
}

/// Mirrors, recolours, blurs and covers a sample at random. The targets follow the mirroring.
pub fn apply(sample: &mut Sample, stage: Stage, views: &Views, random: &mut StdRng) {
    let side = stage.side();
    let plane = side * side;
    if random.random_bool(0.5) {
        mirror(sample, side);
    }
    let mut around = |range: f64| random.random_range(-range..=range) as f32;
    let (contrast, brightness) = (1.0 + around(views.contrast), around(views.brightness));
    let channels: [f32; 3] = std::array::from_fn(|_| around(views.colour));
    if random.random_bool(views.grey) {
        turn_grey(&mut sample.pixels, plane);
    }
    if stage != Stage::Proposal && random.random_bool(views.blur) {
        let times = random.random_range(1..=side / 12);
        for values in sample.pixels.chunks_exact_mut(plane) {
            (0..times).for_each(|_| smooth(values, side));
        }
    }
    for (channel, values) in sample.pixels.chunks_exact_mut(plane).enumerate() {
        for value in values {
            *value = (*value * contrast + brightness + channels[channel]).clamp(-1.0, 1.0);
        }
    }
    if random.random_bool(views.cover) {
        cover(&mut sample.pixels, side, random);
    }
}

fn mirror(sample: &mut Sample, side: usize) {
    sample.pixels.chunks_exact_mut(side).for_each(<[f32]>::reverse);
    let mirrored = |[left, top, right, bottom]: [f32; 4]| [-right, top, -left, bottom];
    sample.box_regression = sample.box_regression.map(mirrored);
    let [left_eye, right_eye, nose, mouth_left, mouth_right, mouth] = sample.points;
    let swapped = [right_eye, left_eye, nose, mouth_right, mouth_left, mouth];
    sample.points = swapped.map(|point| point.map(|[x, y]| [1.0 - x, y]));
}

/// Replaces all three planes by their luma (Rec. 601, of normalised values).
pub(super) fn turn_grey(pixels: &mut [f32], plane: usize) {
    for pixel in 0..plane {
        let luma = 0.299 * pixels[pixel] + 0.587 * pixels[plane + pixel] + 0.114 * pixels[2 * plane + pixel];
        (0..3).for_each(|channel| pixels[channel * plane + pixel] = luma);
    }
}

/// Fills a random rectangle with a random colour.
fn cover(pixels: &mut [f32], side: usize, random: &mut StdRng) {
    let mut span = || {
        let length = random.random_range(side / 6..=side / 2);
        let first = random.random_range(0..=side - length);
        first..first + length
    };
    let (rows, columns) = (span(), span());
    let fill: [f32; 3] = std::array::from_fn(|_| random.random_range(-1.0..1.0));
    for (channel, fill) in fill.into_iter().enumerate() {
        for row in rows.clone() {
            pixels[channel * side * side + row * side..][columns.clone()].fill(fill);
        }
    }
}
