//! Which faces stand in a data set twice: within a split, and, worse, across splits.
//!
//! Candidates come from a perceptual hash (64 signs of low cosine frequencies, Zauner 2010) of each face at several
//! shifts, as it is and mirrored; what is left after that is compared pixel by pixel.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use clap::Args;
use fer_model::Emotion;
use fer_model::bundle::write_whole;
use rayon::prelude::*;
use serde::Serialize;

use crate::data::dataset::{Dataset, PIXELS, SIDE, Sample};
use crate::report::sheet::Sheet;

/// Bits in which the hashes of two candidates may differ.
const MOST_BITS: u32 = 10;

/// Shifts in pixels, along each axis, at which a face is hashed; in between the hash is close enough.
const SHIFTS: [i32; 3] = [-2, 0, 2];

/// Correlation of the pixels from which two faces are copies. Unlike people stay below 0.9, re-encoding and a contrast
/// that was stretched above 0.98.
const COPY: f32 = 0.97;

/// Largest shift of a copy in pixels.
const REACH: i32 = 3;

#[derive(Args)]
pub struct AuditArgs {
    /// FER-2013 CSV.
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// Folder of the report.
    #[arg(long, default_value = "runs/audit")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Two faces that are one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub first: usize,
    pub second: usize,
    /// Of the pixels that both show, 0.97 to 1.
    pub correlation: f32,
    pub mirrored: bool,
}

