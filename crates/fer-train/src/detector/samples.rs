//! What the nets learn from: crops of the photos, drawn anew for every mini-batch.
//!
//! A crop is a square. By its overlap with the squared box of a face (Zhang et al. 2016) it shows a face (intersection
//! over union from 0.65), part of one (from 0.4) or background (below 0.3); what lies between is left out. Half of the
//! crops are mined where the stages before could not tell, the others drawn at random.

use fer_detect::mtcnn::{Candidate, Stage, append_crop, box_regression, point_fractions};
use fer_image::area::Normalization;
use fer_image::{BoundingBox, Overlap};
use image::RgbImage;
use rand::Rng;
use rand::rngs::StdRng;

use super::annotations::Photo;
use super::config::{DetectorTraining, Views};

/// Overlaps from which a crop shows a face or part of one, and below which it shows none.
const FACE: f32 = 0.65;
const PART: f32 = 0.4;
const BACKGROUND: f32 = 0.3;

/// What the networks are trained on, and what their manifest says.
pub const NORMALIZATION: Normalization = Normalization { mean: 127.5, scale: 128.0 };

/// Draws of a random window before another face or photo is tried.
const ATTEMPTS: usize = 30;

/// A face of a photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    corners: [f32; 4],
    points: [Option<[f32; 2]>; 6],
}

impl Face {
    fn square(&self) -> Candidate {
        Candidate { corners: self.corners, score: 1.0 }.squared()
    }
}

/// A photo as the nets are taught from it.
pub struct Scene {
    image: RgbImage,
    faces: Vec<Face>,
    /// Neither faces nor background.
    ignored: Vec<[f32; 4]>,
    /// Its faces teach landmarks and nothing else.
    landmarks_only: bool,
    /// Windows without a face may be taken from it.
    has_background: bool,
}

impl Scene {
    pub fn new(image: RgbImage, photo: &Photo, config: &DetectorTraining) -> Self {
        let (mut faces, mut ignored, mut landmarks_only) = (Vec::new(), Vec::new(), false);
        for row in &photo.faces {
            let rule = config.rule(&row.source);
            landmarks_only |= rule.landmarks_only;
            let [x0, y0, x1, y1] = row.corners();
            let [left, up, right, down] = rule.widen.map(|share| share as f32);
            let corners = [x0 - left * row.w, y0 - up * row.h, x1 + right * row.w, y1 + down * row.h];
            if row.ignore != 0 || f64::from(row.w.max(row.h)) < config.min_side {
                ignored.push(corners);
            } else {
                faces.push(Face { corners, points: row.points() });
            }
        }
        Self { image, faces, ignored, landmarks_only, has_background: !landmarks_only }
    }

    /// The same scene turned clockwise about its centre. What was outside is grey, so that it has no background.
    pub fn turned(&self, degrees: f32) -> Self {
        let (width, height) = self.image.dimensions();
        let centre = [0.5 * width as f32, 0.5 * height as f32];
        let (sin, cos) = degrees.to_radians().sin_cos();
        let image = RgbImage::from_fn(width, height, |x, y| {
            let (across, down) = (x as f32 + 0.5 - centre[0], y as f32 + 0.5 - centre[1]);
            let (u, v) = (cos * across + sin * down + centre[0], cos * down - sin * across + centre[1]);
            image::imageops::sample_bilinear(&self.image, u / width as f32, v / height as f32)
                .unwrap_or(image::Rgb([127; 3]))
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

    pub fn has_faces(&self) -> bool {
        !self.faces.is_empty()
    }

    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// Whether hard examples may be looked for in it.
    pub fn is_mined(&self) -> bool {
        !self.landmarks_only
    }

    /// What a window shows: `Err` where that cannot be said.
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
        // Beside a face there is a piece of it, whatever the rest of the scene is.
        let background = self.has_background || overlap > 0.05;
        if overlap >= BACKGROUND || touched || !background { Err(Undecided) } else { Ok(Label::Background) }
    }
}

/// What a window shows; a face by its place among the scene's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Face(usize),
    Part(usize),
    Background,
}

/// Too much of a face for background, too little for a face; or something to be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided;

fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    BoundingBox::from_corners(a).iou(&BoundingBox::from_corners(b))
}

/// Returns the fraction of `window` that lies in `other`.
fn covered(window: [f32; 4], other: [f32; 4]) -> f32 {
    Overlap::of_corners(window, other, 0.0).of_first()
}

