//! An executor of a cluster: asks the scheduler for parts and runs them on the threads of its [`Host`].

use std::error::Error;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};

use super::{Codec, host_and_port};
use crate::CorpusError;
use crate::run::{Host, PARTS};

/// Seconds for which a scheduler is waited for that does not answer at the start.
const WAIT_FOR_SCHEDULER: u16 = 600;

/// Where an executor finds its scheduler, and where it is found.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// Address of the scheduler, such as `df://HOST:50050`.
    pub scheduler: String,
    /// Address and port on which the scheduler fetches the few rows that say what was done.
    pub bind: SocketAddr,
    /// Name or address by which the scheduler reaches this machine. By default it is where its requests come from.
    pub host: Option<String>,
}

/// Runs an executor until the process is told to end; parts that are running are finished first.
///
/// # Errors
/// If the scheduler cannot be reached, or the port is taken.
pub async fn execute(options: ExecutorOptions, host: Arc<Host>) -> Result<(), CorpusError> {
    let failed = |what: String, error: &dyn Error| CorpusError::Engine(format!("{what}: {error}"));
    let (scheduler_host, scheduler_port) = host_and_port(&options.scheduler)?;
    // Ballista only logs that a port is taken.
    drop(TcpListener::bind(options.bind).map_err(|error| failed(options.bind.to_string(), &error))?);
    let codec = Arc::new(Codec::new(Some(host)));
    // For the rows that say what was done.
    let folder = tempfile::tempdir().map_err(|error| failed("a temporary folder".to_owned(), &error))?;
    let config = ExecutorProcessConfig {
        bind_host: match options.bind.ip() {
            IpAddr::V6(ip) => format!("[{ip}]"),
            ip => ip.to_string(),
        },
        work_dir: Some(folder.path().to_string_lossy().into_owned()),
        port: options.bind.port(),
        external_host: options.host.clone(),
        scheduler_host,
        scheduler_port,
        scheduler_connect_timeout_seconds: WAIT_FOR_SCHEDULER,
        // Parts share the threads of the host, so that this is not their number.
        vcores: PARTS,
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        override_logical_codec: Some(codec.clone()),
        override_physical_codec: Some(codec),
        ..ExecutorProcessConfig::default()
    };
    let ended = start_executor_process(Arc::new(config)).await;
    ended.map_err(|error| failed(options.scheduler, &error))
}
