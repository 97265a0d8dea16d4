//! Photos and pixels, one of each: one decoder, one luma, one sampler, one resize, one crop, one bounding box.
//!
//! Training and serving both go through this crate, so that the same photo gives the same pixels to both. It knows no
//! networks.

pub mod area;
mod bounding_box;
mod crop;
mod decode;
mod letterbox;
mod luma;
mod read;
pub mod resize;
pub mod sample;

pub use bounding_box::{BoundingBox, Overlap};
pub use crop::{CropRule, FaceCrop, FaceLocation};
pub use decode::{DecodeError, DecodeLimits, decode, on_white};
pub use letterbox::{Letterbox, Letterboxed};
pub use luma::{Luma, LumaError};
pub use read::{ReadError, read};
