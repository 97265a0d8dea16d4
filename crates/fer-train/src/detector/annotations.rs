//! Photos with annotated faces: reads and writes their CSV, and decodes the photos.
//!
//! Columns: `path`, `x,y,w,h` (box in pixels: top left corner and size), `le/re/nose/ml/mr/mc` each with `_x,_y` (eyes,
//! nose, corners and centre of the mouth, left as seen in the image; empty if unknown), `ignore` (1 excludes the box from
//! both faces and background), `tag`, `source`. Coordinates are in the upright photo, after its EXIF orientation has been
//! applied.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fer_image::DecodeLimits;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One annotated face.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Path of the photo, relative to the folder of the images.
    pub path: String,
    /// Left edge of the box in pixels.
    pub x: f32,
    /// Top edge of the box in pixels.
    pub y: f32,
    /// Width of the box in pixels.
    pub w: f32,
    /// Height of the box in pixels.
    pub h: f32,
    le_x: Option<f32>,
    le_y: Option<f32>,
    re_x: Option<f32>,
    re_y: Option<f32>,
    nose_x: Option<f32>,
    nose_y: Option<f32>,
    ml_x: Option<f32>,
    ml_y: Option<f32>,
    mr_x: Option<f32>,
    mr_y: Option<f32>,
    mc_x: Option<f32>,
    mc_y: Option<f32>,
    /// 1 excludes the box from both faces and background.
    pub ignore: u8,
    /// Free text.
    pub tag: String,
    /// The set that the row comes from; the training configuration has rules by source.
    pub source: String,
}

impl Row {
    /// Makes a row of a box `[x, y, width, height]` without landmarks.
    pub fn bare(path: &str, [x, y, w, h]: [f32; 4], ignore: bool, source: &str) -> Self {
        let (path, source) = (path.to_owned(), source.to_owned());
        Self { path, x, y, w, h, ignore: u8::from(ignore), source, ..Self::default() }
    }

    /// Returns the corners of the box, `x0, y0, x1, y1`.
    pub fn corners(&self) -> [f32; 4] {
        [self.x, self.y, self.x + self.w, self.y + self.h]
    }

    /// Returns whether the box has no area.
    pub fn is_empty(&self) -> bool {
        self.w <= 0.0 || self.h <= 0.0
    }

    /// Returns eyes, nose, corners of the mouth and centre of the mouth, where known.
    pub fn points(&self) -> [Option<[f32; 2]>; 6] {
        let point = |x: Option<f32>, y: Option<f32>| Some([x?, y?]);
        [
            point(self.le_x, self.le_y),
            point(self.re_x, self.re_y),
            point(self.nose_x, self.nose_y),
            point(self.ml_x, self.ml_y),
            point(self.mr_x, self.mr_y),
            point(self.mc_x, self.mc_y),
        ]
    }
}

/// A photo and its annotated faces.
#[derive(Clone, Debug, PartialEq)]
pub struct Photo {
    /// Path of the photo, relative to the folder of the images.
    pub path: String,
    /// The faces in the order of the CSV.
    pub faces: Vec<Row>,
}

/// Reads a CSV. Photos are in the order of their first row. Empty boxes are kept and marked as ignored;
/// [`empty_boxes`] counts them.
///
/// # Errors
/// Returns an error that names the file and, for a bad row, its line, column and value.
pub fn read(csv: &Path) -> Result<Vec<Photo>> {
    let mut reader = csv::Reader::from_path(csv).with_context(|| format!("cannot read {}", csv.display()))?;
    let header = reader.headers().with_context(|| format!("cannot read {}", csv.display()))?.clone();
    let mut photos: Vec<Photo> = Vec::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("cannot read {}", csv.display()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = parse(&record, &header).with_context(|| format!("{}, line {line}", csv.display()))?;
        let position = *positions.entry(row.path.clone()).or_insert_with(|| {
            photos.push(Photo { path: row.path.clone(), faces: Vec::new() });
            photos.len() - 1
        });
        photos[position].faces.push(row);
    }
    if photos.is_empty() {
        bail!("{} names no photo", csv.display());
    }
    Ok(photos)
}

fn parse(record: &csv::StringRecord, header: &csv::StringRecord) -> Result<Row> {
    let mut row: Row = record.deserialize(Some(header)).map_err(|error| in_words(&error, record, header))?;
    for (column, value) in [("x", row.x), ("y", row.y), ("w", row.w), ("h", row.h)] {
        if !value.is_finite() {
            bail!("column {column} is '{value}'; expected a finite number");
        }
    }
    row.ignore |= u8::from(row.is_empty());
    Ok(row)
}

/// Names the column and the value that do not parse.
fn in_words(error: &csv::Error, record: &csv::StringRecord, header: &csv::StringRecord) -> anyhow::Error {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else { return anyhow::anyhow!("{error}") };
    let field = err.field().and_then(|field| usize::try_from(field).ok());
    let at = field.and_then(|field| Some((header.get(field)?, record.get(field)?)));
    match at {
        Some((column, value)) => anyhow::anyhow!("column {column} is '{value}': {}", err.kind()),
        None => anyhow::anyhow!("{}", err.kind()),
    }
}

