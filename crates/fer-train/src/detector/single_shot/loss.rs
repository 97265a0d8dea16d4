//! The multi-task loss of a crop, with its gradient by the network's outputs.
//!
//! - score: quality focal loss (Li et al. 2020). The target of a cell that learns a face is the overlap of its box with the
//!   face's, so that the score also says how good the box is; the target of background is 0.
//! - box: efficient IoU loss (Zhang et al. 2022), `1 − IoU` plus the squared distances of centre, width and height over those
//!   of the enclosing box.
//! - landmarks: mean distance of the known points over the face's size, quadratic below a hundredth.
//!
//! The gradient is computed here rather than by automatic differentiation: the assignment needs the outputs on the host
//! anyway, and few cells have any gradient other than that of the score.

use fer_detect::single_shot::{BOX, Cell, POINTS, VALUES};
use serde::{Deserialize, Serialize};

use super::assign::{Assigned, assign, softplus};
use super::config::LossConfig;
use super::dual::Dual;
use super::view::Target;

/// Distance over the face's size below which the landmark loss is quadratic.
const QUADRATIC: f32 = 0.01;

/// Largest logarithm of a side that has a gradient, as in the decoder.
const MAX_LOG_SIDE: f32 = 8.0;

/// Sums over crops: losses, and the numbers that they are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Score loss of all cells.
    pub score: f64,
    /// Box loss of the cells that learn a box.
    pub boxes: f64,
    /// Landmark loss of the cells that learn landmarks.
    pub landmarks: f64,
    /// Overlaps of the boxes with their faces'.
    pub overlap: f64,
    /// Cells that learn a box.
    pub box_cells: f64,
    /// Cells that learn landmarks.
    pub landmark_cells: f64,
}

impl Sums {
    /// Adds the sums of other crops.
    pub fn add(&mut self, other: &Self) {
        self.score += other.score;
        self.boxes += other.boxes;
        self.landmarks += other.landmarks;
        self.overlap += other.overlap;
        self.box_cells += other.box_cells;
        self.landmark_cells += other.landmark_cells;
    }

    /// The mean losses of a cell that learns: score, box, landmarks.
    pub fn means(&self) -> [f64; 3] {
        let boxes = self.box_cells.max(1.0);
        [self.score / boxes, self.boxes / boxes, self.landmarks / self.landmark_cells.max(1.0)]
    }

    /// The loss that is minimised.
    pub fn loss(&self, config: &LossConfig) -> f64 {
        let [score, boxes, landmarks] = self.means();
        score + f64::from(config.boxes) * boxes + f64::from(config.landmarks) * landmarks
    }
}

/// Returns the sums of one crop, and writes their gradients by the outputs, which are not yet divided by the number of cells
/// nor multiplied by the weights: [`weigh`] does that for all crops of a mini-batch.
pub fn of_crop(
    cells: &[Cell],
    values: &[[f32; VALUES]],
    targets: &[Target],
    ignored: &[[f32; 4]],
    config: &LossConfig,
    gradients: &mut [[f32; VALUES]],
) -> Sums {
    let mut sums = Sums::default();
    let assigned = assign(cells, values, targets, config);
    for (place, cell) in cells.iter().enumerate() {
        let (values, gradient) = (&values[place], &mut gradients[place]);
        *gradient = [0.0; VALUES];
        match assigned[place] {
            Some(Assigned { target, overlap }) => {
                let face = &targets[target];
                if !face.landmarks_only {
                    let (loss, by) = quality_focal(values[0], overlap);
                    (sums.score, gradient[0]) = (sums.score + f64::from(loss), by);
                    let (loss, by) = box_loss(cell, std::array::from_fn(|i| values[BOX + i]), face.corners);
                    gradient[BOX..BOX + 4].copy_from_slice(&by);
                    sums.boxes += f64::from(loss);
                    sums.overlap += f64::from(overlap);
                    sums.box_cells += 1.0;
                }
                let points = std::array::from_fn(|i| values[POINTS + i]);
                if let Some((loss, by)) = landmark_loss(cell, points, face) {
                    gradient[POINTS..].copy_from_slice(&by);
                    sums.landmarks += f64::from(loss);
                    sums.landmark_cells += 1.0;
                }
            }
            None if ignored.iter().any(|&ignored| contains(ignored, cell.centre)) => {}
            None => {
                let (loss, by) = quality_focal(values[0], 0.0);
                (sums.score, gradient[0]) = (sums.score + f64::from(loss), by);
            }
        }
    }
    sums
}

/// Turns the gradients of [`of_crop`] into those of [`Sums::loss`], multiplied by `factor`.
pub fn weigh(gradients: &mut [[f32; VALUES]], sums: &Sums, config: &LossConfig, factor: f32) {
    let score = factor / sums.box_cells.max(1.0) as f32;
    let boxes = score * config.boxes;
    let landmarks = factor * config.landmarks / sums.landmark_cells.max(1.0) as f32;
    for gradient in gradients {
        gradient[0] *= score;
        gradient[BOX..POINTS].iter_mut().for_each(|by| *by *= boxes);
        gradient[POINTS..].iter_mut().for_each(|by| *by *= landmarks);
    }
}

