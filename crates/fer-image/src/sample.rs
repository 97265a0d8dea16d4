//! Grey levels between pixels.

/// The value at `(x, y)`, interpolated bilinearly between the four pixels around it.
///
/// `pixel(x, y)` returns the value at integer coordinates. These may lie outside of the picture: the caller decides what
/// is there (a repeated border, a mirrored one, a constant).
///
/// Training and serving both interpolate with this function. Training results depend on its exact rounding: another
/// order of the operations changes the weights that a seed leads to.
#[inline]
pub fn bilinear(x: f32, y: f32, pixel: impl Fn(f32, f32) -> f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (right_weight, lower_weight) = (x - left, y - top);
    let line = |y: f32| linear(pixel(left, y), pixel(left + 1.0, y), right_weight);
    linear(line(top), line(top + 1.0), lower_weight)
}

/// The value between two, interpolated linearly; `weight`, in `[0, 1]`, is that of `end`.
#[inline]
pub fn linear(start: f32, end: f32, weight: f32) -> f32 {
    start + (end - start) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_four_pixels() {
        assert_eq!(bilinear(2.25, 3.5, |x, y| 4.0 * x + 2.0 * y), 16.0);
        assert_eq!(bilinear(-1.0, 7.0, |x, y| x + y), 6.0);
    }

    #[test]
    fn equal_pixels_give_their_value_exactly() {
        for step in 0..1000 {
            let at = step as f32 * 0.013;
            assert_eq!(bilinear(at, 1.7 * at, |_, _| 77.0), 77.0);
        }
    }
}
