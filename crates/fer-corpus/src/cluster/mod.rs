//! The same plan on a cluster that Ballista schedules. The scheduler hands parts to executors, which ask for them.

mod codec;
mod executor;
mod scheduler;

use std::collections::HashSet;
use std::sync::Arc;

use ballista_core::config::{BALLISTA_ADAPTIVE_PLANNER_ENABLED, BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK};
use ballista_core::extension::{SessionConfigExt as _, SessionStateExt as _};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio::net::TcpStream;

use codec::Codec;
pub use executor::{ExecutorOptions, execute};
pub use scheduler::{SchedulerOptions, schedule};

use crate::run::{PartsTable, Watch, run_in};
use crate::{CorpusError, Ending, Job, Summary};

/// Port of a scheduler whose address names none.
const PORT: u16 = 50050;

/// Host and port of an address such as `df://HOST:50050`.
///
/// # Errors
/// If it is of another form.
pub fn host_and_port(address: &str) -> Result<(String, u16), CorpusError> {
    let invalid =
        || CorpusError::Engine(format!("{address}: a scheduler's address is of the form df://HOST:50050"));
    let rest = address.strip_prefix("df://").ok_or_else(invalid)?.trim_end_matches('/');
    let parsed = url::Url::parse(&format!("http://{rest}")).map_err(|_| invalid())?;
    match parsed.host_str() {
        Some(host) if parsed.path() == "/" => {
            // The parser leaves out HTTP's own port.
            let is_80 = rest.ends_with(":80");
            Ok((host.to_owned(), parsed.port().unwrap_or(if is_80 { 80 } else { PORT })))
        }
        _ => Err(invalid()),
    }
}

/// Runs parts on the cluster of a scheduler.
///
/// # Errors
/// If the scheduler cannot be reached or ends, or a part fails on several attempts.
pub async fn run_there(
    scheduler: &str,
    job: &Job,
    parts: &[String],
    watch: &mut dyn Watch,
) -> Result<Ending, CorpusError> {
    let (host, port) = host_and_port(scheduler)?;
    let failed = |error| CorpusError::Engine(format!("{scheduler}: no scheduler answers: {error}"));
    drop(TcpStream::connect(format!("{host}:{port}")).await.map_err(failed)?);
    let codec = Arc::new(Codec::new(None));
    let config = SessionConfig::new_with_ballista()
        .with_ballista_logical_extension_codec(codec.clone())
        .with_ballista_physical_extension_codec(codec)
        .with_ballista_job_name("fer corpus run")
        // There is nothing to adapt: one stage, whose partitions are the parts.
        .set_bool(BALLISTA_ADAPTIVE_PLANNER_ENABLED, false)
        // By default a task takes as many parts as there are threads.
        .set_usize(BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK, 1);
    let state = SessionStateBuilder::new().with_default_features().with_config(config).build();
    let state = state.upgrade_for_ballista(format!("http://{host}:{port}"))?;
    let table = PartsTable::new(job.clone(), parts.to_vec(), None);
    let mut told = Told { watch, parts: HashSet::new() };
    match run_in(&SessionContext::new_with_state(state), table, &mut told).await {
        Err(error) => told.rest(job, parts).await.ok_or_else(|| {
            let what_to_do = "the tables that are complete are kept, and the same command does the rest";
            CorpusError::Engine(format!("{scheduler}: {error}; {what_to_do}"))
        }),
        ended => ended,
    }
}

/// Knows which parts it was told of.
struct Told<'a> {
    watch: &'a mut dyn Watch,
    parts: HashSet<String>,
}

impl Watch for Told<'_> {
    fn goes_on(&mut self, done: usize) -> bool {
        self.watch.goes_on(done)
    }

    fn done(&mut self, part: Summary) {
        self.parts.insert(part.part.clone());
        self.watch.done(part);
    }
}

impl Told<'_> {
    /// Tells the rest from the tables, if all are there: what an executor would say of its parts is lost with it, and what it
    /// wrote is not.
    async fn rest(&mut self, job: &Job, parts: &[String]) -> Option<Ending> {
        if job.done(parts).await.ok()? < parts.len() {
            return None;
        }
        for part in parts {
            if !self.parts.contains(part) {
                self.done(job.summary(part).await.ok()??);
            }
        }
        Some(Ending::Complete)
    }
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn addresses_of_schedulers_have_a_host_and_perhaps_a_port() {
        let parsed = |address| host_and_port(address).unwrap();
        assert_eq!(parsed("df://scheduler"), ("scheduler".to_owned(), 50050));
        assert_eq!(parsed("df://10.0.0.1:80/"), ("10.0.0.1".to_owned(), 80));
        for address in ["scheduler:50050", "df://", "http://host", "df://host/path"] {
            let message = host_and_port(address).unwrap_err().to_string();
            assert!(message.contains("df://HOST:50050"), "{message}");
        }
    }
}
