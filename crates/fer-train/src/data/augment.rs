//! Random views of a training face: flip, affine, brightness and contrast.

use fer_dataset::{PIXELS, SIDE};
use fer_image::sample::bilinear;
use fer_model::NetworkSpec;
use fer_model::spec::InputSpec;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::data::degrade::Degradation;

/// The content of a view outside of the face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// The face mirrored about the centres of its outermost pixels.
    Reflect,
    /// The outermost pixels repeated, as serving does at the border of a photo.
    Edge,
    /// The mean grey of the face.
    Grey,
}

impl Border {
    /// The grey level at a position, which may be outside of the face; `mean` is the mean grey of the face.
    fn sample(self, face: &[u8; PIXELS], mean: f32, x: f32, y: f32) -> f32 {
        const LAST: f32 = SIDE as f32 - 1.0;
        let outside = x.min(y) < -0.5 || x.max(y) > LAST + 0.5;
        match self {
            Self::Reflect => sample(face, x, y),
            Self::Grey if outside => mean,
            Self::Edge | Self::Grey => sample(face, x.clamp(0.0, LAST), y.clamp(0.0, LAST)),
        }
    }
}

/// Ranges of the random changes to a face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// Rotation, uniform in ± this.
    pub rotation_degrees: f32,
    /// Scale, uniform in 1 ± this.
    pub scale: f32,
    /// Shift along each axis, uniform in ± this.
    pub shift_pixels: f32,
    /// Added grey level as a fraction of the full range, uniform in ± this.
    pub brightness: f32,
    /// Factor on the difference from the mean of the face, uniform in 1 ± this.
    pub contrast: f32,
    /// Borders of which one is drawn for each view.
    #[serde(default = "reflected")]
    pub borders: Vec<Border>,
    /// Parameter of mixup (Zhang et al. 2018): faces and targets of a mini-batch are blended in pairs with a weight from
    /// Beta(this, this). 0 turns it off.
    #[serde(default)]
    pub mixup: f32,
    /// What photos do to faces, after the changes above.
    #[serde(default)]
    pub degradation: Degradation,
}

fn reflected() -> Vec<Border> {
    vec![Border::Reflect]
}

impl Augmentation {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field and the range.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f32, most: f32| {
            let ok = (0.0..=most).contains(&value);
            if ok { Ok(()) } else { Err(format!("augmentation.{name} is {value}; expected 0 to {most}")) }
        };
        within("flip", self.flip as f32, 1.0)?;
        within("rotation_degrees", self.rotation_degrees, 180.0)?;
        within("scale", self.scale, 0.9)?;
        within("shift_pixels", self.shift_pixels, SIDE as f32)?;
        within("brightness", self.brightness, 1.0)?;
        within("contrast", self.contrast, 1.0)?;
        if self.borders.is_empty() {
            return Err("augmentation.borders is empty; expected reflect, edge or grey".to_owned());
        }
        within("mixup", self.mixup, 100.0)?;
        self.degradation.check()
    }

    /// A random view of a face in the input size of the network, row-major grey levels 0 to 255. It follows from the seed.
    pub fn view(&self, face: &[u8; PIXELS], spec: &NetworkSpec, seed: u64) -> Vec<f32> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut within = |most: f32| if most > 0.0 { random.random_range(-most..=most) } else { 0.0 };
        let angle = within(self.rotation_degrees.to_radians());
        let scale = 1.0 + within(self.scale);
        let shift = [within(self.shift_pixels), within(self.shift_pixels)];
        let brightness = 255.0 * within(self.brightness);
        let contrast = 1.0 + within(self.contrast);
        let mirror = if random.random_bool(self.flip) { -1.0 } else { 1.0 };
        let border = self.borders[random.random_range(0..self.borders.len())];

        let InputSpec { height, width, .. } = spec.input();
        let pixel = spec.preprocessing().face_size(spec.input()).map(|side| SIDE as f32 / side as f32);
        let centre = (SIDE as f32 - 1.0) / 2.0;
        let (sin, cos) = angle.sin_cos();
        let (step_x, step_y) = ([mirror * cos / scale, mirror * sin / scale], [-sin / scale, cos / scale]);
        let mean = face.iter().map(|&p| f32::from(p)).sum::<f32>() / PIXELS as f32;
        let mut view = vec![0.0; height * width];
        for (row, line) in view.chunks_exact_mut(width).enumerate() {
            for (column, out) in line.iter_mut().enumerate() {
                let x = (column as f32 - (width as f32 - 1.0) / 2.0) * pixel[1];
                let y = (row as f32 - (height as f32 - 1.0) / 2.0) * pixel[0];
                let source_x = centre + x * step_x[0] + y * step_y[0] + shift[0];
                let source_y = centre + x * step_x[1] + y * step_y[1] + shift[1];
                let luma = border.sample(face, mean, source_x, source_y);
                *out = ((luma - mean) * contrast + mean + brightness).clamp(0.0, 255.0);
            }
        }
        self.degradation.apply(&mut view, [height, width], &mut random);
        view
    }
}

/// The grey level between pixels; the border is reflected about the centres of the outermost pixels.
fn sample(face: &[u8; PIXELS], x: f32, y: f32) -> f32 {
    bilinear(x, y, |x, y| f32::from(face[reflect(y as i32) * SIDE + reflect(x as i32)]))
}

