//! What a report says, collected from the rows of a table in one pass. Memory grows with the number of videos and tracks only.

use fer_model::Emotion;
use fer_table::Row;
use fer_vision::RecordStatus;

use super::faces::Candidates;
use super::timeline::Timeline;

/// Failures that are named.
const NAMED: usize = 50;

/// Bins of a histogram of probabilities.
pub(crate) const BINS: usize = 20;

/// Collected figures.
#[derive(Default)]
pub(crate) struct Summary {
    photos: u64,
    frames: u64,
    /// Photos and frames that were analysed.
    pub(crate) pictures: u64,
    pub(crate) faces: u64,
    uncertain: u64,
    failed: u64,
    /// Faces by their dominant emotion.
    pub(crate) dominant: [u64; Emotion::COUNT],
    /// Faces by emotion and probability.
    pub(crate) histograms: [[u64; BINS]; Emotion::COUNT],
    /// Pictures by number of faces: 0 to 5, and more.
    pub(crate) crowd: [u64; 7],
    /// Name and reason of the first failures.
    pub(crate) failures: Vec<(String, String)>,
    /// Videos in the order of the table.
    pub(crate) videos: Vec<(String, Timeline)>,
    /// Faces that are good examples of an emotion.
    pub(crate) candidates: Candidates,
    /// Faces of the picture that is being read.
    current: Option<(Option<String>, Option<u64>, usize)>,
}

impl Summary {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: &Row) {
        let record = &row.record;
        if record.status == RecordStatus::Error {
            self.failed += 1;
            if self.failures.len() < NAMED {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                self.failures.push((text(&record.source), text(&record.message)));
            }
            return;
        }
        let is_new = self
            .current
            .as_ref()
            .is_none_or(|(source, frame, _)| (source, frame) != (&record.source, &record.frame));
        if is_new {
            self.end_picture();
            self.current = Some((record.source.clone(), record.frame, 0));
            self.pictures += 1;
            if record.frame.is_some() { self.frames += 1 } else { self.photos += 1 }
        }
        if let (Some(_), Some(time)) = (record.frame, record.timestamp_ms) {
            self.timeline(record.source.as_deref().unwrap_or_default()).frame(time);
        }
        if let Some(emotions) = row.emotions() {
            self.face(row, &emotions);
        }
    }

    fn face(&mut self, row: &Row, emotions: &[f32; Emotion::COUNT]) {
        let record = &row.record;
        self.faces += 1;
        self.uncertain += u64::from(record.uncertain == Some(true));
        if let Some((_, _, faces)) = &mut self.current {
            *faces += 1;
        }
        if let Some(dominant) = record.dominant {
            self.dominant[dominant.index()] += 1;
            self.candidates.offer(dominant, emotions[dominant.index()], record);
        }
        for (histogram, probability) in self.histograms.iter_mut().zip(emotions) {
            histogram[((probability * BINS as f32) as usize).min(BINS - 1)] += 1;
        }
        if let (Some(_), Some(time)) = (record.frame, record.timestamp_ms) {
            let timeline = self.timeline(record.source.as_deref().unwrap_or_default());
            timeline.face(time, record.track_id, emotions);
        }
    }

    fn timeline(&mut self, source: &str) -> &mut Timeline {
        if self.videos.last().is_none_or(|(name, _)| name != source) {
            self.videos.push((source.to_owned(), Timeline::default()));
        }
        let last = self.videos.len() - 1;
        &mut self.videos[last].1
    }

    fn end_picture(&mut self) {
        if let Some((_, _, faces)) = self.current.take() {
            let bin = faces.min(self.crowd.len() - 1);
            self.crowd[bin] += 1;
        }
    }

    /// Ends the table.
    pub(crate) fn end(&mut self) {
        self.end_picture();
    }

    /// Failures that are not named.
    pub(crate) fn more_failures(&self) -> u64 {
        self.failed - self.failures.len() as u64
    }

    /// The counts at the top of the page.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("photos", self.photos),
            ("videos", self.videos.len() as u64),
            ("frames of videos", self.frames),
            ("faces", self.faces),
            ("faces without a clear label", self.uncertain),
            ("pictures without a face", self.crowd[0]),
            ("failures", self.failed),
        ];
        all.into_iter().filter(|(name, count)| *count > 0 || *name == "faces").collect()
    }
}