#[derive(Serialize)]
struct Report {
    faces: usize,
    /// Pairs of copies.
    pairs: usize,
    /// Of them, pixel by pixel the same.
    exact: usize,
    mirrored: usize,
    /// Pairs whose labels differ.
    label_conflicts: usize,
    /// Pairs by the splits that they stand in.
    by_splits: BTreeMap<String, usize>,
    /// Training rows that stand in PublicTest or PrivateTest too: what `leave_out_copies` leaves out.
    training_rows_in_tests: usize,
    list: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    lines: [u64; 2],
    splits: [&'static str; 2],
    labels: [Emotion; 2],
    correlation: f32,
    mirrored: bool,
}

/// Runs the command.
pub fn run(args: &AuditArgs) -> Result<()> {
    let dataset = Dataset::read(&args.data)?;
    let splits =
        [("Training", &dataset.training), ("PublicTest", &dataset.public), ("PrivateTest", &dataset.private)];
    let faces: Vec<(&'static str, &Sample)> =
        splits.iter().flat_map(|(name, samples)| samples.iter().map(|sample| (*name, sample))).collect();
    let pairs = copies(&faces.iter().map(|(_, sample)| &*sample.pixels).collect::<Vec<_>>());
    let report = Report::of(&faces, &pairs);
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let json = serde_json::to_string_pretty(&report)?;
    write_whole(&args.out.join("audit.json"), json.as_bytes()).context("cannot write audit.json")?;
    sheet(&faces, &pairs).write(&args.out, "pairs")?;
    if args.json {
        println!("{json}");
    } else {
        report.print(&args.out);
    }
    Ok(())
}

impl Report {
    fn of(faces: &[(&'static str, &Sample)], pairs: &[Pair]) -> Self {
        let mut by_splits = BTreeMap::new();
        let mut list = Vec::new();
        let mut leaked = HashSet::new();
        let mut exact = 0;
        for pair in pairs {
            let both = [faces[pair.first], faces[pair.second]];
            let splits = both.map(|(split, _)| split);
            *by_splits.entry(splits.join(" and ")).or_insert(0) += 1;
            exact += usize::from(!pair.mirrored && both[0].1.pixels == both[1].1.pixels);
            if splits[0] == "Training" && splits[1] != "Training" {
                leaked.insert(pair.first);
            }
            list.push(Listed {
                lines: both.map(|(_, sample)| sample.line),
                splits,
                labels: both.map(|(_, sample)| sample.label),
                correlation: pair.correlation,
                mirrored: pair.mirrored,
            });
        }
        Self {
            faces: faces.len(),
            pairs: pairs.len(),
            exact,
            mirrored: pairs.iter().filter(|pair| pair.mirrored).count(),
            label_conflicts: list.iter().filter(|pair| pair.labels[0] != pair.labels[1]).count(),
            by_splits,
            training_rows_in_tests: leaked.len(),
            list,
        }
    }

    fn print(&self, folder: &Path) {
        println!(
            "{} faces, {} pairs of copies: {} pixel by pixel, {} mirrored, {} with different labels",
            self.faces, self.pairs, self.exact, self.mirrored, self.label_conflicts
        );
        for (splits, pairs) in &self.by_splits {
            println!("  {splits:<28} {pairs:>6}");
        }
        println!("{} training rows stand in a test split too", self.training_rows_in_tests);
        println!(
            "every pair is in {0}/audit.json, the first ones across splits in {0}/pairs.png",
            folder.display()
        );
    }
}

/// Places of training rows that stand among the other faces too.
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

/// Every two faces that are one picture: shifted by up to three pixels, mirrored, re-encoded, with another contrast.
pub fn copies(faces: &[&[u8; PIXELS]]) -> Vec<Pair> {
    let hashes: Vec<u64> = faces.par_iter().map(|face| hash(&shifted(face, [0, 0], false))).collect();
    let mut pairs: Vec<Pair> =
        (0..faces.len())
            .into_par_iter()
            .flat_map_iter(|first| {
                let mut views = Vec::new();
                for mirrored in [false, true] {
                    for y in SHIFTS {
                        for x in SHIFTS {
                            views.push((hash(&shifted(faces[first], [x, y], mirrored)), mirrored));
                        }
                    }
                }
                let close = |second: &usize| {
                    let near = |(view, _): &&(u64, bool)| (view ^ hashes[*second]).count_ones() <= MOST_BITS;
                    views.iter().filter(near).map(|(_, mirrored)| *mirrored).collect::<Vec<_>>()
                };
                (first + 1..faces.len())
                    .filter_map(|second| {
                        let mut sides = close(&second);
                        sides.dedup();
                        // Of equals the last is kept: the face as it is.
                        let best = sides
                            .into_iter()
                            .rev()
                            .map(|mirrored| {
                                (best_correlation(faces[first], faces[second], mirrored), mirrored)
                            })
                            .max_by(|a, b| a.0.total_cmp(&b.0));
                        best.filter(|(correlation, _)| *correlation >= COPY)
                            .map(|(correlation, mirrored)| Pair { first, second, correlation, mirrored })
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
    pairs.sort_by_key(|pair| (pair.first, pair.second));
    pairs
}

/// The face moved, its border repeated, and mirrored.
fn shifted(face: &[u8; PIXELS], [x, y]: [i32; 2], mirrored: bool) -> Box<[f32; PIXELS]> {
    Box::new(std::array::from_fn(|i| {
        let (column, row) = ((i % SIDE) as i32, (i / SIDE) as i32);
        let column = if mirrored { SIDE as i32 - 1 - column } else { column };
        let inside = |position: i32| position.clamp(0, SIDE as i32 - 1) as usize;
        f32::from(face[inside(row + y) * SIDE + inside(column + x)])
    }))
}

/// Frequencies of the hash along each axis.
const LOW: usize = 8;

/// The cosines of those frequencies at each pixel.
static BASIS: LazyLock<[[f32; SIDE]; LOW]> = LazyLock::new(|| {
    let cosine = |frequency: usize, at: usize| {
        (std::f32::consts::PI * frequency as f32 * (2 * at + 1) as f32 / (2 * SIDE) as f32).cos()
    };
    std::array::from_fn(|frequency| std::array::from_fn(|at| cosine(frequency, at)))
});

/// Whether each of the 8×8 lowest cosine frequencies, but the constant one, is above their median.
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

/// The highest correlation of what two faces both show, over all shifts within reach.
fn best_correlation(first: &[u8; PIXELS], second: &[u8; PIXELS], mirrored: bool) -> f32 {
    let turned = shifted(first, [0, 0], mirrored);
    let mut best = f32::NEG_INFINITY;
    for y in -REACH..=REACH {
        for x in -REACH..=REACH {
            best = best.max(correlation(&turned, second, [x, y]));
        }
    }
    best
}

/// Of the pixels that overlap when `first` is moved; two even faces correlate if they are equal.
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
    // A grey level of variance for each pixel: less than that is no picture.
    match (va > count, vb > count) {
        (true, true) => vab / (va * vb).sqrt(),
        (false, false) if (a - b).abs() < 2.0 * count => 1.0,
        _ => 0.0,
    }
}

/// The first pairs, those across splits before the others, side by side with their labels.
fn sheet(faces: &[(&'static str, &Sample)], pairs: &[Pair]) -> Sheet {
    const PAIRS_ACROSS: usize = 5;
    const SHOWN: usize = 60;
    let within = |pair: &&Pair| faces[pair.first].0 == faces[pair.second].0;
    let mut shown: Vec<&Pair> = pairs.iter().collect();
    shown.sort_by_key(within);
    shown.truncate(SHOWN);
    let mut sheet = Sheet::new(2 * PAIRS_ACROSS);
    for row in shown.chunks(PAIRS_ACROSS) {
        let both = row.iter().flat_map(|pair| [pair.first, pair.second]);
        let face = |(split, sample): (&str, &Sample)| {
            (sample.picture(), format!("{} {}", split.trim_end_matches("Test"), sample.label.name()))
        };
        sheet.row("", both.map(|place| face(faces[place])).collect());
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// Something with the frequencies of a face: a few random cosines.
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
    fn training_rows_that_stand_in_a_test_are_leaked() {
        let sample =
            |seed, line| Sample { line, label: Emotion::Happy, votes: None, pixels: Box::new(face(seed)) };
        let training: Vec<Sample> = (0..5).map(|seed| sample(seed, seed)).collect();
        let public = [sample(70, 5), sample(3, 6)];
        let private = [sample(1, 7)];
        assert_eq!(leaked(&training, &[&public, &private]), HashSet::from([1, 3]));
        let faces: Vec<(&str, &Sample)> = training
            .iter()
            .map(|sample| ("Training", sample))
            .chain(public.iter().map(|sample| ("PublicTest", sample)))
            .collect();
        let pixels: Vec<&[u8; PIXELS]> = faces.iter().map(|(_, sample)| &*sample.pixels).collect();
        let report = Report::of(&faces, &copies(&pixels));
        assert_eq!((report.pairs, report.exact, report.training_rows_in_tests), (1, 1, 1));
        assert_eq!(report.by_splits["Training and PublicTest"], 1);
        assert_eq!(report.list[0].lines, [3, 6]);
    }

    #[test]
    fn even_faces_are_copies_of_equal_ones_alone() {
        let [dark, grey] = [[40; PIXELS], [120; PIXELS]];
        assert_eq!(copies(&[&dark, &dark, &grey]).len(), 1);
    }
}
