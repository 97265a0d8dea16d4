//! The photos that the network learns from, and the ones that it is measured by, with annotations that a teacher completed.
//!
//! Photos from the web have faces that nobody annotated, and places where it is doubtful whether there is one. Taken for
//! background, they would teach the network to miss faces. So a box of which the teacher is sure becomes a face, and a less
//! certain one is excluded from both faces and background. Where a face's landmarks are incomplete, the teacher's fill in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use fer_network::mix;
use image::RgbImage;
use rayon::prelude::*;

use super::config::SingleShotTraining;
use super::teacher::{Teacher, TeacherBox};
use crate::detector::annotations::{self, Photo, Row};
use crate::detector::config::SourceRule;

/// Source of the boxes that a teacher adds.
pub const TEACHER: &str = "teacher";

/// Source of the photos without faces.
pub const NEGATIVES: &str = "negatives";

/// Least overlap of a teacher's box with an annotated face whose landmarks it fills in.
const SAME: f32 = 0.4;

/// Least overlap of a teacher's box with an annotated face that makes it no new face.
const KNOWN: f32 = 0.2;

/// A face as the network learns it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// The box, `x0, y0, x1, y1` in pixels.
    pub corners: [f32; 4],
    /// Eyes, nose and corners of the mouth in pixels: the annotated ones, or the teacher's where nothing is annotated.
    pub points: [Option<[f32; 2]>; 5],
    /// Eyes, nose, corners of the mouth and centre of the mouth in pixels, where annotated. On the web photos the teacher's are
    /// less accurate than these.
    pub annotated: [Option<[f32; 2]>; 6],
}

/// A decoded photo.
pub struct TrainingPhoto {
    /// The pixels, at full size and halved as often as training needs.
    pub levels: Vec<RgbImage>,
    /// Its faces.
    pub faces: Vec<Face>,
    /// Boxes that are excluded from both faces and background.
    pub ignored: Vec<[f32; 4]>,
    /// Whether its faces teach only landmarks, and its background nothing.
    pub landmarks_only: bool,
}

/// The photos of one source.
pub struct Group {
    /// How often a photo is drawn from it, relative to the other groups.
    pub weight: f64,
    /// Its photos.
    pub photos: Vec<TrainingPhoto>,
}

/// All photos.
pub struct Corpus {
    /// Photos to learn from, by source.
    pub groups: Vec<Group>,
    /// Photos to measure by, in order of their sources.
    pub validation: Vec<Photo>,
}

impl Corpus {
    /// Splits the annotated photos by a hash of seed and path, so that a photo stays in its part when others are added, and
    /// decodes the training photos.
    ///
    /// # Errors
    /// Returns an error if a source of the configuration has no photo, or that names a photo that cannot be read.
    pub fn open(
        config: &SingleShotTraining,
        photos: Vec<Photo>,
        negatives: Vec<Photo>,
        teacher: &Teacher,
        folder: &Path,
    ) -> Result<Self> {
        let (held_out, training): (Vec<_>, Vec<_>) =
            photos.into_iter().partition(|photo| is_validation(photo, config));
        let mut validation: Vec<Photo> =
            held_out.iter().map(|photo| validation_photo(photo, boxes(teacher, photo), config)).collect();
        validation.sort_by(|a, b| source(a).cmp(source(b)));
        let mut by_source = BTreeMap::<String, Vec<Photo>>::new();
        for photo in training {
            by_source.entry(source(&photo).to_owned()).or_default().push(photo);
        }
        by_source.insert(NEGATIVES.to_owned(), negatives);
        let groups = config.data.draw.iter().filter(|(_, weight)| **weight > 0.0).map(|(source, &weight)| {
            let photos = by_source.remove(source).unwrap_or_default();
            ensure!(
                !photos.is_empty(),
                "data.draw names the source '{source}', of which there is no training photo"
            );
            let photos = photos.par_iter().map(|photo| {
                let image = annotations::open(folder, photo)?;
                Ok(TrainingPhoto::new(image, photo, boxes(teacher, photo), config))
            });
            Ok(Group { weight, photos: photos.collect::<Result<_>>()? })
        });
        Ok(Self { groups: groups.collect::<Result<_>>()?, validation })
    }

    /// Number of photos to learn from.
    pub fn photos(&self) -> usize {
        self.groups.iter().map(|group| group.photos.len()).sum()
    }

    /// Number of faces to learn from.
    pub fn faces(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.photos).map(|photo| photo.faces.len()).sum()
    }
}

