//! One flat row for each face: the form for tables, such as CSV files and data frames.
//!
//! Nested answers and tables say the same things, so that rows of photos, batches, live video and files can be put together.

use fer_model::{Emotion, Probabilities};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema::EmotionSchema;
use crate::{Analysis, FaceAnalysis, TrackedFace};

/// One row of a table of faces.
///
/// There is one row for each face of a picture, in the order of [`Analysis::faces`]. A picture without a face has one row with
/// the status `no_face`, and a picture that could not be analysed has one row with the status `error`.
///
/// Every row has every column. Coordinates are pixels of the upright picture; x grows to the right and y downwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FaceRecord {
    /// Name of the photo or video. Null if the sender gave no name.
    #[schema(required = true)]
    pub source: Option<String>,
    /// Number of the frame in its video, counted from 1. Null for a photo.
    #[schema(required = true)]
    pub frame: Option<u64>,
    /// Time of the frame in milliseconds since the start of its video. Null for a photo.
    #[schema(required = true)]
    pub timestamp_ms: Option<u64>,
    /// Width of the upright picture in pixels. Null if the picture could not be analysed.
    #[schema(required = true)]
    pub image_width: Option<u32>,
    /// Height of the upright picture in pixels. Null if the picture could not be analysed.
    #[schema(required = true)]
    pub image_height: Option<u32>,
    /// Index of the face in its picture, counted from 0; the most confident detection comes first. Null without a face.
    #[schema(required = true)]
    pub face: Option<u32>,
    /// Left edge of the bounding box in pixels. Null without a face.
    #[schema(required = true)]
    pub x: Option<f32>,
    /// Top edge of the bounding box in pixels. Null without a face.
    #[schema(required = true)]
    pub y: Option<f32>,
    /// Width of the bounding box in pixels. Null without a face.
    #[schema(required = true)]
    pub width: Option<f32>,
    /// Height of the bounding box in pixels. Null without a face.
    #[schema(required = true)]
    pub height: Option<f32>,
    /// The detector's probability that this is a face, from 0 to 1. Null without a face.
    #[schema(required = true)]
    pub confidence: Option<f32>,
    /// Horizontal position of the eye on the left of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub left_eye_x: Option<f32>,
    /// Vertical position of the eye on the left of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub left_eye_y: Option<f32>,
    /// Horizontal position of the eye on the right of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub right_eye_x: Option<f32>,
    /// Vertical position of the eye on the right of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub right_eye_y: Option<f32>,
    /// Horizontal position of the tip of the nose, in pixels. Null without a face.
    #[schema(required = true)]
    pub nose_x: Option<f32>,
    /// Vertical position of the tip of the nose, in pixels. Null without a face.
    #[schema(required = true)]
    pub nose_y: Option<f32>,
    /// Horizontal position of the corner of the mouth on the left of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub mouth_left_x: Option<f32>,
    /// Vertical position of the corner of the mouth on the left of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub mouth_left_y: Option<f32>,
    /// Horizontal position of the corner of the mouth on the right of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub mouth_right_x: Option<f32>,
    /// Vertical position of the corner of the mouth on the right of the picture, in pixels. Null without a face.
    #[schema(required = true)]
    pub mouth_right_y: Option<f32>,
    /// Probability of `angry`, from 0 to 1. The seven probabilities add up to 1; in a video they are smoothed over time. Null
    /// without a face.
    #[schema(required = true)]
    pub angry: Option<f32>,
    /// Probability of `disgust`. Null without a face.
    #[schema(required = true)]
    pub disgust: Option<f32>,
    /// Probability of `fear`. Null without a face.
    #[schema(required = true)]
    pub fear: Option<f32>,
    /// Probability of `happy`. Null without a face.
    #[schema(required = true)]
    pub happy: Option<f32>,
    /// Probability of `sad`. Null without a face.
    #[schema(required = true)]
    pub sad: Option<f32>,
    /// Probability of `surprise`. Null without a face.
    #[schema(required = true)]
    pub surprise: Option<f32>,
    /// Probability of `neutral`. Null without a face.
    #[schema(required = true)]
    pub neutral: Option<f32>,
    /// The emotion with the highest probability. Null without a face.
    #[schema(required = true, value_type = Option<EmotionSchema>)]
    pub dominant: Option<Emotion>,
    /// Whether no emotion has a probability above the model's `certain_above`. Null without a face.
    #[schema(required = true)]
    pub uncertain: Option<bool>,
    /// Number of the track: the same for one face over all frames of a video in which it is followed. Null for a photo and
    /// without a face.
    #[schema(required = true)]
    pub track_id: Option<u64>,
    /// Whether this row is about a face, a picture without a face, or a picture that could not be analysed.
    pub status: RecordStatus,
    /// Why the picture could not be analysed, as a sentence. Null unless `status` is `error`.
    #[schema(required = true)]
    pub message: Option<String>,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// A face.
    Ok,
    /// A picture in which no face was found.
    NoFace,
    /// A picture that could not be analysed; `message` says why.
    Error,
}

