//! One labelled face of FER-2013.

use fer_emotion::{Emotion, LabelSet};
use image::{GrayImage, Luma};

/// Side of a FER-2013 face in pixels.
pub const SIDE: usize = 48;

/// Number of pixels of a face.
pub const PIXELS: usize = SIDE * SIDE;

/// One labelled face.
#[derive(Clone)]
pub struct Sample {
    /// Line of the CSV, where 1 is the header; for a folder, the number of the picture, counted from 1.
    pub line: u64,
    /// The emotion that the face shows.
    pub label: Emotion,
    /// Fraction of the FER+ votes for each emotion. The rest went to contempt, to "unknown" or to "no face"; `None` if that is at
    /// least half, or if there are no votes.
    pub votes: Option<[f32; Emotion::COUNT]>,
    /// Row-major grey levels, `[48, 48]`.
    pub pixels: Box<[u8; PIXELS]>,
}

impl Sample {
    /// The face as a picture.
    pub fn picture(&self) -> GrayImage {
        picture(&self.pixels)
    }

    /// The fractions of the votes for some emotions, which sum to 1; `None` without a vote for one of them.
    pub fn votes_among(&self, labels: &[Emotion]) -> Option<Vec<f32>> {
        let votes = self.votes?;
        let of = |emotion: &Emotion| votes[emotion.index()];
        let sum: f32 = labels.iter().map(of).sum();
        (sum > 0.0).then(|| labels.iter().map(|emotion| of(emotion) / sum).collect())
    }

    /// The emotion that a label set gives the face: the label, or what more than half of the FER+ votes say. `None` if there is no
    /// such majority.
    pub fn label_of(&self, set: LabelSet) -> Option<Emotion> {
        match set {
            LabelSet::Fer2013 => Some(self.label),
            LabelSet::FerPlus => {
                let votes = self.votes?;
                Emotion::ALL.into_iter().find(|emotion| votes[emotion.index()] > 0.5)
            }
        }
    }
}

/// Row-major grey levels, `[48, 48]`, as a picture.
pub fn picture(pixels: &[u8; PIXELS]) -> GrayImage {
    GrayImage::from_fn(SIDE as u32, SIDE as u32, |x, y| Luma([pixels[y as usize * SIDE + x as usize]]))
}
