//! Draws crops of the scenes, anew for every mini-batch.
//!
//! Half of the faces and parts and three quarters of the backgrounds are hard examples, if there are any. The others are
//! drawn at random.

use fer_detect::mtcnn::{Candidate, Stage, box_regression, point_fractions};
use rand::Rng;
use rand::rngs::StdRng;

use super::config::Views;
use super::mine::{Example, Mined};
use super::scene::{FACE, Label, PART, Scene, iou};
use super::views::{self, Sample};

/// Draws of a random window before another face or photo is tried.
const ATTEMPTS: usize = 30;

/// All scenes and the hard examples of one stage.
pub struct Samples<'a> {
    stage: Stage,
    views: &'a Views,
    scenes: &'a [Scene],
    mined: &'a Mined,
    /// `(scene, face)` of faces that teach faces, boxes and landmarks.
    faces: Vec<(usize, usize)>,
    /// `(scene, face)` of faces with at least one landmark.
    marked: Vec<(usize, usize)>,
    /// Positions of the scenes with background.
    backgrounds: Vec<usize>,
}

impl<'a> Samples<'a> {
    /// Sorts the scenes' faces and backgrounds.
    pub fn new(stage: Stage, views: &'a Views, scenes: &'a [Scene], mined: &'a Mined) -> Self {
        let all = || {
            scenes
                .iter()
                .enumerate()
                .flat_map(|(position, scene)| (0..scene.faces().len()).map(move |face| (position, face)))
        };
        let known =
            |&(scene, face): &(usize, usize)| scenes[scene].faces()[face].points.iter().any(Option::is_some);
        Self {
            stage,
            views,
            scenes,
            mined,
            faces: all().filter(|(scene, _)| !scenes[*scene].landmarks_only()).collect(),
            marked: all().filter(known).collect(),
            backgrounds: (0..scenes.len()).filter(|&scene| scenes[scene].has_background()).collect(),
        }
    }

    /// Checks that there is something of every kind to draw.
    ///
    /// # Errors
    /// Returns an error that names the kind that is missing.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.faces.is_empty(), "there is no face to train on");
        anyhow::ensure!(!self.backgrounds.is_empty(), "there is no photo with background");
        anyhow::ensure!(
            self.stage != Stage::Output || !self.marked.is_empty(),
            "no face has landmarks, which O-Net is to learn"
        );
        Ok(())
    }

    /// Draws one crop. Of eight successive positions in the mini-batch, two show a face, one a part of a face, four show
    /// background, and one shows a face whose landmarks are known.
    pub fn draw(&self, position: usize, random: &mut StdRng) -> Sample {
        loop {
            let example = match position % 8 {
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
        let square = self.scenes[scene].faces()[face].square().corners;
        self.try_windows(
            scene,
            random,
            |random| jittered(square, 0.45, [0.6, 1.6], random),
            |label| matches!(label, Label::Part(_)),
        )
    }

    /// Returns a window on one of `faces`, moved and scaled a little, whose overlap with it is at least `least`.
    fn shifted(&self, faces: &[(usize, usize)], least: f32, random: &mut StdRng) -> Option<Example> {
        let (scene, face) = pick(faces, random);
        let square = self.scenes[scene].faces()[face].square().corners;
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
            // A window beside a face, or a piece of one.
            let (scene, face) = pick(&self.faces, random);
            let square = self.scenes[scene].faces()[face].square().corners;
            return self.try_windows(
                scene,
                random,
                |random| jittered(square, 1.0, [0.3, 2.0], random),
                background,
            );
        }
        let scene = pick(&self.backgrounds, random);
        let (width, height) =
            (self.scenes[scene].image().width() as f32, self.scenes[scene].image().height() as f32);
        let (least, most) = (self.stage.side().min(20) as f32, width.min(height));
        if most <= least {
            return None;
        }
        let window = |random: &mut StdRng| {
            // Small windows are more frequent than large ones, as in the pyramid.
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

    /// Returns a random view of the crop with its targets, or `None` if it lies outside the photo.
    fn sample(&self, example: &Example, random: &mut StdRng) -> Option<Sample> {
        let scene = &self.scenes[example.scene];
        let pixels = views::crop(self.stage, self.views, scene.image(), example.corners, random)?;
        let (face, shown) = match example.label {
            Label::Face(shown) => (Some(true), Some(&scene.faces()[shown])),
            Label::Part(shown) => (None, Some(&scene.faces()[shown])),
            Label::Background => (Some(false), None),
        };
        let mut sample = Sample { pixels, face, box_regression: None, points: [None; 6] };
        if let Some(shown) = shown {
            sample.box_regression = Some(box_regression(self.stage, example.corners, shown.corners));
            sample.points = shown.points.map(|point| Some(point_fractions(example.corners, point?)));
        }
        if scene.landmarks_only() {
            (sample.face, sample.box_regression) = (None, None);
        }
        views::apply(&mut sample, self.stage, self.views, random);
        Some(sample)
    }
}

/// Returns one of the elements at random.
fn pick<T: Copy>(from: &[T], random: &mut StdRng) -> T {
    from[random.random_range(0..from.len())]
}

/// Returns a square moved by up to `shift` of its side and scaled by a factor from `scale`, with sides that differ by up to
/// a tenth each way.
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
    use rand::SeedableRng;

    fn scene(landmarks_only: bool) -> Scene {
        Scene::example(landmarks_only)
    }

    fn still() -> Views {
        let (contrast, brightness, colour, turn) = (0.0, 0.0, 0.0, 0.0);
        Views { turn, contrast, brightness, colour, grey: 0.0, blur: 0.0, cut: 0.0, cover: 0.0 }
    }

    #[test]
    fn every_kind_is_drawn_with_the_targets_that_are_known() {
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
    fn views_stay_in_range() {
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
