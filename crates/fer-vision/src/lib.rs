//! Photo in, faces with emotions out: bounded decoding, detection, crops, classification, the mood of the
//! group, and the pool of workers that does it for many callers at once.
//!
//! It knows nothing of HTTP. Photos live in memory only.

mod analysis;
mod analyzer;
mod annotate;
mod mood;
mod track;

pub use analysis::{Analysis, FaceAnalysis, ImageSize, ModelLabel, Timing};
pub use analyzer::{AnalyzeError, Analyzer, AnalyzerConfig};
pub use annotate::annotate;
pub use mood::Mood;
pub use track::{Thumbnail, TrackedFace, Tracker};
