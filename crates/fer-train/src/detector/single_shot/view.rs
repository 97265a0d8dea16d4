//! A training crop: its pixels, and what the network should find in it.

use fer_detect::single_shot::SingleShotConfig;
use fer_image::sample::linear;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

use super::config::ViewConfig;
use super::corpus::Corpus;
use super::layout::{self, Patch};
use crate::data::degrade::smooth;
use crate::detector::views::turn_grey;

const CHANNELS: usize = 3;

/// A face that the network should find, in pixels of the crop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The visible part of its box, `x0, y0, x1, y1`.
    pub corners: [f32; 4],
    /// Eyes, nose and corners of the mouth, left as seen in the crop, where known and visible.
    pub points: [Option<[f32; 2]>; 5],
    /// Whether only the landmarks are to be learned.
    pub landmarks_only: bool,
}

/// One crop.
pub struct Sample {
    /// `[3, side, side]`, normalised.
    pub pixels: Vec<f32>,
    /// Its faces.
    pub targets: Vec<Target>,
    /// Boxes that are excluded from both faces and background.
    pub ignored: Vec<[f32; 4]>,
}

/// Draws a crop of `side` pixels.
pub fn draw(corpus: &Corpus, views: &ViewConfig, side: usize, random: &mut StdRng) -> Sample {
    let patches = layout::draw(corpus, views, side, random);
    let mut canvas = vec![[random.random_range(0..=255); CHANNELS]; side * side];
    let (mut targets, mut ignored) = (Vec::new(), Vec::new());
    for patch in &patches {
        render(patch, side, [random.random_range(0..=255); CHANNELS], &mut canvas);
        describe(patch, views, &mut targets, &mut ignored);
    }
    let mut pixels = normalised(&canvas, light(views, random));
    for target in targets.iter().filter(|_| random.random_bool(views.cover)).collect::<Vec<_>>() {
        cover(&mut pixels, side, target.corners, random);
    }
    change(&mut pixels, side, views, random);
    Sample { pixels, targets, ignored }
}

/// Fills a patch's rectangle with its photo, and with `fill` where the photo ends.
fn render(patch: &Patch<'_>, side: usize, fill: [u8; CHANNELS], canvas: &mut [[u8; CHANNELS]]) {
    let Patch { photo, into: [x0, y0, x1, y1], map } = *patch;
    // The level of which a pixel of the crop covers one to two pixels.
    let reduction = (1.0 / map.scale).log2().floor().max(0.0) as usize;
    let level = reduction.min(photo.levels.len() - 1);
    let (image, shrunk) = (&photo.levels[level], 0.5_f32.powi(level as i32));
    let [width, height] = [image.width(), image.height()].map(|side| side as f32);
    let pixels = image.as_raw().as_chunks::<CHANNELS>().0;
    let columns = image.width() as usize;
    // Coordinates that begin at the pixel before the first, so that rounding towards zero rounds down.
    let last = [image.width(), image.height()].map(|side| side as usize - 1);
    let between = |x: f32, y: f32| {
        let (left, top) = (x as usize, y as usize);
        let [across, down] = [x - left as f32, y - top as f32];
        let edge = |place: usize, axis: usize| place.saturating_sub(1).min(last[axis]);
        let line = |row: usize| {
            let row = &pixels[edge(row, 1) * columns..][..columns];
            let (start, end) = (row[edge(left, 0)], row[edge(left + 1, 0)]);
            std::array::from_fn::<f32, CHANNELS, _>(|channel| {
                linear(f32::from(start[channel]), f32::from(end[channel]), across)
            })
        };
        let (upper, lower) = (line(top), line(top + 1));
        std::array::from_fn(|channel| (linear(upper[channel], lower[channel], down) + 0.5) as u8)
    };
    let step = {
        let (a, b) = (map.inverse([0.0, 0.0]), map.inverse([1.0, 0.0]));
        [(b[0] - a[0]) * shrunk, (b[1] - a[1]) * shrunk]
    };
    for y in y0..y1 {
        let start = map.inverse([x0 as f32 + 0.5, y as f32 + 0.5]).map(|place| place * shrunk);
        for (number, into) in canvas[y * side + x0..y * side + x1].iter_mut().enumerate() {
            let [u, v] = [0, 1].map(|axis| start[axis] + step[axis] * number as f32);
            if !((0.0..=width).contains(&u) && (0.0..=height).contains(&v)) {
                *into = fill;
                continue;
            }
            *into = between(u + 0.5, v + 0.5);
        }
    }
}

