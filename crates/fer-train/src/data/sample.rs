//! One labelled face of FER-2013.

use fer_model::Emotion;
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
    /// Soft target by emotion, from FER+ votes or a teacher; `None` if there is only the label.
    pub votes: Option<[f32; Emotion::COUNT]>,
    /// Row-major grey levels, `[48, 48]`.
    pub pixels: Box<[u8; PIXELS]>,
}

impl Sample {
    /// The face as a picture.
    pub fn picture(&self) -> GrayImage {
        picture(&self.pixels)
    }
}

/// Row-major grey levels, `[48, 48]`, as a picture.
pub fn picture(pixels: &[u8; PIXELS]) -> GrayImage {
    GrayImage::from_fn(SIDE as u32, SIDE as u32, |x, y| Luma([pixels[y as usize * SIDE + x as usize]]))
}

/// The split that a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Rows to learn from.
    Training,
    /// The public test of the competition, which may choose the best epoch.
    PublicTest,
    /// The private test of the competition, for the final figure.
    PrivateTest,
}

impl Usage {
    /// All splits, in the order of the file.
    pub const ALL: [Self; 3] = [Self::Training, Self::PublicTest, Self::PrivateTest];

    /// The name in the CSV.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "Training",
            Self::PublicTest => "PublicTest",
            Self::PrivateTest => "PrivateTest",
        }
    }
}
