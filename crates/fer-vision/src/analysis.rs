//! What is said about a photo; its JSON is the API's answer.

use std::time::Duration;

use fer_detect::{Face, Landmarks};
use fer_model::{Emotion, Probabilities};
use serde::{Serialize, Serializer};

use crate::Mood;

/// Everything about one photo. Coordinates are pixels of the upright photo.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// Of the upright photo.
    pub image: ImageSize,
    /// The most confident first; empty where no face is found.
    pub faces: Vec<FaceAnalysis>,
    /// Of all faces together; none without a face.
    pub mood: Option<Mood>,
    /// Where the time went.
    pub timing_ms: Timing,
    /// What answered.
    pub model: ModelLabel,
}

/// Pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ImageSize {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// One face.
#[derive(Clone, Debug)]
pub struct FaceAnalysis {
    /// Where it is.
    pub face: Face,
    /// What it seems to express.
    pub emotions: Probabilities,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timing {
    /// From bytes to upright pixels.
    pub decode: f64,
    /// From pixels to boxes.
    pub detect: f64,
    /// From boxes to probabilities.
    pub classify: f64,
    /// All of it, waiting in the queue left out.
    pub total: f64,
    /// Inside the engine's sessions; not part of the answer.
    #[serde(skip)]
    pub sessions: f64,
}

/// Which network, on which engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelLabel {
    /// The bundle's.
    pub name: String,
    /// `tract` or `onnxruntime`.
    pub engine: &'static str,
}

/// Milliseconds with three decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl Serialize for FaceAnalysis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire {
            r#box: Box,
            confidence: f32,
            landmarks: Points,
            emotions: Probabilities,
            dominant_emotion: Emotion,
            uncertain: bool,
        }
        #[derive(Serialize)]
        struct Box {
            x: f32,
            y: f32,
            width: f32,
            height: f32,
        }
        #[derive(Serialize)]
        struct Points {
            left_eye: [f32; 2],
            right_eye: [f32; 2],
            nose: [f32; 2],
            mouth_left: [f32; 2],
            mouth_right: [f32; 2],
        }
        let Face { bounding_box, confidence, landmarks } = self.face;
        let Landmarks { left_eye, right_eye, nose, mouth_left, mouth_right } = landmarks;
        let r#box = Box {
            x: bounding_box.x,
            y: bounding_box.y,
            width: bounding_box.width,
            height: bounding_box.height,
        };
        let landmarks = Points { left_eye, right_eye, nose, mouth_left, mouth_right };
        let dominant_emotion = self.emotions.dominant();
        let (emotions, uncertain) = (self.emotions, self.emotions.is_uncertain());
        Wire { r#box, confidence, landmarks, emotions, dominant_emotion, uncertain }.serialize(serializer)
    }
}
