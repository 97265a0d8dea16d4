//! The real binary over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod faults;
mod harness;
mod live;
mod running;
