//! SQL over tables of faces, and corpora: many objects of stores, on one machine or a cluster.
//!
//! [`Query`] runs a `SELECT` over tables in any of the formats of `fer-table` with DataFusion and gives Arrow record batches.
//! [`store`] lists and fetches objects of S3, Google Cloud Storage, Azure and web servers. A [`Planner`] lists a store once into a
//! manifest, and [`run_here`] makes a table of each of its parts; with the feature `cluster`, [`cluster`] does so on machines that
//! Ballista schedules. Only this crate knows DataFusion, Ballista and object stores. It knows no networks: [`kernel`] is what it asks
//! to analyse an object.
//!
//! The crate is empty without the feature `engine`, which the feature `corpus` of `fer-cli` turns on.
#![cfg(feature = "engine")]

#[cfg(feature = "cluster")]
pub mod cluster;
mod error;
pub mod kernel;
mod manifest;
mod query;
mod run;
pub mod store;

pub use error::CorpusError;
pub use manifest::{OBJECTS_PER_PART, Plan, Planner, local};
pub use query::{Query, QueryError, Rows};
pub use run::{Ending, Host, Job, Summary, Watch, run_here, runtime};
