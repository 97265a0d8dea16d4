//! The command `fer` as a process, on photos and videos made of the sample.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod annotate;
mod corpus;
mod files;
mod harness;
mod report;
mod resume;
mod tables;
mod videos;
