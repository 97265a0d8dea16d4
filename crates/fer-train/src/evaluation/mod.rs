//! What a bundle gets right: scores, test-time augmentation, detected faces, labelled pictures, predictions for single
//! pictures, ensembles.

pub mod average;
pub mod calibration;
pub mod caveats;
pub mod detected;
pub mod ensemble;
pub mod evaluate;
pub mod metrics;
pub mod occlusion;
pub mod pictures;
pub mod predict;
pub mod scorer;
pub mod test_set;
pub mod views;