/// Adds the faces and the ignored boxes that a patch shows.
fn describe(patch: &Patch<'_>, views: &ViewConfig, targets: &mut Vec<Target>, ignored: &mut Vec<[f32; 4]>) {
    let Patch { photo, into, map } = patch;
    let into = into.map(|edge| edge as f32);
    if photo.landmarks_only {
        ignored.push(into);
    }
    for &corners in &photo.ignored {
        ignored.extend(clipped(map.corners(corners), into));
    }
    for face in &photo.faces {
        let corners = map.corners(face.corners);
        let Some(visible) = clipped(corners, into) else { continue };
        let sides = |[x0, y0, x1, y1]: [f32; 4]| [x1 - x0, y1 - y0];
        let [[width, height], [whole_width, whole_height]] = [sides(visible), sides(corners)];
        let fraction = f64::from(width * height / (whole_width * whole_height));
        if f64::from(whole_width.max(whole_height)) < views.min_side || fraction < views.min_visible {
            ignored.push(visible);
            continue;
        }
        let is_inside = |[x, y]: &[f32; 2]| (into[0]..into[2]).contains(x) && (into[1]..into[3]).contains(y);
        let mut points = face.points.map(|point| point.map(|point| map.point(point)).filter(is_inside));
        if map.mirrored {
            let [left_eye, right_eye, nose, left_mouth, right_mouth] = points;
            points = [right_eye, left_eye, nose, right_mouth, left_mouth];
        }
        targets.push(Target { corners: visible, points, landmarks_only: photo.landmarks_only });
    }
}

/// The part of a box that lies in a rectangle.
fn clipped(corners: [f32; 4], into: [f32; 4]) -> Option<[f32; 4]> {
    let inside: [f32; 4] = std::array::from_fn(|i| corners[i].clamp(into[i % 2], into[i % 2 + 2]));
    (inside[2] - inside[0] > 0.5 && inside[3] - inside[1] > 0.5).then_some(inside)
}

/// The fraction of its light that a crop keeps.
fn light(views: &ViewConfig, random: &mut StdRng) -> f32 {
    if random.random_bool(views.dark) { random.random_range(0.125..0.7) } else { 1.0 }
}

/// The planes of a crop, normalised as the detector's default does.
fn normalised(canvas: &[[u8; CHANNELS]], light: f32) -> Vec<f32> {
    let normalization = SingleShotConfig::default().normalization;
    let (factor, offset) = (light / normalization.scale, -normalization.mean / normalization.scale);
    let mut pixels = Vec::with_capacity(CHANNELS * canvas.len());
    for channel in 0..CHANNELS {
        pixels.extend(canvas.iter().map(|pixel| f32::from(pixel[channel]) * factor + offset));
    }
    pixels
}

