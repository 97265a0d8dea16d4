//! Photo in, faces with emotions out: bounded decoding, detection, crops, classification, the mood of the
//! group, and the pool of workers that does it for many callers at once.
//!
//! It knows nothing of HTTP. Photos live in memory only.

mod analysis;
mod analyzer;
mod annotate;
mod decode;
mod mood;
mod track;
mod workers;

pub use analysis::{Analysis, FaceAnalysis, ImageSize, ModelLabel, Timing};
pub use analyzer::{AnalyzeError, Analyzer, AnalyzerConfig};
pub use annotate::annotate;
pub use decode::{DecodeError, DecodeLimits, decode};
pub use mood::Mood;
pub use track::{Thumbnail, TrackedFace, Tracker};
pub use workers::{Lane, QueueFull, Workers};
