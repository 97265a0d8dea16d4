//! Boxes on their way through the cascade, and the box regression that moves them.
//!
//! The inverse functions [`box_regression`] and [`point_fractions`] give training its targets. Both directions live here so
//! that they stay in step.

use fer_image::BoundingBox;

use super::Stage;
use crate::face::Landmarks;
use crate::nms::Scored;

/// A box between two stages of the cascade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// `x0, y0, x1, y1` in pixels; they may lie outside the picture.
    pub corners: [f32; 4],
    /// The last network's probability that this is a face.
    pub score: f32,
}

impl Scored for Candidate {
    fn corners(&self) -> [f32; 4] {
        self.corners
    }

    fn score(&self) -> f32 {
        self.score
    }
}

impl Candidate {
    /// Moves the corners by a network's box regression, which is in units of the box's sides.
    pub(super) fn regress(&mut self, stage: Stage, box_regression: [f32; 4]) {
        let sides = sides(stage, self.corners);
        for (i, corner) in self.corners.iter_mut().enumerate() {
            *corner += box_regression[i] * sides[i % 2];
        }
    }

    /// Returns the square with the same centre and the box's longer side.
    #[must_use]
    pub fn squared(self) -> Self {
        let [x0, y0, x1, y1] = self.corners;
        let (width, height) = (x1 - x0, y1 - y0);
        let side = width.max(height);
        let (left, top) = (x0 + 0.5 * (width - side), y0 + 0.5 * (height - side));
        Self { corners: [left, top, left + side, top + side], ..self }
    }

    /// Returns the pixels that the box covers within a picture, `x0..x1, y0..y1`, or `None` if it covers none.
    /// facenet-pytorch counts pixels from 1 and truncates; this does the same.
    pub(super) fn pixels(&self, width: usize, height: usize) -> Option<[usize; 4]> {
        let [x0, y0, x1, y1] = self.corners;
        if !self.corners.iter().all(|corner| corner.is_finite()) {
            return None;
        }
        let first = |corner: f32| (corner.trunc() as i64).max(1) - 1;
        let last = |corner: f32, most: usize| (corner.trunc() as i64).min(most as i64);
        let (left, top, right, bottom) = (first(x0), first(y0), last(x1, width), last(y1, height));
        (right > left && bottom > top).then(|| [left, top, right, bottom].map(|edge| edge as usize))
    }

    /// Returns the part of the box that lies in the picture, or `None` if it lies outside.
    pub(super) fn clipped(&self, width: usize, height: usize) -> Option<BoundingBox> {
        let [x0, y0, x1, y1] = self.corners;
        let (x0, x1) = (x0.clamp(0.0, width as f32), x1.clamp(0.0, width as f32));
        let (y0, y1) = (y0.clamp(0.0, height as f32), y1.clamp(0.0, height as f32));
        let clipped = BoundingBox::from_corners([x0, y0, x1, y1]);
        (clipped.width > 0.0 && clipped.height > 0.0).then_some(clipped)
    }
}

/// Training target of a network's `reg` output: the box regression that moves a box's `corners` onto those of `truth`.
pub fn box_regression(stage: Stage, corners: [f32; 4], truth: [f32; 4]) -> [f32; 4] {
    let sides = sides(stage, corners);
    std::array::from_fn(|i| (truth[i] - corners[i]) / sides[i % 2])
}

/// Width and height. For R-Net and O-Net a side counts its last pixel, as in facenet-pytorch.
fn sides(stage: Stage, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 2] {
    let last_pixel = if stage == Stage::Proposal { 0.0 } else { 1.0 };
    [x1 - x0 + last_pixel, y1 - y0 + last_pixel]
}

/// Turns O-Net's `lmk` output for a box (five x, then five y, as fractions of the box) into points of the picture.
pub(super) fn landmarks(corners: [f32; 4], fractions: [f32; 10]) -> Landmarks {
    let sides = sides(Stage::Output, corners);
    let point = |i: usize| {
        [corners[0] - 1.0 + fractions[i] * sides[0], corners[1] - 1.0 + fractions[i + 5] * sides[1]]
    };
    Landmarks::of(std::array::from_fn(point))
}

/// Training target of O-Net's `lmk` output: a point of the picture as fractions of a box.
pub fn point_fractions(corners: [f32; 4], point: [f32; 2]) -> [f32; 2] {
    let sides = sides(Stage::Output, corners);
    std::array::from_fn(|axis| (point[axis] - corners[axis] + 1.0) / sides[axis])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(corners: [f32; 4]) -> Candidate {
        Candidate { corners, score: 1.0 }
    }

    proptest! {
        #[test]
        fn a_regression_of_zero_moves_nothing(x in -50.0_f32..50.0, y in -50.0_f32..50.0, w in 1.0_f32..90.0, h in 1.0_f32..90.0) {
            let mut moved = candidate([x, y, x + w, y + h]);
            moved.regress(Stage::Refinement, [0.0; 4]);
            prop_assert_eq!(moved.corners, [x, y, x + w, y + h]);
        }

        #[test]
        fn regression_scales_with_the_box(x in -50.0_f32..50.0, side in 1.0_f32..90.0, shift in -0.5_f32..0.5) {
            let mut moved = candidate([x, x, x + side, x + side]);
            moved.regress(Stage::Proposal, [shift; 4]);
            prop_assert!((moved.corners[0] - x - shift * side).abs() < 1e-3);
            prop_assert!((moved.corners[2] - moved.corners[0] - side).abs() < 1e-3);
        }

        #[test]
        fn training_targets_are_the_inverse_of_what_the_cascade_does(
            corners in (0.0_f32..90.0, 0.0_f32..90.0, 5.0_f32..90.0),
            truth in prop::array::uniform4(0.0_f32..100.0),
        ) {
            let (x, y, side) = corners;
            for stage in [Stage::Proposal, Stage::Refinement, Stage::Output] {
                let mut moved = candidate([x, y, x + side, y + side]);
                moved.regress(stage, box_regression(stage, moved.corners, truth));
                prop_assert!(moved.corners.iter().zip(truth).all(|(a, b)| (a - b).abs() < 1e-3));
            }
            let corners = [x, y, x + side, y + side];
            let fractions = point_fractions(corners, [truth[0], truth[1]]);
            let point = landmarks(corners, std::array::from_fn(|i| fractions[i / 5])).nose;
            prop_assert!((point[0] - truth[0]).abs() < 1e-3 && (point[1] - truth[1]).abs() < 1e-3);
        }

        #[test]
        fn squares_keep_centre_and_hold_the_box(x in -50.0_f32..50.0, y in -50.0_f32..50.0, w in 1.0_f32..90.0, h in 1.0_f32..90.0) {
            let [x0, y0, x1, y1] = candidate([x, y, x + w, y + h]).squared().corners;
            prop_assert!(((x1 - x0) - (y1 - y0)).abs() < 1e-3);
            prop_assert!(x0 <= x + 1e-3 && y0 <= y + 1e-3 && x1 >= x + w - 1e-3 && y1 >= y + h - 1e-3);
            prop_assert!(((x0 + x1) / 2.0 - (x + w / 2.0)).abs() < 1e-3);
        }

        #[test]
        fn pixels_lie_in_the_picture(corners in prop::array::uniform4(prop::num::f32::ANY), w in 1_usize..90, h in 1_usize..90) {
            if let Some([x0, y0, x1, y1]) = candidate(corners).pixels(w, h) {
                prop_assert!(x0 < x1 && x1 <= w && y0 < y1 && y1 <= h);
            }
        }
    }
}
