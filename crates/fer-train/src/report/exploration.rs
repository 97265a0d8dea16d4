//! The report of what a data set holds: counts, sample faces and the mean face of each emotion.

use std::path::Path;

use anyhow::Result;
use fer_dataset::{Dataset, PIXELS, SIDE, Sample};
use fer_model::Emotion;
use image::{GrayImage, Luma};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::data::explore::SplitFigures;
use crate::report::sheet::Sheet;
use crate::report::{charts, folder};

/// Faces of each emotion on the sheet of samples.
const SHOWN: usize = 12;

/// The content of `explore.json`.
#[derive(Serialize)]
pub struct Exploration {
    /// Figures of each split that is not empty.
    pub splits: Vec<SplitFigures>,
    /// One message for each picture that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// Writes `explore.json` and the pictures `counts`, `samples` and `means` into a folder. `seed` decides which faces the
/// sheet of samples shows.
///
/// # Errors
/// If the folder or a file cannot be written.
pub fn write(dataset: &Dataset, failures: Vec<String>, seed: u64, folder: &Path) -> Result<Exploration> {
    let splits =
        [("Training", &dataset.training), ("PublicTest", &dataset.public), ("PrivateTest", &dataset.private)];
    let splits = splits.iter().filter(|(_, samples)| !samples.is_empty());
    let figures: Vec<_> = splits.map(|(split, samples)| SplitFigures::of(split, samples)).collect();
    folder::create(folder)?;
    let groups: Vec<(&str, Vec<usize>)> = figures
        .iter()
        .map(|figures| (figures.split, figures.counts.iter().map(|(_, count)| *count).collect()))
        .collect();
    charts::write(&charts::counts(&Emotion::ALL.map(Emotion::name), &groups)?, folder, "counts")?;
    samples(&dataset.training, seed).write(folder, "samples")?;
    means(&dataset.training).write(folder, "means")?;
    let exploration = Exploration { splits: figures, failures };
    folder::write(folder, "explore.json", serde_json::to_string_pretty(&exploration)?.as_bytes())?;
    Ok(exploration)
}

/// One row of randomly drawn faces for each emotion.
fn samples(training: &[Sample], seed: u64) -> Sheet {
    let mut sheet = Sheet::new(SHOWN);
    for emotion in Emotion::ALL {
        let mut faces: Vec<&Sample> = training.iter().filter(|sample| sample.label == emotion).collect();
        faces.shuffle(&mut StdRng::seed_from_u64(seed));
        let faces = faces.into_iter().take(SHOWN).map(|sample| (sample.picture(), String::new()));
        sheet.row(emotion.name(), faces.collect());
    }
    sheet
}

/// The mean face of each emotion.
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
