//! The report of an alignment: what was aligned, what was not and why, and a sheet of the most rotated faces.

use std::path::Path;

use anyhow::Result;
use fer_dataset::picture;
use fer_model::Emotion;
use serde::Serialize;

use crate::data::align::{Aligned, Failure, LevelFace};
use crate::report::folder;
use crate::report::sheet::Sheet;

/// Faces on the sheet.
const SHOWN: usize = 48;
const ACROSS: usize = 12;

/// The content of `align.json`.
#[derive(Serialize)]
pub struct AlignmentReport {
    /// Number of pictures.
    pub pictures: usize,
    /// Number of aligned faces.
    pub aligned: usize,
    /// Mean angle by which the eyes of the aligned faces were off, in degrees without sign.
    pub mean_degrees: f32,
    /// Number of faces that could not be aligned and are in the new data as they were.
    pub kept: usize,
    /// Number of files that could not be read.
    pub unreadable: usize,
    /// Number of faces of each emotion that could not be aligned.
    pub failures_by_emotion: Vec<(Emotion, usize)>,
    /// All pictures without an aligned face.
    pub failures: Vec<FailedPicture>,
}

/// A picture without an aligned face.
#[derive(Serialize)]
pub struct FailedPicture {
    /// Line of the CSV or path of the file.
    pub picture: String,
    /// The picture's label.
    pub emotion: Emotion,
    /// What was wrong.
    pub reason: String,
    /// Whether the file could not be read.
    #[serde(skip)]
    pub unreadable: bool,
}

/// Writes `align.json`, `aligned.svg` and `aligned.png` into a folder. `kept` is the number of faces that are in the new data
/// as they were.
///
/// # Errors
/// If a file cannot be written.
pub fn write(all: &[Aligned], kept: usize, folder: &Path) -> Result<AlignmentReport> {
    let report = AlignmentReport::of(all, kept);
    folder::write(folder, "align.json", serde_json::to_string_pretty(&report)?.as_bytes())?;
    sheet(all).write(folder, "aligned")?;
    Ok(report)
}

impl AlignmentReport {
    fn of(all: &[Aligned], kept: usize) -> Self {
        let degrees: Vec<f32> =
            all.iter().filter_map(|one| Some(one.after.as_ref().ok()?.degrees.abs())).collect();
        let failures: Vec<FailedPicture> = all
            .iter()
            .filter_map(|one| {
                let failure = one.after.as_ref().err()?;
                Some(FailedPicture {
                    picture: one.name.clone(),
                    emotion: one.label,
                    reason: failure.reason().to_owned(),
                    unreadable: matches!(failure, Failure::Unreadable(_)),
                })
            })
            .collect();
        let count = |emotion| failures.iter().filter(|failure| failure.emotion == emotion).count();
        Self {
            pictures: all.len(),
            aligned: degrees.len(),
            mean_degrees: degrees.iter().sum::<f32>() / degrees.len().max(1) as f32,
            kept,
            unreadable: failures.iter().filter(|failure| failure.unreadable).count(),
            failures_by_emotion: Emotion::ALL.map(|emotion| (emotion, count(emotion))).to_vec(),
            failures,
        }
    }
}

/// The most rotated faces, before (if there is a before) and after.
fn sheet(all: &[Aligned]) -> Sheet {
    let mut rotated: Vec<(&Aligned, &LevelFace)> =
        all.iter().filter_map(|one| Some((one, one.after.as_ref().ok()?))).collect();
    rotated.sort_by(|(_, a), (_, b)| b.degrees.abs().total_cmp(&a.degrees.abs()));
    rotated.truncate(SHOWN);
    let mut sheet = Sheet::new(ACROSS);
    for row in rotated.chunks(ACROSS) {
        let before: Vec<_> = row
            .iter()
            .filter_map(|(one, _)| Some((picture(one.before.as_deref()?), one.name.clone())))
            .collect();
        if !before.is_empty() {
            sheet.row("before", before);
        }
        let after = row.iter().map(|(_, face)| (picture(&face.pixels), format!("{:+.0}°", face.degrees)));
        sheet.row("after", after.collect());
    }
    sheet
}
