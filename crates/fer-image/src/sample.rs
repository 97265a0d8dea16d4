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
    let line = |y: f32| [pixel(left, y), pixel(left + 1.0, y)];
    blend([line(top), line(top + 1.0)], right_weight, lower_weight)
}

/// The value between four pixels, `[[upper left, upper right], [lower left, lower right]]`. The weights are those of the right
/// column and of the lower row, in `[0, 1]`.
#[inline]
pub fn blend(pixels: [[f32; 2]; 2], right_weight: f32, lower_weight: f32) -> f32 {
    let [upper, lower] = pixels.map(|[start, end]| start + (end - start) * right_weight);
    upper + (lower - upper) * lower_weight
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
