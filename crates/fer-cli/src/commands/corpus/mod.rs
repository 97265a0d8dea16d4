//! `fer corpus`: more objects than one run or one machine should list and hold at once.

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "corpus")]
mod kernel;
#[cfg(feature = "corpus")]
mod plan;
#[cfg(feature = "corpus")]
mod run;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Outcome;
use super::analyze::{FrameArgs, ProgressArgs};
use crate::models::ModelArgs;
use crate::time;

#[derive(Args)]
pub(crate) struct CorpusArgs {
    #[command(subcommand)]
    command: CorpusCommand,
}

#[derive(Subcommand)]
enum CorpusCommand {
    /// List folders and object stores once, into a manifest.
    Plan(PlanArgs),
    /// Analyse what a manifest lists; a table for each of its parts. A second run does what is missing.
    Run(RunArgs),
    /// Run the scheduler of a cluster.
    Scheduler(SchedulerArgs),
    /// Run an executor of a cluster.
    Executor(ExecutorArgs),
}

#[derive(Args)]
struct PlanArgs {
    /// Folders, addresses such as s3://bucket/folder/, or any other input of fer analyze.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<OsString>,
    /// Folder of the manifest: a path or an address.
    #[arg(long, short, value_name = "FOLDER")]
    out: String,
    /// Objects in one part of the manifest. A part is what one machine does at a time, and what is done again after a failure.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    part: usize,
    /// Take only these files: a glob such as '*.jpg', or with slashes the path in the folder. May be given several times.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave these files and subfolders out. May be given several times.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Give up on a store that sends nothing for this long.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::parse)]
    timeout: Duration,
    /// Replace a manifest that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
struct RunArgs {
    /// Folder of a manifest. On a cluster every machine must reach it under this name.
    #[arg(value_name = "MANIFEST")]
    manifest: String,
    /// Folder of the tables: a path or an address. On a cluster every machine must reach it under this name.
    #[arg(long, short, value_name = "FOLDER")]
    out: String,
    /// Run on the cluster of this scheduler, such as df://HOST:50050, instead of here.
    #[arg(long, value_name = "ADDRESS")]
    scheduler: Option<String>,
    /// Do all parts again if the tables that are there are of another manifest, model or setting.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    frames: FrameArgs,
    /// Give up on an object that sends nothing for this long.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::parse)]
    timeout: Duration,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    models: ModelArgs,
}

#[derive(Args)]
struct SchedulerArgs {
    /// Address and port to listen on. There are no passwords: let only the machines of the cluster reach it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50050")]
    bind: SocketAddr,
    /// Give the parts of an executor that says nothing for this long to others.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    executor_timeout: Duration,
}

#[derive(Args)]
struct ExecutorArgs {
    /// Address of the scheduler.
    #[arg(long, value_name = "ADDRESS", default_value = "df://127.0.0.1:50050")]
    scheduler: String,
    /// Address and port on which the scheduler fetches what was done.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    bind: SocketAddr,
    /// Name or address by which the scheduler reaches this machine. The default is where its requests come from.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Inference threads; 0 starts one per core.
    #[arg(long, env = "FER_WORKERS", default_value_t = 0)]
    threads: usize,
    /// Shared library of ONNX Runtime, for runs that were started with it.
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

/// Runs the command.
#[cfg(feature = "corpus")]
pub(crate) fn run(args: &CorpusArgs) -> Result<Outcome> {
    match &args.command {
        CorpusCommand::Plan(args) => plan::run(args),
        CorpusCommand::Run(args) => run::run(args),
        #[cfg(feature = "cluster")]
        CorpusCommand::Scheduler(args) => cluster::schedule(args),
        #[cfg(feature = "cluster")]
        CorpusCommand::Executor(args) => cluster::execute(args),
        #[cfg(not(feature = "cluster"))]
        CorpusCommand::Scheduler(_) | CorpusCommand::Executor(_) => anyhow::bail!(NO_CLUSTER),
    }
}

/// How to install what is missing.
#[cfg(all(feature = "corpus", not(feature = "cluster")))]
const NO_CLUSTER: &str = "this program was installed without clusters; in a checkout, \
                          `cargo install --path crates/fer-cli --features cluster` adds them";

/// Says how to install the command.
#[cfg(not(feature = "corpus"))]
pub(crate) fn run(_args: &CorpusArgs) -> Result<Outcome> {
    anyhow::bail!(
        "this program was installed without corpora; in a checkout, `cargo install --path crates/fer-cli --features corpus` adds \
         them, and `--features cluster` adds clusters too"
    )
}
