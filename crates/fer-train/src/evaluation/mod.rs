//! What a bundle gets right: scores, test-time augmentation, detected faces, ensembles.

pub mod detected;
pub mod ensemble;
pub mod evaluate;
pub mod metrics;
pub mod predict;
pub mod scorer;
pub mod views;
