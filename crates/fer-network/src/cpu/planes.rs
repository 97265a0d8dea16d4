//! The pixels of each channel of each sample, one after the other.

use super::Primitive;

/// A contiguous array `[samples, channels, pixels]`.
pub(super) struct Planes<'a> {
    pub(super) values: &'a [f32],
    channels: usize,
    places: usize,
    /// Number of values in a channel, over all samples.
    pub(super) count: f64,
}

impl<'a> Planes<'a> {
    pub(super) fn of(tensor: &'a Primitive, channels: usize) -> Self {
        let values: &[f32] = tensor.storage();
        let shape = tensor.layout().shape();
        let places = values.len() / (shape[0] * channels);
        Self { values, channels, places, count: (shape[0] * places) as f64 }
    }

    pub(super) fn each(&self, mut visit: impl FnMut(usize, &[f32])) {
        for (number, plane) in self.values.chunks_exact(self.places).enumerate() {
            visit(number % self.channels, plane);
        }
    }

    pub(super) fn each_with(&self, other: &Self, mut visit: impl FnMut(usize, &[f32], &[f32])) {
        let pairs = self.values.chunks_exact(self.places).zip(other.values.chunks_exact(self.places));
        for (number, (plane, other)) in pairs.enumerate() {
            visit(number % self.channels, plane, other);
        }
    }
}

/// Number of partial sums. Independent sums fill the vector registers; with a single sum each addition would wait for the last.
pub(super) const LANES: usize = 16;

/// The sum of `of(value)` over all values.
pub(super) fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| *lane += of(value));
    }
    lanes.into_iter().chain(rest.iter().map(|&value| of(value))).map(f64::from).sum()
}
