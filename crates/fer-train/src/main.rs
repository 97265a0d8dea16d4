//! `fer-train`: trains emotion networks on FER-2013 and measures them.

#![recursion_limit = "256"]

mod commands;

use anyhow::Result;
use clap::{Parser, Subcommand};

use commands::{
    align, audit, compare, detector, ensemble, evaluate, explore, export, predict, summary, train,
};

/// Training allocates large short-lived tensors on several threads. The system's allocator returns their pages after every
/// step and requests them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains emotion networks on FER-2013 and measures them. Without a subcommand, runs `train`.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::TrainArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network and keep its best epoch as a bundle.
    Train(train::TrainArgs),
    /// Print a network's layers, shapes, parameters and multiply-adds.
    Summary(summary::SummaryArgs),
    /// Score a bundle on one split, plain and with test-time augmentation.
    Evaluate(evaluate::EvaluateArgs),
    /// Classify pictures of faces.
    Predict(predict::PredictArgs),
    /// Make one bundle of several: average their probabilities or their weights.
    Ensemble(ensemble::EnsembleArgs),
    /// Show what a data set holds: counts, statistics, sample faces and mean faces.
    Explore(explore::ExploreArgs),
    /// Compare runs side by side.
    Compare(compare::CompareArgs),
    /// Make a data set whose faces have level eyes.
    Align(align::AlignArgs),
    /// Find faces that a data set holds twice, especially in two splits.
    Audit(audit::AuditArgs),
    /// Write a bundle in another form.
    Export(export::ExportArgs),
    /// Train or measure the face detector.
    #[command(subcommand)]
    Detector(detector::DetectorCommand),
}

fn main() -> std::process::ExitCode {
    // With this, `fer-train summary | head` ends quietly like other programs, instead of panicking on a closed pipe.
    sigpipe::reset();
    match run(Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fer-train: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        None => train::run(&cli.train),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Summary(args)) => summary::run(&args),
        Some(Command::Evaluate(args)) => evaluate::run(&args),
        Some(Command::Predict(args)) => predict::run(&args),
        Some(Command::Ensemble(args)) => ensemble::run(&args),
        Some(Command::Explore(args)) => explore::run(&args),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Align(args)) => align::run(&args),
        Some(Command::Audit(args)) => audit::run(&args),
        Some(Command::Export(args)) => export::run(&args),
        Some(Command::Detector(command)) => detector::run(&command),
    }
}