/// The source of a photo's first face.
pub fn source(photo: &Photo) -> &str {
    photo.faces.first().map_or(NEGATIVES, |row| &row.source)
}

fn boxes<'a>(teacher: &'a Teacher, photo: &Photo) -> &'a [TeacherBox] {
    teacher.get(&photo.path).map_or(&[], Vec::as_slice)
}

fn is_validation(photo: &Photo, config: &SingleShotTraining) -> bool {
    let share = config.data.validation.get(source(photo)).copied().unwrap_or(0.0);
    let hash = photo.path.bytes().fold(config.seed, |hash, byte| mix([hash, u64::from(byte), 0]));
    ((hash % 10_000) as f64) / 10_000.0 < share
}

/// The photo as it is measured: boxes in the common style, and what the teacher adds ignored, because a face that another
/// detector found is no truth to measure by.
fn validation_photo(photo: &Photo, teacher: &[TeacherBox], config: &SingleShotTraining) -> Photo {
    let mut faces = photo.faces.clone();
    for row in &mut faces {
        let [x0, y0, x1, y1] = widened(row.corners(), &config.rule(&row.source));
        (row.x, row.y, row.w, row.h) = (x0, y0, x1 - x0, y1 - y0);
    }
    let known: Vec<[f32; 4]> = photo.faces.iter().map(Row::corners).collect();
    for found in
        teacher.iter().filter(|found| is_new(found, &known) && found.score >= config.data.teacher.ignore)
    {
        let [x0, y0, x1, y1] = widened(found.corners, &config.rule(TEACHER));
        faces.push(Row::bare(&photo.path, [x0, y0, x1 - x0, y1 - y0], true, TEACHER));
    }
    Photo { path: photo.path.clone(), faces }
}

fn is_new(found: &TeacherBox, known: &[[f32; 4]]) -> bool {
    known.iter().all(|&corners| found.iou(corners) < KNOWN)
}

/// A box in the style that is common to all sources.
fn widened([x0, y0, x1, y1]: [f32; 4], rule: &SourceRule) -> [f32; 4] {
    let [left, up, right, down] = rule.widen.map(|fraction| fraction as f32);
    let (width, height) = (x1 - x0, y1 - y0);
    [x0 - left * width, y0 - up * height, x1 + right * width, y1 + down * height]
}

impl TrainingPhoto {
    /// Applies the rules of the faces' sources and the teacher's boxes.
    fn new(image: RgbImage, photo: &Photo, teacher: &[TeacherBox], config: &SingleShotTraining) -> Self {
        let (mut faces, mut ignored, mut landmarks_only) = (Vec::new(), Vec::new(), false);
        let mut known = Vec::new();
        for row in photo.faces.iter().filter(|row| !row.is_empty()) {
            let rule = config.rule(&row.source);
            landmarks_only |= rule.landmarks_only;
            known.push(row.corners());
            let corners = widened(row.corners(), &rule);
            if row.ignore != 0 {
                ignored.push(corners);
            } else {
                faces.push(Face { corners, points: completed(row, teacher), annotated: row.points() });
            }
        }
        let rule = config.rule(TEACHER);
        for found in teacher.iter().filter(|found| is_new(found, &known)) {
            let corners = widened(found.corners, &rule);
            let is_sure = found.score >= config.data.teacher.face && !photo.faces.is_empty();
            if is_sure {
                faces.push(Face { corners, points: found.points.map(Some), annotated: [None; 6] });
            } else if found.score >= config.data.teacher.ignore {
                ignored.push(corners);
            }
        }
        Self { levels: levels(image), faces, ignored, landmarks_only }
    }
}

/// The landmarks of a face, with the teacher's in place of unknown ones.
fn completed(row: &Row, teacher: &[TeacherBox]) -> [Option<[f32; 2]>; 5] {
    let known = row.points();
    let overlap = |found: &&TeacherBox| found.iou(row.corners());
    let same = teacher.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b))).filter(|b| overlap(b) >= SAME);
    std::array::from_fn(|place| known[place].or(same.map(|found| found.points[place])))
}

/// The picture, and the picture halved again and again while both sides are at least 64 pixels.
fn levels(image: RgbImage) -> Vec<RgbImage> {
    let mut levels = vec![image];
    while let Some(last) = levels.last().filter(|last| last.width().min(last.height()) >= 128) {
        let half = halved(last);
        levels.push(half);
    }
    levels
}

