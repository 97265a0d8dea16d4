//! FER-2013: one CSV with the columns `emotion,pixels,Usage` and a face per row, or folders of pictures.

use std::path::Path;

use fer_model::Emotion;
use fer_network::mix;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

pub use crate::data::dataset_error::DatasetError;
pub use crate::data::folder::{Labelled, labelled_pictures, pictures};
pub use crate::data::sample::{PIXELS, SIDE, Sample, Usage, picture};

use crate::data::folder::read_face;
use crate::data::table::Table;
use crate::data::votes::read_votes;

/// The three splits of FER-2013.
#[derive(Default)]
pub struct Dataset {
    /// Rows to learn from.
    pub training: Vec<Sample>,
    /// The public test of the competition, which may choose the best epoch.
    pub public: Vec<Sample>,
    /// The private test of the competition: scored at the end, never during training.
    pub private: Vec<Sample>,
}

impl Dataset {
    /// Reads the whole CSV (35,887 rows, 83 MB of pixels) or a folder of pictures. `train/<emotion>/…` are the training rows;
    /// `test/<emotion>/…` are the private test, so that no epoch is chosen by them.
    ///
    /// # Errors
    /// Names the file, the line and the column, or the pictures that cannot be read.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        Self::read_with_votes(path, None)
    }

    /// Reads the pictures of `train/<emotion>/…` and `test/<emotion>/…` that can be read. Also returns one message for each
    /// that cannot; it names the file.
    ///
    /// # Errors
    /// If a folder cannot be listed, or if there is no picture.
    pub fn read_folder(path: &Path) -> Result<(Self, Vec<String>), DatasetError> {
        let mut dataset = Self::default();
        let mut failures = Vec::new();
        for (number, Labelled { usage, label, path }) in (1..).zip(labelled_pictures(path)?) {
            match read_face(&path) {
                Ok(pixels) => {
                    dataset.split_mut(usage).push(Sample { line: number, label, votes: None, pixels });
                }
                Err(message) => failures.push(message),
            }
        }
        Ok((dataset, failures))
    }

    fn split_mut(&mut self, usage: Usage) -> &mut Vec<Sample> {
        match usage {
            Usage::Training => &mut self.training,
            Usage::PublicTest => &mut self.public,
            Usage::PrivateTest => &mut self.private,
        }
    }

    /// All rows in the order of the file.
    pub fn into_rows(self) -> Vec<(Usage, Sample)> {
        let splits = [
            (Usage::Training, self.training),
            (Usage::PublicTest, self.public),
            (Usage::PrivateTest, self.private),
        ];
        let rows =
            splits.into_iter().flat_map(|(usage, samples)| samples.into_iter().map(move |s| (usage, s)));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|(_, sample)| sample.line);
        rows
    }

    /// [`Dataset::read`] with FER+ votes from a second file, which has one row for each row of the data. Training rows without
    /// a vote for one of the seven emotions are left out. Test rows have only their label.
    ///
    /// # Errors
    /// As [`Dataset::read`], and if the two files do not fit each other.
    pub fn read_with_votes(path: &Path, votes: Option<&Path>) -> Result<Self, DatasetError> {
        if path.is_dir() && votes.is_none() {
            let (dataset, failures) = Self::read_folder(path)?;
            return if failures.is_empty() { Ok(dataset) } else { Err(DatasetError::Pictures(failures)) };
        }
        let mut table = Table::open(path)?;
        let columns = [table.column("emotion")?, table.column("pixels")?];
        let voted = votes.map(|votes| Ok((votes, read_votes(votes)?))).transpose()?;
        let mut dataset = Self::default();
        let mut rows = 0;
        while table.next()? {
            let (usage, number) = (table.usage()?, rows);
            rows += 1;
            let label =
                parse_label(table.field("emotion", columns[0])?).map_err(|m| table.wrong("emotion", m))?;
            let pixels =
                parse_pixels(table.field("pixels", columns[1])?).map_err(|m| table.wrong("pixels", m))?;
            let mut sample = Sample { line: table.line(), label, votes: None, pixels };
            if let Some((votes, all)) = &voted
                && let Some((voted_usage, votes_of_row)) = all.get(number)
            {
                if *voted_usage != usage {
                    let message = format!("the same row of {} is {voted_usage:?}", votes.display());
                    return Err(table.wrong("Usage", message));
                }
                if usage == Usage::Training {
                    sample.votes = *votes_of_row;
                    if votes_of_row.is_none() {
                        continue;
                    }
                }
            }
            dataset.split_mut(usage).push(sample);
        }
        match voted {
            Some((path, all)) if all.len() != rows => {
                Err(DatasetError::VoteRows { path: path.to_owned(), found: all.len(), expected: rows })
            }
            _ => Ok(dataset),
        }
    }

    /// Removes the faces whose emotion is not among the labels.
    pub fn only(mut self, labels: &[Emotion]) -> Self {
        for split in [&mut self.training, &mut self.public, &mut self.private] {
            split.retain(|sample| labels.contains(&sample.label));
        }
        self
    }

    /// Splits the training rows: a fraction of each class, drawn by the seed, and the other rows, both in the order of the
    /// file.
    pub fn split_training(&self, fraction: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
        let mut drawn = vec![false; self.training.len()];
        for emotion in Emotion::ALL {
            let mut rows: Vec<usize> =
                (0..self.training.len()).filter(|&row| self.training[row].label == emotion).collect();
            rows.shuffle(&mut StdRng::seed_from_u64(mix([seed, emotion.index() as u64, 0])));
            let count = (rows.len() as f64 * fraction).round() as usize;
            rows.into_iter().take(count).for_each(|row| drawn[row] = true);
        }
        let take = |wanted: bool| {
            let rows = self.training.iter().zip(&drawn).filter(|(_, drawn)| **drawn == wanted);
            rows.map(|(sample, _)| sample.clone()).collect()
        };
        (take(true), take(false))
    }
}

