//! Random views of a training face: flip, affine with reflected border, brightness and contrast.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::dataset::{PIXELS, SIDE};

/// How far a view may be from the original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Augmentation {
    /// Probability of a horizontal flip.
    pub(crate) flip: f64,
    /// Rotation, uniform in ± this.
    pub(crate) rotation_degrees: f32,
    /// Scale, uniform in 1 ± this.
    pub(crate) scale: f32,
    /// Shift along each axis, uniform in ± this.
    pub(crate) shift_pixels: f32,
    /// Added grey level as a share of the full range, uniform in ± this.
    pub(crate) brightness: f32,
    /// Factor about the face's mean, uniform in 1 ± this.
    pub(crate) contrast: f32,
}

impl Augmentation {
    pub(crate) fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f32, most: f32| {
            let ok = (0.0..=most).contains(&value);
            if ok { Ok(()) } else { Err(format!("augmentation.{name} is {value}; expected 0 to {most}")) }
        };
        within("flip", self.flip as f32, 1.0)?;
        within("rotation_degrees", self.rotation_degrees, 180.0)?;
        within("scale", self.scale, 0.9)?;
        within("shift_pixels", self.shift_pixels, SIDE as f32)?;
        within("brightness", self.brightness, 1.0)?;
        within("contrast", self.contrast, 1.0)
    }

    /// A view as grey levels 0 to 255. The same seed gives the same view, whatever came before.
    pub(crate) fn view(&self, face: &[u8; PIXELS], seed: u64) -> Box<[f32; PIXELS]> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut within = |most: f32| if most > 0.0 { random.random_range(-most..=most) } else { 0.0 };
        let angle = within(self.rotation_degrees.to_radians());
        let scale = 1.0 + within(self.scale);
        let shift = [within(self.shift_pixels), within(self.shift_pixels)];
        let brightness = 255.0 * within(self.brightness);
        let contrast = 1.0 + within(self.contrast);
        let mirror = if random.random_bool(self.flip) { -1.0 } else { 1.0 };

        let centre = (SIDE as f32 - 1.0) / 2.0;
        let (sin, cos) = angle.sin_cos();
        let (step_x, step_y) = ([mirror * cos / scale, mirror * sin / scale], [-sin / scale, cos / scale]);
        let mean = face.iter().map(|&p| f32::from(p)).sum::<f32>() / PIXELS as f32;
        let mut view = Box::new([0.0; PIXELS]);
        for (row, line) in view.chunks_exact_mut(SIDE).enumerate() {
            for (column, out) in line.iter_mut().enumerate() {
                let (x, y) = (column as f32 - centre, row as f32 - centre);
                let source_x = centre + x * step_x[0] + y * step_y[0] + shift[0];
                let source_y = centre + x * step_x[1] + y * step_y[1] + shift[1];
                let luma = sample(face, source_x, source_y);
                *out = ((luma - mean) * contrast + mean + brightness).clamp(0.0, 255.0);
            }
        }
        view
    }
}

/// Bilinear, border reflected about the outermost pixels' centres.
fn sample(face: &[u8; PIXELS], x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (right_share, lower_share) = (x - left, y - top);
    let (x0, x1) = (reflect(left as i32), reflect(left as i32 + 1));
    let (y0, y1) = (reflect(top as i32) * SIDE, reflect(top as i32 + 1) * SIDE);
    let at = |index: usize| f32::from(face[index]);
    let upper = at(y0 + x0) + (at(y0 + x1) - at(y0 + x0)) * right_share;
    let lower = at(y1 + x0) + (at(y1 + x1) - at(y1 + x0)) * right_share;
    upper + (lower - upper) * lower_share
}

fn reflect(position: i32) -> usize {
    const LAST: i32 = SIDE as i32 - 1;
    let folded = position.rem_euclid(2 * LAST);
    (if folded > LAST { 2 * LAST - folded } else { folded }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Augmentation = Augmentation {
        flip: 0.0,
        rotation_degrees: 0.0,
        scale: 0.0,
        shift_pixels: 0.0,
        brightness: 0.0,
        contrast: 0.0,
    };

    fn gradient() -> Box<[u8; PIXELS]> {
        Box::new(std::array::from_fn(|i| (i % SIDE * 3 + i / SIDE) as u8))
    }

    #[test]
    fn nothing_asked_changes_nothing() {
        let view = STILL.view(&gradient(), 9);
        assert!(view.iter().zip(gradient().iter()).all(|(a, b)| (a - f32::from(*b)).abs() < 1e-3));
    }

    #[test]
    fn flip_mirrors_columns() {
        let view = Augmentation { flip: 1.0, ..STILL }.view(&gradient(), 9);
        let face = gradient();
        for i in 0..PIXELS {
            let mirrored = i / SIDE * SIDE + (SIDE - 1 - i % SIDE);
            assert!((view[i] - f32::from(face[mirrored])).abs() < 1e-3);
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
        };
        for seed in 0..200 {
            let view = wild.view(&gradient(), seed);
            assert!(view.iter().all(|v| (0.0..=255.0).contains(v)));
            assert_eq!(view, wild.view(&gradient(), seed));
        }
        assert_ne!(wild.view(&gradient(), 1), wild.view(&gradient(), 2));
    }
}