fn reflect(position: i32) -> usize {
    const LAST: i32 = SIDE as i32 - 1;
    let folded = position.rem_euclid(2 * LAST);
    (if folded > LAST { 2 * LAST - folded } else { folded }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn still() -> Augmentation {
        Augmentation {
            flip: 0.0,
            rotation_degrees: 0.0,
            scale: 0.0,
            shift_pixels: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            borders: reflected(),
            mixup: 0.0,
            degradation: Degradation::default(),
        }
    }

    fn view(augmentation: &Augmentation, seed: u64) -> Vec<f32> {
        augmentation.view(&gradient(), &spec(CNN6), seed)
    }

    const CNN6: &str = include_str!("../../../../configs/models/cnn6.json");

    fn spec(json: &str) -> NetworkSpec {
        NetworkSpec::from_json(json).unwrap()
    }

    fn gradient() -> Box<[u8; PIXELS]> {
        Box::new(std::array::from_fn(|i| (i % SIDE * 3 + i / SIDE) as u8))
    }

    #[test]
    fn without_augmentation_a_view_is_the_face() {
        let view = view(&still(), 9);
        assert!(view.iter().zip(gradient().iter()).all(|(a, b)| (a - f32::from(*b)).abs() < 1e-3));
    }

    /// Without augmentation, training and evaluation see the same pixels.
    #[test]
    fn views_of_every_size_lie_where_the_crop_does() {
        let face: [u8; PIXELS] = std::array::from_fn(|i| (2 * (i % SIDE) + i / SIDE) as u8);
        for (side, margin) in [(40, 4), (96, 0), (48, 8)] {
            let input = format!("\"height\": {side}, \"width\": {side} }}");
            let json = CNN6.replacen("\"height\": 48, \"width\": 48 }", &input, 1).replacen(
                "\"std\": 0.255",
                &format!("\"std\": 0.255, \"margin\": {margin}"),
                1,
            );
            let spec = spec(&json);
            let view = still().view(&face, &spec, 1);
            let size = spec.preprocessing().face_size(spec.input());
            let crop = fer_image::FaceCrop::from_square(&face, SIDE, size).unwrap();
            let mut pixels = Vec::new();
            spec.preprocessing().apply(crop.luma(), spec.input(), &mut pixels);
            assert_eq!((view.len(), pixels.len()), (side * side, side * side));
            for row in 2..side - 2 {
                for column in 2..side - 2 {
                    let (seen, wanted) = (view[row * side + column], pixels[row * side + column]);
                    let seen = spec.preprocessing().normalise(seen);
                    assert!((seen - wanted).abs() < 0.02, "{side}: {seen} is not {wanted}");
                }
            }
        }
    }

    #[test]
    fn every_border_shows_what_its_name_says() {
        let face = gradient();
        let at = |border: Border, x: f32, y: f32| border.sample(&face, 77.0, x, y);
        let level = |x: usize, y: usize| f32::from(face[y * SIDE + x]);
        for border in [Border::Reflect, Border::Edge, Border::Grey] {
            assert!((at(border, 20.0, 7.0) - level(20, 7)).abs() < 1e-3, "{border:?}");
        }
        assert!((at(Border::Reflect, -4.0, 7.0) - level(4, 7)).abs() < 1e-3);
        assert!((at(Border::Edge, -4.0, 7.0) - level(0, 7)).abs() < 1e-3);
        assert!((at(Border::Edge, 20.0, 99.0) - level(20, 47)).abs() < 1e-3);
        assert_eq!(at(Border::Grey, 20.0, 48.0), 77.0);
        assert!((at(Border::Grey, 47.4, 7.0) - level(47, 7)).abs() < 1e-3);
    }

    /// A seed must lead to the same weights in every version, so views are compared bit by bit.
    #[test]
    fn samples_are_rounded_as_they_always_were() {
        let face = gradient();
        let at = |x: i32, y: i32| f32::from(face[reflect(y) * SIDE + reflect(x)]);
        for step in -4000..4000 {
            let (x, y) = (step as f32 * 0.031, step as f32 * -0.017);
            let (left, top) = (x.floor(), y.floor());
            let (x0, y0) = (left as i32, top as i32);
            let upper = at(x0, y0) + (at(x0 + 1, y0) - at(x0, y0)) * (x - left);
            let lower = at(x0, y0 + 1) + (at(x0 + 1, y0 + 1) - at(x0, y0 + 1)) * (x - left);
            let expected = upper + (lower - upper) * (y - top);
            assert_eq!(sample(&face, x, y).to_bits(), expected.to_bits(), "at {x}, {y}");
        }
    }

    #[test]
    fn flip_mirrors_columns() {
        let view = view(&Augmentation { flip: 1.0, ..still() }, 9);
        let face = gradient();
        for (i, seen) in view.iter().enumerate() {
            let mirrored = i / SIDE * SIDE + (SIDE - 1 - i % SIDE);
            assert!((seen - f32::from(face[mirrored])).abs() < 1e-3);
        }
    }

    #[test]
    fn views_follow_the_seed_and_stay_grey_levels() {
        let wild = Augmentation {
            flip: 0.5,
            rotation_degrees: 180.0,
            scale: 0.9,
            shift_pixels: 48.0,
            brightness: 1.0,
            contrast: 1.0,
            borders: vec![Border::Reflect, Border::Edge, Border::Grey],
            mixup: 0.0,
            degradation: Degradation::default(),
        };
        for seed in 0..200 {
            let seen = view(&wild, seed);
            assert!(seen.iter().all(|v| (0.0..=255.0).contains(v)));
            assert_eq!(seen, view(&wild, seed));
        }
        assert_ne!(view(&wild, 1), view(&wild, 2));
    }
}
