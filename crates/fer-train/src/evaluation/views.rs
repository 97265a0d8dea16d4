//! Test-time augmentation: views of a face whose probabilities are averaged.

use fer_dataset::{SIDE, Sample};
use fer_image::FaceCrop;
use fer_model::NetworkSpec;

use crate::evaluation::scorer::Scorer;

/// The views of a face that a network sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// The face as serving sees it.
    Plain,
    /// The face and its mirror image.
    Flip,
    /// The centre and the four corners, each also mirrored (Krizhevsky et al. 2012).
    TenCrop,
}

impl Views {
    /// Number of views.
    pub fn count(self) -> usize {
        match self {
            Self::Plain => 1,
            Self::Flip => 2,
            Self::TenCrop => 10,
        }
    }

    /// Appends one view of a face to `pixels`, normalised, `[channels, height, width]`. `number` counts from 0.
    pub fn append(self, number: usize, sample: &Sample, spec: &NetworkSpec, pixels: &mut Vec<f32>) {
        let input = spec.input();
        let mut preprocessing = spec.preprocessing();
        if self == Self::TenCrop && preprocessing.margin == 0 {
            // Without a margin there is nothing to shift over, so the face is enlarged by a sixteenth on each side.
            preprocessing.margin = input.height.min(input.width) / 16;
        }
        let [height, width] = preprocessing.face_size(input);
        let Some(face) = FaceCrop::from_square(sample.pixels.as_slice(), SIDE, [height, width]) else {
            return;
        };
        let (mirrored, position) = (number % 2 == 1, number / 2);
        let far = 2 * preprocessing.margin;
        let [top, left] = match position {
            1 => [0, 0],
            2 => [0, far],
            3 => [far, 0],
            4 => [far, far],
            _ => [preprocessing.margin; 2],
        };
        for _ in 0..input.channels {
            for row in face.luma().chunks_exact(width).skip(top).take(input.height) {
                let row = &row[left..][..input.width];
                let normalise = |&luma: &u8| preprocessing.normalise(f32::from(luma));
                if mirrored {
                    pixels.extend(row.iter().rev().map(normalise));
                } else {
                    pixels.extend(row.iter().map(normalise));
                }
            }
        }
    }
}

/// Logits of every view of every sample, `[views, samples, labels]`.
pub fn view_logits(scorer: &Scorer<'_>, samples: &[Sample], views: Views) -> Vec<Vec<Vec<f32>>> {
    let view = |number: usize| {
        scorer.logits(samples.len(), |range| {
            let mut pixels = Vec::new();
            samples[range].iter().for_each(|sample| views.append(number, sample, scorer.spec, &mut pixels));
            pixels
        })
    };
    (0..views.count()).map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_model::Emotion;

    #[test]
    fn the_first_view_is_what_serving_sees_and_the_others_move_and_mirror_it() {
        let spec = NetworkSpec::from_json(include_str!("../../../../configs/models/vgg-fer.json")).unwrap();
        let pixels = Box::new(std::array::from_fn(|i| (i % SIDE * 3 + i / SIDE) as u8));
        let sample = Sample { line: 0, label: Emotion::Happy, votes: None, pixels };
        let view = |number: usize| {
            let mut pixels = Vec::new();
            Views::TenCrop.append(number, &sample, &spec, &mut pixels);
            pixels
        };
        let mut served = Vec::new();
        spec.preprocessing().apply(sample.pixels.as_slice(), spec.input(), &mut served);
        assert_eq!(view(0), served);
        let at = |number: usize, x: usize, y: usize| {
            let normalised = view(number)[y * 40 + x];
            ((normalised * 0.255 + 0.508) * 255.0).round() as usize
        };
        let luma = |x: usize, y: usize| x * 3 + y;
        assert_eq!(at(1, 0, 5), luma(4 + 39, 4 + 5));
        assert_eq!([2, 4, 6, 8].map(|n| at(n, 0, 0)), [luma(0, 0), luma(8, 0), luma(0, 8), luma(8, 8)]);
        assert_eq!(at(9, 39, 39), luma(8, 8 + 39));
    }
}
