//! Where the faces are: MTCNN (Zhang et al. 2016), a cascade of three small networks over an image pyramid.
//!
//! The data flows pyramid → P-Net proposals → R-Net → O-Net → boxes with five landmarks. The arithmetic around
//! the networks follows facenet-pytorch, so that its weights give the same boxes; the weights that are part of the
//! program are our own. What a face expresses is not this crate's business.
//!
//! ```
//! use fer_detect::{Detector, DetectorConfig};
//! use fer_engine::Engine;
//!
//! let mut detector = Detector::new(&Engine::tract(), DetectorConfig { min_face: 40.0, ..Default::default() })?;
//! let faces = detector.detect(&image::RgbImage::new(320, 240))?;
//! assert!(faces.is_empty());
//! # Ok::<(), fer_detect::DetectError>(())
//! ```

mod config;
mod detector;
mod face;
mod model;
mod net;
mod nms;
mod pyramid;
mod stages;

pub use config::DetectorConfig;
pub use detector::Detector;
pub use face::{Candidate, Face, Landmarks, box_offsets, point_fractions};
pub use model::DetectorModel;
pub use net::{DetectError, Stage, append_crop};
pub use stages::{Finisher, Proposer, Refiner};
