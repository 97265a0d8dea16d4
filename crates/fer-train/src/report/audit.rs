//! The report of an audit: every pair of copies, and a sheet of the first ones.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::Result;
use fer_dataset::{Dataset, Sample};
use fer_model::Emotion;
use serde::Serialize;

use crate::data::audit::{Pair, copies};
use crate::report::folder;
use crate::report::sheet::Sheet;

/// The content of `audit.json`.
#[derive(Serialize)]
pub struct AuditReport {
    /// Number of faces.
    pub faces: usize,
    /// Number of pairs of copies.
    pub pairs: usize,
    /// Number of pairs that are equal in every pixel.
    pub exact: usize,
    /// Number of pairs that mirror each other.
    pub mirrored: usize,
    /// Number of pairs whose labels differ.
    pub label_conflicts: usize,
    /// Number of pairs by the names of their two splits.
    pub by_splits: BTreeMap<String, usize>,
    /// Number of training rows with a copy in PublicTest or PrivateTest: those that `leave_out_copies` leaves out.
    pub training_rows_in_tests: usize,
    /// All pairs.
    list: Vec<ListedPair>,
}

#[derive(Serialize)]
struct ListedPair {
    lines: [u64; 2],
    splits: [&'static str; 2],
    labels: [Emotion; 2],
    correlation: f32,
    mirrored: bool,
}

/// A face and the name of its split.
type Face<'a> = (&'static str, &'a Sample);

/// Audits a data set and writes `audit.json`, `pairs.svg` and `pairs.png` into a folder.
///
/// # Errors
/// If the folder or a file cannot be written.
pub fn write(dataset: &Dataset, folder: &Path) -> Result<AuditReport> {
    let splits =
        [("Training", &dataset.training), ("PublicTest", &dataset.public), ("PrivateTest", &dataset.private)];
    let faces: Vec<Face<'_>> =
        splits.iter().flat_map(|(name, samples)| samples.iter().map(|sample| (*name, sample))).collect();
    let pairs = copies(&faces.iter().map(|(_, sample)| &*sample.pixels).collect::<Vec<_>>());
    let report = AuditReport::of(&faces, &pairs);
    folder::create(folder)?;
    folder::write(folder, "audit.json", serde_json::to_string_pretty(&report)?.as_bytes())?;
    sheet(&faces, &pairs).write(folder, "pairs")?;
    Ok(report)
}

impl AuditReport {
    fn of(faces: &[Face<'_>], pairs: &[Pair]) -> Self {
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
            list.push(ListedPair {
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
}

/// The first pairs side by side with their labels; pairs across splits come before the others.
fn sheet(faces: &[Face<'_>], pairs: &[Pair]) -> Sheet {
    const PAIRS_ACROSS: usize = 5;
    const SHOWN: usize = 60;
    let within_split = |pair: &&Pair| faces[pair.first].0 == faces[pair.second].0;
    let mut shown: Vec<&Pair> = pairs.iter().collect();
    shown.sort_by_key(within_split);
    shown.truncate(SHOWN);
    let mut sheet = Sheet::new(2 * PAIRS_ACROSS);
    for row in shown.chunks(PAIRS_ACROSS) {
        let both = row.iter().flat_map(|pair| [pair.first, pair.second]);
        let face = |(split, sample): Face<'_>| {
            (sample.picture(), format!("{} {}", split.trim_end_matches("Test"), sample.label.name()))
        };
        sheet.row("", both.map(|index| face(faces[index])).collect());
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_dataset::SIDE;

    #[test]
    fn copies_are_counted_by_splits() {
        // Stripes of a period that differs from face to face.
        let sample = |period: usize, line| {
            let pixels = Box::new(std::array::from_fn(|i| (i % SIDE % period * (240 / period)) as u8));
            Sample { line, label: Emotion::Happy, votes: None, pixels }
        };
        let training: Vec<Sample> =
            [5, 9, 14, 23].into_iter().zip(2..).map(|(p, line)| sample(p, line)).collect();
        let public = [sample(31, 6), sample(23, 7)];
        let faces: Vec<Face<'_>> = training
            .iter()
            .map(|sample| ("Training", sample))
            .chain(public.iter().map(|sample| ("PublicTest", sample)))
            .collect();
        let pixels: Vec<_> = faces.iter().map(|(_, sample)| &*sample.pixels).collect();
        let report = AuditReport::of(&faces, &copies(&pixels));
        assert_eq!((report.pairs, report.exact, report.training_rows_in_tests), (1, 1, 1));
        assert_eq!(report.by_splits["Training and PublicTest"], 1);
        assert_eq!(report.list[0].lines, [5, 7]);
    }
}
