//! FER-2013 in memory: the rows of the CSV, or of folders of pictures, by split.

use std::path::Path;

use fer_emotion::Emotion;

use crate::error::DatasetError;
use crate::folder::{Labelled, labelled_pictures, read_face};
use crate::rows::Rows;
use crate::sample::Sample;
use crate::usage::Usage;
use crate::votes::read_votes;

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
    /// Reads the whole CSV (35,887 rows, 83 MB of pixels) or a folder of pictures.
    ///
    /// # Errors
    /// Names the file, the line and the column, or the pictures that cannot be read.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        Self::read_with_votes(path, None)
    }

    /// [`Dataset::read`] with FER+ votes from a second file, which has one row for each row of the data.
    ///
    /// # Errors
    /// As [`Dataset::read`], and if the two files do not fit each other.
    pub fn read_with_votes(path: &Path, votes: Option<&Path>) -> Result<Self, DatasetError> {
        match votes {
            Some(votes) => Self::read_voted(path, votes),
            None if path.is_dir() => {
                let (dataset, failures) = Self::read_folder(path)?;
                if failures.is_empty() { Ok(dataset) } else { Err(DatasetError::Pictures(failures)) }
            }
            None => {
                let mut dataset = Self::default();
                for row in Rows::open(path)? {
                    let (usage, sample) = row?;
                    dataset.split_mut(usage).push(sample);
                }
                Ok(dataset)
            }
        }
    }

    /// Reads the pictures of `train/<emotion>/…` and `test/<emotion>/…` that can be read (see [`labelled_pictures`] for their
    /// splits). Also returns one message for each that cannot; it names the file.
    ///
    /// # Errors
    /// If a folder cannot be listed, or if there is no picture.
    pub fn read_folder(path: &Path) -> Result<(Self, Vec<String>), DatasetError> {
        let mut dataset = Self::default();
        let mut failures = Vec::new();
        for (line, Labelled { usage, label, path, .. }) in (1..).zip(labelled_pictures(path)?) {
            match read_face(&path) {
                Ok(pixels) => dataset.split_mut(usage).push(Sample { line, label, votes: None, pixels }),
                Err(error) => failures.push(error.to_string()),
            }
        }
        Ok((dataset, failures))
    }

    fn read_voted(path: &Path, votes: &Path) -> Result<Self, DatasetError> {
        let mut rows = Rows::open(path)?;
        let voted = read_votes(votes)?;
        let mut dataset = Self::default();
        let mut expected = 0;
        while let Some(row) = rows.next() {
            let (usage, mut sample) = row?;
            let votes_of_row = voted.get(expected);
            expected += 1;
            if let Some(&(voted_usage, _)) = votes_of_row
                && voted_usage != usage
            {
                let message = format!("the same row of {} is {voted_usage:?}", votes.display());
                return Err(rows.wrong("Usage", message));
            }
            sample.votes = votes_of_row.and_then(|&(_, votes)| votes);
            dataset.split_mut(usage).push(sample);
        }
        if voted.len() != expected {
            return Err(DatasetError::VoteRows { path: votes.to_owned(), found: voted.len(), expected });
        }
        Ok(dataset)
    }

    fn split_mut(&mut self, usage: Usage) -> &mut Vec<Sample> {
        match usage {
            Usage::Training => &mut self.training,
            Usage::PublicTest => &mut self.public,
            Usage::PrivateTest => &mut self.private,
        }
    }

    /// Removes the faces whose emotion is not among the labels.
    pub fn only(mut self, labels: &[Emotion]) -> Self {
        for split in [&mut self.training, &mut self.public, &mut self.private] {
            split.retain(|sample| labels.contains(&sample.label));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::HEADER;
    use crate::sample::PIXELS;
    use fer_emotion::LabelSet;
    use image::{GrayImage, Luma};

    fn faces(rows: &[(&str, &str)]) -> String {
        let face = vec!["7"; PIXELS].join(" ");
        let rows: String = rows.iter().map(|(e, usage)| format!("{e},{face},{usage}\n")).collect();
        format!("{HEADER}\n{rows}")
    }

    #[test]
    fn rows_go_to_their_split() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faces.csv");
        std::fs::write(&path, faces(&[("3", "Training"), ("0", "PublicTest"), ("6", "PrivateTest")]))
            .unwrap();
        let dataset = Dataset::read(&path).unwrap();
        assert_eq!(dataset.training[0].label, Emotion::Happy);
        assert_eq!(dataset.public[0].pixels[PIXELS - 1], 7);
        assert_eq!(dataset.private.len(), 1);
    }

    #[test]
    fn a_folder_of_pictures_is_read_by_emotion() {
        let folder = tempfile::tempdir().unwrap();
        for (place, level, side) in [
            ("train/happy/b.png", 10, 48),
            ("train/sad/a.png", 20, 96),
            ("test/sad/c.jpg", 30, 48),
            ("test/sad/PublicTest_1.png", 40, 48),
        ] {
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
        assert_eq!(of(&dataset.public[0]), (Emotion::Sad, 40));
        let empty = tempfile::tempdir().unwrap();
        assert!(Dataset::read(empty.path()).err().unwrap().to_string().contains("train/<emotion>"));
    }

    #[test]
    fn votes_are_fractions_without_outliers() {
        let folder = tempfile::tempdir().unwrap();
        let [data, votes] = ["faces.csv", "votes.csv"].map(|name| folder.path().join(name));
        let rows = [("0", "Training"), ("3", "Training"), ("3", "PublicTest"), ("3", "PublicTest")];
        std::fs::write(&data, faces(&rows)).unwrap();
        let header =
            "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF";
        let first = "Training,a.png,3,0,0,1,3,0,0,2,0,0";
        let without = "Training,b.png,0,0,0,0,0,0,0,6,3,1";
        let public = "PublicTest,c.png,10,0,0,0,0,0,0,0,0,0";
        let divided = "PublicTest,d.png,5,5,0,0,0,0,0,0,0,0";
        let read = |lines: &[&str]| {
            std::fs::write(&votes, [&[header], lines].concat().join("\n")).unwrap();
            Dataset::read_with_votes(&data, Some(&votes))
        };
        let dataset = read(&[first, without, public, divided]).unwrap();
        assert_eq!(dataset.training[0].votes, Some([0.375, 0.0, 0.0, 0.0, 0.0, 0.0, 0.375]));
        assert_eq!(dataset.training[1].votes, None, "most votes are for contempt");
        let labels: [Vec<_>; 2] =
            LabelSet::ALL.map(|set| dataset.public.iter().map(|face| face.label_of(set)).collect());
        let expected = [vec![Some(Emotion::Happy), Some(Emotion::Happy)], vec![Some(Emotion::Neutral), None]];
        assert_eq!(labels, expected);
        let refusal = |lines: &[&str]| read(lines).err().unwrap().to_string();
        assert!(refusal(&[first, without]).contains("2 rows; expected one for each of the data's 4"));
        assert!(refusal(&[first, public, without, public]).contains("line 3, column Usage"));
        assert!(refusal(&["Training,a,x,0,0,0,0,0,0,0,0,0"]).contains("'x' is not a number of votes"));
    }

    #[test]
    fn only_keeps_the_faces_of_some_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faces.csv");
        std::fs::write(&path, faces(&[("1", "Training"), ("3", "Training"), ("1", "PublicTest")])).unwrap();
        let dataset = Dataset::read(&path).unwrap().only(&[Emotion::Happy, Emotion::Sad]);
        assert_eq!((dataset.training.len(), dataset.public.len()), (1, 0));
    }

    #[test]
    fn a_missing_file_names_the_command() {
        let message = Dataset::read(Path::new("nowhere.csv")).err().unwrap().to_string();
        assert!(message.contains("cargo xtask download-dataset") && !message.contains('\n'));
    }
}
