//! The result for one photo. Its JSON is the answer of `POST /v1/analyze`.

use std::borrow::Cow;
use std::time::Duration;

use fer_detect::Face;
use fer_model::{Emotion, Probabilities};
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::Mood;
use crate::schema::{EmotionSchema, EmotionsSchema, PointSchema};

/// Everything about one photo. Coordinates are pixels of the upright photo.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Analysis {
    /// Size of the upright photo.
    pub image: ImageSize,
    /// The faces, the most confident detection first. Empty if no face was found.
    pub faces: Vec<FaceAnalysis>,
    /// The mood of all faces together. Null if no face was found.
    #[schema(required = true)]
    pub mood: Option<Mood>,
    /// How long each stage took.
    pub timing_ms: Timing,
    /// Which network gave the probabilities.
    pub model: ModelLabel,
}

/// Size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImageSize {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// One face: where it is and which expression it shows.
#[derive(Clone, Debug)]
pub struct FaceAnalysis {
    /// The detection.
    pub face: Face,
    /// The probability of each emotion.
    pub emotions: Probabilities,
}

/// Time of each stage in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct Timing {
    /// Decoding, from the file's bytes to upright pixels.
    pub decode: f64,
    /// Detection, from pixels to bounding boxes.
    pub detect: f64,
    /// Classification, from bounding boxes to probabilities.
    pub classify: f64,
    /// All stages together, without the time in the queue.
    pub total: f64,
    /// Time inside the inference engine's sessions. Not serialised.
    #[serde(skip)]
    pub sessions: f64,
}

/// Which network answered, and on which engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelLabel {
    /// Name of the emotion bundle.
    pub name: String,
    /// Inference engine: `tract` or `onnxruntime`.
    pub engine: &'static str,
}

/// A duration in milliseconds, rounded to three decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The JSON of a face.
#[derive(Serialize, ToSchema)]
struct FaceJson {
    /// Bounding box in pixels of the upright photo.
    r#box: BoxJson,
    /// The detector's probability that this is a face, from 0 to 1.
    confidence: f32,
    /// Five points as `[x, y]` in pixels. Left and right are as seen in the photo.
    landmarks: LandmarksJson,
    /// The probability of each emotion. In a video it is smoothed over time.
    #[schema(value_type = EmotionsSchema)]
    emotions: Probabilities,
    /// The emotion with the highest probability.
    #[schema(value_type = EmotionSchema)]
    dominant_emotion: Emotion,
    /// Whether no emotion has a probability above the model's `certain_above`.
    uncertain: bool,
}

/// A bounding box in pixels of the upright photo.
#[derive(Serialize, ToSchema)]
#[schema(as = Box)]
struct BoxJson {
    /// Left edge in pixels.
    x: f32,
    /// Top edge in pixels.
    y: f32,
    /// Width in pixels.
    width: f32,
    /// Height in pixels.
    height: f32,
}

/// Five points as `[x, y]` in pixels of the upright photo. Left and right are as seen in the photo.
#[derive(Serialize, ToSchema)]
#[schema(as = Landmarks)]
struct LandmarksJson {
    /// Centre of the eye on the left of the photo.
    #[schema(value_type = PointSchema)]
    left_eye: [f32; 2],
    /// Centre of the eye on the right of the photo.
    #[schema(value_type = PointSchema)]
    right_eye: [f32; 2],
    /// Tip of the nose.
    #[schema(value_type = PointSchema)]
    nose: [f32; 2],
    /// Corner of the mouth on the left of the photo.
    #[schema(value_type = PointSchema)]
    mouth_left: [f32; 2],
    /// Corner of the mouth on the right of the photo.
    #[schema(value_type = PointSchema)]
    mouth_right: [f32; 2],
}

impl From<&FaceAnalysis> for FaceJson {
    fn from(found: &FaceAnalysis) -> Self {
        let (bounding_box, points) = (found.face.bounding_box, found.face.landmarks);
        Self {
            r#box: BoxJson {
                x: bounding_box.x,
                y: bounding_box.y,
                width: bounding_box.width,
                height: bounding_box.height,
            },
            confidence: found.face.confidence,
            landmarks: LandmarksJson {
                left_eye: points.left_eye,
                right_eye: points.right_eye,
                nose: points.nose,
                mouth_left: points.mouth_left,
                mouth_right: points.mouth_right,
            },
            emotions: found.emotions,
            dominant_emotion: found.emotions.dominant(),
            uncertain: found.emotions.is_uncertain(),
        }
    }
}

impl Serialize for FaceAnalysis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FaceJson::from(self).serialize(serializer)
    }
}

impl PartialSchema for FaceAnalysis {
    fn schema() -> RefOr<Schema> {
        FaceJson::schema()
    }
}

impl ToSchema for FaceAnalysis {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Face")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        FaceJson::schemas(schemas);
    }
}
