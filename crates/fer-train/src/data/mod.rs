//! FER-2013 in: reading, auditing, aligning, augmenting, mini-batches.

pub mod align;
pub mod audit;
pub mod augment;
pub mod batches;
pub mod dataset;
pub mod explore;
pub mod targets;
