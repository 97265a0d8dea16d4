//! Non-maximum suppression: of boxes that overlap, the best stays.

use crate::face::Candidate;

/// How overlap is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// Intersection over union.
    Union,
    /// Intersection over the smaller box, sides counted with their last pixel, as the reference does after
    /// O-Net: a small box inside a large one goes.
    Smaller,
}

/// Positions of the boxes that stay, best first; those overlapping a better one by more than `most` go.
/// Quadratic in the number of boxes that stay.
pub(crate) fn suppress(candidates: &[Candidate], most: f32, overlap: Overlap) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| candidates[b].score.total_cmp(&candidates[a].score));
    let mut kept: Vec<usize> = Vec::new();
    for next in order {
        if kept.iter().all(|&better| measure(&candidates[better], &candidates[next], overlap) <= most) {
            kept.push(next);
        }
    }
    kept
}

fn measure(a: &Candidate, b: &Candidate, overlap: Overlap) -> f32 {
    let one = if overlap == Overlap::Smaller { 1.0 } else { 0.0 };
    let area = |c: [f32; 4]| (c[2] - c[0] + one).max(0.0) * (c[3] - c[1] + one).max(0.0);
    let width = a.corners[2].min(b.corners[2]) - a.corners[0].max(b.corners[0]) + one;
    let height = a.corners[3].min(b.corners[3]) - a.corners[1].max(b.corners[1]) + one;
    let intersection = width.max(0.0) * height.max(0.0);
    let (a, b) = (area(a.corners), area(b.corners));
    let whole = match overlap {
        Overlap::Union => a + b - intersection,
        Overlap::Smaller => a.min(b),
    };
    if whole > 0.0 { intersection / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(x: f32, y: f32, side: f32, score: f32) -> Candidate {
        Candidate { corners: [x, y, x + side, y + side], score }
    }

    #[test]
    fn a_small_box_inside_a_large_one() {
        let boxes = [candidate(0.0, 0.0, 100.0, 0.9), candidate(10.0, 10.0, 20.0, 0.8)];
        assert_eq!(suppress(&boxes, 0.7, Overlap::Union), [0, 1]);
        assert_eq!(suppress(&boxes, 0.7, Overlap::Smaller), [0]);
    }

    proptest! {
        #[test]
        fn what_stays_is_sorted_apart_and_covers_what_goes(
            boxes in prop::collection::vec((0.0_f32..50.0, 0.0_f32..50.0, 1.0_f32..40.0, 0.0_f32..1.0), 0..40),
            most in 0.1_f32..0.9,
        ) {
            let boxes: Vec<_> = boxes.into_iter().map(|(x, y, s, p)| candidate(x, y, s, p)).collect();
            for overlap in [Overlap::Union, Overlap::Smaller] {
                let kept = suppress(&boxes, most, overlap);
                prop_assert_eq!(kept.is_empty(), boxes.is_empty());
                prop_assert!(kept.windows(2).all(|pair| boxes[pair[0]].score >= boxes[pair[1]].score));
                for (i, &a) in kept.iter().enumerate() {
                    prop_assert!(kept[..i].iter().all(|&b| measure(&boxes[a], &boxes[b], overlap) <= most));
                }
                for gone in (0..boxes.len()).filter(|i| !kept.contains(i)) {
                    prop_assert!(kept.iter().any(|&k| boxes[k].score >= boxes[gone].score
                        && measure(&boxes[k], &boxes[gone], overlap) > most));
                }
            }
        }
    }
}