/// Where a picture comes from. All rows of one picture share these columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Name of the photo or video.
    pub source: Option<String>,
    /// Number of the frame, counted from 1; `None` for a photo.
    pub frame: Option<u64>,
    /// Time of the frame in milliseconds since the start of its video; `None` for a photo.
    pub timestamp_ms: Option<u64>,
}

impl Origin {
    /// A photo with the name that its sender gave, if any.
    pub fn photo(source: Option<String>) -> Self {
        Self { source, frame: None, timestamp_ms: None }
    }
}

impl FaceRecord {
    /// Names of the columns, in the order in which they are serialised.
    pub const COLUMNS: [&str; 33] = [
        "source",
        "frame",
        "timestamp_ms",
        "image_width",
        "image_height",
        "face",
        "x",
        "y",
        "width",
        "height",
        "confidence",
        "left_eye_x",
        "left_eye_y",
        "right_eye_x",
        "right_eye_y",
        "nose_x",
        "nose_y",
        "mouth_left_x",
        "mouth_left_y",
        "mouth_right_x",
        "mouth_right_y",
        "angry",
        "disgust",
        "fear",
        "happy",
        "sad",
        "surprise",
        "neutral",
        "dominant",
        "uncertain",
        "track_id",
        "status",
        "message",
    ];

    /// The rows of one photo: one for each face, or a single row without a face.
    pub fn of(origin: &Origin, analysis: &Analysis) -> Vec<Self> {
        let faces = analysis.faces.iter().map(|face| (face, &face.emotions, None));
        Self::rows(origin, analysis, faces)
    }

    /// The rows of one frame of a video. Emotions are those of the tracks, which are smoothed over time.
    ///
    /// `tracks` is what [`Tracker::update`](crate::Tracker::update) returned for the faces of the same analysis.
    pub fn of_frame(origin: &Origin, analysis: &Analysis, tracks: &[TrackedFace]) -> Vec<Self> {
        let faces = analysis.faces.iter().zip(tracks);
        let faces = faces.map(|(face, track)| (face, &track.emotions, Some(track.track_id)));
        Self::rows(origin, analysis, faces)
    }

