//! FER-2013 on disk: the CSV, folders of labelled pictures, and the FER+ votes on its rows.
//!
//! This crate is the only reader and writer of these formats. It knows no networks.

mod dataset;
mod error;
mod folder;
mod rows;
mod sample;
mod table;
mod usage;
mod votes;

pub use dataset::Dataset;
pub use error::DatasetError;
pub use folder::{Labelled, labelled_pictures, pictures, pictures_by_emotion, read_face};
pub use rows::{HEADER, Rows, write_row};
pub use sample::{PIXELS, SIDE, Sample, picture};
pub use usage::Usage;
