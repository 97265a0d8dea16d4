//! Rows about frames of a video, and about the end of one.

use std::time::Duration;

use fer_table::Row;
use fer_video::VideoError;
use fer_vision::Origin;

/// A frame of the video that `origin` names.
pub(crate) fn origin_of(origin: Origin, number: u64, time: Duration) -> Origin {
    Origin { frame: Some(number), timestamp_ms: Some(milliseconds(time)), ..origin }
}

/// The row that says why a video ended early or gave no frame; `None` if it ended well after so many frames.
pub(crate) fn last_row(mut origin: Origin, frames: u64, error: Option<&VideoError>) -> Option<Row> {
    match error {
        Some(error) => {
            if let VideoError::Damaged { frame, time, .. } = error {
                origin.frame = Some(*frame);
                origin.timestamp_ms = Some(milliseconds(*time));
            }
            Some(Row::failed(&origin, error.to_string()))
        }
        None if frames == 0 => Some(Row::failed(&origin, "the video has no frame in the selected range")),
        None => None,
    }
}

fn milliseconds(time: Duration) -> u64 {
    (time.as_secs_f64() * 1000.0).round() as u64
}