    /// The row of a picture that could not be analysed.
    pub fn failed(origin: &Origin, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::blank(origin, RecordStatus::Error) }
    }

    fn rows<'a>(
        origin: &Origin,
        analysis: &Analysis,
        faces: impl Iterator<Item = (&'a FaceAnalysis, &'a Probabilities, Option<u64>)>,
    ) -> Vec<Self> {
        let picture = |status| Self {
            image_width: Some(analysis.image.width),
            image_height: Some(analysis.image.height),
            ..Self::blank(origin, status)
        };
        let mut rows: Vec<Self> = (0..)
            .zip(faces)
            .map(|(index, (face, emotions, track_id))| Self {
                face: Some(index),
                track_id,
                ..picture(RecordStatus::Ok).with_face(face).with_emotions(emotions)
            })
            .collect();
        if rows.is_empty() {
            rows.push(picture(RecordStatus::NoFace));
        }
        rows
    }

    fn with_face(self, found: &FaceAnalysis) -> Self {
        let (bounding_box, points) = (found.face.bounding_box, found.face.landmarks);
        Self {
            x: Some(bounding_box.x),
            y: Some(bounding_box.y),
            width: Some(bounding_box.width),
            height: Some(bounding_box.height),
            confidence: Some(found.face.confidence),
            left_eye_x: Some(points.left_eye[0]),
            left_eye_y: Some(points.left_eye[1]),
            right_eye_x: Some(points.right_eye[0]),
            right_eye_y: Some(points.right_eye[1]),
            nose_x: Some(points.nose[0]),
            nose_y: Some(points.nose[1]),
            mouth_left_x: Some(points.mouth_left[0]),
            mouth_left_y: Some(points.mouth_left[1]),
            mouth_right_x: Some(points.mouth_right[0]),
            mouth_right_y: Some(points.mouth_right[1]),
            ..self
        }
    }

    fn with_emotions(self, emotions: &Probabilities) -> Self {
        Self {
            angry: Some(emotions.get(Emotion::Angry)),
            disgust: Some(emotions.get(Emotion::Disgust)),
            fear: Some(emotions.get(Emotion::Fear)),
            happy: Some(emotions.get(Emotion::Happy)),
            sad: Some(emotions.get(Emotion::Sad)),
            surprise: Some(emotions.get(Emotion::Surprise)),
            neutral: Some(emotions.get(Emotion::Neutral)),
            dominant: Some(emotions.dominant()),
            uncertain: Some(emotions.is_uncertain()),
            ..self
        }
    }

    fn blank(origin: &Origin, status: RecordStatus) -> Self {
        let Origin { source, frame, timestamp_ms } = origin.clone();
        Self {
            source,
            frame,
            timestamp_ms,
            image_width: None,
            image_height: None,
            face: None,
            x: None,
            y: None,
            width: None,
            height: None,
            confidence: None,
            left_eye_x: None,
            left_eye_y: None,
            right_eye_x: None,
            right_eye_y: None,
            nose_x: None,
            nose_y: None,
            mouth_left_x: None,
            mouth_left_y: None,
            mouth_right_x: None,
            mouth_right_y: None,
            angry: None,
            disgust: None,
            fear: None,
            happy: None,
            sad: None,
            surprise: None,
            neutral: None,
            dominant: None,
            uncertain: None,
            track_id: None,
            status,
            message: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageSize, ModelLabel, Timing};
    use fer_detect::{Face, Landmarks};
    use fer_image::BoundingBox;
    use serde_json::{Value, json};

    fn analysis(logits: &[f32]) -> Analysis {
        let faces = logits.iter().map(|&logit| FaceAnalysis {
            face: Face {
                bounding_box: BoundingBox { x: 1.5, y: 2.5, width: 30.0, height: 40.0 },
                confidence: 0.75,
                landmarks: Landmarks {
                    left_eye: [1.0, 2.0],
                    right_eye: [3.0, 4.0],
                    nose: [5.0, 6.0],
                    mouth_left: [7.0, 8.0],
                    mouth_right: [9.0, 10.0],
                },
            },
            emotions: emotions(logit),
        });
        Analysis {
            image: ImageSize { width: 64, height: 48 },
            faces: faces.collect(),
            mood: None,
            timing_ms: Timing::default(),
            model: ModelLabel { name: "test".to_owned(), engine: "tract" },
        }
    }

    fn emotions(logit: f32) -> Probabilities {
        Probabilities::from_logits(&[logit, 0.0], &[Emotion::Happy, Emotion::Sad], 1.0).unwrap()
    }

    fn json(record: &FaceRecord) -> Value {
        let json = serde_json::to_value(record).unwrap();
        assert!(json.as_object().unwrap().keys().eq(&FaceRecord::COLUMNS), "every row has every column");
        assert_eq!(&serde_json::from_value::<FaceRecord>(json.clone()).unwrap(), record);
        json
    }

    #[test]
    fn a_face_is_a_row_with_its_own_values_in_each_column() {
        let rows = FaceRecord::of(&Origin::photo(Some("a.jpg".to_owned())), &analysis(&[0.0, 9.0]));
        assert_eq!(rows.len(), 2);
        let row = json(&rows[0]);
        let expected = json!({
            "source": "a.jpg", "frame": null, "timestamp_ms": null, "image_width": 64, "image_height": 48, "face": 0,
            "x": 1.5, "y": 2.5, "width": 30.0, "height": 40.0, "confidence": 0.75,
            "left_eye_x": 1.0, "left_eye_y": 2.0, "right_eye_x": 3.0, "right_eye_y": 4.0, "nose_x": 5.0, "nose_y": 6.0,
            "mouth_left_x": 7.0, "mouth_left_y": 8.0, "mouth_right_x": 9.0, "mouth_right_y": 10.0,
            "angry": 0.0, "disgust": 0.0, "fear": 0.0, "happy": 0.5, "sad": 0.5, "surprise": 0.0, "neutral": 0.0,
            "dominant": "happy", "uncertain": true, "track_id": null, "status": "ok", "message": null,
        });
        assert_eq!(row, expected);
        let second = json(&rows[1]);
        assert_eq!((&second["face"], &second["uncertain"]), (&json!(1), &json!(false)));
    }

    #[test]
    fn frames_have_a_number_a_time_a_track_and_its_smoothed_emotions() {
        let origin = Origin { source: None, frame: Some(7), timestamp_ms: Some(250) };
        let track = TrackedFace { track_id: 3, emotions: emotions(-9.0) };
        let row = json(&FaceRecord::of_frame(&origin, &analysis(&[9.0]), &[track])[0]);
        assert_eq!([&row["frame"], &row["timestamp_ms"], &row["track_id"]], [7, 250, 3]);
        assert_eq!(row["dominant"], "sad", "the track's emotions, not the frame's");
    }

    #[test]
    fn a_picture_without_a_face_and_one_that_failed_have_one_row() {
        let origin = Origin::photo(Some("b.png".to_owned()));
        let none = FaceRecord::of(&origin, &analysis(&[]));
        let failed = FaceRecord::failed(&origin, "the picture is damaged");
        let [none, failed] = [json(&none[0]), json(&failed)];
        let set = |row: &Value| -> Vec<String> {
            let set = row.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
            set.map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(set(&none), ["source", "image_width", "image_height", "status"]);
        assert_eq!(none["status"], "no_face");
        assert_eq!(set(&failed), ["source", "status", "message"]);
        assert_eq!(
            (&failed["status"], &failed["message"]),
            (&json!("error"), &json!("the picture is damaged"))
        );
    }
}
