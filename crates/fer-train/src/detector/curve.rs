//! Scores detections against annotated faces: precision over recall, and what follows from it.
//!
//! The detections of all photos are taken in order of falling score. A detection is correct if it overlaps a face that no
//! better detection has taken. A detection that overlaps only a face to be ignored does not count. Average precision is the
//! area under the curve of precision over recall, made monotone (Everingham et al. 2010).

use std::ops::Range;

use fer_detect::Face;
use fer_image::BoundingBox;

use super::annotations::Row;

/// A detected box with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The box in pixels.
    pub bounding_box: BoundingBox,
    /// Face probability.
    pub score: f32,
}

impl From<&Face> for Detection {
    fn from(face: &Face) -> Self {
        Self { bounding_box: face.bounding_box, score: face.confidence }
    }
}

/// An annotated face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// The part of the annotated box that lies in the picture.
    pub bounding_box: BoundingBox,
    /// Width of the annotated box in pixels.
    pub width: f32,
    /// Whether finding or missing it counts neither way.
    pub ignore: bool,
}

impl Truth {
    /// Clips an annotated box to the picture, because detected boxes never reach beyond its border.
    pub fn of(row: &Row, (width, height): (u32, u32)) -> Self {
        let [x0, y0, x1, y1] = row.corners();
        let (x0, x1) = (x0.max(0.0), x1.min(width as f32));
        let (y0, y1) = (y0.max(0.0), y1.min(height as f32));
        let bounding_box =
            BoundingBox { x: x0, y: y0, width: (x1 - x0).max(0.0), height: (y1 - y0).max(0.0) };
        Self { bounding_box, width: row.w, ignore: row.ignore != 0 }
    }
}

/// A photo as it is scored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// The annotated faces.
    pub truths: Vec<Truth>,
    /// What the detector found.
    pub detections: Vec<Detection>,
}

/// What counts as found, and which faces count.
#[derive(Clone, Debug, PartialEq)]
pub struct Criteria {
    /// Least intersection over union of a correct detection.
    pub overlap: f32,
    /// Widths of the faces that count, in pixels; others are ignored.
    pub widths: Range<f32>,
    /// Whether a wrong detection counts only if its own width is in the range. Otherwise every wrong one counts.
    pub within: bool,
}

impl Criteria {
    /// All faces from a width on, and every wrong detection.
    pub fn at(overlap: f32, least_width: f32) -> Self {
        Self { overlap, widths: least_width..f32::INFINITY, within: false }
    }

    fn ignores(&self, truth: &Truth) -> bool {
        truth.ignore || !self.widths.contains(&truth.width)
    }
}

/// What a detection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It found the photo's face at this position.
    Right(usize),
    /// It is no face, or a face that a better detection found.
    Wrong,
    /// It does not count.
    Ignored,
}

/// A detection, by its position in its photo, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Position of the photo.
    pub photo: usize,
    /// Position among the photo's detections.
    pub detection: usize,
    /// What it is.
    pub verdict: Verdict,
}

/// Judges the detections of all photos in order of falling score.
pub fn judge(photos: &[Scored], criteria: &Criteria) -> Vec<Judged> {
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (photo, scored) in photos.iter().enumerate() {
        order.extend((0..scored.detections.len()).map(|detection| (photo, detection)));
    }
    let score = |&(photo, detection): &(usize, usize)| photos[photo].detections[detection].score;
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let mut taken: Vec<Vec<bool>> = photos.iter().map(|photo| vec![false; photo.truths.len()]).collect();
    let judged = order.into_iter().map(|(photo, detection)| {
        let truths = &photos[photo].truths;
        let found = photos[photo].detections[detection].bounding_box;
        let overlap = |truth: &Truth| found.iou(&truth.bounding_box);
        let best = (0..truths.len())
            .filter(|&i| !criteria.ignores(&truths[i]) && !taken[photo][i])
            .filter(|&i| overlap(&truths[i]) >= criteria.overlap)
            .max_by(|&a, &b| overlap(&truths[a]).total_cmp(&overlap(&truths[b])));
        let on_ignored =
            || truths.iter().any(|truth| criteria.ignores(truth) && overlap(truth) >= criteria.overlap);
        let verdict = match best {
            Some(face) => {
                taken[photo][face] = true;
                Verdict::Right(face)
            }
            None if criteria.within && !criteria.widths.contains(&found.width) => Verdict::Ignored,
            None if on_ignored() => Verdict::Ignored,
            None => Verdict::Wrong,
        };
        Judged { photo, detection, verdict }
    });
    judged.collect()
}

/// The state after one detection that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    right: usize,
    wrong: usize,
}

/// Precision and recall over falling scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Faces that are not ignored.
    pub faces: usize,
    points: Vec<Point>,
}

impl Curve {
    /// Scores photos.
    pub fn of(photos: &[Scored], criteria: &Criteria) -> Self {
        let truths = photos.iter().flat_map(|photo| &photo.truths);
        let faces = truths.filter(|truth| !criteria.ignores(truth)).count();
        let (mut now, mut points) = (Point { right: 0, wrong: 0 }, Vec::new());
        for judged in judge(photos, criteria) {
            match judged.verdict {
                Verdict::Right(_) => now.right += 1,
                Verdict::Wrong => now.wrong += 1,
                Verdict::Ignored => continue,
            }
            points.push(now);
        }
        Self { faces, points }
    }

