//! Finds faces that a data set holds twice: within a split or, worse, in two splits.
//!
//! A perceptual hash (64 signs of low cosine frequencies, Zauner 2010) of each face at several shifts, mirrored and not,
//! selects candidates. The candidates are then compared pixel by pixel.

use std::collections::HashSet;
use std::sync::LazyLock;

use fer_dataset::{PIXELS, SIDE, Sample};
use indicatif::ParallelProgressIterator as _;
use rayon::prelude::*;

use crate::progress;

/// Most bits in which the hashes of two candidates differ.
const MAX_BITS: u32 = 10;

/// Shifts in pixels, along each axis, at which a face is hashed. The hashes at the shifts in between are similar enough.
const SHIFTS: [i32; 3] = [-2, 0, 2];

/// Correlation of the pixels from which two faces count as copies. Faces of different people stay below 0.9; faces that
/// were re-encoded or whose contrast was stretched stay above 0.98.
const MIN_CORRELATION: f32 = 0.97;

/// Largest shift of a copy in pixels.
const MAX_SHIFT: i32 = 3;

/// Two faces that are the same picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Index of one face.
    pub first: usize,
    /// Index of the other face, which is larger than `first`.
    pub second: usize,
    /// Correlation of the pixels that both faces show, 0.97 to 1.
    pub correlation: f32,
    /// Whether one face is the mirror image of the other.
    pub mirrored: bool,
}

/// Indices of the training rows that have a copy in one of the test splits.
pub fn leaked(training: &[Sample], tests: &[&[Sample]]) -> HashSet<usize> {
    let faces: Vec<&[u8; PIXELS]> = training
        .iter()
        .chain(tests.iter().flat_map(|split| split.iter()))
        .map(|sample| &*sample.pixels)
        .collect();
    let pairs = copies(&faces).into_iter();
    pairs
        .filter(|pair| pair.first < training.len() && pair.second >= training.len())
        .map(|pair| pair.first)
        .collect()
}

/// Finds all pairs of faces that are the same picture, also if one is shifted by up to three pixels, mirrored, re-encoded or
/// has another contrast. The pairs are sorted by their indices.
pub fn copies(faces: &[&[u8; PIXELS]]) -> Vec<Pair> {
    let hashes: Vec<u64> = faces.par_iter().map(|face| hash(&shifted(face, [0, 0], false))).collect();
    let mut pairs: Vec<Pair> = (0..faces.len())
        .into_par_iter()
        .progress_with(progress::bar(faces.len(), "faces"))
        .flat_map_iter(|first| {
            let views = views(faces[first]);
            let hashes = &hashes;
            let pairs = (first + 1..faces.len()).filter_map(move |second| {
                let candidates = candidates(&views, hashes[second]);
                // `max_by` returns the last of equals: the face that is not mirrored.
                let (correlation, mirrored) = candidates
                    .rev()
                    .map(|mirrored| (best_correlation(faces[first], faces[second], mirrored), mirrored))
                    .max_by(|a, b| a.0.total_cmp(&b.0))?;
                (correlation >= MIN_CORRELATION).then_some(Pair { first, second, correlation, mirrored })
            });
            pairs.collect::<Vec<_>>()
        })
        .collect();
    pairs.sort_by_key(|pair| (pair.first, pair.second));
    pairs
}

/// Hashes of a face at all shifts, as it is (first) and mirrored.
fn views(face: &[u8; PIXELS]) -> [Vec<u64>; 2] {
    [false, true].map(|mirrored| {
        let shifts = SHIFTS.into_iter().flat_map(|y| SHIFTS.map(|x| [x, y]));
        shifts.map(|shift| hash(&shifted(face, shift, mirrored))).collect()
    })
}

/// Whether to compare a face with the other one as it is (`false`), mirrored (`true`), both or not at all.
fn candidates(views: &[Vec<u64>; 2], other: u64) -> impl DoubleEndedIterator<Item = bool> {
    let near = move |view: &u64| (view ^ other).count_ones() <= MAX_BITS;
    [false, true].into_iter().filter(move |&mirrored| views[usize::from(mirrored)].iter().any(near))
}

