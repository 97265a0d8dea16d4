//! What is in a data set: counts, pixel statistics, sample faces and the mean face of each class.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use fer_model::Emotion;
use fer_model::bundle::write_whole;
use image::{GrayImage, Luma};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::data::dataset::{Dataset, PIXELS, SIDE, Sample};
use crate::report::charts;
use crate::report::sheet::Sheet;

/// Faces of each class in the grid.
const SHOWN: usize = 12;

#[derive(Args)]
pub struct ExploreArgs {
    /// FER-2013 CSV, or a folder with train/<emotion>/*.png or jpg and test/….
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// Folder of the figures and pictures.
    #[arg(long, default_value = "runs/explore")]
    out: PathBuf,
    /// Which faces the grid shows follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Exploration {
    splits: Vec<SplitFigures>,
}

#[derive(Serialize)]
struct SplitFigures {
    split: &'static str,
    faces: usize,
    /// By emotion, in the order of the labels.
    counts: Vec<(Emotion, usize)>,
    /// Of all pixels, on the scale 0 to 1.
    mean: f64,
    std: f64,
    /// Faces of one grey level.
    blank: usize,
}

/// Runs the command.
pub fn run(args: &ExploreArgs) -> Result<()> {
    let dataset = Dataset::read(&args.data)?;
    let splits =
        [("Training", &dataset.training), ("PublicTest", &dataset.public), ("PrivateTest", &dataset.private)];
    let figures: Vec<SplitFigures> = splits
        .iter()
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(split, samples)| SplitFigures::of(split, samples))
        .collect();
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let groups: Vec<(&str, Vec<usize>)> = figures
        .iter()
        .map(|figures| (figures.split, figures.counts.iter().map(|(_, count)| *count).collect()))
        .collect();
    charts::write(&charts::counts(&Emotion::ALL.map(Emotion::name), &groups)?, &args.out, "counts")?;
    samples(&dataset.training, args.seed).write(&args.out, "samples")?;
    means(&dataset.training).write(&args.out, "means")?;
    let exploration = Exploration { splits: figures };
    let json = serde_json::to_string_pretty(&exploration)?;
    write_whole(&args.out.join("explore.json"), json.as_bytes()).context("cannot write explore.json")?;
    if args.json {
        println!("{json}");
        return Ok(());
    }
    for SplitFigures { split, faces, counts, mean, std, blank } in &exploration.splits {
        let counts: Vec<String> =
            counts.iter().map(|(emotion, count)| format!("{} {count}", emotion.name())).collect();
        let counts = counts.join(", ");
        println!("{split}: {faces} faces ({counts}), pixels {mean:.3} ± {std:.3}, {blank} blank");
    }
    println!("counts, samples and means, as PNG and SVG, are in {}", args.out.display());
    Ok(())
}

impl SplitFigures {
    fn of(split: &'static str, samples: &[Sample]) -> Self {
        let (mut sum, mut squares) = (0_u64, 0_u64);
        for sample in samples {
            for &luma in sample.pixels.iter() {
                sum += u64::from(luma);
                squares += u64::from(luma) * u64::from(luma);
            }
        }
        let pixels = (samples.len() * PIXELS) as f64;
        let mean = sum as f64 / pixels / 255.0;
        let variance = squares as f64 / pixels / (255.0 * 255.0) - mean * mean;
        let count = |emotion| samples.iter().filter(|sample| sample.label == emotion).count();
        let blank = |sample: &&Sample| sample.pixels.iter().all(|&luma| luma == sample.pixels[0]);
        Self {
            split,
            faces: samples.len(),
            counts: Emotion::ALL.map(|emotion| (emotion, count(emotion))).to_vec(),
            mean,
            std: variance.max(0.0).sqrt(),
            blank: samples.iter().filter(blank).count(),
        }
    }
}

/// A row of faces for each class, drawn by the seed.
fn samples(training: &[Sample], seed: u64) -> Sheet {
    let mut sheet = Sheet::new(SHOWN);
    for emotion in Emotion::ALL {
        let mut of: Vec<&Sample> = training.iter().filter(|sample| sample.label == emotion).collect();
        of.shuffle(&mut StdRng::seed_from_u64(seed));
        let faces = of.into_iter().take(SHOWN).map(|sample| (sample.picture(), String::new()));
        sheet.row(emotion.name(), faces.collect());
    }
    sheet
}

/// The mean face of each class.
fn means(training: &[Sample]) -> Sheet {
    let mut sheet = Sheet::new(Emotion::COUNT);
    let mut faces = Vec::new();
    for emotion in Emotion::ALL {
        let mut sum = vec![0_u64; PIXELS];
        let mut count = 0;
        for sample in training.iter().filter(|sample| sample.label == emotion) {
            count += 1;
            sum.iter_mut().zip(sample.pixels.iter()).for_each(|(sum, &luma)| *sum += u64::from(luma));
        }
        let mean = GrayImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
            Luma([(sum[y as usize * SIDE + x as usize] / u64::max(count, 1)) as u8])
        });
        faces.push((mean, emotion.name().to_owned()));
    }
    sheet.row("mean", faces);
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let face = |label, levels: [u8; 2]| Sample {
            line: 0,
            label,
            votes: None,
            pixels: Box::new(std::array::from_fn(|i| levels[i % 2])),
        };
        let samples = [face(Emotion::Happy, [0, 255]), face(Emotion::Sad, [51, 51])];
        let figures = SplitFigures::of("Training", &samples);
        assert!((figures.mean - 0.35).abs() < 1e-9);
        assert!((figures.std - (0.25_f64 + 0.02 - 0.35 * 0.35).sqrt()).abs() < 1e-9, "{}", figures.std);
        assert_eq!((figures.blank, figures.counts[Emotion::Happy.index()].1), (1, 1));
    }
}