/// Counts the boxes without an area, which [`read`] marks as ignored.
pub fn empty_boxes(photos: &[Photo]) -> usize {
    photos.iter().flat_map(|photo| &photo.faces).filter(|row| row.is_empty()).count()
}

/// Writes photos in the same layout.
///
/// # Errors
/// Returns an error that names the file if it cannot be written.
pub fn write<'a>(csv: &Path, photos: impl IntoIterator<Item = &'a Photo>) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in photos.into_iter().flat_map(|photo| &photo.faces) {
        writer.serialize(row)?;
    }
    fer_model::file::write_atomically(csv, &writer.into_inner()?)
        .with_context(|| format!("cannot write {}", csv.display()))
}

/// Reads a list of photos without a face, one path per line.
///
/// # Errors
/// Returns an error that names the list if it cannot be read.
pub fn read_negatives(list: &Path) -> Result<Vec<Photo>> {
    let text = std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let paths = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(paths.map(|path| Photo { path: path.to_owned(), faces: Vec::new() }).collect())
}

/// sha256 in lower-case hexadecimal over annotations, the list of photos without faces, and whatever completes them.
pub fn sha256(photos: &[Photo], negatives: &[Photo], more: &str) -> String {
    let mut hash = Sha256::new();
    for photo in photos.iter().chain(negatives) {
        hash.update(format!("{photo:?}"));
    }
    hash.update(more);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes a photo as serving does.
///
/// # Errors
/// Returns an error that names the photo if it cannot be read.
pub fn open(folder: &Path, photo: &Photo) -> Result<RgbImage> {
    Ok(fer_image::read(&folder.join(&photo.path), DecodeLimits::default())?)
}

/// Decodes all photos, on all cores.
///
/// # Errors
/// Returns an error that names the first photo that cannot be read.
pub fn open_all(folder: &Path, photos: &[Photo]) -> Result<Vec<RgbImage>> {
    photos.par_iter().map(|photo| open(folder, photo)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "path,x,y,w,h,le_x,le_y,re_x,re_y,nose_x,nose_y,ml_x,ml_y,mr_x,mr_y,mc_x,mc_y,ignore,tag,source\n";

    #[test]
    fn rows_become_photos_and_rows_again() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("faces.csv");
        let rows = "b.jpg,1,2,3,4,1,2,3,4,5,6,,,,,7,8,0,,web\na.jpg,0,0,9,9,,,,,,,,,,,,,1,masked,web\n\
                    b.jpg,5,5,3,4,,,,,,,,,,,,,0,,web\n";
        std::fs::write(&csv, format!("{HEADER}{rows}")).unwrap();
        let photos = read(&csv).unwrap();
        assert_eq!((photos.len(), photos[0].faces.len(), photos[1].faces[0].ignore), (2, 2, 1));
        assert_eq!(photos[0].faces[0].corners(), [1.0, 2.0, 4.0, 6.0]);
        let points = photos[0].faces[0].points();
        assert_eq!((points[0], points[3], points[5]), (Some([1.0, 2.0]), None, Some([7.0, 8.0])));
        assert_eq!(empty_boxes(&photos), 0);
        let again = folder.path().join("again.csv");
        write(&again, &photos).unwrap();
        assert_eq!(read(&again).unwrap(), photos);
    }

    #[test]
    fn bad_rows_are_named_by_line_column_and_value() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("faces.csv");
        for (row, wanted) in [
            ("a.jpg,1,2,x,4", "column w is 'x': invalid float literal"),
            ("a.jpg,1,inf,3,4", "column y is 'inf'; expected a finite number"),
        ] {
            let good = "a.jpg,1,2,3,4,,,,,,,,,,,,,0,,web";
            std::fs::write(&csv, format!("{HEADER}{good}\n{row},,,,,,,,,,,,,0,,web\n")).unwrap();
            let message = format!("{:#}", read(&csv).unwrap_err());
            assert!(message.contains("faces.csv, line 3: ") && message.contains(wanted), "{message}");
        }
        std::fs::write(&csv, HEADER).unwrap();
        assert!(read(&csv).unwrap_err().to_string().contains("names no photo"));
    }

    #[test]
    fn empty_boxes_are_ignored_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("faces.csv");
        let rest = ",,,,,,,,,,,,,0,,web";
        std::fs::write(
            &csv,
            format!("{HEADER}a.jpg,1,2,0,4{rest}\na.jpg,1,2,3,-4{rest}\na.jpg,1,2,3,4{rest}\n"),
        )
        .unwrap();
        let photos = read(&csv).unwrap();
        assert_eq!(photos[0].faces.iter().map(|row| row.ignore).collect::<Vec<_>>(), [1, 1, 0]);
        assert_eq!(empty_boxes(&photos), 2);
    }
}
