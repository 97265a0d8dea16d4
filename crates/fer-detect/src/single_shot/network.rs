//! The first network with its input, in whichever form the engine takes a picture fastest: normalised planes, or patches of bytes.

use std::time::{Duration, Instant};

use fer_engine::{Engine, EngineError, Outputs, PATCH, PatchSession, Session, Tensor};
use fer_image::Letterboxed;
use fer_image::area::Normalization;

const CHANNELS: usize = 3;

/// Rows and columns of the first convolution's kernel.
const KERNEL: usize = 3;

/// Pixels from one patch to the next.
const STRIDE: usize = 2;

/// Bytes of one row of a patch.
const ROW: usize = KERNEL * CHANNELS;

/// An opened network and the time that it took since it was last asked.
pub(super) struct Network {
    input: Input,
    inference_time: Duration,
}

/// A session and the memory of its input, which is used again for the next picture.
enum Input {
    Planes { session: Box<dyn Session>, normalization: Normalization, values: Vec<f32> },
    Patches { session: Box<dyn PatchSession>, padding: u8, values: Vec<u8> },
}

impl Network {
    pub(super) fn open(
        engine: &Engine,
        graph: &[u8],
        normalization: Normalization,
    ) -> Result<Self, EngineError> {
        let Normalization { mean, scale } = normalization;
        let input = match engine.open_for_patches(graph, mean, scale)? {
            Some(session) => Input::Patches { session, padding: mean.round() as u8, values: Vec::new() },
            None => Input::Planes { session: engine.open(graph)?, normalization, values: Vec::new() },
        };
        Ok(Self { input, inference_time: Duration::ZERO })
    }

    pub(super) fn run(&mut self, picture: &Letterboxed<'_>) -> Result<Outputs, EngineError> {
        match &mut self.input {
            Input::Planes { session, normalization, values } => {
                let input = tensor(picture, *normalization, std::mem::take(values))?;
                let started = Instant::now();
                let outputs = session.run(&input);
                self.inference_time += started.elapsed();
                *values = input.into_data();
                outputs
            }
            Input::Patches { session, padding, values } => {
                let [rows, columns] = patches(picture, *padding, values);
                let started = Instant::now();
                let outputs = session.run(values, rows, columns);
                self.inference_time += started.elapsed();
                outputs
            }
        }
    }

    pub(super) fn take_inference_time(&mut self) -> Duration {
        std::mem::take(&mut self.inference_time)
    }
}

/// The planes of a picture, in memory that was used before.
pub(super) fn tensor(
    picture: &Letterboxed<'_>,
    normalization: Normalization,
    mut memory: Vec<f32>,
) -> Result<Tensor, EngineError> {
    let [width, height] = picture.padded;
    picture.planes(normalization, &mut memory);
    Tensor::new([1, CHANNELS, height, width], memory)
}

/// Writes the patches of a picture into `out`, row by row, and returns the numbers of rows and columns. Pixels outside of the picture
/// are `padding`. `out` is empty or holds the patches of another picture.
fn patches(picture: &Letterboxed<'_>, padding: u8, out: &mut Vec<u8>) -> [usize; 2] {
    let [columns, rows] = picture.padded.map(|side| side.div_ceil(STRIDE));
    // The last byte of each patch is never written and stays the zero with which the memory grew.
    out.resize(rows * columns * PATCH, 0);
    let [width, height] = picture.content;
    let lines: Vec<&[u8]> = picture.pixels.chunks_exact((width * CHANNELS).max(1)).take(height).collect();
    for (row, patches) in out.chunks_exact_mut((columns * PATCH).max(1)).enumerate() {
        for part in 0..KERNEL {
            // The line above the picture is the only one with a negative number.
            let line = (row * STRIDE + part).checked_sub(1).and_then(|line| lines.get(line));
            let patches = patches.as_chunks_mut::<PATCH>().0.iter_mut();
            let parts = patches.filter_map(|patch| patch[part * ROW..].first_chunk_mut());
            match line {
                Some(line) => copy_row(line, padding, parts),
                None => parts.for_each(|part| part.fill(padding)),
            }
        }
    }
    [rows, columns]
}

/// Copies a line of pixels into one row of the patches in which it lies.
fn copy_row<'a>(line: &[u8], padding: u8, parts: impl Iterator<Item = &'a mut [u8; ROW]>) {
    for (column, part) in parts.enumerate() {
        // A patch starts one pixel before the pixel in its middle.
        let start = (column * STRIDE * CHANNELS).checked_sub(CHANNELS);
        if let Some(pixels) = start.and_then(|start| line.get(start..)?.first_chunk()) {
            *part = *pixels;
            continue;
        }
        *part = [padding; ROW];
        let (from, to) = start.map_or((0, CHANNELS), |start| (start.min(line.len()), 0));
        for (pixel, byte) in line[from..].iter().zip(&mut part[to..]) {
            *byte = *pixel;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_hold_every_second_pixel_and_its_neighbours() {
        for (content, padded) in [([5, 3], [8, 4]), ([8, 4], [8, 4]), ([1, 1], [4, 2]), ([7, 4], [7, 5])] {
            let [width, height] = content;
            let value = |x: usize, y: usize, colour: usize| (10 + x + 20 * y + 100 * colour) as u8;
            let pixels: Vec<u8> = (0..height)
                .flat_map(|y| (0..width).flat_map(move |x| [0, 1, 2].map(|colour| value(x, y, colour))))
                .collect();
            // The memory is used again.
            let mut out = Vec::new();
            patches(&Letterboxed { pixels: &[], content: [0, 0], padded: [6, 6] }, 77, &mut out);
            let picture = Letterboxed { pixels: &pixels, content, padded };
            let [rows, columns] = patches(&picture, 9, &mut out);
            assert_eq!([columns, rows], padded.map(|side| side.div_ceil(2)));
            assert_eq!(out.len(), rows * columns * PATCH);
            for place in 0..rows * columns * KERNEL * KERNEL * CHANNELS {
                let (patch, inside) = (place / 27, place % 27);
                let ([row, column], [y, x]) =
                    ([patch / columns, patch % columns], [inside / 9, inside / 3 % 3]);
                let (left, top) = ((2 * column + x).checked_sub(1), (2 * row + y).checked_sub(1));
                let expected = match (left, top) {
                    (Some(left), Some(top)) if left < width && top < height => value(left, top, inside % 3),
                    _ => 9,
                };
                assert_eq!(out[patch * PATCH + inside], expected, "{content:?} {row} {column} {y} {x}");
            }
            assert!(out.chunks_exact(PATCH).all(|patch| patch[PATCH - 1] == 0));
        }
    }

    #[test]
    fn a_picture_without_pixels_is_padding() {
        let mut out = Vec::new();
        let picture = Letterboxed { pixels: &[], content: [0, 0], padded: [4, 4] };
        assert_eq!(patches(&picture, 5, &mut out), [2, 2]);
        assert!(out.chunks_exact(PATCH).all(|patch| patch[..27] == [5; 27]));
    }
}
