//! A photo as the networks learn from it, and what a window of it shows.
//!
//! A window is a square. Its overlap with the squared box of a face (Zhang et al. 2016) decides whether it shows a face
//! (intersection over union from 0.65), a part of one (from 0.4) or background (below 0.3). Windows in between are not used.

use fer_detect::mtcnn::Candidate;
use fer_image::sample::bilinear;
use fer_image::{BoundingBox, Overlap};
use image::RgbImage;

use super::annotations::Photo;
use super::config::DetectorTraining;

/// Least overlap of a window that shows a face.
pub const FACE: f32 = 0.65;
/// Least overlap of a window that shows a part of a face.
pub const PART: f32 = 0.4;
/// Overlap from which a window is not background.
const BACKGROUND: f32 = 0.3;

/// A face of a photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// The box, `x0, y0, x1, y1` in pixels.
    pub corners: [f32; 4],
    /// Eyes, nose, corners of the mouth and centre of the mouth in pixels, where known.
    pub points: [Option<[f32; 2]>; 6],
}

impl Face {
    /// Returns the square with the box's centre and longer side.
    pub fn square(&self) -> Candidate {
        Candidate { corners: self.corners, score: 1.0 }.squared()
    }
}

/// A photo with its faces, as training uses it.
pub struct Scene {
    image: RgbImage,
    faces: Vec<Face>,
    /// Boxes that are excluded from both faces and background.
    ignored: Vec<[f32; 4]>,
    /// Whether its faces teach only landmarks.
    landmarks_only: bool,
    /// Whether windows without a face may be taken from it.
    has_background: bool,
}

impl Scene {
    /// Applies the rules of the faces' sources. Small faces and faces to be ignored become ignored boxes.
    pub fn new(image: RgbImage, photo: &Photo, config: &DetectorTraining) -> Self {
        let (mut faces, mut ignored, mut landmarks_only) = (Vec::new(), Vec::new(), false);
        for row in &photo.faces {
            let rule = config.rule(&row.source);
            landmarks_only |= rule.landmarks_only;
            if row.is_empty() {
                continue;
            }
            let [x0, y0, x1, y1] = row.corners();
            let [left, up, right, down] = rule.widen.map(|fraction| fraction as f32);
            let corners = [x0 - left * row.w, y0 - up * row.h, x1 + right * row.w, y1 + down * row.h];
            if row.ignore != 0 || f64::from(row.w.max(row.h)) < config.min_side {
                ignored.push(corners);
            } else {
                faces.push(Face { corners, points: row.points() });
            }
        }
        Self::of(image, faces, ignored, landmarks_only)
    }

    /// Takes a photo whose faces are known, and boxes to be ignored.
    pub fn of(image: RgbImage, faces: Vec<Face>, ignored: Vec<[f32; 4]>, landmarks_only: bool) -> Self {
        Self { image, faces, ignored, landmarks_only, has_background: !landmarks_only }
    }

    /// Returns the colour between pixels, where `(0, 0)` is the centre of the first; the border is repeated.
    fn pixel_at(&self, x: f32, y: f32) -> image::Rgb<u8> {
        let (last_x, last_y) = (self.image.width() - 1, self.image.height() - 1);
        let (x, y) = (x.clamp(0.0, last_x as f32), y.clamp(0.0, last_y as f32));
        image::Rgb([0, 1, 2].map(|channel| {
            let level = |x: f32, y: f32| {
                f32::from(self.image.get_pixel((x as u32).min(last_x), (y as u32).min(last_y)).0[channel])
            };
            bilinear(x, y, level).round() as u8
        }))
    }

    /// Returns the scene turned clockwise about its centre. The corners that come into view are grey, so that no background
    /// is taken from it.
    pub fn turned(&self, degrees: f32) -> Self {
        let (width, height) = self.image.dimensions();
        let centre = [0.5 * width as f32, 0.5 * height as f32];
        let (sin, cos) = degrees.to_radians().sin_cos();
        let image = RgbImage::from_fn(width, height, |x, y| {
            let (across, down) = (x as f32 + 0.5 - centre[0], y as f32 + 0.5 - centre[1]);
            let (u, v) = (cos * across + sin * down + centre[0], cos * down - sin * across + centre[1]);
            let inside = (0.0..=width as f32).contains(&u) && (0.0..=height as f32).contains(&v);
            if inside { self.pixel_at(u - 0.5, v - 0.5) } else { image::Rgb([127; 3]) }
        });
        let point = |[x, y]: [f32; 2]| {
            let (across, down) = (x - centre[0], y - centre[1]);
            [cos * across - sin * down + centre[0], sin * across + cos * down + centre[1]]
        };
        // The upright box about the turned ellipse that fills the old one.
        let turn = |[x0, y0, x1, y1]: [f32; 4]| {
            let [x, y] = point([0.5 * (x0 + x1), 0.5 * (y0 + y1)]);
            let (across, down) = (0.5 * (x1 - x0), 0.5 * (y1 - y0));
            let half_width = (across * cos).hypot(down * sin);
            let half_height = (across * sin).hypot(down * cos);
            [x - half_width, y - half_height, x + half_width, y + half_height]
        };
        let faces = self.faces.iter().map(|face| Face {
            corners: turn(face.corners),
            points: face.points.map(|known| known.map(point)),
        });
        Self {
            faces: faces.collect(),
            ignored: self.ignored.iter().copied().map(turn).collect(),
            image,
            landmarks_only: self.landmarks_only,
            has_background: false,
        }
    }

    /// Returns whether it has a face that is not ignored.
    pub fn has_faces(&self) -> bool {
        !self.faces.is_empty()
    }

