//! The CSV of FER-2013, row by row: the columns `emotion,pixels,Usage`, one face per row.

use std::io::{self, Write};
use std::path::Path;

use fer_emotion::Emotion;

use crate::error::DatasetError;
use crate::sample::{PIXELS, SIDE, Sample};
use crate::table::Table;
use crate::usage::Usage;

/// The first line of the CSV.
pub const HEADER: &str = "emotion,pixels,Usage";

/// Iterates over the rows of a CSV without keeping them. Columns may have any order, and further columns are ignored.
///
/// Each item is the row's split and its sample without votes, or a [`DatasetError`] that names the file, the line and the
/// column.
pub struct Rows {
    table: Table,
    emotion: usize,
    pixels: usize,
}

impl Rows {
    /// Opens a CSV and reads its header.
    ///
    /// # Errors
    /// If the file cannot be read, or if a column is missing.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let table = Table::open(path)?;
        let (emotion, pixels) = (table.column("emotion")?, table.column("pixels")?);
        Ok(Self { table, emotion, pixels })
    }

    /// The error for a column of the row that was read last.
    pub(crate) fn wrong(&self, column: &'static str, message: String) -> DatasetError {
        self.table.wrong(column, message)
    }

    fn read(&self) -> Result<(Usage, Sample), DatasetError> {
        let table = &self.table;
        let label =
            parse_label(table.field("emotion", self.emotion)?).map_err(|m| table.wrong("emotion", m))?;
        let pixels =
            parse_pixels(table.field("pixels", self.pixels)?).map_err(|m| table.wrong("pixels", m))?;
        Ok((table.usage()?, Sample { line: table.line(), label, votes: None, pixels }))
    }
}

impl Iterator for Rows {
    type Item = Result<(Usage, Sample), DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.table.next() {
            Ok(true) => Some(self.read()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Writes one row of the CSV, which begins with the line [`HEADER`].
///
/// # Errors
/// Whatever `out` reports.
pub fn write_row(
    out: &mut impl Write,
    usage: Usage,
    label: Emotion,
    pixels: &[u8; PIXELS],
) -> io::Result<()> {
    write!(out, "{},", label.index())?;
    for (index, pixel) in pixels.iter().enumerate() {
        write!(out, "{}{pixel}", if index == 0 { "" } else { " " })?;
    }
    writeln!(out, ",{}", usage.name())
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

    fn rows(csv: impl AsRef<[u8]>) -> Result<Vec<(Usage, Sample)>, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faces.csv");
        std::fs::write(&path, csv).unwrap();
        Rows::open(&path)?.collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let pixels: [u8; PIXELS] = std::array::from_fn(|index| index as u8);
        let mut csv = format!("{HEADER}\n").into_bytes();
        write_row(&mut csv, Usage::PublicTest, Emotion::Sad, &pixels).unwrap();
        let rows = rows(csv).unwrap();
        let [(usage, sample)] = &rows[..] else { panic!("{} rows", rows.len()) };
        assert_eq!((*usage, sample.line, sample.label), (Usage::PublicTest, 2, Emotion::Sad));
        assert_eq!(*sample.pixels, pixels);
    }

    #[test]
    fn columns_are_found_by_name() {
        let face = vec!["7"; PIXELS].join(" ");
        let rows = rows(format!(" usage,note, EMOTION, pixels\nTraining,x, 3, {face}\n")).unwrap();
        assert_eq!((rows[0].0, rows[0].1.label), (Usage::Training, Emotion::Happy));
    }

    #[test]
    fn errors_name_line_and_column() {
        let face = vec!["7"; PIXELS].join(" ");
        let message =
            |row: &str| rows(format!("{HEADER}\n3,{face},Training\n{row}\n")).err().unwrap().to_string();
        let short = message("3,1 2 3,Training");
        assert!(short.contains("faces.csv, line 3, column pixels: 3 pixels; expected 2304"), "{short}");
        let bright = face.replacen('7', "256", 1);
        assert!(message(&format!("3,{bright},Training")).contains("column pixels: pixel 0 is '256'"));
        assert!(message(&format!("7,{face},Training")).contains("column emotion: unknown label '7'"));
        assert!(message(&format!("3,{face},Test")).contains("column Usage: unknown 'Test'"));
        assert!(message(&format!("3,{face}")).contains("line 3, column Usage: the row ends before it"));
        assert!(rows("emotion,Usage\n").err().unwrap().to_string().contains("no column 'pixels'"));
    }
}