/// Covers a part of a face by a rectangle: hands, masks, sunglasses, hair and other heads.
fn cover(pixels: &mut [f32], side: usize, [x0, y0, x1, y1]: [f32; 4], random: &mut StdRng) {
    let (width, height) = (x1 - x0, y1 - y0);
    let kind = random.random_range(0..3);
    let mut span = |start: f32, length: f32, least: f32, most: f32| {
        let covered = length * random.random_range(least..most);
        let first = start + (length - covered) * random.random_range(-0.1..1.1);
        let edge = |place: f32| (place.round().max(0.0) as usize).min(side);
        edge(first)..edge(first + covered)
    };
    // The lower part across, the eyes across, or a piece anywhere.
    let (columns, rows) = match kind {
        0 => (span(x0, width, 0.8, 1.1), span(y0 + 0.5 * height, 0.5 * height, 0.7, 1.0)),
        1 => (span(x0, width, 0.7, 1.0), span(y0 + 0.25 * height, 0.35 * height, 0.4, 0.8)),
        _ => (span(x0, width, 0.2, 0.6), span(y0, height, 0.2, 0.6)),
    };
    let fill: [f32; CHANNELS] = std::array::from_fn(|_| random.random_range(-1.0..1.0));
    for (channel, fill) in fill.into_iter().enumerate() {
        for row in rows.clone() {
            pixels[(channel * side + row) * side..][columns.clone()].fill(fill);
        }
    }
}

