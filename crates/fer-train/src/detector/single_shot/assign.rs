//! Which cells learn which face (SimOTA: Ge et al. 2021).
//!
//! A face is learned by the cells near it whose predictions cost least so far. Their number is the sum of the best overlaps. So
//! the network itself decides which stride suits a size, and crowded faces share the cells between them.

use fer_detect::single_shot::{BOX, Cell, VALUES};
use fer_image::Overlap;

use super::config::LossConfig;
use super::view::Target;

/// Weight of the overlap against the score in a cell's cost.
const OVERLAP_WEIGHT: f32 = 3.0;

/// Cost of a cell whose centre is not both inside of the box and near its centre, large enough to make it a last resort.
const OUTSIDE: f32 = 1e4;

/// What a cell learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assigned {
    /// Index of the face.
    pub target: usize,
    /// Intersection over union of the cell's box with the face's.
    pub overlap: f32,
}

/// Assigns faces to cells. `values` are the network's outputs by cell. Returns what each cell learns; `None` is background.
pub fn assign(
    cells: &[Cell],
    values: &[[f32; VALUES]],
    targets: &[Target],
    config: &LossConfig,
) -> Vec<Option<Assigned>> {
    let mut assigned: Vec<Option<(Assigned, f32)>> = vec![None; cells.len()];
    for (target, face) in targets.iter().enumerate() {
        let mut candidates: Vec<Candidate> = Vec::new();
        for (place, (cell, values)) in cells.iter().zip(values).enumerate() {
            candidates.extend(Candidate::of(place, cell, values, face, config.radius));
        }
        let mut overlaps: Vec<f32> = candidates.iter().map(|candidate| candidate.overlap).collect();
        overlaps.sort_by(|a, b| b.total_cmp(a));
        let sum: f32 = overlaps.iter().take(config.cells_per_face).sum();
        let count = (sum.round() as usize).clamp(1, config.cells_per_face);
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        for Candidate { place, cost, overlap } in candidates.into_iter().take(count) {
            let better = assigned[place].is_none_or(|(_, other)| cost < other);
            if better {
                assigned[place] = Some((Assigned { target, overlap }, cost));
            }
        }
    }
    assigned.into_iter().map(|cell| cell.map(|(assigned, _)| assigned)).collect()
}

struct Candidate {
    place: usize,
    overlap: f32,
    cost: f32,
}

impl Candidate {
    /// A cell that may learn a face, if it is inside of the box or near its centre.
    fn of(place: usize, cell: &Cell, values: &[f32; VALUES], face: &Target, radius: f32) -> Option<Self> {
        let [x0, y0, x1, y1] = face.corners;
        let [x, y] = cell.centre;
        let inside = x > x0 && x < x1 && y > y0 && y < y1;
        let reach = radius * cell.stride;
        let near = (x - 0.5 * (x0 + x1)).abs() < reach && (y - 0.5 * (y0 + y1)).abs() < reach;
        if !inside && !near {
            return None;
        }
        let found = cell.corners(std::array::from_fn(|i| values[BOX + i]));
        let overlap = Overlap::of_corners(found, face.corners, 0.0).iou();
        let score = softplus(-values[0]);
        let outside = if inside && near { 0.0 } else { OUTSIDE };
        let cost = score - OVERLAP_WEIGHT * overlap.max(1e-6).ln() + outside;
        Some(Self { place, overlap, cost })
    }
}

/// `ln(1 + exp(x))` without overflow: the cross-entropy of a logit `-x` with the target 1.
pub(super) fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_detect::single_shot::STRIDES;

    const CONFIG: LossConfig = LossConfig { boxes: 3.0, landmarks: 5.0, cells_per_face: 10, radius: 2.5 };

    fn cells(side: usize) -> Vec<Cell> {
        STRIDES.into_iter().flat_map(|stride| Cell::grid(side / stride, side / stride, stride)).collect()
    }

    fn face(corners: [f32; 4]) -> Target {
        Target { corners, points: [None; 5], landmarks_only: false }
    }

    /// Outputs of cells that all predict the given box.
    fn predicting(cells: &[Cell], corners: [f32; 4], score: f32) -> Vec<[f32; VALUES]> {
        let values = cells.iter().map(|cell| {
            let mut values = [0.0; VALUES];
            values[0] = score;
            values[BOX..BOX + 4].copy_from_slice(&cell.box_values(corners));
            values
        });
        values.collect()
    }

    fn learners(assigned: &[Option<Assigned>], target: usize) -> Vec<usize> {
        let learns = |place: &usize| assigned[*place].is_some_and(|assigned| assigned.target == target);
        (0..assigned.len()).filter(learns).collect()
    }

    #[test]
    fn cells_that_predict_the_box_learn_it_as_many_as_the_overlaps_add_up_to() {
        let cells = cells(64);
        let targets = [face([16.0, 16.0, 48.0, 48.0])];
        let values = predicting(&cells, targets[0].corners, 0.0);
        let assigned = assign(&cells, &values, &targets, &CONFIG);
        // All candidates have the overlap 1: ten learn.
        assert_eq!(learners(&assigned, 0).len(), 10);
        assert!(assigned.iter().flatten().all(|assigned| (assigned.overlap - 1.0).abs() < 1e-4));
        for place in learners(&assigned, 0) {
            let [x, y] = cells[place].centre;
            assert!((16.0..48.0).contains(&x) && (16.0..48.0).contains(&y), "{x} {y}");
        }
    }

    #[test]
    fn a_face_that_nothing_predicts_is_learned_by_one_cell() {
        let cells = cells(64);
        let targets = [face([30.0, 30.0, 39.0, 39.0])];
        let values = vec![[0.0; VALUES]; cells.len()];
        let assigned = assign(&cells, &values, &targets, &CONFIG);
        let found = learners(&assigned, 0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(cells[found[0]].stride, 8.0);
        assert!(assign(&cells, &values, &[], &CONFIG).iter().all(Option::is_none));
    }

    #[test]
    fn a_cell_learns_the_face_that_it_costs_less_for() {
        let cells = cells(64);
        let targets = [face([8.0, 8.0, 40.0, 40.0]), face([24.0, 24.0, 56.0, 56.0])];
        let values = predicting(&cells, targets[1].corners, 0.0);
        let assigned = assign(&cells, &values, &targets, &CONFIG);
        let [first, second] = [0, 1].map(|target| learners(&assigned, target));
        assert!(second.len() >= 9 && !first.is_empty(), "{first:?} {second:?}");
        // The better score decides between equal boxes.
        let mut values = predicting(&cells, targets[0].corners, -3.0);
        let sure = cells.iter().position(|cell| cell.centre == [20.0, 20.0]).unwrap();
        values[sure][0] = 3.0;
        let one = LossConfig { cells_per_face: 1, ..CONFIG };
        assert_eq!(learners(&assign(&cells, &values, &targets[..1], &one), 0), [sure]);
    }
}
