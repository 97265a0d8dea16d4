//! Holds out a part of the training rows to choose the best epoch by.

use fer_dataset::Sample;
use fer_model::Emotion;
use fer_network::mix;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Splits rows: a fraction of each class, drawn by the seed, and the other rows. Both parts keep the order of the rows.
pub fn stratified(samples: Vec<Sample>, fraction: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let mut drawn = vec![false; samples.len()];
    for emotion in Emotion::ALL {
        let mut rows: Vec<usize> = (0..samples.len()).filter(|&row| samples[row].label == emotion).collect();
        rows.shuffle(&mut StdRng::seed_from_u64(mix([seed, emotion.index() as u64, 0])));
        let count = (rows.len() as f64 * fraction).round() as usize;
        rows.into_iter().take(count).for_each(|row| drawn[row] = true);
    }
    let mut drawn = drawn.into_iter();
    samples.into_iter().partition(|_| drawn.next().unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_dataset::PIXELS;

    #[test]
    fn the_fraction_is_taken_of_each_class() {
        let label = |row: u64| if row.is_multiple_of(10) { Emotion::Disgust } else { Emotion::Happy };
        let samples = (0..200).map(|line| Sample {
            line,
            label: label(line),
            votes: None,
            pixels: Box::new([7; PIXELS]),
        });
        let (drawn, left) = stratified(samples.collect(), 0.2, 7);
        let count = |of: &[Sample], emotion| of.iter().filter(|sample| sample.label == emotion).count();
        assert_eq!((count(&drawn, Emotion::Disgust), count(&drawn, Emotion::Happy)), (4, 36));
        assert_eq!(left.len(), 160);
        assert!(drawn.is_sorted_by_key(|sample| sample.line) && left.is_sorted_by_key(|sample| sample.line));
    }
}
