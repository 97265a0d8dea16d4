//! From FER-2013 to mini-batches: reading, auditing, aligning, augmenting.

pub mod align;
pub mod audit;
pub mod augment;
pub mod batches;
pub mod dataset;
mod dataset_error;
pub mod explore;
mod folder;
mod sample;
mod table;
pub mod targets;
mod votes;
