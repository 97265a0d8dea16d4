//! Grey levels between pixels.

/// The value at `(x, y)`, bilinear between the four pixels around it. `pixel(x, y)` gives the value at integer
/// coordinates, which may lie outside of the picture: the caller decides what is there.
pub fn bilinear(x: f32, y: f32, pixel: impl Fn(f32, f32) -> f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let (right, low) = (x - x0, y - y0);
    let line = |y: f32| pixel(x0, y) * (1.0 - right) + pixel(x0 + 1.0, y) * right;
    line(y0) * (1.0 - low) + line(y0 + 1.0) * low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_four_pixels() {
        assert_eq!(bilinear(2.25, 3.5, |x, y| 4.0 * x + 2.0 * y), 16.0);
        assert_eq!(bilinear(-1.0, 7.0, |x, y| x + y), 6.0);
    }
}
