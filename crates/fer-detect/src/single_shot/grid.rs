//! What a cell of the network's output says about a face, and the inverse for training.
//!
//! Both directions live here so that they stay in step.

use crate::face::Landmarks;

/// Pixels of the input from one cell to the next, by output.
pub const STRIDES: [usize; 3] = [8, 16, 32];

/// The names of the outputs, in the order of [`STRIDES`].
pub const OUTPUTS: [&str; 3] = ["stride8", "stride16", "stride32"];

/// Values of a cell: a score, four of the box, and five points.
pub const VALUES: usize = 15;

/// First of a cell's four box values.
pub const BOX: usize = 1;

/// First of a cell's ten landmark values.
pub const POINTS: usize = 5;

/// Largest logarithm of a side in strides: more than any picture needs, and no overflow.
const MAX_LOG_SIDE: f32 = 8.0;

/// A cell of one of the outputs. Coordinates are pixels of the network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Its centre.
    pub centre: [f32; 2],
    /// Its side, the unit of its values.
    pub stride: f32,
}

impl Cell {
    /// Returns the cell in a row and column of an output.
    pub fn at(row: usize, column: usize, stride: usize) -> Self {
        let stride = stride as f32;
        Self { centre: [(column as f32 + 0.5) * stride, (row as f32 + 0.5) * stride], stride }
    }

    /// Returns the cells of an output with so many rows and columns, row by row.
    pub fn grid(rows: usize, columns: usize, stride: usize) -> impl Iterator<Item = Self> {
        (0..rows * columns).map(move |place| Self::at(place / columns, place % columns, stride))
    }

    /// Returns the corners `x0, y0, x1, y1` of a box: its centre relative to the cell's, and the logarithms of its sides, all
    /// in strides.
    pub fn corners(&self, [x, y, log_width, log_height]: [f32; 4]) -> [f32; 4] {
        let [x, y] = self.point([x, y]);
        let half = |log: f32| 0.5 * self.stride * log.min(MAX_LOG_SIDE).exp();
        let (across, down) = (half(log_width), half(log_height));
        [x - across, y - down, x + across, y + down]
    }

    /// Returns the values of a box, the inverse of [`Cell::corners`]. Both sides must be positive.
    pub fn box_values(&self, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
        let [x, y] = self.point_values([0.5 * (x0 + x1), 0.5 * (y0 + y1)]);
        [x, y, ((x1 - x0) / self.stride).ln(), ((y1 - y0) / self.stride).ln()]
    }

    /// Returns a point that is given relative to the cell's centre, in strides.
    pub fn point(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [self.centre[0] + x * self.stride, self.centre[1] + y * self.stride]
    }

    /// Returns the values of a point, the inverse of [`Cell::point`].
    pub fn point_values(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [(x - self.centre[0]) / self.stride, (y - self.centre[1]) / self.stride]
    }

    /// Returns the landmarks of a cell's ten values: x and y of the left eye, the right eye, the nose, and the left and the
    /// right corner of the mouth.
    pub(super) fn landmarks(&self, values: [f32; 10]) -> Landmarks {
        let point = |place: usize| self.point([values[2 * place], values[2 * place + 1]]);
        Landmarks::of(std::array::from_fn(point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cells_lie_in_the_middle_of_their_squares() {
        let cells: Vec<Cell> = Cell::grid(2, 3, 8).collect();
        assert_eq!(cells.len(), 6);
        assert_eq!((cells[0].centre, cells[5].centre), ([4.0, 4.0], [20.0, 12.0]));
        assert_eq!(cells[4], Cell::at(1, 1, 8));
        let unit = cells[0].corners([0.0; 4]);
        assert_eq!(unit, [0.0, 0.0, 8.0, 8.0]);
    }

    proptest! {
        #[test]
        fn values_are_the_inverse_of_boxes_and_points(
            place in (0_usize..40, 0_usize..40, 0_usize..3),
            corner in (-200.0_f32..600.0, -200.0_f32..600.0),
            sides in (4.0_f32..600.0, 4.0_f32..600.0),
        ) {
            let cell = Cell::at(place.0, place.1, STRIDES[place.2]);
            let corners = [corner.0, corner.1, corner.0 + sides.0, corner.1 + sides.1];
            let again = cell.corners(cell.box_values(corners));
            prop_assert!(again.iter().zip(corners).all(|(a, b)| (a - b).abs() < 0.02), "{:?} {:?}", again, corners);
            let point = cell.point(cell.point_values([corner.0, corner.1]));
            prop_assert!((point[0] - corner.0).abs() < 1e-2 && (point[1] - corner.1).abs() < 1e-2);
        }

        #[test]
        fn no_values_overflow(values in prop::array::uniform4(-1e6_f32..1e6)) {
            prop_assert!(Cell::at(3, 3, 32).corners(values).iter().all(|corner| corner.is_finite()));
        }
    }
}
