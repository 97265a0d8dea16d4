//! Runs a manifest: each of its parts becomes a table of rows, wherever it runs.

mod exec;
mod host;
mod part;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use fer_table::Metadata;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

#[cfg(feature = "cluster")]
pub(crate) use exec::PartsExec;
pub(crate) use exec::PartsTable;
pub use host::Host;
#[cfg(feature = "cluster")]
pub(crate) use host::PARTS;
pub use summary::Summary;

use crate::store::{Folder, Opened};
use crate::{CorpusError, Plan};

/// The file that says from which manifest and with which models a folder of results was made.
const RUN: &str = "run.json";

/// What is done with a manifest. It travels with the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The folder with the manifest. Every machine must reach it under this name.
    pub manifest: String,
    /// The folder for the results. Every machine must reach it under this name.
    pub out: String,
    /// Settings of the kernel.
    pub settings: String,
    /// What the tables say about themselves.
    pub metadata: Metadata,
    /// Largest photo, in bytes.
    pub most_bytes: u64,
    /// An object that sends nothing for this long counts as stalled.
    pub timeout: Duration,
}

/// What `run.json` holds.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    manifest: String,
    metadata: Metadata,
}

impl Job {
    /// The parts that are not done, after a check that the results that are there were made from the same manifest with the
    /// same models. With `force` all results of another run are done again.
    ///
    /// # Errors
    /// If the results are of another run, or a folder cannot be read or written.
    pub async fn missing(&self, plan: &Plan, force: bool) -> Result<Vec<String>, CorpusError> {
        let out = Folder::new(&self.out, &Opened::default(), self.timeout)?;
        let damaged = |problem: String| CorpusError::Manifest { place: self.out.clone(), problem };
        let run = Run { manifest: plan.id.clone(), metadata: self.metadata.clone() };
        let before = out.get(RUN).await?;
        let is_same = before.as_ref().map(|bytes| serde_json::from_slice(bytes).ok().as_ref() == Some(&run));
        let names = out.names().await?;
        if is_same == Some(false) && !force {
            let problem = "the results in this folder are of another manifest, model or setting; choose another folder, or do all \
                           again with --force";
            return Err(damaged(problem.to_owned()));
        }
        if is_same != Some(true) {
            if names.iter().any(|name| name.ends_with(".parquet")) && !force {
                let problem = format!(
                    "there are tables but no {RUN}; choose an empty folder, or replace them with --force"
                );
                return Err(damaged(problem));
            }
            // Old tables must not count as parts of this run.
            for name in names.iter().filter(|name| name.ends_with(".parquet")) {
                out.remove(name).await?;
            }
            let json = serde_json::to_vec_pretty(&run).map_err(|error| damaged(error.to_string()))?;
            out.put(RUN, &json).await?;
            return Ok(plan.part_names().collect());
        }
        Ok(plan.part_names().filter(|part| !names.contains(part)).collect())
    }

    /// How many of the parts are done.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub async fn done(&self, parts: &[String]) -> Result<usize, CorpusError> {
        let names = Folder::new(&self.out, &Opened::default(), self.timeout)?.names().await?;
        Ok(parts.iter().filter(|part| names.contains(part)).count())
    }

    /// Counts over the table of a part, if it is there.
    ///
    /// # Errors
    /// If it cannot be read.
    #[cfg(feature = "cluster")]
    pub(crate) async fn summary(&self, part: &str) -> Result<Option<Summary>, CorpusError> {
        part::written(&Folder::new(&self.out, &Opened::default(), self.timeout)?, part).await
    }
}

/// Gets what happens while parts run.
pub trait Watch {
    /// Is asked a few times a second whether to go on. `done` of the parts are done, as far as is known.
    fn goes_on(&mut self, done: usize) -> bool;

    /// A part is done. Those that ran on a cluster come at the end.
    fn done(&mut self, part: Summary);
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All parts are done.
    Complete,
    /// It was told to stop.
    Stopped,
}

/// Runs parts on this machine.
///
/// # Errors
/// If the models do not open, or a table cannot be written.
pub async fn run_here(
    host: &Arc<Host>,
    job: &Job,
    parts: &[String],
    watch: &mut dyn Watch,
) -> Result<Ending, CorpusError> {
    let table = PartsTable::new(job.clone(), parts.to_vec(), Some(Arc::clone(host)));
    run_in(&SessionContext::new(), table, watch).await
}

/// How often a run asks whether to go on.
const TICK: Duration = Duration::from_millis(200);

/// How often it looks which tables are there.
const LOOK: Duration = Duration::from_secs(10);

/// Runs parts where the session plans it.
pub(crate) async fn run_in(
    context: &SessionContext,
    table: PartsTable,
    watch: &mut dyn Watch,
) -> Result<Ending, CorpusError> {
    let (job, parts) = (table.job.clone(), table.parts.clone());
    let frame = context.read_table(Arc::new(table))?;
    let mut batches = frame.execute_stream().await?;
    let (mut looked, mut there, mut told) = (Instant::now(), 0, 0);
    loop {
        match tokio::time::timeout(TICK, batches.next()).await {
            Ok(None) => return Ok(Ending::Complete),
            Ok(Some(batch)) => {
                for summary in Summary::from_batch(&batch?)? {
                    told += 1;
                    watch.done(summary);
                }
            }
            Err(_) => {
                if looked.elapsed() > LOOK {
                    // A store that does not answer now matters only to whoever waits for the number.
                    there = job.done(&parts).await.unwrap_or(there);
                    looked = Instant::now();
                }
                if !watch.goes_on(told.max(there)) {
                    return Ok(Ending::Stopped);
                }
            }
        }
    }
}