/// The face, optionally mirrored, shifted by `[x, y]` pixels with its border repeated.
fn shifted(face: &[u8; PIXELS], [x, y]: [i32; 2], mirrored: bool) -> Box<[f32; PIXELS]> {
    Box::new(std::array::from_fn(|i| {
        let (column, row) = ((i % SIDE) as i32, (i / SIDE) as i32);
        let column = if mirrored { SIDE as i32 - 1 - column } else { column };
        let inside = |position: i32| position.clamp(0, SIDE as i32 - 1) as usize;
        f32::from(face[inside(row + y) * SIDE + inside(column + x)])
    }))
}

/// Number of frequencies of the hash along each axis.
const LOW: usize = 8;

/// The cosine of each frequency at each pixel.
static BASIS: LazyLock<[[f32; SIDE]; LOW]> = LazyLock::new(|| {
    let cosine = |frequency: usize, at: usize| {
        (std::f32::consts::PI * frequency as f32 * (2 * at + 1) as f32 / (2 * SIDE) as f32).cos()
    };
    std::array::from_fn(|frequency| std::array::from_fn(|at| cosine(frequency, at)))
});

/// One bit for each of the 8×8 lowest cosine frequencies: whether it is above their median. The constant one counts as 0.
fn hash(face: &[f32; PIXELS]) -> u64 {
    let basis = &*BASIS;
    let mut rows = [[0.0_f32; LOW]; SIDE];
    for (row, line) in rows.iter_mut().zip(face.chunks_exact(SIDE)) {
        for (value, basis) in row.iter_mut().zip(basis) {
            *value = basis.iter().zip(line).map(|(a, b)| a * b).sum();
        }
    }
    let mut low = [0.0_f32; LOW * LOW];
    for (i, value) in low.iter_mut().enumerate().skip(1) {
        *value = basis[i / LOW].iter().zip(&rows).map(|(a, row)| a * row[i % LOW]).sum();
    }
    let mut sorted = low;
    sorted.sort_by(f32::total_cmp);
    let median = f32::midpoint(sorted[LOW * LOW / 2 - 1], sorted[LOW * LOW / 2]);
    low.iter().enumerate().fold(0, |bits, (i, value)| bits | (u64::from(*value > median) << i))
}

/// The highest correlation of two faces over all shifts.
fn best_correlation(first: &[u8; PIXELS], second: &[u8; PIXELS], mirrored: bool) -> f32 {
    let turned = shifted(first, [0, 0], mirrored);
    let mut best = f32::NEG_INFINITY;
    for y in -MAX_SHIFT..=MAX_SHIFT {
        for x in -MAX_SHIFT..=MAX_SHIFT {
            best = best.max(correlation(&turned, second, [x, y]));
        }
    }
    best
}

