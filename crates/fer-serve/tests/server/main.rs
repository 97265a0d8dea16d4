//! Tests of the real binary over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
#[cfg(unix)]
mod browser;
mod document;
mod faults;
mod harness;
mod live;
mod running;
