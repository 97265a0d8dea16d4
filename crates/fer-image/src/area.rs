//! Area resizing into a network's input: normalised planar RGB.
//!
//! Each output pixel is the unweighted mean of the input pixels from `floor(i * in / out)` to
//! `ceil((i + 1) * in / out)`. This is PyTorch's adaptive average pooling, which facenet-pytorch resizes with.

use image::RgbImage;
use serde::{Deserialize, Serialize};

const CHANNELS: usize = 3;

/// What happens to pixel values in `[0, 255]` before a network sees them: `(x - mean) / scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Subtracted from every value.
    pub mean: f32,
    /// Divides the difference.
    pub scale: f32,
}

impl Default for Normalization {
    /// `(x - 127.5) / 128`, as in facenet-pytorch.
    fn default() -> Self {
        Self { mean: 127.5, scale: 128.0 }
    }
}

impl Normalization {
    fn apply(self, value: f32) -> f32 {
        (value - self.mean) / self.scale
    }
}

/// Resizes the part `x0..x1, y0..y1` of `image` to `width`×`height` pixels and appends its three planes to `out`.
pub fn append(
    image: &RgbImage,
    [x0, y0, x1, y1]: [usize; 4],
    [width, height]: [usize; 2],
    normalization: Normalization,
    out: &mut Vec<f32>,
) {
    let stride = image.width() as usize * CHANNELS;
    let pixels = image.as_raw();
    let columns: Vec<[usize; 2]> = (0..width).map(|i| window(i, x1 - x0, width)).collect();
    let plane = width * height;
    let start = out.len();
    out.resize(start + CHANNELS * plane, 0.0);
    let planes = &mut out[start..];
    let mut sums = vec![0_u32; (x1 - x0) * CHANNELS];
    for row in 0..height {
        let [top, bottom] = window(row, y1 - y0, height);
        sums.fill(0);
        for y in y0 + top..y0 + bottom {
            let line = &pixels[y * stride + x0 * CHANNELS..y * stride + x1 * CHANNELS];
            for (sum, &value) in sums.iter_mut().zip(line) {
                *sum += u32::from(value);
            }
        }
        for (column, &[left, right]) in columns.iter().enumerate() {
            let mut total = [0_u32; CHANNELS];
            for pixel in sums[left * CHANNELS..right * CHANNELS].as_chunks::<CHANNELS>().0 {
                for (total, value) in total.iter_mut().zip(pixel) {
                    *total += value;
                }
            }
            let weight = 1.0 / ((bottom - top) * (right - left)) as f32;
            for (channel, total) in total.into_iter().enumerate() {
                planes[channel * plane + row * width + column] = normalization.apply(total as f32 * weight);
            }
        }
    }
}

/// Returns the input pixels that output pixel `i` is the mean of.
fn window(i: usize, input: usize, output: usize) -> [usize; 2] {
    [i * input / output, ((i + 1) * input).div_ceil(output)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_overlapping_windows() {
        let image = RgbImage::from_fn(3, 1, |x, _| image::Rgb([x as u8 * 30, 100, 255]));
        let mut out = Vec::new();
        append(&image, [0, 0, 3, 1], [2, 1], Normalization::default(), &mut out);
        let grey: Vec<f32> = out.iter().map(|v| v * 128.0 + 127.5).collect();
        assert_eq!(grey, [15.0, 45.0, 100.0, 100.0, 255.0, 255.0]);
    }

    #[test]
    fn the_same_size_copies_and_a_part_is_a_part() {
        let image = RgbImage::from_fn(4, 4, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let mut out = vec![9.0];
        append(&image, [1, 2, 3, 4], [2, 2], Normalization::default(), &mut out);
        let grey: Vec<f32> = out[1..].iter().map(|v| v * 128.0 + 127.5).collect();
        assert_eq!(grey, [1.0, 2.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 7.0, 7.0, 7.0, 7.0]);
    }

    #[test]
    fn normalisation_subtracts_then_divides() {
        let image = RgbImage::from_pixel(1, 1, image::Rgb([200, 100, 0]));
        let mut out = Vec::new();
        append(&image, [0, 0, 1, 1], [1, 1], Normalization { mean: 100.0, scale: 50.0 }, &mut out);
        assert_eq!(out, [2.0, 0.0, -2.0]);
    }
}
