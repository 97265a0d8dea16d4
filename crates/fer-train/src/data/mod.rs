//! From the rows of FER-2013 to mini-batches: auditing, aligning, splitting, augmenting, degrading.

pub mod align;
pub mod audit;
pub mod augment;
pub mod batches;
pub mod degrade;
pub mod explore;
pub mod split;
pub mod targets;
