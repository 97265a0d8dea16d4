//! Trains emotion networks on FER-2013 and the face detector on annotated photos, and measures both.
//!
//! The binary `fer-train` is a thin command line over this library.

#![recursion_limit = "256"]

pub mod data;
pub mod detector;
pub mod evaluation;
pub mod export;
mod open;
mod progress;
pub mod report;
pub mod training;

pub use open::{open_bundle, read_spec};