fn contains([x0, y0, x1, y1]: [f32; 4], [x, y]: [f32; 2]) -> bool {
    x >= x0 && x < x1 && y >= y0 && y < y1
}

/// The quality focal loss of a logit, `|q − σ|² · H(q, σ)`, and its derivative.
fn quality_focal(logit: f32, quality: f32) -> (f32, f32) {
    let probability = 1.0 / (1.0 + (-logit).exp());
    let distance = probability - quality;
    let entropy = softplus(logit) - quality * logit;
    let squared = distance * distance;
    let by = squared * distance + 2.0 * distance * probability * (1.0 - probability) * entropy;
    (squared * entropy, by)
}

/// The box loss of a cell's four values, and its derivatives.
fn box_loss(cell: &Cell, values: [f32; 4], face: [f32; 4]) -> (f32, [f32; 4]) {
    let variable = |number: usize| Dual::variable(values[number], number);
    // All lengths are in strides from the cell's centre, which does not change the loss.
    let face: [Dual; 4] =
        std::array::from_fn(|i| Dual::constant((face[i] - cell.centre[i % 2]) / cell.stride));
    let half = |number: usize| {
        let log = if values[number] > MAX_LOG_SIDE { Dual::constant(MAX_LOG_SIDE) } else { variable(number) };
        log.exp().times(0.5)
    };
    let (across, down) = (half(2), half(3));
    let (x, y) = (variable(0), variable(1));
    let found = [x - across, y - down, x + across, y + down];
    let loss = efficient_iou(found, face);
    (loss.value, loss.by)
}

/// The loss of two boxes given by their corners `x0, y0, x1, y1`.
fn efficient_iou(a: [Dual; 4], b: [Dual; 4]) -> Dual {
    let zero = Dual::constant(0.0);
    let sides = |c: [Dual; 4]| [c[2] - c[0], c[3] - c[1]];
    let ([a_width, a_height], [b_width, b_height]) = (sides(a), sides(b));
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(zero);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(zero);
    let shared = width * height;
    let whole = a_width * a_height + b_width * b_height - shared;
    let outer_width = (a[2].max(b[2]) - a[0].min(b[0])).squared();
    let outer_height = (a[3].max(b[3]) - a[1].min(b[1])).squared();
    let apart = |i: usize| (a[i] + a[i + 2] - b[i] - b[i + 2]).times(0.5).squared();
    let centre = (apart(0) + apart(1)) * (outer_width + outer_height).inverse();
    let wider = (a_width - b_width).squared() * outer_width.inverse();
    let higher = (a_height - b_height).squared() * outer_height.inverse();
    Dual::constant(1.0) - shared * whole.inverse() + centre + wider + higher
}

