//! What a detection is: a box, a score and five points, in pixels of the picture.

/// A rectangle; `x` and `y` are its top left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Pixels.
    pub width: f32,
    /// Pixels.
    pub height: f32,
}

impl Bounds {
    /// Intersection over union, 0 where either is empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        let intersection = width.max(0.0) * height.max(0.0);
        let union = self.width * self.height + other.width * other.height - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }
}

/// Five points as `[x, y]`. Left and right are as seen in the image. They may lie outside of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Landmarks {
    /// Centre of the eye.
    pub left_eye: [f32; 2],
    /// Centre of the eye.
    pub right_eye: [f32; 2],
    /// Tip.
    pub nose: [f32; 2],
    /// Corner.
    pub mouth_left: [f32; 2],
    /// Corner.
    pub mouth_right: [f32; 2],
}

/// One detected face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// Within the picture.
    pub bounds: Bounds,
    /// O-Net's probability that this is a face.
    pub confidence: f32,
    /// Five points.
    pub landmarks: Landmarks,
}

/// A box under way through the cascade, by its corners `x0, y0, x1, y1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) corners: [f32; 4],
    pub(crate) score: f32,
}

impl Candidate {
    /// Moves the corners by the network's offsets, in units of the box's sides. `inclusive` counts the last
    /// pixel as part of the side, as the reference does after R- and O-Net.
    pub(crate) fn regress(&mut self, offsets: [f32; 4], inclusive: bool) {
        let [x0, y0, x1, y1] = self.corners;
        let one = if inclusive { 1.0 } else { 0.0 };
        let (width, height) = (x1 - x0 + one, y1 - y0 + one);
        self.corners = [
            x0 + offsets[0] * width,
            y0 + offsets[1] * height,
            x1 + offsets[2] * width,
            y1 + offsets[3] * height,
        ];
    }

    /// The square about the same centre with the longer side.
    pub(crate) fn squared(self) -> Self {
        let [x0, y0, x1, y1] = self.corners;
        let (width, height) = (x1 - x0, y1 - y0);
        let side = width.max(height);
        let (left, top) = (x0 + 0.5 * (width - side), y0 + 0.5 * (height - side));
        Self { corners: [left, top, left + side, top + side], ..self }
    }

    /// Pixels that the box covers within a picture: `x0..x1, y0..y1`, or `None` where there are none.
    /// The reference counts pixels from 1 and truncates.
    pub(crate) fn pixels(&self, width: usize, height: usize) -> Option<[usize; 4]> {
        let [x0, y0, x1, y1] = self.corners;
        if !self.corners.iter().all(|corner| corner.is_finite()) {
            return None;
        }
        let first = |corner: f32| (corner.trunc() as i64).max(1) - 1;
        let last = |corner: f32, most: usize| (corner.trunc() as i64).min(most as i64);
        let (left, top, right, bottom) = (first(x0), first(y0), last(x1, width), last(y1, height));
        (right > left && bottom > top).then(|| [left, top, right, bottom].map(|edge| edge as usize))
    }

    /// The part of the box that lies in the picture, or `None` where nothing of it does.
    pub(crate) fn clipped(&self, width: usize, height: usize) -> Option<Bounds> {
        let [x0, y0, x1, y1] = self.corners;
        let (x0, x1) = (x0.clamp(0.0, width as f32), x1.clamp(0.0, width as f32));
        let (y0, y1) = (y0.clamp(0.0, height as f32), y1.clamp(0.0, height as f32));
        let bounds = Bounds { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
        (bounds.width > 0.0 && bounds.height > 0.0).then_some(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(corners: [f32; 4]) -> Candidate {
        Candidate { corners, score: 1.0 }
    }

    #[test]
    fn iou_of_half_overlap() {
        let a = Bounds { x: 0.0, y: 0.0, width: 10.0, height: 10.0 };
        let b = Bounds { x: 5.0, ..a };
        assert!((a.iou(&b) - 50.0 / 150.0).abs() < 1e-6);
        assert_eq!(a.iou(&Bounds::default()), 0.0);
    }

    proptest! {
        #[test]
        fn no_offset_moves_nothing(x in -50.0_f32..50.0, y in -50.0_f32..50.0, w in 1.0_f32..90.0, h in 1.0_f32..90.0) {
            let mut moved = candidate([x, y, x + w, y + h]);
            moved.regress([0.0; 4], true);
            prop_assert_eq!(moved.corners, [x, y, x + w, y + h]);
        }

        #[test]
        fn regression_scales_with_the_box(x in -50.0_f32..50.0, side in 1.0_f32..90.0, shift in -0.5_f32..0.5) {
            let mut moved = candidate([x, x, x + side, x + side]);
            moved.regress([shift; 4], false);
            prop_assert!((moved.corners[0] - x - shift * side).abs() < 1e-3);
            prop_assert!((moved.corners[2] - moved.corners[0] - side).abs() < 1e-3);
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