/// Correlation of the pixels that overlap when `first` is shifted. Two plain grey faces correlate if they are equal.
fn correlation(first: &[f32; PIXELS], second: &[u8; PIXELS], [x, y]: [i32; 2]) -> f32 {
    let range = |shift: i32| (-shift).max(0) as usize..(SIDE as i32 - shift.max(0)) as usize;
    let (mut count, mut a, mut b, mut aa, mut bb, mut ab) = (0.0_f32, 0.0, 0.0, 0.0, 0.0, 0.0);
    for row in range(y) {
        let other = (row as i32 + y) as usize * SIDE;
        for column in range(x) {
            let one = first[other + (column as i32 + x) as usize];
            let two = f32::from(second[row * SIDE + column]);
            count += 1.0;
            a += one;
            b += two;
            aa += one * one;
            bb += two * two;
            ab += one * two;
        }
    }
    let (va, vb, vab) = (aa - a * a / count, bb - b * b / count, ab - a * b / count);
    // A face whose variance is below one grey level is plain grey.
    match (va > count, vb > count) {
        (true, true) => vab / (va * vb).sqrt(),
        (false, false) if (a - b).abs() < 2.0 * count => 1.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use fer_model::Emotion;
    use image::GrayImage;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// A few random cosines with about the frequencies of a face.
    fn face(seed: u64) -> [u8; PIXELS] {
        let mut random = StdRng::seed_from_u64(seed);
        let waves: Vec<[f32; 4]> = (0..24)
            .map(|_| {
                let [fx, fy] = std::array::from_fn(|_| random.random_range(-0.35..0.35_f32));
                [fx, fy, random.random_range(0.0..6.0), 10.0 / (0.2 + 8.0 * fx.hypot(fy))]
            })
            .collect();
        std::array::from_fn(|i| {
            let (x, y) = ((i % SIDE) as f32, (i / SIDE) as f32);
            let sum: f32 =
                waves.iter().map(|[fx, fy, phase, size]| size * (fx * x + fy * y + phase).cos()).sum();
            (128.0 + sum).clamp(0.0, 255.0) as u8
        })
    }

    fn bytes(face: &[f32; PIXELS]) -> [u8; PIXELS] {
        std::array::from_fn(|i| face[i] as u8)
    }

    #[test]
    fn planted_copies_are_found_and_nothing_else() {
        let originals: Vec<[u8; PIXELS]> = (0..60).map(face).collect();
        let mut random = StdRng::seed_from_u64(7);
        let noisy = |face: &[u8; PIXELS], random: &mut StdRng| -> [u8; PIXELS] {
            std::array::from_fn(|i| {
                (0.8 * f32::from(face[i]) + 20.0 + random.random_range(-4.0..4.0)).clamp(0.0, 255.0) as u8
            })
        };
        let planted = [
            (3, originals[3]),
            (10, bytes(&shifted(&originals[10], [2, -1], false))),
            (17, bytes(&shifted(&originals[17], [0, 0], true))),
            (24, noisy(&originals[24], &mut random)),
            (31, noisy(&bytes(&shifted(&originals[31], [-3, 2], true)), &mut random)),
            (40, re_encoded(&originals[40])),
        ];
        let faces: Vec<&[u8; PIXELS]> =
            originals.iter().chain(planted.iter().map(|(_, face)| face)).collect();
        let found = copies(&faces);
        let expected: Vec<(usize, usize)> =
            planted.iter().enumerate().map(|(i, (of, _))| (*of, 60 + i)).collect();
        assert_eq!(found.iter().map(|pair| (pair.first, pair.second)).collect::<Vec<_>>(), expected);
        let mirrored = found.iter().filter(|pair| pair.mirrored).map(|pair| pair.first);
        assert_eq!(mirrored.collect::<Vec<_>>(), [17, 31]);
    }

    fn re_encoded(face: &[u8; PIXELS]) -> [u8; PIXELS] {
        let picture = GrayImage::from_raw(SIDE as u32, SIDE as u32, face.to_vec()).unwrap();
        let mut jpeg = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 60);
        picture.write_with_encoder(encoder).unwrap();
        image::load_from_memory(&jpeg).unwrap().into_luma8().into_raw().try_into().unwrap()
    }

    #[test]
    fn training_rows_with_a_copy_in_a_test_are_leaked() {
        let sample =
            |seed, line| Sample { line, label: Emotion::Happy, votes: None, pixels: Box::new(face(seed)) };
        let training: Vec<Sample> = (0..5).map(|seed| sample(seed, seed)).collect();
        let public = [sample(70, 5), sample(3, 6)];
        let private = [sample(1, 7)];
        assert_eq!(leaked(&training, &[&public, &private]), HashSet::from([1, 3]));
    }

    #[test]
    fn plain_faces_are_copies_only_if_they_are_equal() {
        let [dark, grey] = [[40; PIXELS], [120; PIXELS]];
        assert_eq!(copies(&[&dark, &dark, &grey]).len(), 1);
    }
}