    /// Returns the faces that are not ignored.
    pub fn faces(&self) -> &[Face] {
        &self.faces
    }

    /// Returns whether its faces teach only landmarks.
    pub fn landmarks_only(&self) -> bool {
        self.landmarks_only
    }

    /// Returns whether windows without a face may be taken from anywhere in it.
    pub fn has_background(&self) -> bool {
        self.has_background
    }

    /// Returns the pixels.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// Returns whether hard examples may be taken from it.
    pub fn is_mined(&self) -> bool {
        !self.landmarks_only
    }

    /// Returns what a window shows.
    ///
    /// # Errors
    /// Returns [`Undecided`] if the window cannot be used.
    pub fn label(&self, window: &Candidate) -> Result<Label, Undecided> {
        let overlaps = self.faces.iter().map(|face| iou(window.corners, face.square().corners));
        let best = overlaps.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let (face, overlap) = best.unwrap_or((0, 0.0));
        if overlap >= FACE {
            return Ok(Label::Face(face));
        }
        if overlap >= PART {
            return Ok(Label::Part(face));
        }
        let touched = self
            .ignored
            .iter()
            .any(|&ignored| iou(window.corners, ignored) > 0.1 || covered(window.corners, ignored) > 0.3);
        // A window beside a face holds a piece of it, which is background in every scene.
        let background = self.has_background || overlap > 0.05;
        if overlap >= BACKGROUND || touched || !background { Err(Undecided) } else { Ok(Label::Background) }
    }
}

/// What a window shows. A face is given by its position among the scene's faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A face.
    Face(usize),
    /// A part of a face.
    Part(usize),
    /// No face.
    Background,
}

/// The window shows too much of a face for background and too little for a face, or a box to be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided;

/// Returns the intersection over union of two boxes given by their corners.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    BoundingBox::from_corners(a).iou(&BoundingBox::from_corners(b))
}

/// Returns the fraction of `window` that lies in `other`.
fn covered(window: [f32; 4], other: [f32; 4]) -> f32 {
    Overlap::of_corners(window, other, 0.0).of_first()
}

#[cfg(test)]
impl Scene {
    /// Returns a scene of 120×100 pixels with one face and one ignored box.
    pub(super) fn example(landmarks_only: bool) -> Self {
        Self {
            image: RgbImage::from_fn(120, 100, |x, y| image::Rgb([x as u8, y as u8, 0])),
            faces: vec![Face {
                corners: [40.0, 30.0, 60.0, 56.0],
                points: [Some([45.0, 40.0]), Some([55.0, 40.0]), None, None, None, Some([50.0, 51.0])],
            }],
            ignored: vec![[90.0, 70.0, 110.0, 90.0]],
            landmarks_only,
            has_background: !landmarks_only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn window(corners: [f32; 4]) -> Candidate {
        Candidate { corners, score: 1.0 }
    }

    #[test]
    fn windows_show_what_they_overlap() {
        let scene = Scene::example(false);
        let square = scene.faces[0].square().corners;
        assert_eq!(square, [37.0, 30.0, 63.0, 56.0]);
        let moved = |by: f32| window(square.map(|corner| corner + by));
        assert_eq!(scene.label(&moved(0.0)), Ok(Label::Face(0)));
        assert_eq!(scene.label(&moved(5.0)), Ok(Label::Part(0)));
        assert_eq!(scene.label(&moved(8.0)), Err(Undecided));
        assert_eq!(scene.label(&moved(14.0)), Ok(Label::Background));
        assert_eq!(scene.label(&window([92.0, 72.0, 108.0, 88.0])), Err(Undecided));
        // In a scene without background, only a window beside the face is background.
        let turned = scene.turned(0.0);
        assert_eq!(turned.label(&moved(14.0)), Ok(Label::Background));
        assert_eq!(turned.label(&window([0.0, 0.0, 20.0, 20.0])), Err(Undecided));
    }

    #[test]
    fn a_turned_scene_is_sampled_as_before() {
        let scene = Scene::example(false);
        let (width, height) = (scene.image.width() as f32, scene.image.height() as f32);
        for step in 0..1000 {
            let (u, v) = (step as f32 * 0.12, step as f32 * 0.1);
            let expected = image::imageops::sample_bilinear(&scene.image, u / width, v / height).unwrap();
            let found = scene.pixel_at(u - 0.5, v - 0.5);
            assert!(
                (0..3).all(|i| found[i].abs_diff(expected[i]) <= 1),
                "{found:?} {expected:?} at {u}, {v}"
            );
        }
    }

    #[test]
    fn a_turned_scene_has_turned_faces() {
        let scene = Scene::example(false);
        let turned = scene.turned(90.0);
        // The centre is (60, 50): what was 10 to its left is 10 above it.
        let [x0, y0, x1, y1] = turned.faces[0].corners;
        assert!((x0 - 54.0).abs() < 1e-3 && (y0 - 30.0).abs() < 1e-3, "{x0} {y0}");
        assert!((x1 - 80.0).abs() < 1e-3 && (y1 - 50.0).abs() < 1e-3, "{x1} {y1}");
        let eye = turned.faces[0].points[0].unwrap();
        assert!((eye[0] - 70.0).abs() < 1e-3 && (eye[1] - 35.0).abs() < 1e-3, "{eye:?}");
        let before = scene.image.get_pixel(50, 43);
        let after = turned.image.get_pixel(66, 40);
        assert!((0..2).all(|i| before[i].abs_diff(after[i]) <= 2), "{before:?} {after:?}");
        assert_eq!(turned.image.get_pixel(1, 1), &Rgb([127; 3]));
    }
}
