//! The training loop and what it needs: optimisers, schedules, shards, checkpoints.

pub mod checkpoint;
pub mod config;
pub mod device;
pub mod ema;
pub mod initial;
pub mod optimizer;
pub mod progress;
pub mod schedule;
pub mod shards;
pub mod teacher;
pub mod train;
