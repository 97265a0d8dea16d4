//! FER-2013 as it is distributed: one CSV, `emotion,pixels,Usage`, a face a row.

use std::path::{Path, PathBuf};

use fer_image::{BoundingBox, CropRule, DecodeLimits, FaceCrop, FaceLocation};
use fer_model::Emotion;
use image::{GrayImage, Luma};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::training::train::mix;

/// Side of a FER-2013 face in pixels.
pub const SIDE: usize = 48;

/// Pixels of a face.
pub const PIXELS: usize = SIDE * SIDE;

/// One labelled face.
#[derive(Clone)]
pub struct Sample {
    /// Of the CSV, where its first is the header.
    pub line: u64,
    pub label: Emotion,
    /// Shares of the emotions by other people's votes or a teacher's answer, where there are some.
    pub votes: Option<[f32; Emotion::COUNT]>,
    /// Row-major grey levels.
    pub pixels: Box<[u8; PIXELS]>,
}

impl Sample {
    pub fn picture(&self) -> GrayImage {
        picture(&self.pixels)
    }
}

/// Row-major grey levels as a picture.
pub fn picture(pixels: &[u8; PIXELS]) -> GrayImage {
    GrayImage::from_fn(SIDE as u32, SIDE as u32, |x, y| Luma([pixels[y as usize * SIDE + x as usize]]))
}

/// The three parts of FER-2013.
#[derive(Default)]
pub struct Dataset {
    pub training: Vec<Sample>,
    /// The competition's public test: what training may look at.
    pub public: Vec<Sample>,
    /// The competition's private test: scored at the end, never during training.
    pub private: Vec<Sample>,
}

