//! FER-2013 as it is distributed: one CSV, `emotion,pixels,Usage`, a face a row.

use std::path::{Path, PathBuf};

use fer_model::Emotion;

/// Side of a FER-2013 face in pixels.
pub(crate) const SIDE: usize = 48;

/// Pixels of a face.
pub(crate) const PIXELS: usize = SIDE * SIDE;

/// One labelled face.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) label: Emotion,
    /// Row-major grey levels.
    pub(crate) pixels: Box<[u8; PIXELS]>,
}

/// The three parts of FER-2013.
#[derive(Default)]
pub(crate) struct Dataset {
    pub(crate) training: Vec<Sample>,
    /// The competition's public test: what training may look at.
    pub(crate) public: Vec<Sample>,
    /// The competition's private test: scored at the end, never during training.
    pub(crate) private: Vec<Sample>,
}

/// Why the CSV cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    #[error("{0} not found: run `cargo xtask download-dataset`, or name the CSV with --data")]
    Missing(PathBuf),
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: csv::Error },
    #[error("{path}: no column '{column}'; expected emotion, pixels and Usage")]
    Header { path: PathBuf, column: &'static str },
    #[error("{path}, line {line}, column {column}: {message}")]
    Row { path: PathBuf, line: u64, column: &'static str, message: String },
    #[error("{path}: no row has Usage '{usage}'")]
    EmptySplit { path: PathBuf, usage: &'static str },
}

impl Dataset {
    /// Reads the whole file (35,887 rows, 83 MB as pixels).
    pub(crate) fn read(path: &Path) -> Result<Self, DatasetError> {
        if !path.exists() {
            return Err(DatasetError::Missing(path.to_owned()));
        }
        let failed = |source| DatasetError::Read { path: path.to_owned(), source };
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_path(path).map_err(failed)?;
        let headers = reader.headers().map_err(failed)?.clone();
        let column = |name: &'static str| {
            headers
                .iter()
                .position(|header| header.eq_ignore_ascii_case(name))
                .ok_or_else(|| DatasetError::Header { path: path.to_owned(), column: name })
        };
        let (emotion, pixels, usage) = (column("emotion")?, column("pixels")?, column("Usage")?);
        let mut dataset = Self::default();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(failed)? {
            let line = record.position().map_or(0, csv::Position::line);
            let wrong = |column: &'static str| {
                move |message: String| DatasetError::Row { path: path.to_owned(), line, column, message }
            };
            let field = |index: usize, name: &'static str| {
                record.get(index).ok_or_else(|| wrong(name)("the row ends before it".to_owned()))
            };
            let label = parse_label(field(emotion, "emotion")?).map_err(wrong("emotion"))?;
            let face = parse_pixels(field(pixels, "pixels")?).map_err(wrong("pixels"))?;
            let split = match field(usage, "Usage")? {
                "Training" => &mut dataset.training,
                "PublicTest" => &mut dataset.public,
                "PrivateTest" => &mut dataset.private,
                other => {
                    let message = format!("unknown '{other}'; expected Training, PublicTest or PrivateTest");
                    return Err(wrong("Usage")(message));
                }
            };
            split.push(Sample { label, pixels: face });
        }
        Ok(dataset)
    }

    /// The training rows and the public test, neither of them empty.
    pub(crate) fn require_training(&self, path: &Path) -> Result<(), DatasetError> {
        for (split, usage) in [(&self.training, "Training"), (&self.public, "PublicTest")] {
            if split.is_empty() {
                return Err(DatasetError::EmptySplit { path: path.to_owned(), usage });
            }
        }
        Ok(())
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
