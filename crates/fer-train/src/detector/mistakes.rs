//! A picture of a detector's worst mistakes: the largest faces that it misses, and the wrong boxes of which it is most sure.

use std::path::Path;

use anyhow::Result;
use fer_image::{BoundingBox, Luma};
use image::{GrayImage, RgbImage, imageops};

use super::annotations::{self, Photo};
use super::curve::{Criteria, Scored, Verdict, judge};
use super::evaluate::{Found, Measure, OVERLAP};
use crate::report::sheet::Sheet;

/// Mistakes side by side.
const ACROSS: usize = 10;

/// Mistakes of each kind.
const MOST: usize = 60;

/// Side in pixels of the part of a photo that a mistake shows.
const SIDE: u32 = 192;

/// Sides of that part in units of the box's longer side.
const SURROUNDINGS: f32 = 2.0;

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mistake {
    /// Position of the photo.
    photo: usize,
    /// The face, or the wrong box.
    bounding_box: BoundingBox,
    /// Score of the wrong box, or of the best box that overlaps the face; 0 if there is none.
    score: f32,
}

/// Writes `mistakes.svg` and `mistakes.png` into a folder.
///
/// # Errors
/// Returns an error if a photo cannot be read or a file cannot be written.
pub fn draw(
    photos: &[Photo],
    found: &[Found],
    measure: &Measure<'_>,
    images: &Path,
    folder: &Path,
) -> Result<()> {
    let scored = measure.scored(photos, found);
    let criteria = Criteria::at(OVERLAP, measure.min_size);
    let mut sheet = Sheet::new(ACROSS);
    for (name, mistakes) in [
        ("missed", missed(&scored, &criteria, measure.threshold)),
        ("wrong", wrong(&scored, &criteria, measure.threshold)),
    ] {
        for mistakes in mistakes.chunks(ACROSS) {
            let tiles = mistakes.iter().map(|mistake| {
                let photo = &photos[mistake.photo];
                let shown = show(&annotations::open(images, photo)?, mistake.bounding_box);
                let file = photo.path.rsplit('/').next().unwrap_or_default();
                let end: String = file.chars().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect();
                Ok((shown, format!("{:.2} {end}", mistake.score)))
            });
            sheet.row(name, tiles.collect::<Result<_>>()?);
        }
    }
    sheet.write(folder, "mistakes")
}

/// The faces that no box above the threshold finds, the largest first.
fn missed(scored: &[Scored], criteria: &Criteria, threshold: f32) -> Vec<Mistake> {
    let mut hit: Vec<Vec<bool>> = scored.iter().map(|photo| vec![false; photo.truths.len()]).collect();
    for judged in judge(scored, criteria) {
        if let Verdict::Right(face) = judged.verdict {
            hit[judged.photo][face] |= scored[judged.photo].detections[judged.detection].score > threshold;
        }
    }
    let mut missed = Vec::new();
    for (photo, Scored { truths, detections }) in scored.iter().enumerate() {
        for (truth, _) in truths.iter().zip(&hit[photo]).filter(|(_, hit)| !**hit) {
            if truth.ignore || !criteria.widths.contains(&truth.width) {
                continue;
            }
            let near = detections.iter().filter(|found| found.bounding_box.iou(&truth.bounding_box) > 0.2);
            let score = near.map(|found| found.score).fold(0.0, f32::max);
            missed.push(Mistake { photo, bounding_box: truth.bounding_box, score });
        }
    }
    missed.sort_by(|a, b| b.bounding_box.width.total_cmp(&a.bounding_box.width));
    missed.truncate(MOST);
    missed
}

/// The boxes above the threshold that are no face, the most certain first.
fn wrong(scored: &[Scored], criteria: &Criteria, threshold: f32) -> Vec<Mistake> {
    let judged = judge(scored, criteria).into_iter().filter(|judged| judged.verdict == Verdict::Wrong);
    let mistakes = judged.map(|judged| {
        let found = scored[judged.photo].detections[judged.detection];
        Mistake { photo: judged.photo, bounding_box: found.bounding_box, score: found.score }
    });
    mistakes.filter(|mistake| mistake.score > threshold).take(MOST).collect()
}

/// The box in its surroundings, in grey, with its outline in white.
fn show(image: &RgbImage, shown: BoundingBox) -> GrayImage {
    let side = (shown.width.max(shown.height) * SURROUNDINGS).max(8.0);
    let corner = |start: f32, length: f32| (start + 0.5 * (length - side)).floor() as i64;
    let (left, top) = (corner(shown.x, shown.width), corner(shown.y, shown.height));
    let mut part = GrayImage::new(side as u32, side as u32);
    let grey = Luma::default().picture(image);
    imageops::replace(&mut part, &grey, -left, -top);
    let mut part = imageops::resize(&part, SIDE, SIDE, imageops::FilterType::Triangle);
    let scale = SIDE as f32 / side;
    let at = |place: f32, start: i64| ((place - start as f32) * scale).clamp(0.0, SIDE as f32 - 1.0) as u32;
    let (x0, x1) = (at(shown.x, left), at(shown.x + shown.width, left));
    let (y0, y1) = (at(shown.y, top), at(shown.y + shown.height, top));
    for x in x0..=x1 {
        [y0, y1].into_iter().for_each(|y| part.put_pixel(x, y, image::Luma([255])));
    }
    for y in y0..=y1 {
        [x0, x1].into_iter().for_each(|x| part.put_pixel(x, y, image::Luma([255])));
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::curve::{Detection, Truth};

    #[test]
    fn large_misses_and_certain_ghosts_come_first() {
        let square = |x: f32, side: f32| BoundingBox { x, y: 0.0, width: side, height: side };
        let truth = |x, side| Truth { bounding_box: square(x, side), width: side, ignore: false };
        let found = |x, side, score| Detection { bounding_box: square(x, side), score };
        let scored = [Scored {
            truths: vec![truth(0.0, 30.0), truth(100.0, 20.0), truth(200.0, 60.0), truth(300.0, 5.0)],
            detections: vec![
                found(0.0, 30.0, 0.9),
                found(205.0, 60.0, 0.3),
                found(400.0, 30.0, 0.6),
                found(500.0, 30.0, 0.8),
            ],
        }];
        let criteria = Criteria::at(0.5, 10.0);
        let misses: Vec<(f32, f32)> = missed(&scored, &criteria, 0.5)
            .iter()
            .map(|mistake| (mistake.bounding_box.x, mistake.score))
            .collect();
        assert_eq!(misses, [(200.0, 0.3), (100.0, 0.0)]);
        let ghosts: Vec<f32> = wrong(&scored, &criteria, 0.5).iter().map(|mistake| mistake.score).collect();
        assert_eq!(ghosts, [0.8, 0.6]);
    }

    #[test]
    fn the_outline_lies_on_the_box_even_beyond_the_border() {
        let image = RgbImage::from_pixel(50, 50, image::Rgb([90; 3]));
        let shown = show(&image, BoundingBox { x: 0.0, y: 10.0, width: 20.0, height: 20.0 });
        // Ten pixels of surroundings on each side: the box spans the middle half.
        assert_eq!(shown.get_pixel(48, 96).0, [255]);
        assert_eq!((shown.get_pixel(20, 96).0, shown.get_pixel(96, 96).0), ([0], [90]));
    }
}
