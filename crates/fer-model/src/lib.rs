//! What an emotion model *is*: the labels, the architecture as data, the preprocessing, the bundle that passes from
//! training to serving, the ONNX graph that serving runs, and the classifier that runs it.
//!
//! This crate knows nothing of HTTP, of the terminal, or of how faces are found.

pub mod bundle;
mod classifier;
pub mod file;
pub mod onnx;
mod preprocess;
mod probabilities;
pub mod spec;
pub mod weights;

pub use bundle::{Bundle, BundleBuilder, FaceSpec, Manifest};
pub use classifier::{Classifier, ClassifyError};
pub use fer_emotion::{Emotion, LabelSet, UnknownEmotion, UnknownLabelSet};
pub use preprocess::Preprocessing;
pub use probabilities::{Probabilities, softmax};
pub use spec::{NetworkSpec, SpecError};