/// A window of a scene and what it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Example {
    pub scene: usize,
    pub corners: [f32; 4],
    pub label: Label,
}

/// Hard examples by what they show.
#[derive(Default)]
pub struct Mined {
    pub faces: Vec<Example>,
    pub parts: Vec<Example>,
    pub backgrounds: Vec<Example>,
}

/// All scenes, and the hard examples of one stage.
pub struct Samples<'a> {
    stage: Stage,
    views: &'a Views,
    scenes: &'a [Scene],
    mined: &'a Mined,
    /// `(scene, face)` of faces that teach everything.
    faces: Vec<(usize, usize)>,
    /// The same of those with a landmark or more.
    marked: Vec<(usize, usize)>,
    /// Scenes with background.
    backgrounds: Vec<usize>,
}

/// One crop as the network takes it, and what it is to answer. An entry without weight is not asked for.
pub struct Sample {
    /// `[3, side, side]`
    pub pixels: Vec<f32>,
    /// Face or not.
    pub face: Option<bool>,
    pub box_regression: Option<[f32; 4]>,
    /// Eyes, nose, mouth corners, mouth centre, as fractions of the crop.
    pub points: [Option<[f32; 2]>; 6],
}

impl<'a> Samples<'a> {
    pub fn new(stage: Stage, views: &'a Views, scenes: &'a [Scene], mined: &'a Mined) -> Self {
        let all = || {
            scenes
                .iter()
                .enumerate()
                .flat_map(|(scene, of)| (0..of.faces.len()).map(move |face| (scene, face)))
        };
        let known =
            |&(scene, face): &(usize, usize)| scenes[scene].faces[face].points.iter().any(Option::is_some);
        Self {
            stage,
            views,
            scenes,
            mined,
            faces: all().filter(|(scene, _)| !scenes[*scene].landmarks_only).collect(),
            marked: all().filter(known).collect(),
            backgrounds: (0..scenes.len()).filter(|&scene| scenes[scene].has_background).collect(),
        }
    }