    /// Area under the monotone curve of precision over recall.
    pub fn average_precision(&self) -> f64 {
        let (mut area, mut precision) = (0.0, 0.0_f64);
        for position in (0..self.points.len()).rev() {
            let Point { right, wrong } = self.points[position];
            precision = precision.max(right as f64 / (right + wrong) as f64);
            let before = position.checked_sub(1).map_or(0, |before| self.points[before].right);
            area += self.fraction(right - before) * precision;
        }
        area
    }

    /// Fraction of the faces that are found.
    pub fn recall(&self) -> f64 {
        self.fraction(self.points.last().map_or(0, |point| point.right))
    }

    /// Detections that are no face.
    pub fn false_positives(&self) -> usize {
        self.points.last().map_or(0, |point| point.wrong)
    }

    /// Fraction of the faces that are found before more than so many detections are no face.
    pub fn recall_at(&self, false_positives: usize) -> f64 {
        let within = self.points.iter().take_while(|point| point.wrong <= false_positives);
        self.fraction(within.last().map_or(0, |point| point.right))
    }

    /// False positives above the score at which nine in ten faces are found; `None` if they never are.
    pub fn false_positives_at_90(&self) -> Option<usize> {
        self.points.iter().find(|point| point.right * 10 >= self.faces * 9).map(|point| point.wrong)
    }

    fn fraction(&self, faces: usize) -> f64 {
        faces as f64 / self.faces.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounding_box(x: f32) -> BoundingBox {
        BoundingBox { x, y: 0.0, width: 10.0, height: 10.0 }
    }

    fn truth(x: f32, ignore: bool) -> Truth {
        Truth { bounding_box: bounding_box(x), width: 10.0, ignore }
    }

    fn detection(x: f32, score: f32) -> Detection {
        Detection { bounding_box: bounding_box(x), score }
    }

    fn curve(photos: &[Scored], overlap: f32) -> Curve {
        Curve::of(photos, &Criteria::at(overlap, 0.0))
    }

    #[test]
    fn each_face_is_taken_once_and_ignored_faces_never() {
        let photo = Scored {
            truths: vec![truth(0.0, false), truth(100.0, false), truth(200.0, true)],
            detections: vec![
                detection(1.0, 0.9),
                detection(0.0, 0.8),
                detection(201.0, 0.7),
                detection(100.0, 0.6),
            ],
        };
        let curve = curve(&[photo], 0.5);
        assert_eq!((curve.faces, curve.recall(), curve.false_positives()), (2, 1.0, 1));
        // Precision 1 up to half of the recall, then two of three.
        assert!((curve.average_precision() - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-9);
        assert_eq!(curve.false_positives_at_90(), Some(1));
        assert_eq!([curve.recall_at(0), curve.recall_at(1)], [0.5, 1.0]);
    }

    #[test]
    fn precision_is_made_monotone_over_all_photos() {
        let photo = |detections| Scored { truths: vec![truth(0.0, false)], detections };
        let photos = [
            photo(vec![detection(50.0, 0.95), detection(0.0, 0.9)]),
            photo(vec![detection(0.0, 0.8)]),
            photo(vec![]),
        ];
        let curve = curve(&photos, 0.5);
        assert!((curve.average_precision() - 2.0 / 3.0 * 2.0 / 3.0).abs() < 1e-9);
        assert_eq!((curve.false_positives_at_90(), curve.recall_at(0)), (None, 0.0));
    }

    #[test]
    fn overlap_decides() {
        // Shifted by 3 of 10: 7 / 13.
        let photo = [Scored { truths: vec![truth(0.0, false)], detections: vec![detection(3.0, 0.9)] }];
        assert_eq!(curve(&photo, 0.5).recall(), 1.0);
        assert_eq!(curve(&photo, 0.6).recall(), 0.0);
        assert_eq!(curve(&[], 0.5).average_precision(), 0.0);
    }

    #[test]
    fn a_range_of_sizes_leaves_out_other_faces_and_other_false_positives() {
        let wide = |x: f32, width: f32| BoundingBox { x, y: 0.0, width, height: width };
        let face = |x, width| Truth { bounding_box: wide(x, width), width, ignore: false };
        let found = |x, width, score| Detection { bounding_box: wide(x, width), score };
        let photo = [Scored {
            truths: vec![face(0.0, 15.0), face(100.0, 50.0)],
            detections: vec![
                found(0.0, 15.0, 0.5),
                found(100.0, 50.0, 0.9),
                found(200.0, 60.0, 0.8),
                found(300.0, 14.0, 0.7),
            ],
        }];
        let small = Criteria { overlap: 0.5, widths: 12.0..20.0, within: true };
        let curve = Curve::of(&photo, &small);
        assert_eq!((curve.faces, curve.recall(), curve.false_positives()), (1, 1.0, 1));
        let large = Curve::of(&photo, &Criteria::at(0.5, 20.0));
        assert_eq!((large.faces, large.false_positives()), (1, 2), "every wrong detection counts");
    }
}
