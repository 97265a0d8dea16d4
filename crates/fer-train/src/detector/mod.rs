//! Training and measuring the three networks of the face detector.
//!
//! A CSV row goes [`annotations`] → [`corpus`] ([`scene`]) → [`samples`] ([`views`]) → [`loss`] → [`stage_training`] →
//! [`train`] → [`manifest`]. Between the stages [`mine`] looks for hard examples with the networks that are there
//! ([`nets`]), and [`evaluate`] measures them.

pub mod annotations;
pub mod complete;
pub mod config;
pub mod corpus;
pub mod evaluate;
pub mod loss;
pub mod manifest;
pub mod mine;
pub mod nets;
pub mod run_folder;
pub mod samples;
pub mod scene;
pub mod stage_training;
pub mod train;
pub mod views;