    /// Whether there is something of every kind.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.faces.is_empty(), "there is no face to train on");
        anyhow::ensure!(!self.backgrounds.is_empty(), "there is no photo with background");
        anyhow::ensure!(
            self.stage != Stage::Output || !self.marked.is_empty(),
            "no face has landmarks, which O-Net is to learn"
        );
        Ok(())
    }

    /// One crop. Of eight in a row two show faces, one part of one, four background, and one a face whose landmarks are
    /// known.
    pub fn draw(&self, place: usize, random: &mut StdRng) -> Sample {
        loop {
            let example = match place % 8 {
                0 | 1 => self.face(random),
                2 => self.part(random),
                3 if self.stage == Stage::Output => self.shifted(&self.marked, PART, random),
                3 => self.face(random),
                _ => self.background(random),
            };
            if let Some(sample) = example.and_then(|example| self.sample(&example, random)) {
                return sample;
            }
        }
    }

    fn face(&self, random: &mut StdRng) -> Option<Example> {
        let mined = &self.mined.faces;
        if !mined.is_empty() && random.random_bool(0.5) {
            return Some(mined[random.random_range(0..mined.len())]);
        }
        self.shifted(&self.faces, FACE, random)
    }

    fn part(&self, random: &mut StdRng) -> Option<Example> {
        let mined = &self.mined.parts;
        if !mined.is_empty() && random.random_bool(0.5) {
            return Some(mined[random.random_range(0..mined.len())]);
        }
        let (scene, face) = pick(&self.faces, random);
        let square = self.scenes[scene].faces[face].square().corners;
        self.try_windows(
            scene,
            random,
            |random| jittered(square, 0.45, [0.6, 1.6], random),
            |label| matches!(label, Label::Part(_)),
        )
    }

    /// A window on one of `faces`, moved and scaled a little, overlapping it by at least `least`.
    fn shifted(&self, faces: &[(usize, usize)], least: f32, random: &mut StdRng) -> Option<Example> {
        let (scene, face) = pick(faces, random);
        let square = self.scenes[scene].faces[face].square().corners;
        (0..ATTEMPTS).find_map(|_| {
            let corners = jittered(square, 0.25, [0.8, 1.25], random);
            let label = if iou(corners, square) >= FACE { Label::Face(face) } else { Label::Part(face) };
            (iou(corners, square) >= least).then_some(Example { scene, corners, label })
        })
    }

    fn background(&self, random: &mut StdRng) -> Option<Example> {
        let mined = &self.mined.backgrounds;
        if !mined.is_empty() && random.random_bool(0.75) {
            return Some(mined[random.random_range(0..mined.len())]);
        }
        let background = |label| label == Label::Background;
        if random.random_bool(0.3) {
            // Beside a face, or a piece of one.
            let (scene, face) = pick(&self.faces, random);
            let square = self.scenes[scene].faces[face].square().corners;
            return self.try_windows(
                scene,
                random,
                |random| jittered(square, 1.0, [0.3, 2.0], random),
                background,
            );
        }
        let scene = pick(&self.backgrounds, random);
        let (width, height) =
            (self.scenes[scene].image.width() as f32, self.scenes[scene].image.height() as f32);
        let (least, most) = (self.stage.side().min(20) as f32, width.min(height));
        if most <= least {
            return None;
        }
        let window = |random: &mut StdRng| {
            // Small windows more often than large ones, as the pyramid has them.
            let side = least * (most / least).powf(random.random_range(0.0..1.0_f32).powf(1.5));
            let (x, y) = (random.random_range(0.0..=width - side), random.random_range(0.0..=height - side));
            [x, y, x + side, y + side]
        };
        self.try_windows(scene, random, window, background)
    }

    fn try_windows(
        &self,
        scene: usize,
        random: &mut StdRng,
        mut window: impl FnMut(&mut StdRng) -> [f32; 4],
        wanted: impl Fn(Label) -> bool,
    ) -> Option<Example> {
        (0..ATTEMPTS).find_map(|_| {
            let corners = window(random);
            let label = self.scenes[scene].label(&Candidate { corners, score: 1.0 }).ok()?;
            wanted(label).then_some(Example { scene, corners, label })
        })
    }

    /// The crop and its answers, as one of the random views. `None` where it lies outside of the photo.
    fn sample(&self, example: &Example, random: &mut StdRng) -> Option<Sample> {
        let scene = &self.scenes[example.scene];
        let pixels = self.pixels(scene, example.corners, random)?;
        let (face, shown) = match example.label {
            Label::Face(shown) => (Some(true), Some(&scene.faces[shown])),
            Label::Part(shown) => (None, Some(&scene.faces[shown])),
            Label::Background => (Some(false), None),
        };
        let mut sample = Sample { pixels, face, box_regression: None, points: [None; 6] };
        if let Some(shown) = shown {
            sample.box_regression = Some(box_regression(self.stage, example.corners, shown.corners));
            sample.points = shown.points.map(|point| Some(point_fractions(example.corners, point?)));
        }
        if scene.landmarks_only {
            (sample.face, sample.box_regression) = (None, None);
        }
        self.view(&mut sample, random);
        Some(sample)
    }

    /// What the net sees of a window; now and then as if the picture ended inside of it.
    fn pixels(&self, scene: &Scene, corners: [f32; 4], random: &mut StdRng) -> Option<Vec<f32>> {
        let mut pixels = Vec::new();
        let candidate = Candidate { corners, score: 1.0 };
        // P-Net's windows never reach over the border.
        if self.stage == Stage::Proposal || !random.random_bool(self.views.cut) {
            return append_crop(self.stage, &scene.image, &candidate, NORMALIZATION, &mut pixels)
                .then_some(pixels);
        }
        let mut kept = corners;
        let edge = random.random_range(0..4);
        let inwards = (kept[edge % 2 + 2] - kept[edge % 2]) * random.random_range(0.0..0.35);
        kept[edge] += if edge < 2 { inwards } else { -inwards };
        let most = [scene.image.width(), scene.image.height()];
        let [x0, y0, x1, y1] = std::array::from_fn(|i| (kept[i].max(0.0) as u32).min(most[i % 2]));
        if x1 <= x0 + 2 || y1 <= y0 + 2 {
            return None;
        }
        let picture = image::imageops::crop_imm(&scene.image, x0, y0, x1 - x0, y1 - y0).to_image();
        let [left, top] = [x0 as f32, y0 as f32];
        let corners = [corners[0] - left, corners[1] - top, corners[2] - left, corners[3] - top];
        append_crop(self.stage, &picture, &Candidate { corners, ..candidate }, NORMALIZATION, &mut pixels)
            .then_some(pixels)
    }

    /// Mirrors, blurs, recolours and covers at random.
    fn view(&self, sample: &mut Sample, random: &mut StdRng) {
        let Views { contrast, brightness, colour, grey, blur, cover, .. } = *self.views;
        let side = self.stage.side();
        if random.random_bool(0.5) {
            sample.pixels.chunks_exact_mut(side).for_each(<[f32]>::reverse);
            sample.box_regression =
                sample.box_regression.map(|[left, top, right, bottom]| [-right, top, -left, bottom]);
            let [left_eye, right_eye, nose, mouth_left, mouth_right, mouth] = sample.points;
            let swapped = [right_eye, left_eye, nose, mouth_right, mouth_left, mouth];
            sample.points = swapped.map(|point| point.map(|[x, y]| [1.0 - x, y]));
        }
        let mut around = |range: f64| random.random_range(-range..=range) as f32;
        let (factor, offset) = (1.0 + around(contrast), around(brightness));
        let channels: [f32; 3] = std::array::from_fn(|_| around(colour));
        let plane = side * side;
        if random.random_bool(grey) {
            for pixel in 0..plane {
                let luma = 0.299 * sample.pixels[pixel]
                    + 0.587 * sample.pixels[plane + pixel]
                    + 0.114 * sample.pixels[2 * plane + pixel];
                (0..3).for_each(|channel| sample.pixels[channel * plane + pixel] = luma);
            }
        }
        if self.stage != Stage::Proposal && random.random_bool(blur) {
            let times = random.random_range(1..=side / 12);
            for values in sample.pixels.chunks_exact_mut(plane) {
                (0..times).for_each(|_| smooth(values, side));
            }
        }
        for (channel, values) in sample.pixels.chunks_exact_mut(plane).enumerate() {
            for value in values {
                *value = (*value * factor + offset + channels[channel]).clamp(-1.0, 1.0);
            }
        }
        if random.random_bool(cover) {
            let mut span = || {
                let length = random.random_range(side / 6..=side / 2);
                let first = random.random_range(0..=side - length);
                first..first + length
            };
            let (rows, columns) = (span(), span());
            let fill: [f32; 3] = std::array::from_fn(|_| random.random_range(-1.0..1.0));
            for (channel, fill) in fill.into_iter().enumerate() {
                for row in rows.clone() {
                    sample.pixels[channel * plane + row * side..][columns.clone()].fill(fill);
                }
            }
        }
    }
}

