//! Finds faces and their landmarks in a picture.
//!
//! A [`DetectorModel`] is a detector's files: the ones that are part of the program, or a folder whose `model.json`
//! ([`manifest`]) names its kind, settings and networks. [`DetectorModel::detector`] opens it as a [`FaceDetector`], which
//! is all that the rest of the program knows about it. The kinds are [`mtcnn`], a cascade, and [`single_shot`], one network over
//! the whole picture; another is one more module and one more variant.
//!
//! This crate does not judge what a face expresses.
//!
//! ```
//! use fer_detect::{DetectorModel, DetectorOptions, FaceDetector as _};
//! use fer_engine::Engine;
//!
//! let options = DetectorOptions { min_face: Some(40.0), ..Default::default() };
//! let mut detector = DetectorModel::embedded().detector(&Engine::tract(), &options)?;
//! let faces = detector.detect(&image::RgbImage::new(320, 240))?;
//! assert!(faces.is_empty());
//! # Ok::<(), fer_detect::DetectError>(())
//! ```

mod detector;
mod face;
pub mod manifest;
pub mod mtcnn;
mod nms;
pub mod single_shot;

pub use detector::{DetectError, DetectorModel, DetectorOptions, FaceDetector};
pub use face::{Face, Landmarks};
pub use manifest::ManifestError;
