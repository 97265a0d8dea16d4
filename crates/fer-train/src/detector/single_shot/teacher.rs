//! A teacher's boxes: another detector's results on the training photos, which complete their annotations.
//!
//! Columns of the CSV: `path`, `x,y,w,h` (box in pixels: top left corner and size), `le/re/nose/ml/mr` each with `_x,_y`
//! (eyes, nose and corners of the mouth, left as seen in the image), `score` (0 to 1).

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fer_image::BoundingBox;
use serde::Deserialize;

/// One box.
#[derive(Clone, Debug, PartialEq)]
pub struct TeacherBox {
    /// Corners `x0, y0, x1, y1` in pixels.
    pub corners: [f32; 4],
    /// Eyes, nose and corners of the mouth in pixels.
    pub points: [[f32; 2]; 5],
    /// How sure the teacher is.
    pub score: f32,
}

impl TeacherBox {
    /// Its overlap with another box that is given by its corners.
    pub fn iou(&self, corners: [f32; 4]) -> f32 {
        BoundingBox::from_corners(self.corners).iou(&BoundingBox::from_corners(corners))
    }
}

/// The boxes by the path of the photo.
pub type Teacher = HashMap<String, Vec<TeacherBox>>;

#[derive(Deserialize)]
struct Fields {
    path: String,
    x: f32,
    y: f32,
    w: f32,
    h: f32,
    le_x: f32,
    le_y: f32,
    re_x: f32,
    re_y: f32,
    nose_x: f32,
    nose_y: f32,
    ml_x: f32,
    ml_y: f32,
    mr_x: f32,
    mr_y: f32,
    score: f32,
}

/// Reads the CSV of a teacher.
///
/// # Errors
/// Returns an error that names the file, and the line of a bad row.
pub fn read(csv: &Path) -> Result<Teacher> {
    let mut reader = csv::Reader::from_path(csv).with_context(|| format!("cannot read {}", csv.display()))?;
    let mut teacher = Teacher::new();
    for fields in reader.deserialize() {
        let fields: Fields = fields.with_context(|| format!("cannot read {}", csv.display()))?;
        let Fields { x, y, w, h, score, .. } = fields;
        let is_box = [x, y, w, h, score].iter().all(|value| value.is_finite()) && w > 0.0 && h > 0.0;
        ensure!(is_box, "{}: a box of {} is ({x}, {y}, {w}, {h})", csv.display(), fields.path);
        let found = TeacherBox {
            corners: [x, y, x + w, y + h],
            points: [
                [fields.le_x, fields.le_y],
                [fields.re_x, fields.re_y],
                [fields.nose_x, fields.nose_y],
                [fields.ml_x, fields.ml_y],
                [fields.mr_x, fields.mr_y],
            ],
            score,
        };
        teacher.entry(fields.path).or_default().push(found);
    }
    Ok(teacher)
}
