//! The scheduler of a cluster. It keeps its jobs in memory: what is done lies in the folder of the results.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::BallistaError;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;

use super::Codec;
use crate::CorpusError;

/// Where a scheduler listens, and when it gives up on an executor.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerOptions {
    /// Address and port that it listens on.
    pub bind: SocketAddr,
    /// An executor that says nothing for this long is lost, and its parts go to others. Executors report every few seconds.
    pub executor_timeout: Duration,
}

/// Runs a scheduler until the process ends.
///
/// # Errors
/// If it cannot listen on its address.
pub async fn schedule(options: SchedulerOptions) -> Result<(), CorpusError> {
    let SchedulerOptions { bind, executor_timeout } = options;
    let failed = |error: BallistaError| CorpusError::Engine(format!("{bind}: {error}"));
    let codec = Arc::new(Codec::new(None));
    let seconds = executor_timeout.as_secs().max(1);
    let config = SchedulerConfig {
        bind_host: bind.ip().to_string(),
        bind_port: bind.port(),
        // Executors need not be reachable, except from the scheduler.
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        enable_embedded_flight_proxy: true,
        executor_timeout_seconds: seconds,
        expire_dead_executor_interval_seconds: (seconds / 4).max(1),
        override_logical_codec: Some(codec.clone()),
        override_physical_codec: Some(codec),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await.map_err(failed)?;
    start_server(cluster, bind, Arc::new(config)).await.map_err(failed)
}
