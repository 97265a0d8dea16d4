//! The multi-task loss of a mini-batch: face or not, box regression, landmarks.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use fer_network::Replica;

use super::config::StageTraining;
use super::views::Sample;
use crate::training::shards::{host, images};

/// Sums over crops, for the progress report.
#[derive(Clone, Copy, Default)]
pub struct Sums {
    /// Cross-entropy of the crops with a face target.
    pub faces: f64,
    /// Box loss, times crops.
    pub boxes: f64,
    /// Landmark loss, times crops.
    pub landmarks: f64,
    /// Crops with a face target.
    pub labelled: f64,
    /// Those of them that are classified correctly.
    pub correct: f64,
}

impl Sums {
    /// Adds the sums of other crops.
    pub fn add(&mut self, other: Self) {
        self.faces += other.faces;
        self.boxes += other.boxes;
        self.landmarks += other.landmarks;
        self.labelled += other.labelled;
        self.correct += other.correct;
    }
}

/// Returns the loss of some crops, weighted by their fraction of the mini-batch, and its sums.
///
/// # Panics
/// Panics if the network has no `prob` and `reg` outputs; the configuration is checked for them.
pub fn loss(network: &Replica, drawn: &[Sample], of: &StageTraining, device: &Device) -> (Tensor<1>, Sums) {
    let weight = drawn.len() as f64 / of.batch_size as f64;
    let pixels = drawn.iter().flat_map(|sample| sample.pixels.iter().copied()).collect();
    let mut outputs = network.forward(images(pixels, of.network.input(), device)).into_iter();
    let mut next = || outputs.next().unwrap_or_else(|| unreachable!("the config's heads were checked"));
    let (scores, box_regression) = (next(), next());
    let mut sums = Sums::default();

    let (faces, by_crop) = face_loss(&scores, drawn, of.hard_share, device);
    let (targets, weights, known) = box_targets(drawn);
    let distance = (box_regression - column(targets, 4, device)).abs() * column(weights, 4, device);
    let boxes = distance.sum() / known.max(1.0);
    sums.boxes = scalar(&boxes) * drawn.len() as f64;
    let mut loss = faces + boxes * of.box_weight;
    if let Some(points) = outputs.next() {
        let landmarks = landmark_loss(points, drawn, device);
        sums.landmarks = scalar(&landmarks) * drawn.len() as f64;
        loss = loss + landmarks * of.landmark_weight;
    }
    let rows = host(scores.inner());
    for ((sample, row), loss) in drawn.iter().zip(rows.as_chunks::<2>().0).zip(by_crop) {
        if let Some(face) = sample.face {
            sums.labelled += 1.0;
            sums.faces += f64::from(loss);
            sums.correct += f64::from(u8::from((row[1] > row[0]) == face));
        }
    }
    (loss * weight, sums)
}

/// Returns the mean cross-entropy of the hardest crops (online hard-example mining), and the cross-entropy of every crop.
fn face_loss(
    scores: &Tensor<2>,
    drawn: &[Sample],
    hard_share: f64,
    device: &Device,
) -> (Tensor<1>, Vec<f32>) {
    let targets = drawn.iter().flat_map(|sample| match sample.face {
        Some(face) => [f32::from(!face), f32::from(face)],
        None => [0.0, 0.0],
    });
    let losses = (log_softmax(scores.clone(), 1) * column(targets.collect(), 2, device)).sum_dim(1).neg();
    let by_crop = host(losses.clone().inner());
    let hard = hardest(&by_crop, drawn, hard_share);
    let kept = hard.iter().sum::<f32>().max(1.0);
    ((losses * column(hard, 1, device)).sum() / f64::from(kept), by_crop)
}

/// Returns the mean distance of the landmarks from their targets. The centre of the mouth is the mean of its corners.
fn landmark_loss(points: Tensor<2>, drawn: &[Sample], device: &Device) -> Tensor<1> {
    let corner = |from: usize| points.clone().narrow(1, from, 1);
    let centre = [(corner(3) + corner(4)) / 2.0, (corner(8) + corner(9)) / 2.0];
    let points = Tensor::cat([vec![points], centre.to_vec()].concat(), 1);
    let (targets, weights, known) = point_targets(drawn);
    let distance = (points - column(targets, 12, device)).abs() * column(weights, 12, device);
    distance.sum() / known.max(1.0)
}

