//! Training an emotion network. [`train`](train::train) starts a run: it reads the rows ([`data`]) and a checkpoint or
//! initial weights, then [`Run`](run::Run) is the loop and [`RunFolder`](run_folder::RunFolder) writes the files.

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod device;
pub mod distillation;
pub mod ema;
pub mod gpu_check;
pub mod initial;
pub mod optimizer;
pub mod progress;
mod run;
pub mod run_folder;
pub mod schedule;
pub mod settings;
pub mod shards;
pub mod state;
pub mod stop;
pub mod teacher;
pub mod train;
