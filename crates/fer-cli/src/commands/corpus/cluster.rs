//! `fer corpus scheduler` and `fer corpus executor`: the processes of a cluster.

use anyhow::Result;
use fer_corpus::cluster::{self, ExecutorOptions, SchedulerOptions};
use fer_corpus::{Host, runtime};

use super::kernel::FaceKernels;
use super::{ExecutorArgs, SchedulerArgs};
use crate::commands::Outcome;
use crate::models;

/// Runs a scheduler until the process is ended.
pub(super) fn schedule(args: &SchedulerArgs) -> Result<Outcome> {
    let SchedulerArgs { bind, executor_timeout } = *args;
    eprintln!("scheduler on df://{bind}");
    runtime()?.block_on(cluster::schedule(SchedulerOptions { bind, executor_timeout }))?;
    Ok(Outcome::Well)
}

/// Runs an executor until the process is told to end.
pub(super) fn execute(args: &ExecutorArgs) -> Result<Outcome> {
    let runtime = runtime()?;
    let threads = models::threads_of(args.threads);
    let kernels = FaceKernels { onnxruntime: args.onnxruntime.clone() };
    let host = Host::new(Box::new(kernels), threads, runtime.handle().clone());
    let (scheduler, bind) = (args.scheduler.clone(), args.bind);
    eprintln!("executor with {threads} threads for {scheduler}");
    runtime.block_on(cluster::execute(ExecutorOptions { scheduler, bind, host: args.host.clone() }, host))?;
    runtime.shutdown_background();
    Ok(Outcome::Well)
}
