//! Colour to grey.

/// Rec. 601 luma in 16-bit fixed point, as PIL and OpenCV compute it.
pub fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_weights() {
        assert_eq!(
            [luma([255; 3]), luma([255, 0, 0]), luma([0, 255, 0]), luma([0, 0, 255])],
            [255, 76, 150, 29]
        );
    }
}