fn pick<T: Copy>(from: &[T], random: &mut StdRng) -> T {
    from[random.random_range(0..from.len())]
}

/// Each pixel becomes the weighted mean (1, 2, 1) of itself and its neighbours, both ways; the border stays.
fn smooth(values: &mut [f32], side: usize) {
    for row in values.chunks_exact_mut(side) {
        let mut before = row[0];
        for x in 1..side - 1 {
            let here = row[x];
            row[x] = 0.25 * (before + 2.0 * here + row[x + 1]);
            before = here;
        }
    }
    for x in 0..side {
        let mut before = values[x];
        for y in 1..side - 1 {
            let here = values[y * side + x];
            values[y * side + x] = 0.25 * (before + 2.0 * here + values[(y + 1) * side + x]);
            before = here;
        }
    }
}

/// A square moved by up to `shift` of its side and scaled by a factor from `scale`, its sides by up to a tenth more or
/// less.
fn jittered([x0, y0, x1, y1]: [f32; 4], shift: f32, scale: [f32; 2], random: &mut StdRng) -> [f32; 4] {
    let half = 0.5 * (x1 - x0) * random.random_range(scale[0]..=scale[1]);
    let stretch = random.random_range(0.9..=1.1_f32);
    let (x, y) = (
        0.5 * (x0 + x1) + (x1 - x0) * random.random_range(-shift..=shift),
        0.5 * (y0 + y1) + (y1 - y0) * random.random_range(-shift..=shift),
    );
    [x - half * stretch, y - half / stretch, x + half * stretch, y + half / stretch]
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use rand::SeedableRng;

    const FACES: [f32; 4] = [40.0, 30.0, 60.0, 56.0];

    fn scene(landmarks_only: bool) -> Scene {
        Scene {
            image: RgbImage::from_fn(120, 100, |x, y| Rgb([x as u8, y as u8, 0])),
            faces: vec![Face {
                corners: FACES,
                points: [Some([45.0, 40.0]), Some([55.0, 40.0]), None, None, None, Some([50.0, 51.0])],
            }],
            ignored: vec![[90.0, 70.0, 110.0, 90.0]],
            landmarks_only,
            has_background: !landmarks_only,
        }
    }

    fn still() -> Views {
        let (contrast, brightness, colour, turn) = (0.0, 0.0, 0.0, 0.0);
        Views { turn, contrast, brightness, colour, grey: 0.0, blur: 0.0, cut: 0.0, cover: 0.0 }
    }

    fn window(corners: [f32; 4]) -> Candidate {
        Candidate { corners, score: 1.0 }
    }

    #[test]
    fn windows_show_what_they_overlap() {
        let scene = scene(false);
        let square = scene.faces[0].square().corners;
        assert_eq!(square, [37.0, 30.0, 63.0, 56.0]);
        let moved = |by: f32| window(square.map(|corner| corner + by));
        assert_eq!(scene.label(&moved(0.0)), Ok(Label::Face(0)));
        assert_eq!(scene.label(&moved(5.0)), Ok(Label::Part(0)));
        assert_eq!(scene.label(&moved(8.0)), Err(Undecided));
        assert_eq!(scene.label(&moved(14.0)), Ok(Label::Background));
        assert_eq!(scene.label(&window([92.0, 72.0, 108.0, 88.0])), Err(Undecided));
        // Without a background of its own only a piece of the face is none.
        let turned = scene.turned(0.0);
        assert_eq!(turned.label(&moved(14.0)), Ok(Label::Background));
        assert_eq!(turned.label(&window([0.0, 0.0, 20.0, 20.0])), Err(Undecided));
    }

    #[test]
    fn a_turned_scene_has_turned_faces() {
        let scene = scene(false);
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

    #[test]
    fn every_kind_is_drawn_and_asked_for_what_it_knows() {
        let (scenes, mined, views) = ([scene(false), scene(true)], Mined::default(), still());
        let samples = Samples::new(Stage::Output, &views, &scenes, &mined);
        samples.check().unwrap();
        let (mut mirrored, mut only_points) = (0, 0);
        for seed in 0..200 {
            for place in 0..8 {
                let sample = samples.draw(place, &mut StdRng::seed_from_u64(seed));
                assert_eq!(sample.pixels.len(), 3 * 48 * 48);
                match place {
                    0 | 1 => assert_eq!((sample.face, sample.box_regression.is_some()), (Some(true), true)),
                    2 => assert_eq!((sample.face, sample.box_regression.is_some()), (None, true)),
                    3 => only_points += usize::from(sample.face.is_none() && sample.box_regression.is_none()),
                    _ => assert_eq!((sample.face, sample.box_regression), (Some(false), None)),
                }
                if let [Some(left), Some(right), ..] = sample.points {
                    assert!(left[0] < right[0], "left as seen in the image, mirrored or not");
                    // Red grows to the right in the scene.
                    mirrored += usize::from(sample.pixels[24 * 48] > sample.pixels[24 * 48 + 47]);
                }
            }
        }
        assert!((200..600).contains(&mirrored) && only_points > 50, "{mirrored} {only_points}");
    }

    #[test]
    fn views_stay_in_range_and_blur_keeps_the_mean() {
        let views = Views {
            turn: 0.0,
            contrast: 0.5,
            brightness: 0.5,
            colour: 0.2,
            grey: 0.5,
            blur: 0.5,
            cut: 0.5,
            cover: 0.5,
        };
        let (scenes, mined) = ([scene(false)], Mined::default());
        for stage in Stage::ALL {
            let samples = Samples::new(stage, &views, &scenes, &mined);
            for seed in 0..100 {
                let sample = samples.draw(seed as usize, &mut StdRng::seed_from_u64(seed));
                assert!(sample.pixels.iter().all(|value| (-1.0..=1.0).contains(value)));
            }
        }
        let mut values = vec![0.0; 25];
        values[12] = 1.0;
        smooth(&mut values, 5);
        assert!((values.iter().sum::<f32>() - 1.0).abs() < 1e-6 && (values[12] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn without_faces_there_is_nothing_to_learn() {
        let (mined, views) = (Mined::default(), still());
        let samples = Samples::new(Stage::Output, &views, &[], &mined);
        assert!(samples.check().unwrap_err().to_string().contains("no face"));
        let marked_only = [scene(true)];
        let samples = Samples::new(Stage::Proposal, &views, &marked_only, &mined);
        assert!(samples.check().is_err());
    }
}