/// Changes colours, sharpness and noise of a whole crop.
fn change(pixels: &mut [f32], side: usize, views: &ViewConfig, random: &mut StdRng) {
    let plane = side * side;
    if random.random_bool(views.grey) {
        turn_grey(pixels, plane);
    }
    if random.random_bool(views.blur) {
        let times = random.random_range(1..=6);
        for values in pixels.chunks_exact_mut(plane) {
            (0..times).for_each(|_| smooth(values, side));
        }
    }
    let mut around = |range: f64| random.random_range(-range..=range) as f32;
    let (contrast, brightness) = (1.0 + around(views.contrast), around(views.brightness));
    let channels: [f32; CHANNELS] = std::array::from_fn(|_| brightness + around(views.colour));
    for (offset, values) in channels.into_iter().zip(pixels.chunks_exact_mut(plane)) {
        values.iter_mut().for_each(|value| *value = *value * contrast + offset);
    }
    if random.random_bool(views.noise) {
        let strength = random.random_range(0.01..0.15_f32) / f32::from(u8::MAX);
        // Four values from each random number, a triangle distribution of two bytes each.
        for values in pixels.chunks_mut(4) {
            let bytes = random.next_u64().to_le_bytes();
            for (value, pair) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value += strength * (f32::from(pair[0]) - f32::from(pair[1]));
            }
        }
    }
    pixels.iter_mut().for_each(|value| *value = value.clamp(-1.0, 1.0));
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::shipped;
    use super::super::corpus::{Face, Group, TrainingPhoto};
    use super::super::layout::Similarity;
    use super::*;
    use image::RgbImage;
    use rand::SeedableRng;

    /// A black photo with a white face whose left eye is red.
    fn photo(landmarks_only: bool) -> TrainingPhoto {
        let image = RgbImage::from_fn(200, 160, |x, y| match (x, y) {
            (70..74, 60..64) => image::Rgb([255, 0, 0]),
            (60..100, 40..90) => image::Rgb([255; 3]),
            _ => image::Rgb([0; 3]),
        });
        let points = [Some([72.0, 62.0]), Some([90.0, 62.0]), None, None, None];
        let faces = vec![Face { corners: [60.0, 40.0, 100.0, 90.0], points, annotated: [None; 6] }];
        TrainingPhoto {
            levels: vec![image],
            faces,
            ignored: vec![[150.0, 100.0, 170.0, 120.0]],
            landmarks_only,
        }
    }

    fn patch(photo: &TrainingPhoto, map: Similarity) -> Patch<'_> {
        Patch { photo, into: [0, 0, 64, 64], map }
    }

    fn map(scale: f32, mirrored: bool, to: [f32; 2]) -> Similarity {
        Similarity { scale, angle: 0.0, mirrored, from: [80.0, 65.0], to }
    }

    #[test]
    fn pixels_and_targets_move_together() {
        let (photo, views) = (photo(false), shipped().views);
        for mirrored in [false, true] {
            let patch = patch(&photo, map(1.0, mirrored, [32.0, 32.0]));
            let mut canvas = vec![[9; 3]; 64 * 64];
            render(&patch, 64, [7; 3], &mut canvas);
            let (mut targets, mut ignored) = (Vec::new(), Vec::new());
            describe(&patch, &views, &mut targets, &mut ignored);
            assert_eq!((targets.len(), ignored.len()), (1, 0));
            assert_eq!(targets[0].corners, [12.0, 7.0, 52.0, 57.0]);
            let (red, other) = if mirrored { (1, 0) } else { (0, 1) };
            let [x, y] = targets[0].points[red].unwrap();
            assert_eq!(canvas[y as usize * 64 + x as usize], [255, 0, 0]);
            let [left, right] = [targets[0].points[0].unwrap(), targets[0].points[1].unwrap()];
            assert!(left[0] < right[0] && targets[0].points[other].is_some());
            assert_eq!((canvas[10 * 64 + 11], canvas[10 * 64 + 13]), ([0; 3], [255; 3]));
        }
    }

    #[test]
    fn cut_small_and_doubtful_faces_are_clipped_or_ignored() {
        let (photo, views) = (photo(false), shipped().views);
        let found = |map: Similarity| {
            let (mut targets, mut ignored) = (Vec::new(), Vec::new());
            describe(&patch(&photo, map), &views, &mut targets, &mut ignored);
            (targets, ignored)
        };
        let (cut, _) = found(map(1.0, false, [0.0, 32.0]));
        assert_eq!(cut[0].corners, [0.0, 7.0, 20.0, 57.0]);
        assert_eq!((cut[0].points[0], cut[0].points[1]), (None, Some([10.0, 29.0])));
        let (gone, nearly_gone) = found(map(1.0, false, [-15.0, 32.0]));
        assert_eq!((gone.len(), nearly_gone.len()), (0, 1));
        let (tiny, ignored) = found(map(0.1, false, [32.0, 32.0]));
        assert_eq!((tiny.len(), ignored.len()), (0, 2), "the tiny face and the ignored box");
        let only = self::photo(true);
        let (mut targets, mut ignored) = (Vec::new(), Vec::new());
        describe(&patch(&only, map(1.0, false, [32.0, 32.0])), &views, &mut targets, &mut ignored);
        assert!(targets[0].landmarks_only && ignored.contains(&[0.0, 0.0, 64.0, 64.0]));
    }

    #[test]
    fn every_layout_gives_finite_pixels_in_range() {
        let mut views = shipped().views;
        (views.grey, views.dark, views.blur, views.noise, views.cover) = (0.5, 0.5, 0.5, 0.5, 0.5);
        let group = |landmarks_only| Group { weight: 1.0, photos: vec![photo(landmarks_only)] };
        let corpus = Corpus { groups: vec![group(false), group(true)], validation: Vec::new() };
        let (mut targets, mut crowds) = (0, 0);
        for seed in 0..60 {
            let sample = draw(&corpus, &views, 192, &mut StdRng::seed_from_u64(seed));
            assert_eq!(sample.pixels.len(), 3 * 192 * 192);
            assert!(sample.pixels.iter().all(|value| (-1.0..=1.0).contains(value)));
            for target in &sample.targets {
                let [x0, y0, x1, y1] = target.corners;
                assert!(x0 >= 0.0 && y0 >= 0.0 && x1 <= 192.0 && y1 <= 192.0 && x1 > x0 && y1 > y0);
            }
            targets += sample.targets.len();
            crowds += usize::from(sample.targets.len() > 8);
            let again = draw(&corpus, &views, 192, &mut StdRng::seed_from_u64(seed));
            assert_eq!((again.pixels, again.targets), (sample.pixels, sample.targets));
        }
        assert!(targets > 60 && crowds > 3, "{targets} {crowds}");
    }
}
