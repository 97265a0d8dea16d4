//! Photo in, faces with emotions out: decoding within limits, detection, cropping, classification and the mood of the group.
//!
//! [`Analyzer`] runs the whole pipeline on one thread. [`Tracker`] follows faces from frame to frame of a video. [`FaceRecord`]
//! is the flat form of the results, for tables. The crate knows nothing of HTTP and writes no photo to disk.

mod analysis;
mod analyzer;
mod annotate;
mod mood;
mod record;
mod schema;
mod track;

pub use analysis::{Analysis, FaceAnalysis, ImageSize, ModelLabel, Timing};
pub use analyzer::{AnalyzeError, Analyzer, AnalyzerConfig};
pub use annotate::annotate;
pub use mood::Mood;
pub use record::{FaceRecord, Origin, RecordStatus};
pub use schema::{EmotionSchema, EmotionsSchema};
pub use track::{Thumbnail, TrackedFace, Tracker};
