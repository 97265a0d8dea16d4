//! `fer corpus run`: a table for each part of a manifest, here or on a cluster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fer_corpus::{Ending, Host, Job, Plan, Summary, Watch, run_here, runtime};

use super::RunArgs;
use super::kernel::{FaceKernels, Settings, metadata_of};
use crate::commands::{Outcome, Stop};
use crate::inputs::MOST_BYTES;
use crate::models::{ModelSettings, Models};

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> Result<Outcome> {
    let models = Models::open(&args.models)?;
    let settings = Settings::new(ModelSettings::of(&args.models, &models)?, args.frames.selection()?);
    let job = Job {
        manifest: absolute(&args.manifest)?,
        out: absolute(&args.out)?,
        settings: serde_json::to_string(&settings)?,
        metadata: metadata_of(&models, &settings),
        most_bytes: MOST_BYTES,
        timeout: args.timeout,
    };
    let runtime = runtime()?;
    let plan = runtime.block_on(Plan::read(&job.manifest, job.timeout))?;
    let parts = runtime.block_on(job.missing(&plan, args.force))?;
    let mut watcher = Watcher::new(args, &plan, parts.len(), Stop::on_signal()?);
    let kernels = FaceKernels { onnxruntime: args.models.onnxruntime.clone() };
    let host = Host::new(Box::new(kernels), models.threads, runtime.handle().clone());
    drop(models);
    let ending = match &args.scheduler {
        _ if parts.is_empty() => Ending::Complete,
        Some(scheduler) => runtime.block_on(there(scheduler, &job, &parts, &mut watcher))?,
        None => {
            watcher.host = Some(&host);
            runtime.block_on(run_here(&host, &job, &parts, &mut watcher))?
        }
    };
    let outcome = watcher.end(ending, &args.out);
    // Downloads that nobody waits for must not delay the end.
    runtime.shutdown_background();
    Ok(outcome)
}

#[cfg(feature = "cluster")]
async fn there(scheduler: &str, job: &Job, parts: &[String], watcher: &mut Watcher<'_>) -> Result<Ending> {
    Ok(fer_corpus::cluster::run_there(scheduler, job, parts, watcher).await?)
}

#[cfg(not(feature = "cluster"))]
#[expect(clippy::unused_async, reason = "the feature `cluster` waits here")]
async fn there(scheduler: &str, _: &Job, _: &[String], _: &mut Watcher<'_>) -> Result<Ending> {
    anyhow::bail!("--scheduler {scheduler}: {}", super::NO_CLUSTER)
}

/// A path that means the same in every process; addresses stay as they are.
fn absolute(folder: &str) -> Result<String> {
    if folder.contains("://") {
        return Ok(folder.to_owned());
    }
    let path = std::path::absolute(folder).with_context(|| folder.to_owned())?;
    path.into_os_string().into_string().ok().with_context(|| format!("{folder}: its path is not UTF-8"))
}

/// Reports progress, and counts.
struct Watcher<'a> {
    is_quiet: bool,
    is_json: bool,
    stop: Stop,
    started: Instant,
    shown: Instant,
    /// Parts of the manifest, and those that this run does.
    parts: [usize; 2],
    /// Counts the objects of a run on this machine.
    host: Option<&'a Host>,
    total: Summary,
}

impl Watcher<'_> {
    fn new(args: &RunArgs, plan: &Plan, missing: usize, stop: Stop) -> Self {
        let now = Instant::now();
        let (is_quiet, is_json) = (args.progress.is_quiet(), args.progress.is_json());
        let (parts, total) = ([plan.parts, missing], Summary::default());
        Self { is_quiet, is_json, stop, started: now, shown: now, parts, host: None, total }
    }

    fn say(&self, line: &str, json: &serde_json::Value) {
        match (self.is_json, self.is_quiet) {
            (true, _) => eprintln!("{json}"),
            (false, true) => {}
            (false, false) => eprintln!("{line}"),
        }
    }

    fn show(&self, done: usize) {
        let [all, missing] = self.parts;
        let seconds = self.started.elapsed().as_secs_f64();
        let done = all - missing + done;
        let objects = self.host.map(Host::objects);
        let rate = objects.map(|objects| objects as f64 / seconds);
        let rate_text = rate.map_or(String::new(), |rate| format!(", {rate:.1} objects/s"));
        self.say(
            &format!("{done} of {all} parts{rate_text}"),
            &serde_json::json!({
                "event": "progress", "parts": all, "done": done, "objects": objects, "objects_per_second": rate, "seconds": seconds,
            }),
        );
    }

    /// The last lines.
    fn end(&self, ending: Ending, out: &str) -> Outcome {
        let [all, missing] = self.parts;
        if ending == Ending::Stopped {
            let line =
                "interrupted; the tables that are complete are kept, and the same command does the rest";
            self.say(line, &serde_json::json!({ "event": "interrupted" }));
            return Outcome::Interrupted;
        }
        let Summary { pictures, faces, faceless, failed, .. } = self.total;
        let seconds = self.started.elapsed().as_secs_f64();
        self.say(
            &format!(
                "{all} parts, {} of them done before: {pictures} pictures, {faces} faces, {faceless} pictures without a face, {failed} \
                 failures in {seconds:.1} s",
                all - missing
            ),
            &serde_json::json!({
                "event": "end", "parts": all, "before": all - missing, "pictures": pictures, "faces": faces, "faceless": faceless,
                "failed": failed, "seconds": seconds,
            }),
        );
        if failed > 0 && !self.is_json {
            eprintln!(
                "  fer query \"SELECT source, message FROM faces WHERE status = 'error'\" {out} names the failures"
            );
        }
        match (failed, pictures) {
            (0, _) => Outcome::Well,
            (_, 0) => Outcome::NothingDone,
            _ => Outcome::SomeFailed,
        }
    }
}

impl Watch for Watcher<'_> {
    fn goes_on(&mut self, done: usize) -> bool {
        if self.shown.elapsed() > Duration::from_secs(10) {
            self.shown = Instant::now();
            self.show(done);
        }
        !self.stop.is_set()
    }

    fn done(&mut self, part: Summary) {
        self.total.pictures += part.pictures;
        self.total.faces += part.faces;
        self.total.faceless += part.faceless;
        self.total.failed += part.failed;
    }
}
