//! Occlusion maps (Zeiler & Fergus 2014): how much an answer depends on each part of a face. A grey square is moved over the face, and
//! the probability of the answer falls where the network looks.

use fer_dataset::{PIXELS, SIDE, Sample};
use fer_model::softmax;

use crate::evaluation::scorer::Scorer;
use crate::evaluation::views::Views;

/// Side of the square in pixels of a FER-2013 face.
const SQUARE: usize = 12;

/// Distance between neighbouring squares in pixels.
const STEP: usize = 4;

/// By how much the probability of a label falls when a pixel is covered: the mean over the squares that cover it, 0 where it rises.
/// Row-major, of a FER-2013 face's size. `label` is an index into the network's labels.
pub fn map(scorer: &Scorer<'_>, sample: &Sample, label: usize, temperature: f32) -> Vec<f64> {
    let places = (SIDE - SQUARE) / STEP + 1;
    let corners: Vec<[usize; 2]> =
        (0..places * places).map(|place| [place % places * STEP, place / places * STEP]).collect();
    let mean = sample.pixels.iter().map(|&pixel| u32::from(pixel)).sum::<u32>() / PIXELS as u32;
    // The first face is uncovered.
    let face = |number: usize| {
        let mut sample = sample.clone();
        if let Some(&corner) = number.checked_sub(1).and_then(|place| corners.get(place)) {
            pixels_of(corner).for_each(|pixel| sample.pixels[pixel] = mean as u8);
        }
        sample
    };
    let logits = scorer.logits(1 + corners.len(), |range| {
        let mut pixels = Vec::new();
        range.for_each(|number| Views::Plain.append(0, &face(number), scorer.spec, &mut pixels));
        pixels
    });
    let mut probabilities = logits.iter().map(|row| softmax(row, f64::from(temperature))[label]);
    let uncovered = probabilities.next().unwrap_or_default();
    let (mut sums, mut counts) = (vec![0.0; PIXELS], vec![0_u32; PIXELS]);
    for (&corner, covered) in corners.iter().zip(probabilities) {
        for pixel in pixels_of(corner) {
            sums[pixel] += uncovered - covered;
            counts[pixel] += 1;
        }
    }
    let mean = |(sum, count): (f64, u32)| (sum / f64::from(count.max(1))).max(0.0);
    sums.into_iter().zip(counts).map(mean).collect()
}

/// Indices of the pixels of a square.
fn pixels_of([x, y]: [usize; 2]) -> impl Iterator<Item = usize> {
    (y..y + SQUARE).flat_map(move |row| (x..x + SQUARE).map(move |column| row * SIDE + column))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use fer_model::weights::{Array, Weights};
    use fer_model::{Emotion, NetworkSpec};
    use fer_network::Network;

    use super::*;
    use crate::training::shards::Shards;

    /// A network that adds up the pixels of the upper left quarter answers happy if that is bright.
    #[test]
    fn the_map_shows_what_the_answer_depends_on() {
        let spec = NetworkSpec::from_json(
            r#"{"name": "corner", "input": {"channels": 1, "height": 48, "width": 48},
                "preprocessing": {"mean": 0.5, "std": 0.25}, "labels": ["happy", "sad"],
                "layers": [{"kind": "flatten"}, {"kind": "dense", "units": 2}]}"#,
        )
        .unwrap();
        let arrays = spec.architecture().parameters().into_iter().map(|parameter| {
            let weight = |place: usize| {
                // Both orders of the matrix, [labels, pixels] and [pixels, labels], are covered by the parameter's shape.
                let (pixel, label) = match parameter.shape[0] {
                    2 => (place % PIXELS, place / PIXELS),
                    _ => (place / 2, place % 2),
                };
                let inside = pixel % SIDE < 24 && pixel / SIDE < 24;
                f32::from(u8::from(inside)) * if label == 0 { 0.001 } else { -0.001 }
            };
            let size = parameter.shape.iter().product();
            let values = if parameter.name.ends_with("weight") {
                (0..size).map(weight).collect()
            } else {
                vec![0.0; size]
            };
            (parameter.name.clone(), Array { shape: parameter.shape.clone(), values })
        });
        let weights = Weights::new(spec.architecture(), arrays.collect()).unwrap();
        let shards = Shards::new(Device::flex(), 1).unwrap();
        let scorer = Scorer::of_network(
            &shards,
            &spec,
            0,
            Network::new(spec.architecture(), &weights, &Device::flex()),
        );
        let pixels = Box::new(std::array::from_fn(|i| if i % SIDE < 24 && i / SIDE < 24 { 230 } else { 90 }));
        let sample = Sample { line: 0, label: Emotion::Sad, votes: None, pixels };
        let map = map(&scorer, &sample, 0, 1.0);
        assert!(map[8 * SIDE + 8] > 0.05, "{}", map[8 * SIDE + 8]);
        assert!(map[40 * SIDE + 40].abs() < 1e-6 && map.iter().all(|fall| *fall >= 0.0));
    }
}
