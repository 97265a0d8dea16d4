//! Training and measuring face detectors: the three networks of an MTCNN, and a [`single_shot`] detector.
//!
//! For an MTCNN, a CSV row goes [`annotations`] → [`corpus`] ([`scene`]) → [`samples`] ([`views`]) → [`loss`] → [`stage_training`] →
//! [`train`] → [`manifest`]. Between the stages [`mine`] looks for hard examples with the networks that are there
//! ([`nets`]), and [`stages`] measures them. [`evaluate`] measures any detector ([`curve`]), and [`mistakes`] shows where
//! it is wrong.

pub mod annotations;
pub mod complete;
pub mod config;
pub mod corpus;
pub mod curve;
pub mod evaluate;
pub mod loss;
pub mod manifest;
pub mod mine;
pub mod mistakes;
pub mod nets;
pub mod run_folder;
pub mod samples;
pub mod scene;
pub mod single_shot;
pub mod stage_training;
pub mod stages;
pub mod train;
pub mod views;
