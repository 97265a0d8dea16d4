//! The chores: `cargo xtask …`. Links none of the crates that it drives.

mod bench;
mod dataset;
mod download;
mod load;
mod runtime;
mod server;
mod smoke;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Chores of the workspace.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put FER-2013 into datasets/fer2013.csv, from Kaggle or from a file that you have, and verify it.
    DownloadDataset(dataset::Options),
    /// Put ONNX Runtime into assets/runtime, where fer-serve finds it.
    DownloadRuntime(runtime::Options),
    /// Start the server and send it the sample photo.
    Smoke,
    /// Time detection and training beside facenet-pytorch and PyTorch, and the server's start, memory and large photos.
    Bench(bench::Options),
    /// Load the server beside a small Python server: throughput, latency, live connections, overload.
    Load(load::Options),
}

fn main() -> std::process::ExitCode {
    let done = match Cli::parse().command {
        Command::DownloadDataset(options) => dataset::run(&options),
        Command::DownloadRuntime(options) => runtime::run(&options),
        Command::Smoke => smoke::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Load(options) => load::run(&options),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// A path below the workspace's root.
fn workspace(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap_or_else(|| unreachable!("xtask lies in the workspace")).join(path)
}
