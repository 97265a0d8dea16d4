//! Emotions over the time of one video, in intervals whose length grows with the video, so that memory stays bounded.

use std::collections::BTreeMap;

use fer_model::Emotion;

/// Length of an interval at first, in milliseconds.
const FIRST: u64 = 250;

/// Most intervals; then two become one.
const MOST: u64 = 360;

/// Sums of the probabilities of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    sums: [f64; Emotion::COUNT],
    count: u64,
}

impl Cell {
    fn add(&mut self, emotions: &[f32; Emotion::COUNT]) {
        for (sum, value) in self.sums.iter_mut().zip(emotions) {
            *sum += f64::from(*value);
        }
        self.count += 1;
    }

    fn merge(&mut self, other: &Self) {
        for (sum, value) in self.sums.iter_mut().zip(other.sums) {
            *sum += value;
        }
        self.count += other.count;
    }

    /// The mean probabilities.
    pub(crate) fn mean(&self) -> [f64; Emotion::COUNT] {
        self.sums.map(|sum| sum / self.count.max(1) as f64)
    }
}

/// Cells by interval.
pub(crate) type Strip = BTreeMap<u64, Cell>;

/// The emotions of a video over time.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// Length of an interval in milliseconds.
    pub(crate) interval: u64,
    /// Number of intervals up to the last frame.
    pub(crate) intervals: u64,
    /// All faces together.
    pub(crate) group: Strip,
    /// Each track: number of rows and cells.
    pub(crate) tracks: BTreeMap<u64, (u64, Strip)>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { interval: FIRST, intervals: 0, group: Strip::new(), tracks: BTreeMap::new() }
    }
}

impl Timeline {
    /// A frame at this time, with or without faces.
    pub(crate) fn frame(&mut self, milliseconds: u64) {
        while milliseconds / self.interval >= MOST {
            self.halve();
        }
        self.intervals = self.intervals.max(milliseconds / self.interval + 1);
    }

    /// A face of a frame at this time.
    pub(crate) fn face(&mut self, milliseconds: u64, track: Option<u64>, emotions: &[f32; Emotion::COUNT]) {
        self.frame(milliseconds);
        let interval = milliseconds / self.interval;
        self.group.entry(interval).or_default().add(emotions);
        if let Some(track) = track {
            let (rows, strip) = self.tracks.entry(track).or_default();
            *rows += 1;
            strip.entry(interval).or_default().add(emotions);
        }
    }

    fn halve(&mut self) {
        self.interval *= 2;
        self.intervals = self.intervals.div_ceil(2);
        let halved = |strip: &Strip| {
            let mut merged = Strip::new();
            for (interval, cell) in strip {
                merged.entry(interval / 2).or_default().merge(cell);
            }
            merged
        };
        self.group = halved(&self.group);
        for (_, strip) in self.tracks.values_mut() {
            *strip = halved(strip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_videos_have_longer_intervals_and_the_same_sums() {
        let mut timeline = Timeline::default();
        let happy = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        for second in 0..600 {
            timeline.face(1000 * second, Some(1), &happy);
        }
        assert_eq!((timeline.interval, timeline.intervals), (2000, 300));
        assert_eq!(timeline.group.values().map(|cell| cell.count).sum::<u64>(), 600);
        assert_eq!(timeline.tracks[&1].0, 600);
        assert!(timeline.group.values().all(|cell| cell.mean()[3] == 1.0));
    }
}
