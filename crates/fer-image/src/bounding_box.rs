//! Axis-aligned rectangles in pixels, and the one measure of their overlap.

/// A rectangle. `x` and `y` are its top left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BoundingBox {
    /// Left edge in pixels.
    pub x: f32,
    /// Top edge in pixels.
    pub y: f32,
    /// Width in pixels.
    pub width: f32,
    /// Height in pixels.
    pub height: f32,
}

impl BoundingBox {
    /// Returns the box between two corners, `x0, y0, x1, y1`.
    pub fn from_corners([x0, y0, x1, y1]: [f32; 4]) -> Self {
        Self { x: x0, y: y0, width: x1 - x0, height: y1 - y0 }
    }

    /// Returns what two boxes share.
    pub fn overlap(&self, other: &Self) -> Overlap {
        let corners = |b: &Self| [b.x, b.y, b.x + b.width, b.y + b.height];
        let areas = [self.width * self.height, other.width * other.height];
        Overlap::new(corners(self), corners(other), 0.0, areas)
    }

    /// Returns the intersection over union, in `[0, 1]`; 0 if both boxes are empty.
    pub fn iou(&self, other: &Self) -> f32 {
        self.overlap(other).iou()
    }
}

/// The areas of two boxes and of their intersection, from which every measure of overlap follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    intersection: f32,
    areas: [f32; 2],
}

impl Overlap {
    /// Compares two boxes given by their corners `x0, y0, x1, y1`. `last_pixel` is added to the length of every side: 0 for
    /// corners between pixels, 1 if the second corner is the last pixel of the box.
    pub fn of_corners(a: [f32; 4], b: [f32; 4], last_pixel: f32) -> Self {
        let area = |c: [f32; 4]| (c[2] - c[0] + last_pixel).max(0.0) * (c[3] - c[1] + last_pixel).max(0.0);
        Self::new(a, b, last_pixel, [area(a), area(b)])
    }

    fn new(a: [f32; 4], b: [f32; 4], last_pixel: f32, areas: [f32; 2]) -> Self {
        let width = a[2].min(b[2]) - a[0].max(b[0]) + last_pixel;
        let height = a[3].min(b[3]) - a[1].max(b[1]) + last_pixel;
        Self { intersection: width.max(0.0) * height.max(0.0), areas }
    }

    /// Returns the intersection over union, in `[0, 1]`; 0 if both boxes are empty.
    pub fn iou(&self) -> f32 {
        self.fraction_of(self.areas[0] + self.areas[1] - self.intersection)
    }

    /// Returns the intersection over the smaller box; 0 if that box is empty.
    pub fn of_smaller(&self) -> f32 {
        self.fraction_of(self.areas[0].min(self.areas[1]))
    }

    /// Returns the fraction of the first box that lies in the second; 0 if the first box is empty.
    pub fn of_first(&self) -> f32 {
        self.fraction_of(self.areas[0])
    }

    fn fraction_of(&self, whole: f32) -> f32 {
        if whole > 0.0 { self.intersection / whole } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_half_overlap() {
        let a = BoundingBox { x: 0.0, y: 0.0, width: 10.0, height: 10.0 };
        let b = BoundingBox { x: 5.0, ..a };
        assert!((a.iou(&b) - 50.0 / 150.0).abs() < 1e-6);
        assert_eq!(a.iou(&BoundingBox::default()), 0.0);
    }

    #[test]
    fn overlap_of_corners_counts_the_last_pixel_if_asked() {
        let (large, small) = ([0.0, 0.0, 9.0, 9.0], [5.0, 0.0, 9.0, 4.0]);
        let pixels = Overlap::of_corners(large, small, 1.0);
        assert_eq!((pixels.of_smaller(), pixels.of_first(), pixels.iou()), (1.0, 0.25, 0.25));
        let edges = Overlap::of_corners(large, small, 0.0);
        assert!((edges.of_first() - 16.0 / 81.0).abs() < 1e-6);
        assert_eq!(Overlap::of_corners(small, [20.0; 4], 0.0).iou(), 0.0);
    }
}
