//! A whole picture as a network's input: resized, padded to the sides that the network needs, normalised, planar RGB.

use fast_image_resize::Resizer;
use image::RgbImage;

use crate::area::Normalization;
use crate::resize::{self, SUPERSAMPLED, TRIANGLE};

const CHANNELS: usize = 3;

/// Resizes one picture after the other in the same memory.
#[derive(Default)]
pub struct Letterbox {
    resizer: Resizer,
    /// The resized picture.
    small: Vec<u8>,
}

/// The pixels of a picture in the upper left corner of a network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterboxed<'a> {
    /// RGB, row by row; nothing if the picture has no pixels.
    pub pixels: &'a [u8],
    /// Width and height of the picture.
    pub content: [usize; 2],
    /// Width and height of the input.
    pub padded: [usize; 2],
}

impl Letterbox {
    /// Resizes `image` to `content` (width, height), for an input of `padded` (width, height), which is at least as large.
    ///
    /// A picture of the content's size is not resized. Otherwise a triangle filter is used, whose support grows with the
    /// reduction.
    pub fn resize<'a>(
        &'a mut self,
        image: &'a RgbImage,
        content: [usize; 2],
        padded: [usize; 2],
    ) -> Letterboxed<'a> {
        let [width, height] = content;
        if [image.width() as usize, image.height() as usize] == content {
            return Letterboxed { pixels: image.as_raw(), content, padded };
        }
        self.small.resize(CHANNELS * width * height, 0);
        let algorithm = if 2 * width < image.width() as usize { SUPERSAMPLED } else { TRIANGLE };
        let side = [width as u32, height as u32];
        let resized = resize::rgb(&mut self.resizer, image, side, &mut self.small, algorithm);
        let pixels = if resized.is_some() { self.small.as_slice() } else { &[] };
        Letterboxed { pixels, content, padded }
    }
}

impl Letterboxed<'_> {
    /// Writes the three normalised planes into `out`, whose former content is dropped. The padding at the right and below has the
    /// value 0, which is the normalisation's mean.
    pub fn planes(&self, normalization: Normalization, out: &mut Vec<f32>) {
        out.clear();
        out.resize(CHANNELS * self.padded[0] * self.padded[1], 0.0);
        planes(self.pixels, self.content, self.padded, normalization, out);
    }
}

/// Normalises interleaved pixels into the upper left corner of the padded planes.
fn planes(
    pixels: &[u8],
    [width, height]: [usize; 2],
    [padded_width, padded_height]: [usize; 2],
    Normalization { mean, scale }: Normalization,
    out: &mut [f32],
) {
    let plane = padded_width * padded_height;
    if width == 0 || plane == 0 {
        return;
    }
    let factor = 1.0 / scale;
    let (red, rest) = out.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let lines = pixels.chunks_exact(CHANNELS * width).take(height.min(padded_height));
    for (row, line) in lines.enumerate() {
        let start = row * padded_width;
        let [red, green, blue] =
            [&mut *red, &mut *green, &mut *blue].map(|plane| &mut plane[start..][..padded_width]);
        let outputs = red.iter_mut().zip(green).zip(blue);
        for (pixel, ((red, green), blue)) in line.as_chunks::<CHANNELS>().0.iter().zip(outputs) {
            *red = (f32::from(pixel[0]) - mean) * factor;
            *green = (f32::from(pixel[1]) - mean) * factor;
            *blue = (f32::from(pixel[2]) - mean) * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Normalization = Normalization { mean: 0.0, scale: 1.0 };

    #[test]
    fn a_picture_of_the_right_size_is_copied_and_padded() {
        let image = RgbImage::from_fn(2, 2, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let mut out = vec![5.0; 100];
        let mut letterbox = Letterbox::default();
        let picture = letterbox.resize(&image, [2, 2], [3, 4]);
        assert_eq!(picture.pixels, image.as_raw().as_slice());
        picture.planes(PLAIN, &mut out);
        assert_eq!(out.len(), 36);
        assert_eq!(out[..6], [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(out[12..18], [0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!((&out[24..27], &out[30..36]), (&[9.0, 9.0, 0.0][..], &[0.0; 6][..]));
    }

    #[test]
    fn others_are_resized_in_the_same_memory() {
        let image = RgbImage::from_fn(40, 20, |x, _| image::Rgb([(x / 10 * 10) as u8; 3]));
        let (mut letterbox, mut out) = (Letterbox::default(), Vec::new());
        let tens = Normalization { mean: 10.0, scale: 10.0 };
        for _ in 0..2 {
            letterbox.resize(&image, [4, 2], [4, 4]).planes(tens, &mut out);
            assert!((out[0] + 1.0).abs() <= 0.2 && (out[3] - 2.0).abs() <= 0.2, "{out:?}");
            assert_eq!(out[8..16], [0.0; 8]);
        }
        letterbox.resize(&RgbImage::new(0, 0), [4, 2], [4, 4]).planes(PLAIN, &mut out);
        assert_eq!(out, [0.0; 48]);
        letterbox.resize(&image, [0, 0], [4, 4]).planes(PLAIN, &mut out);
        assert_eq!(out, [0.0; 48]);
    }
}
