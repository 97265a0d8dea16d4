//! Non-maximum suppression: of boxes that overlap, only the best remains.

use fer_image::Overlap;

/// How the overlap of two boxes is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Intersection over union.
    Union,
    /// Intersection over the smaller box, with sides that count their last pixel. facenet-pytorch measures so after
    /// O-Net, which removes small boxes inside large ones.
    Smaller,
}

/// A box with a score.
pub(crate) trait Scored {
    /// `x0, y0, x1, y1`
    fn corners(&self) -> [f32; 4];
    fn score(&self) -> f32;
}

/// Returns the positions of the boxes that remain, best first. A box is removed if it overlaps a better one by more than
/// `max_overlap`. Quadratic in the number of boxes that remain.
pub(crate) fn suppress<T: Scored>(boxes: &[T], max_overlap: f32, measure: Measure) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| boxes[b].score().total_cmp(&boxes[a].score()));
    let mut kept: Vec<usize> = Vec::new();
    for next in order {
        if kept.iter().all(|&better| overlap(&boxes[better], &boxes[next], measure) <= max_overlap) {
            kept.push(next);
        }
    }
    kept
}

fn overlap<T: Scored>(a: &T, b: &T, measure: Measure) -> f32 {
    match measure {
        Measure::Union => Overlap::of_corners(a.corners(), b.corners(), 0.0).iou(),
        Measure::Smaller => Overlap::of_corners(a.corners(), b.corners(), 1.0).of_smaller(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Square {
        corners: [f32; 4],
        score: f32,
    }

    impl Scored for Square {
        fn corners(&self) -> [f32; 4] {
            self.corners
        }

        fn score(&self) -> f32 {
            self.score
        }
    }

    fn square(x: f32, y: f32, side: f32, score: f32) -> Square {
        Square { corners: [x, y, x + side, y + side], score }
    }

    #[test]
    fn a_small_box_inside_a_large_one() {
        let boxes = [square(0.0, 0.0, 100.0, 0.9), square(10.0, 10.0, 20.0, 0.8)];
        assert_eq!(suppress(&boxes, 0.7, Measure::Union), [0, 1]);
        assert_eq!(suppress(&boxes, 0.7, Measure::Smaller), [0]);
    }

    proptest! {
        #[test]
        fn what_remains_is_sorted_apart_and_covers_what_is_removed(
            boxes in prop::collection::vec((0.0_f32..50.0, 0.0_f32..50.0, 1.0_f32..40.0, 0.0_f32..1.0), 0..40),
            most in 0.1_f32..0.9,
        ) {
            let boxes: Vec<_> = boxes.into_iter().map(|(x, y, s, p)| square(x, y, s, p)).collect();
            for measure in [Measure::Union, Measure::Smaller] {
                let kept = suppress(&boxes, most, measure);
                prop_assert_eq!(kept.is_empty(), boxes.is_empty());
                prop_assert!(kept.windows(2).all(|pair| boxes[pair[0]].score >= boxes[pair[1]].score));
                for (i, &a) in kept.iter().enumerate() {
                    prop_assert!(kept[..i].iter().all(|&b| overlap(&boxes[a], &boxes[b], measure) <= most));
                }
                for gone in (0..boxes.len()).filter(|i| !kept.contains(i)) {
                    prop_assert!(kept.iter().any(|&k| boxes[k].score >= boxes[gone].score
                        && overlap(&boxes[k], &boxes[gone], measure) > most));
                }
            }
        }
    }
}
