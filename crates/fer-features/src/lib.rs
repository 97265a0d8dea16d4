//! An empty crate whose dependencies name features.
//!
//! Cargo compiles a dependency with the features that the selected packages ask for, so `cargo run -p fer-train` after
//! `cargo test --workspace` would compile burn a second time, because of small differences far below it. `fer-train`
//! and `xtask` depend on this crate, which asks for the features that the whole workspace has. `fer-serve` does not: its
//! build stays small. `xtask/src/features.rs` tests that nothing is missing here.
