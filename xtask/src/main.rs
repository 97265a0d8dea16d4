//! The chores: `cargo xtask …`. Links none of the crates that it drives.

mod smoke;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Chores of the workspace.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server and send it the sample photo.
    Smoke,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Smoke => smoke::run(),
    }
}

/// The workspace's root.
fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