/// The landmark loss of a cell's ten values, and its derivatives; `None` if no point is known.
fn landmark_loss(cell: &Cell, values: [f32; 10], face: &Target) -> Option<(f32, [f32; 10])> {
    let known = face.points.iter().flatten().count();
    if known == 0 {
        return None;
    }
    let [x0, y0, x1, y1] = face.corners;
    let size = ((x1 - x0) * (y1 - y0)).sqrt();
    let (unit, weight) = (cell.stride / size, 1.0 / (2.0 * known as f32));
    let (mut loss, mut by) = (0.0, [0.0; 10]);
    for (place, point) in face.points.iter().enumerate() {
        let Some(point) = point else { continue };
        for (axis, wanted) in cell.point_values(*point).into_iter().enumerate() {
            let place = 2 * place + axis;
            let distance = (values[place] - wanted) * unit;
            if distance.abs() < QUADRATIC {
                loss += weight * 0.5 * distance * distance / QUADRATIC;
                by[place] = weight * unit * distance / QUADRATIC;
            } else {
                loss += weight * (distance.abs() - 0.5 * QUADRATIC);
                by[place] = weight * unit * distance.signum();
            }
        }
    }
    Some((loss, by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const CONFIG: LossConfig = LossConfig { boxes: 3.0, landmarks: 5.0, cells_per_face: 10, radius: 2.5 };
    const CELL: Cell = Cell { centre: [20.0, 28.0], stride: 8.0 };

    #[test]
    fn the_score_loss_is_that_of_the_paper() {
        // σ = 0.5, q = 0: 0.25 · ln 2; q = 1: the same.
        let (background, by) = quality_focal(0.0, 0.0);
        assert!((background - 0.25 * 2.0_f32.ln()).abs() < 1e-6 && by > 0.0);
        let (face, by) = quality_focal(0.0, 1.0);
        assert!((face - background).abs() < 1e-6 && by < 0.0);
        // Nothing is left to learn where the score is the quality.
        let (loss, by) = quality_focal((0.7_f32 / 0.3).ln(), 0.7);
        assert!(loss.abs() < 1e-9 && by.abs() < 1e-5);
        assert!(quality_focal(-80.0, 1.0).0.is_finite() && quality_focal(80.0, 0.0).1.is_finite());
    }

    #[test]
    fn the_box_loss_of_two_squares() {
        // The box is [16, 24, 24, 32], the face one stride to the right and twice as large.
        let (loss, _) = box_loss(&CELL, [0.0; 4], [16.0, 24.0, 32.0, 40.0]);
        // In strides: intersection 1, union 4, the enclosing box 2×2, centres 0.5 apart along both axes, sides by 1.
        let expected = 1.0 - 0.25 + 0.5 / 8.0 + 0.25 + 0.25;
        assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
        let (none, by) = box_loss(&CELL, CELL.box_values([10.0, 12.0, 33.0, 40.0]), [10.0, 12.0, 33.0, 40.0]);
        assert!(none.abs() < 1e-5, "{none} {by:?}");
    }

    #[test]
    fn the_landmark_loss_is_the_mean_distance_over_the_size() {
        let mut points = [None; 5];
        points[0] = Some([24.0, 28.0]);
        points[2] = Some([20.0, 20.0]);
        let face = Target { corners: [0.0, 0.0, 40.0, 40.0], points, landmarks_only: false };
        let (loss, by) = landmark_loss(&CELL, [0.0; 10], &face).unwrap();
        // Distances of 4 and 8 pixels along one axis each; the others are 0.
        let expected = (0.1 - 0.005 + 0.2 - 0.005) / 4.0;
        assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
        assert!(by[0] < 0.0 && by[5] > 0.0 && by[1] == 0.0 && by[2] == 0.0);
        assert_eq!(landmark_loss(&CELL, [0.0; 10], &Target { points: [None; 5], ..face }), None);
    }

    #[test]
    fn gradients_are_slopes() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..500 {
            let (logit, quality) = (random.random_range(-4.0..4.0), random.random_range(0.0..1.0));
            let (_, by) = quality_focal(logit, quality);
            let slope =
                (quality_focal(logit + 5e-3, quality).0 - quality_focal(logit - 5e-3, quality).0) / 1e-2;
            assert!((by - slope).abs() < 2e-3 * (1.0 + by.abs()), "{by} {slope} at {logit}, {quality}");

            let values: [f32; 4] = std::array::from_fn(|_| random.random_range(-1.5..1.5));
            let corner = [random.random_range(-10.0..30.0), random.random_range(0.0..40.0_f32)];
            let side = [random.random_range(6.0..40.0), random.random_range(6.0..40.0_f32)];
            let face = [corner[0], corner[1], corner[0] + side[0], corner[1] + side[1]];
            let (_, by) = box_loss(&CELL, values, face);
            for (number, by) in by.into_iter().enumerate() {
                let at = |step: f32| {
                    let mut moved = values;
                    moved[number] += step;
                    box_loss(&CELL, moved, face).0
                };
                let [left, right] = [-5e-3, 5e-3].map(|step| (at(step) - at(0.0)) / step);
                // Where an edge passes another, the loss has a kink, and the slopes to both sides differ.
                let tolerance = 0.02 * (1.0 + by.abs()) + (left - right).abs();
                assert!((by - 0.5 * (left + right)).abs() < tolerance, "{by} {left} {right}");
            }
        }
    }

    #[test]
    fn ignored_places_and_landmark_only_faces_teach_no_score() {
        let cells: Vec<Cell> = Cell::grid(4, 4, 8).collect();
        let values = vec![[0.0; VALUES]; 16];
        let mut gradients = vec![[1.0; VALUES]; 16];
        let everything = [[0.0, 0.0, 32.0, 32.0]];
        let sums = of_crop(&cells, &values, &[], &everything, &CONFIG, &mut gradients);
        assert_eq!((sums, gradients.concat()), (Sums::default(), vec![0.0; 16 * VALUES]));
        let face =
            Target { corners: [4.0, 4.0, 20.0, 20.0], points: [Some([9.0, 9.0]); 5], landmarks_only: true };
        let sums = of_crop(&cells, &values, &[face], &everything, &CONFIG, &mut gradients);
        assert!(sums.landmark_cells >= 1.0 && sums.box_cells == 0.0 && sums.score == 0.0);
        assert!(gradients.iter().all(|gradient| gradient[..POINTS] == [0.0; POINTS]));
        let face = Target { landmarks_only: false, ..face };
        let sums = of_crop(&cells, &values, &[face], &[], &CONFIG, &mut gradients);
        assert!(sums.box_cells >= 1.0 && sums.boxes > 0.0 && sums.score > 0.0);
        weigh(&mut gradients, &sums, &CONFIG, 0.5);
        let learns_box = |gradient: &&[f32; VALUES]| gradient[BOX..POINTS].iter().any(|by| *by != 0.0);
        assert_eq!(gradients.iter().filter(learns_box).count() as f64, sums.box_cells);
        let means = sums.means();
        let loss = means[0] + 3.0 * means[1] + 5.0 * means[2];
        assert!((sums.loss(&CONFIG) - loss).abs() < 1e-9);
    }
}