/// Why the CSV cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error("{0} not found: run `cargo xtask download-dataset`, or name the CSV with --data")]
    Missing(PathBuf),
    #[error("{path}: {cause}")]
    Read { path: PathBuf, cause: csv::Error },
    #[error("{path}: no column '{column}'")]
    Header { path: PathBuf, column: &'static str },
    #[error("{path}: {cause}")]
    Folder { path: PathBuf, cause: std::io::Error },
    #[error("{} of the pictures cannot be read: {}", .0.len(), .0.join("; "))]
    Pictures(Vec<String>),
    #[error("{0} holds no picture; expected train/<emotion>/*.png or jpg, and test/<emotion>/…")]
    EmptyFolder(PathBuf),
    #[error("{path}, line {line}, column {column}: {message}")]
    Row { path: PathBuf, line: u64, column: &'static str, message: String },
    #[error("{path}: no {split} row shows {emotion}, which the network is to tell apart")]
    MissingClass { path: PathBuf, split: &'static str, emotion: Emotion },
    #[error("{path} has {found} rows; expected one for each of the data's {expected}")]
    VoteRows { path: PathBuf, found: usize, expected: usize },
}

impl Dataset {
    /// Reads the whole CSV (35,887 rows, 83 MB as pixels), or a folder of pictures: `train/<emotion>/…` are the training
    /// rows, `test/<emotion>/…` the private test, since they are not to be chosen by.
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
                    dataset.split_mut(usage).push(Sample { line: number, label, votes: None, pixels })
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

    /// The same with FER+ votes from a second file, a row for each: training rows without a vote for one of the seven
    /// emotions are left out, test rows keep their label alone.
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
                && let Some((voted_usage, shares)) = all.get(number)
            {
                if *voted_usage != usage {
                    let message = format!("the same row of {} is {voted_usage:?}", votes.display());
                    return Err(table.wrong("Usage", message));
                }
                if usage == Usage::Training {
                    sample.votes = *shares;
                    if shares.is_none() {
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

    /// Without the faces of emotions that a network has no label for.
    pub fn only(mut self, labels: &[Emotion]) -> Self {
        for split in [&mut self.training, &mut self.public, &mut self.private] {
            split.retain(|sample| labels.contains(&sample.label));
        }
        self
    }

    /// A share of each class of the training rows, and the others, in their order.
    pub fn split_training(&self, share: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
        let mut drawn = vec![false; self.training.len()];
        for emotion in Emotion::ALL {
            let mut rows: Vec<usize> =
                (0..self.training.len()).filter(|&row| self.training[row].label == emotion).collect();
            rows.shuffle(&mut StdRng::seed_from_u64(mix([seed, emotion.index() as u64, 0])));
            let count = (rows.len() as f64 * share).round() as usize;
            rows.into_iter().take(count).for_each(|row| drawn[row] = true);
        }
        let take = |wanted: bool| {
            let rows = self.training.iter().zip(&drawn).filter(|(_, drawn)| **drawn == wanted);
            rows.map(|(sample, _)| sample.clone()).collect()
        };
        (take(true), take(false))
    }
}

/// That each of a network's emotions occurs.
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

/// Reads a picture that shows nothing but a face, as serving does: see [`FaceCrop::extract`].
fn read_face(path: &Path) -> Result<Box<[u8; PIXELS]>, String> {
    let picture = fer_image::read(path, DecodeLimits::default()).map_err(|error| error.to_string())?;
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let bounding_box = BoundingBox { x: 0.0, y: 0.0, width, height };
    let location = FaceLocation { bounding_box, eyes: [[0.0; 2]; 2] };
    let face = FaceCrop::extract(&picture, &location, CropRule::WHOLE, fer_image::Luma::default(), [SIDE; 2])
        .ok_or_else(|| format!("{}: it has no pixels", path.display()))?;
    let mut pixels = Box::new([0; PIXELS]);
    pixels.copy_from_slice(face.luma());
    Ok(pixels)
}

/// A picture of a folder per label.
pub struct Labelled {
    pub usage: Usage,
    pub label: Emotion,
    pub path: PathBuf,
}

/// The pictures of `train/<emotion>/…` and of `test/<emotion>/…`, which are PrivateTest.
pub fn labelled_pictures(root: &Path) -> Result<Vec<Labelled>, DatasetError> {
    let mut found = Vec::new();
    for (name, usage) in [("train", Usage::Training), ("test", Usage::PrivateTest)] {
        for label in Emotion::ALL {
            let folder = root.join(name).join(label.name());
            match pictures(&folder) {
                Ok(files) => found.extend(files.into_iter().map(|path| Labelled { usage, label, path })),
                // A data set may lack a split or an emotion.
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
                Err(cause) => return Err(DatasetError::Folder { path: folder, cause }),
            }
        }
    }
    if found.is_empty() {
        return Err(DatasetError::EmptyFolder(root.to_owned()));
    }
    Ok(found)
}

/// The pictures of a folder by name.
pub fn pictures(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| {
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        ["jpg", "jpeg", "png", "webp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    });
    files.sort();
    Ok(files)
}

/// The part of the data that a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Training,
    PublicTest,
    PrivateTest,
}

impl Usage {
    const ALL: [Self; 3] = [Self::Training, Self::PublicTest, Self::PrivateTest];

    /// In the CSV.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "Training",
            Self::PublicTest => "PublicTest",
            Self::PrivateTest => "PrivateTest",
        }
    }
}

/// A CSV with a header, whose errors name line and column.
struct Table {
    path: PathBuf,
    reader: csv::Reader<std::fs::File>,
    headers: csv::StringRecord,
    record: csv::StringRecord,
    usage: usize,
}

impl Table {
    fn open(path: &Path) -> Result<Self, DatasetError> {
        if !path.exists() {
            return Err(DatasetError::Missing(path.to_owned()));
        }
        let failed = |cause| DatasetError::Read { path: path.to_owned(), cause };
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_path(path).map_err(failed)?;
        let headers = reader.headers().map_err(failed)?.clone();
        let record = csv::StringRecord::new();
        let mut table = Self { path: path.to_owned(), reader, headers, record, usage: 0 };
        table.usage = table.column("Usage")?;
        Ok(table)
    }

    fn column(&self, name: &'static str) -> Result<usize, DatasetError> {
        let place = self.headers.iter().position(|header| header.eq_ignore_ascii_case(name));
        place.ok_or_else(|| DatasetError::Header { path: self.path.clone(), column: name })
    }

    fn next(&mut self) -> Result<bool, DatasetError> {
        let read = self.reader.read_record(&mut self.record);
        read.map_err(|cause| DatasetError::Read { path: self.path.clone(), cause })
    }

    fn field(&self, name: &'static str, column: usize) -> Result<&str, DatasetError> {
        self.record.get(column).ok_or_else(|| self.wrong(name, "the row ends before it".to_owned()))
    }

    fn usage(&self) -> Result<Usage, DatasetError> {
        let name = self.field("Usage", self.usage)?;
        Usage::ALL.into_iter().find(|usage| usage.name() == name).ok_or_else(|| {
            let message = format!("unknown '{name}'; expected Training, PublicTest or PrivateTest");
            self.wrong("Usage", message)
        })
    }

    fn wrong(&self, column: &'static str, message: String) -> DatasetError {
        DatasetError::Row { path: self.path.clone(), line: self.line(), column, message }
    }

    /// Of the row that was read last.
    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }
}

/// What a row is for, and the shares of its votes; `None` for a row without any.
type Votes = (Usage, Option<[f32; Emotion::COUNT]>);

/// FER+ as it is distributed: `Usage`, then counts of ten taggers' votes by name. Contempt, unknown and "no face" do
/// not count.
fn read_votes(path: &Path) -> Result<Vec<Votes>, DatasetError> {
    let names = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"];
    let mut table = Table::open(path)?;
    let columns = names.map(|name| table.column(name));
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    while table.next()? {
        let mut counts = [0.0_f32; Emotion::COUNT];
        for ((count, name), &column) in counts.iter_mut().zip(names).zip(&columns) {
            let text = table.field(name, column)?;
            let votes: u8 =
                text.parse().map_err(|_| table.wrong(name, format!("'{text}' is no count of votes")))?;
            *count = f32::from(votes);
        }
        let sum: f32 = counts.iter().sum();
        rows.push((table.usage()?, (sum > 0.0).then(|| counts.map(|count| count / sum))));
    }
    Ok(rows)
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
    fn votes_become_shares_of_training_rows() {
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
        assert!(refusal(&["Training,a,x,0,0,0,0,0,0,0,0,0"]).contains("'x' is no count of votes"));
    }

    #[test]
    fn a_stratified_split_takes_its_share_of_each_class() {
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
