//! `cargo xtask …`: development tasks. They run the workspace's programs as processes; of its crates they link only
//! those that read FER-2013.

mod bench;
mod check;
mod dataset;
mod download;
mod load;
mod process;
mod python;
mod runtime;
mod server;
mod smoke;

#[cfg(test)]
mod documentation;
#[cfg(test)]
mod features;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Development tasks of the fer workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write FER-2013 to datasets/fer2013.csv, from Kaggle or from your own copy, and verify it.
    DownloadDataset(dataset::Options),
    /// Put ONNX Runtime's shared library into assets/runtime.
    DownloadRuntime(runtime::Options),
    /// Start fer-serve, send it the sample photo and check the answer.
    Smoke,
    /// Run a group of tests that take too long for `cargo test`.
    #[command(subcommand)]
    Check(check::Check),
    /// Time detection, serving, training and the Python package, beside facenet-pytorch and PyTorch.
    Bench(bench::Options),
    /// Put fer-serve under load, beside a small Python server: throughput, latency, live connections, overload.
    Load(load::Options),
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::DownloadDataset(options) => dataset::run(&options),
        Command::DownloadRuntime(options) => runtime::run(&options),
        Command::Smoke => smoke::run(),
        Command::Check(check) => check::run(&check),
        Command::Bench(options) => bench::run(&options),
        Command::Load(options) => load::run(&options),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// The absolute path of a path relative to the workspace's root.
fn workspace(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap_or_else(|| unreachable!("xtask is a folder of the workspace")).join(path)
}
