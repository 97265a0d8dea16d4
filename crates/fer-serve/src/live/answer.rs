//! The answer to one frame of a live connection.

use fer_model::Probabilities;
use fer_vision::{
    Analysis, EmotionsSchema, FaceAnalysis, FaceRecord, ImageSize, Mood, Origin, Timing, TrackedFace,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorDetail};

/// Which frame an answer is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// Number of the frame, counted from 1 in the order in which the frames came.
    pub(super) frame: u64,
    /// When the frame came, in milliseconds since the connection began.
    pub(super) timestamp_ms: u64,
    /// Frames that were dropped for newer ones since the connection began.
    pub(super) dropped: u64,
    /// Whether the client asked for records.
    pub(super) records: bool,
}

/// The server's message for one frame: what was found, or why the frame could not be analysed.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum LiveFrame {
    /// The frame was analysed.
    Analysed(Box<AnalysedFrame>),
    /// The frame could not be analysed.
    Failed(FailedFrame),
}

/// A frame that was analysed.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnalysedFrame {
    /// Number of the frame, counted from 1 in the order in which the frames came.
    frame: u64,
    /// When the frame came, in milliseconds since the connection began.
    timestamp_ms: u64,
    /// Frames that were dropped for newer ones since the connection began.
    dropped: u64,
    /// Size of the frame.
    image: ImageSize,
    /// The faces, the most confident detection first.
    faces: Vec<LiveFace>,
    /// The mood of all faces together. Null if no face was found.
    #[schema(required = true)]
    mood: Option<Mood>,
    /// How long each stage took.
    timing_ms: Timing,
    /// Time from the frame's arrival to this answer, in milliseconds.
    delay_ms: u64,
    /// The rows of this frame, if the connection was opened with `format=records`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    records: Option<Vec<FaceRecord>>,
}

/// A frame that could not be analysed.
#[derive(Serialize, ToSchema)]
pub(crate) struct FailedFrame {
    /// Number of the frame, counted from 1 in the order in which the frames came.
    frame: u64,
    /// When the frame came, in milliseconds since the connection began.
    timestamp_ms: u64,
    /// Frames that were dropped for newer ones since the connection began.
    dropped: u64,
    /// Why the frame could not be analysed.
    error: ErrorDetail,
    /// The row of this frame, if the connection was opened with `format=records`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    records: Option<Vec<FaceRecord>>,
}

/// A face that is followed from frame to frame. Its `emotions` are smoothed over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct LiveFace {
    #[serde(flatten)]
    face: FaceAnalysis,
    /// Number of the track: the same while the face is followed.
    track_id: u64,
    /// The probability of each emotion in this frame, before smoothing.
    #[schema(value_type = EmotionsSchema)]
    raw_emotions: Probabilities,
}

impl LiveFrame {
    /// The answer to a frame that was analysed. `tracks` has one entry for each face, in the order of the faces.
    pub(super) fn analysed(
        position: Position,
        analysis: Analysis,
        tracks: &[TrackedFace],
        delay_ms: u64,
    ) -> Self {
        let Position { frame, timestamp_ms, dropped, records } = position;
        let records = records.then(|| FaceRecord::of_frame(&position.origin(), &analysis, tracks));
        let Analysis { image, faces, mood, timing_ms, .. } = analysis;
        let live = |(found, track): (FaceAnalysis, &TrackedFace)| LiveFace {
            face: FaceAnalysis { face: found.face, emotions: track.emotions },
            track_id: track.track_id,
            raw_emotions: found.emotions,
        };
        let faces = faces.into_iter().zip(tracks).map(live).collect();
        let answer =
            AnalysedFrame { frame, timestamp_ms, dropped, image, faces, mood, timing_ms, delay_ms, records };
        Self::Analysed(Box::new(answer))
    }

    /// The message's text. Its serialisation cannot fail: all keys are strings.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The answer to a frame that could not be analysed.
    pub(super) fn failed(position: Position, error: &ApiError) -> Self {
        let Position { frame, timestamp_ms, dropped, records } = position;
        let records = records.then(|| vec![FaceRecord::failed(&position.origin(), error.to_string())]);
        Self::Failed(FailedFrame { frame, timestamp_ms, dropped, error: error.detail(), records })
    }
}

impl Position {
    fn origin(self) -> Origin {
        Origin { source: None, frame: Some(self.frame), timestamp_ms: Some(self.timestamp_ms) }
    }
}
