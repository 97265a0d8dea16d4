//! Where the faces are: MTCNN (Zhang et al. 2016), a cascade of three small networks over an image pyramid.
//!
//! The data flows pyramid → P-Net proposals → R-Net → O-Net → boxes with five landmarks. The arithmetic around
//! the networks follows facenet-pytorch, so that its weights give the same boxes. What a face expresses is
//! not this crate's business.

mod bounds;
mod cascade;
mod config;
mod model;
mod nms;
mod pyramid;
mod resize;

pub use bounds::{Bounds, Face, Landmarks};
pub use cascade::{DetectError, Detector};
pub use config::DetectorConfig;
pub use model::DetectorModel;