/// Checks that each label occurs.
///
/// # Errors
/// [`DatasetError::MissingClass`], which names the split and the first label that does not occur.
pub fn require_classes(
    samples: &[Sample],
    labels: &[Emotion],
    split: &'static str,
    path: &Path,
) -> Result<(), DatasetError> {
    let missing = labels.iter().find(|&&emotion| samples.iter().all(|sample| sample.label != emotion));
    match missing {
        Some(&emotion) => Err(DatasetError::MissingClass { path: path.to_owned(), split, emotion }),
        None => Ok(()),
    }
}

fn parse_label(text: &str) -> Result<Emotion, String> {
    text.parse()
        .ok()
        .and_then(Emotion::from_label)
        .ok_or_else(|| format!("unknown label '{text}'; expected 0 (angry) to 6 (neutral)"))
}

fn parse_pixels(text: &str) -> Result<Box<[u8; PIXELS]>, String> {
    let mut face = Box::new([0; PIXELS]);
    let mut count = 0;
    for (index, value) in text.split_ascii_whitespace().enumerate() {
        let pixel = value
            .parse()
            .map_err(|_| format!("pixel {index} is '{value}'; expected a whole number from 0 to 255"))?;
        if let Some(slot) = face.get_mut(index) {
            *slot = pixel;
        }
        count = index + 1;
    }
    if count == PIXELS {
        Ok(face)
    } else {
        Err(format!("{count} pixels; expected {PIXELS} ({SIDE}×{SIDE})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma};

    fn read(rows: &[(&str, &str, &str)]) -> Result<Dataset, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faces.csv");
        let rows: String = rows.iter().map(|(e, p, u)| format!("{e},{p},{u}\n")).collect();
        std::fs::write(&path, format!("emotion,pixels,Usage\n{rows}")).unwrap();
        Dataset::read(&path)
    }

    #[test]
    fn rows_go_to_their_split() {
        let face = vec!["7"; PIXELS].join(" ");
        let dataset =
            read(&[("3", &face, "Training"), ("0", &face, "PublicTest"), ("6", &face, "PrivateTest")])
                .unwrap();
        assert_eq!(dataset.training[0].label, Emotion::Happy);
        assert_eq!(dataset.public[0].pixels[PIXELS - 1], 7);
        assert_eq!(dataset.private.len(), 1);
    }

    fn faces(rows: &[(&str, &str)]) -> String {
        let face = vec!["7"; PIXELS].join(" ");
        let rows: String = rows.iter().map(|(e, usage)| format!("{e},{face},{usage}\n")).collect();
        format!("emotion,pixels,Usage\n{rows}")
    }

    #[test]
    fn a_folder_of_pictures_is_read_by_emotion() {
        let folder = tempfile::tempdir().unwrap();
        for (place, level, side) in
            [("train/happy/b.png", 10, 48), ("train/sad/a.png", 20, 96), ("test/sad/c.jpg", 30, 48)]
        {
            let file = folder.path().join(place);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            GrayImage::from_pixel(side, side, Luma([level])).save(file).unwrap();
        }
        let dataset = Dataset::read(folder.path()).unwrap();
        let of = |sample: &Sample| (sample.label, sample.pixels[PIXELS / 2]);
        assert_eq!(
            dataset.training.iter().map(of).collect::<Vec<_>>(),
            [(Emotion::Happy, 10), (Emotion::Sad, 20)]
        );
        assert_eq!(of(&dataset.private[0]), (Emotion::Sad, 30));
        let empty = tempfile::tempdir().unwrap();
        assert!(Dataset::read(empty.path()).err().unwrap().to_string().contains("train/<emotion>"));
    }

    #[test]
    fn votes_become_soft_targets_of_training_rows() {
        let folder = tempfile::tempdir().unwrap();
        let [data, votes] = ["faces.csv", "votes.csv"].map(|name| folder.path().join(name));
        let rows = [("0", "Training"), ("3", "Training"), ("3", "PublicTest")];
        std::fs::write(&data, faces(&rows)).unwrap();
        let header =
            "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF";
        let first = "Training,a.png,4,0,0,1,3,0,0,2,0,0";
        let without = "Training,b.png,0,0,0,0,0,0,0,6,3,1";
        let public = "PublicTest,c.png,10,0,0,0,0,0,0,0,0,0";
        let read = |lines: &[&str]| {
            std::fs::write(&votes, [&[header], lines].concat().join("\n")).unwrap();
            Dataset::read_with_votes(&data, Some(&votes))
        };
        let dataset = read(&[first, without, public]).unwrap();
        assert_eq!(dataset.training.len(), 1, "a row without a vote is left out");
        assert_eq!(dataset.training[0].votes, Some([0.375, 0.0, 0.0, 0.0, 0.125, 0.0, 0.5]));
        assert_eq!((dataset.public[0].label, dataset.public[0].votes), (Emotion::Happy, None));
        let refusal = |lines: &[&str]| read(lines).err().unwrap().to_string();
        assert!(refusal(&[first, without]).contains("2 rows; expected one for each of the data's 3"));
        assert!(refusal(&[first, public, without]).contains("line 3, column Usage"));
        assert!(refusal(&["Training,a,x,0,0,0,0,0,0,0,0,0"]).contains("'x' is not a number of votes"));
    }

    #[test]
    fn a_stratified_split_takes_the_fraction_of_each_class() {
        let face = Box::new([7; PIXELS]);
        let label = |row: usize| if row.is_multiple_of(10) { Emotion::Disgust } else { Emotion::Happy };
        let training =
            (0..200).map(|row| Sample { line: 0, label: label(row), votes: None, pixels: face.clone() });
        let dataset = Dataset { training: training.collect(), ..Dataset::default() };
        let (drawn, left) = dataset.split_training(0.2, 7);
        let count = |of: &[Sample], emotion| of.iter().filter(|sample| sample.label == emotion).count();
        assert_eq!((count(&drawn, Emotion::Disgust), count(&drawn, Emotion::Happy)), (4, 36));
        assert_eq!(left.len(), 160);
        let six: Vec<Emotion> = Emotion::ALL.into_iter().filter(|&e| e != Emotion::Disgust).collect();
        assert_eq!(dataset.only(&six).training.len(), 180);
        let missing = require_classes(&drawn, &Emotion::ALL, "validation", Path::new("x.csv"));
        assert!(missing.unwrap_err().to_string().contains("no validation row shows angry"));
    }

    #[test]
    fn errors_name_line_and_column() {
        let face = vec!["7"; PIXELS].join(" ");
        let good = ("3", face.as_str(), "Training");
        let message = |row| read(&[good, row]).err().unwrap().to_string();
        let short = message(("3", "1 2 3", "Training"));
        assert!(short.contains("line 3, column pixels: 3 pixels; expected 2304"), "{short}");
        let bright = face.replacen('7', "256", 1);
        assert!(message(("3", &bright, "Training")).contains("column pixels: pixel 0 is '256'"));
        assert!(message(("7", &face, "Training")).contains("column emotion: unknown label '7'"));
        assert!(message(("3", &face, "Test")).contains("column Usage: unknown 'Test'"));
    }

    #[test]
    fn a_missing_file_names_the_command() {
        let message = Dataset::read(Path::new("nowhere.csv")).err().unwrap().to_string();
        assert!(message.contains("cargo xtask download-dataset") && !message.contains('\n'));
    }
}