/// Makes a tensor `[crops, columns]`.
fn column(values: Vec<f32>, columns: usize, device: &Device) -> Tensor<2> {
    let rows = values.len() / columns;
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

fn scalar(value: &Tensor<1>) -> f64 {
    f64::from(value.clone().inner().into_scalar::<f32>())
}

/// Returns 1 for the fraction `share` of the crops with a face target that have the highest losses, and 0 for the others.
fn hardest(losses: &[f32], drawn: &[Sample], share: f64) -> Vec<f32> {
    let mut labelled: Vec<usize> = (0..drawn.len()).filter(|&i| drawn[i].face.is_some()).collect();
    labelled.sort_by(|&a, &b| losses[b].total_cmp(&losses[a]));
    labelled.truncate((labelled.len() as f64 * share).ceil() as usize);
    let mut kept = vec![0.0; drawn.len()];
    labelled.into_iter().for_each(|i| kept[i] = 1.0);
    kept
}

/// Returns box targets and weights, both `[crops, 4]`, and how many crops have a target.
fn box_targets(drawn: &[Sample]) -> (Vec<f32>, Vec<f32>, f64) {
    let (mut targets, mut weights, mut known) = (Vec::new(), Vec::new(), 0.0);
    for sample in drawn {
        let has_target = sample.box_regression.is_some();
        targets.extend(sample.box_regression.unwrap_or_default());
        weights.extend([f32::from(has_target); 4]);
        known += f64::from(u8::from(has_target));
    }
    (targets, weights, known)
}

/// Returns landmark targets and weights, both `[crops, 12]`, and how many crops have a target.
fn point_targets(drawn: &[Sample]) -> (Vec<f32>, Vec<f32>, f64) {
    // The network's ten outputs are five x, then five y. The centre of the mouth follows.
    const ORDER: [(usize, usize); 12] =
        [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 0), (5, 1)];
    let (mut targets, mut weights, mut known) = (Vec::new(), Vec::new(), 0.0);
    for sample in drawn {
        for (point, axis) in ORDER {
            targets.push(sample.points[point].map_or(0.0, |point| point[axis]));
            weights.push(f32::from(sample.points[point].is_some()));
        }
        known += f64::from(u8::from(sample.points.iter().any(Option::is_some)));
    }
    (targets, weights, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(face: Option<bool>) -> Sample {
        Sample { pixels: Vec::new(), face, box_regression: None, points: [None; 6] }
    }

    #[test]
    fn the_hardest_crops_with_a_target_are_kept() {
        let drawn = [Some(true), None, Some(false), Some(false), Some(true)].map(sample);
        assert_eq!(hardest(&[0.1, 9.0, 0.5, 0.3, 0.2], &drawn, 0.5), [0.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(hardest(&[0.1, 9.0, 0.5, 0.3, 0.2], &drawn, 1.0), [1.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn only_what_is_known_has_weight() {
        let mut known = sample(Some(true));
        known.box_regression = Some([0.1, 0.2, 0.3, 0.4]);
        known.points[0] = Some([0.3, 0.6]);
        known.points[5] = Some([0.5, 0.8]);
        let drawn = [sample(Some(false)), known];
        let (targets, weights, count) = box_targets(&drawn);
        assert_eq!(
            (&targets[4..], &weights[..], count),
            (&[0.1, 0.2, 0.3, 0.4][..], &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0][..], 1.0)
        );
        let (targets, weights, count) = point_targets(&drawn);
        let with_weight: Vec<(usize, f32)> =
            (0..24).filter(|&i| weights[i] == 1.0).map(|i| (i, targets[i])).collect();
        // x and y of the left eye, and the centre of the mouth after the network's ten.
        assert_eq!((with_weight, count), (vec![(12, 0.3), (17, 0.6), (22, 0.5), (23, 0.8)], 1.0));
    }
}
