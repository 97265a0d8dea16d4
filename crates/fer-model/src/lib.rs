//! What an emotion model *is*: the labels, the architecture as data, the preprocessing and the crop, the
//! bundle that passes from training to serving, and the ONNX graph that serving runs.
//!
//! It knows nothing of HTTP, of the terminal, or of how faces are found.

pub mod bundle;
mod classifier;
mod emotion;
pub mod file;
pub mod onnx;
mod preprocess;
pub mod spec;
pub mod weights;

pub use bundle::{Bundle, BundleBuilder, FaceSpec, Manifest};
pub use classifier::{Classifier, ClassifyError};
pub use emotion::{Emotion, Probabilities, UnknownEmotion};
pub use preprocess::Preprocessing;
pub use spec::{NetworkSpec, SpecError};