/// The means of 2×2 pixels; a last column or row that has no partner is dropped.
fn halved(image: &RgbImage) -> RgbImage {
    RgbImage::from_fn(image.width() / 2, image.height() / 2, |x, y| {
        let pixel = |right: u32, down: u32| image.get_pixel(2 * x + right, 2 * y + down).0.map(u16::from);
        let four = [pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1)];
        image::Rgb(std::array::from_fn(|c| ((four.iter().map(|pixel| pixel[c]).sum::<u16>() + 2) / 4) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::shipped;
    use super::*;

    const CSV: &str = "path,x,y,w,h,le_x,le_y,re_x,re_y,nose_x,nose_y,ml_x,ml_y,mr_x,mr_y,mc_x,mc_y,ignore,tag,source\n\
        a.png,100,100,50,60,115,120,135,120,125,130,,,,,125,145,0,,caltech_webfaces\n\
        a.png,10,10,4,5,,,,,,,,,,,,,1,,caltech_webfaces\n\
        b.png,20,30,100,100,,,,,,,,,,,,,0,with_mask,facemask_cc0\n\
        c.png,20,20,40,50,30,35,50,35,40,45,32,60,48,60,,,0,,mtfl_lfw_5590\n";

    fn photos() -> Vec<Photo> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("faces.csv"), CSV).unwrap();
        annotations::read(&folder.path().join("faces.csv")).unwrap()
    }

    fn teacher_box(x: f32, y: f32, side: f32, score: f32) -> TeacherBox {
        TeacherBox { corners: [x, y, x + side, y + side], points: [[x, y]; 5], score }
    }

    #[test]
    fn the_teacher_adds_faces_ignored_places_and_points() {
        let found = [
            teacher_box(100.0, 103.0, 52.0, 0.8),
            teacher_box(200.0, 100.0, 40.0, 0.7),
            teacher_box(300.0, 100.0, 40.0, 0.4),
            teacher_box(400.0, 100.0, 40.0, 0.1),
        ];
        let config = shipped();
        let photo = TrainingPhoto::new(RgbImage::new(500, 300), &photos()[0], &found, &config);
        assert_eq!((photo.faces.len(), photo.ignored.len(), photo.landmarks_only), (2, 2, false));
        assert_eq!(photo.faces[0].corners, [100.0, 100.0, 150.0, 160.0]);
        // The eyes are annotated; the corners of the mouth are the teacher's.
        assert_eq!(photo.faces[0].points[0], Some([115.0, 120.0]));
        assert_eq!(photo.faces[0].points[3], Some([100.0, 103.0]));
        // The teacher's boxes are widened by its rule.
        assert!(photo.faces[1].corners[0] < 200.0 && photo.faces[1].corners[3] > 140.0);
        assert_eq!(photo.levels.len(), 3);
        let held_out = validation_photo(&photos()[0], &found, &config);
        let ignored: Vec<u8> = held_out.faces.iter().map(|row| row.ignore).collect();
        assert_eq!(ignored, [0, 1, 1, 1]);
    }

    #[test]
    fn boxes_of_a_source_are_brought_to_the_common_style() {
        let config = shipped();
        let masked = TrainingPhoto::new(RgbImage::new(200, 200), &photos()[1], &[], &config);
        let [_, top, _, bottom] = masked.faces[0].corners;
        assert!((top - 13.0).abs() < 1e-3 && (bottom - 128.0).abs() < 1e-3, "{top} {bottom}");
        let only = TrainingPhoto::new(RgbImage::new(80, 80), &photos()[2], &[], &config);
        assert!(only.landmarks_only && only.levels.len() == 1);
        // A face that a teacher finds in a photo without faces is doubtful.
        let negative = Photo { path: "n.png".to_owned(), faces: Vec::new() };
        let found = [teacher_box(20.0, 20.0, 30.0, 0.9)];
        let negative = TrainingPhoto::new(RgbImage::new(80, 80), &negative, &found, &config);
        assert_eq!((negative.faces.len(), negative.ignored.len()), (0, 1));
    }

    #[test]
    fn halving_takes_means() {
        let image = RgbImage::from_fn(5, 4, |x, y| image::Rgb([(x * 10) as u8, (y * 20) as u8, 7]));
        let half = halved(&image);
        assert_eq!(half.dimensions(), (2, 2));
        assert_eq!(half.get_pixel(1, 1).0, [25, 50, 7]);
    }
}
