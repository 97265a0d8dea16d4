//! Photos with annotated faces: the CSV, and its pictures in memory.
//!
//! Columns: `path,x,y,w,h` (pixels, top left corner and size), `le/re/nose/ml/mr/mc _x,_y` (eyes, nose, mouth corners and
//! mouth centre, left as seen in the image; empty where unknown), `ignore` (1: neither a face nor none), `tag`, `source`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fer_image::DecodeLimits;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub path: String,
    pub x: f32,
    pub y: f32,
    pub w: f32,
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
    pub ignore: u8,
    pub tag: String,
    pub source: String,
}

impl Row {
    /// A face of which only the box is known.
    pub fn bare(path: &str, [x, y, w, h]: [f32; 4], ignore: bool, source: &str) -> Self {
        let (path, source) = (path.to_owned(), source.to_owned());
        Self { path, x, y, w, h, ignore: u8::from(ignore), source, ..Self::default() }
    }

    /// `x0, y0, x1, y1`
    pub fn corners(&self) -> [f32; 4] {
        [self.x, self.y, self.x + self.w, self.y + self.h]
    }

    /// Eyes, nose, mouth corners, mouth centre, where known.
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

/// A photo and what is known of its faces.
#[derive(Clone, Debug, PartialEq)]
pub struct Photo {
    pub path: String,
    pub faces: Vec<Row>,
}

/// Photos in the order of the file.
pub fn read(csv: &Path) -> Result<Vec<Photo>> {
    let mut reader = csv::Reader::from_path(csv).with_context(|| format!("cannot read {}", csv.display()))?;
    let mut photos: Vec<Photo> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (number, row) in reader.deserialize::<Row>().enumerate() {
        let row = row.with_context(|| format!("{}, row {}", csv.display(), number + 1))?;
        if !(row.corners().iter().all(|value| value.is_finite()) && row.w > 0.0 && row.h > 0.0) {
            bail!("{}, row {}: the box {:?} is empty", csv.display(), number + 1, row.corners());
        }
        let place = *places.entry(row.path.clone()).or_insert_with(|| {
            photos.push(Photo { path: row.path.clone(), faces: Vec::new() });
            photos.len() - 1
        });
        photos[place].faces.push(row);
    }
    if photos.is_empty() {
        bail!("{} names no photo", csv.display());
    }
    Ok(photos)
}

/// Writes photos in the same layout.
pub fn write<'a>(csv: &Path, photos: impl IntoIterator<Item = &'a Photo>) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in photos.into_iter().flat_map(|photo| &photo.faces) {
        writer.serialize(row)?;
    }
    fer_model::file::write_atomically(csv, &writer.into_inner()?)
        .with_context(|| format!("cannot write {}", csv.display()))
}

/// Paths, one a line, of photos without a face.
pub fn read_negatives(list: &Path) -> Result<Vec<Photo>> {
    let text = std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let paths = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(paths.map(|path| Photo { path: path.to_owned(), faces: Vec::new() }).collect())
}

/// A photo's pixels.
pub fn open(folder: &Path, photo: &Photo) -> Result<RgbImage> {
    let path = folder.join(&photo.path);
    Ok(fer_image::read(&path, DecodeLimits::default())?)
}

/// All photos' pixels, on all cores.
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
        let again = folder.path().join("again.csv");
        write(&again, &photos).unwrap();
        assert_eq!(read(&again).unwrap(), photos);
    }

    #[test]
    fn bad_rows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("faces.csv");
        for (row, wanted) in [("a.jpg,1,2,0,4", "is empty"), ("a.jpg,1,2,x,4", "row 1")] {
            std::fs::write(&csv, format!("{HEADER}{row},,,,,,,,,,,,,0,,web\n")).unwrap();
            let message = format!("{:#}", read(&csv).unwrap_err());
            assert!(message.contains("faces.csv, row 1") && message.contains(wanted), "{message}");
        }
        std::fs::write(&csv, HEADER).unwrap();
        assert!(read(&csv).unwrap_err().to_string().contains("names no photo"));
    }
}