/// The runtime of everything that waits: stores, the engine, the cluster.
///
/// # Errors
/// If a thread cannot be started.
pub fn runtime() -> Result<Runtime, CorpusError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // Planners are recursive.
    let built = builder.enable_all().thread_stack_size(16 << 20).build();
    built.map_err(|error| CorpusError::Engine(format!("cannot start threads: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Kernel, Kernels, Session};
    use crate::store::Fetched;
    use crate::{Planner, local};
    use fer_table::Row;
    use fer_vision::Origin;
    use std::path::Path;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Gives a row with the length of each object.
    struct Lengths;

    impl Kernels for Lengths {
        fn open(&self, settings: &str, _metadata: &Metadata) -> Result<Box<dyn Kernel>, String> {
            if settings == "good" { Ok(Box::new(Lengths)) } else { Err(format!("{settings} is unknown")) }
        }

        fn is_video(&self) -> fn(&[u8]) -> bool {
            |_| false
        }
    }

    impl Kernel for Lengths {
        fn session(&self) -> Result<Box<dyn Session>, String> {
            Ok(Box::new(Lengths))
        }
    }

    impl Session for Lengths {
        fn analyze(&mut self, uri: &str, contents: Fetched, rows: &mut dyn FnMut(Vec<Row>) -> bool) {
            let Fetched::Bytes(bytes) = contents else { return };
            assert!(!bytes.is_empty(), "the test wants a panic");
            rows(vec![Row::failed(&Origin::photo(Some(uri.to_owned())), bytes.len().to_string())]);
        }
    }

    /// Counts, and stops when it is told to.
    struct Counter {
        total: Summary,
        goes_on: bool,
    }

    impl Watch for Counter {
        fn goes_on(&mut self, _done: usize) -> bool {
            self.goes_on
        }

        fn done(&mut self, part: Summary) {
            self.total.failed += part.failed;
            self.total.pictures += part.pictures;
        }
    }

    async fn planned(root: &Path) -> Plan {
        let manifest = root.join("manifest");
        let mut planner = Planner::new(manifest.to_str().unwrap(), 3, TIMEOUT, false).await.unwrap();
        for length in 0..8 {
            let path = root.join(format!("{length}.jpg"));
            std::fs::write(&path, vec![b'x'; length]).unwrap();
            planner.add(local(&path).unwrap()).await.unwrap();
        }
        planner.finish().await.unwrap()
    }

    fn job(root: &Path, settings: &str) -> Job {
        let folder = |name: &str| root.join(name).to_str().unwrap().to_owned();
        Job {
            manifest: folder("manifest"),
            out: folder("out"),
            settings: settings.to_owned(),
            metadata: Metadata::new(),
            most_bytes: 6,
            timeout: TIMEOUT,
        }
    }

    #[test]
    fn every_object_is_a_row_in_its_place_even_after_a_panic() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let runtime = runtime().unwrap();
        let host = Host::new(Box::new(Lengths), 2, runtime.handle().clone());
        runtime.block_on(async {
            let plan = planned(root).await;
            let job = job(root, "good");
            let run = async |expected_failed: u64| {
                let parts = job.missing(&plan, false).await.unwrap();
                let mut counter = Counter { total: Summary::default(), goes_on: true };
                if !parts.is_empty() {
                    assert_eq!(run_here(&host, &job, &parts, &mut counter).await.unwrap(), Ending::Complete);
                }
                assert_eq!((counter.total.failed, counter.total.pictures), (expected_failed, 0));
            };
            run(8).await;
            let mut messages = Vec::new();
            for part in plan.part_names() {
                let rows = fer_table::read(&Path::new(&job.out).join(part)).unwrap();
                messages.extend(rows.flat_map(|rows| rows.unwrap()).map(|row| row.record.message.unwrap()));
            }
            assert_eq!(messages[1..7], ["1", "2", "3", "4", "5", "6"]);
            assert!(
                messages[0].contains("ended unexpectedly") && messages[7].contains("too much for a photo")
            );
            run(0).await;
            std::fs::remove_file(Path::new(&job.out).join("part-00002.parquet")).unwrap();
            run(2).await;
            // A part whose table appeared in the meantime is counted and not written again.
            let mut counter = Counter { total: Summary::default(), goes_on: true };
            let parts: Vec<_> = plan.part_names().collect();
            run_here(&host, &job, &parts, &mut counter).await.unwrap();
            assert_eq!(counter.total.failed, 8);
            assert_eq!(job.done(&parts).await.unwrap(), 3);
        });
    }

    #[test]
    fn models_that_do_not_open_fail_the_run_and_a_run_can_be_stopped() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let runtime = runtime().unwrap();
        let host = Host::new(Box::new(Lengths), 1, runtime.handle().clone());
        runtime.block_on(async {
            let plan = planned(root).await;
            let parts: Vec<_> = plan.part_names().collect();
            let mut counter = Counter { total: Summary::default(), goes_on: false };
            let error = run_here(&host, &job(root, "bad"), &parts, &mut counter).await.unwrap_err();
            assert_eq!(error.to_string(), "cannot start the models: bad is unknown");
            // All permits are taken, so that no part begins.
            let _permits = host.parts.acquire_many(2).await.unwrap();
            let ending = run_here(&host, &job(root, "good"), &parts, &mut counter).await.unwrap();
            assert_eq!(ending, Ending::Stopped);
        });
    }
}
