//! The command `fer`: photos, folders and videos in, tables and reports out.
//!
//! [`run`] is the whole program. The binary calls it, and so does the entry point of the Python wheel.

mod commands;
mod frames;
mod inputs;
mod journal;
mod models;
mod output;
mod pipeline;
mod progress;
mod report;
mod tally;
mod time;

use std::ffi::OsString;
use std::io;

use clap::{Parser, Subcommand};

use commands::{Outcome, analyze, annotate, corpus, query, report as report_command};

/// Finds the faces in photos and videos and guesses their expressions.
///
/// The output is a guess at the label that people would give to an expression. It is often wrong and says nothing about what
/// somebody feels.
#[derive(Parser)]
#[command(name = "fer", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Analyse photos and videos and write a table with a row for each face.
    Analyze(analyze::AnalyzeArgs),
    /// Draw boxes and labels into photos and videos.
    Annotate(annotate::AnnotateArgs),
    /// Analyse object stores in parts, on one machine or a cluster.
    Corpus(corpus::CorpusArgs),
    /// Ask tables with SQL.
    Query(query::QueryArgs),
    /// Make a page with charts from a table.
    Report(report_command::ReportArgs),
}

/// Runs the program and returns its exit code: 0 if all went well, 2 if some files failed, 1 if nothing could be done, 130 after
/// Ctrl-C. The first argument is the program's name.
///
/// The code is a number rather than an `ExitCode`, because only `main` can return that. A process can run one command, whose
/// handler of Ctrl-C stays.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing more can be said where the terminal is gone.
            let _ = error.print();
            // clap's own code is 2, which here means that some files failed.
            return u8::from(error.use_stderr());
        }
    };
    let outcome = match cli.command {
        Command::Analyze(args) => analyze::run(&args),
        Command::Annotate(args) => annotate::run(&args),
        Command::Corpus(args) => corpus::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Report(args) => report_command::run(&args),
    };
    match outcome {
        Ok(Outcome::Well) => 0,
        Ok(Outcome::SomeFailed) => 2,
        Ok(Outcome::NothingDone) => 1,
        Ok(Outcome::Interrupted) => 130,
        // `fer analyze … --out - | head` ends quietly.
        Err(error) if is_closed_pipe(&error) => 0,
        Err(error) => {
            eprintln!("fer: {error:#}");
            1
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let table = cause.downcast_ref::<fer_table::TableError>();
        let io = match table {
            Some(fer_table::TableError::Io(io)) => Some(io),
            _ => cause.downcast_ref::<io::Error>(),
        };
        io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}
