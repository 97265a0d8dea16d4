//! Runs work for many pictures on all threads and hands the results on in order.
//!
//! The calling thread holds the interpreter's lock while it turns Python's objects into pictures and gives results back. It
//! releases the lock while it waits, and looks for Ctrl-C.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use fer_pool::{Bounds, Cancellation, Lane, Workers};
use fer_vision::Analyzer;
use pyo3::prelude::*;

use crate::error::Failure;
use crate::models::{Lease, Models};

/// How long the calling thread waits before it looks for signals.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);

/// What becomes of the work for one picture.
pub(crate) type Outcome<R> = Result<R, Failure>;

/// Worker threads, each with an analyzer.
pub(crate) struct Pool {
    workers: Workers<Lease>,
    cancellation: Cancellation,
    /// Most pictures that are in work or wait for their turn.
    pub(crate) window: usize,
}

impl Pool {
    /// Starts threads: as many as the models say, but at most `pictures`.
    pub(crate) fn start(models: &Arc<Models>, pictures: usize) -> Self {
        let threads = models.threads.min(pictures);
        let window = 2 * threads + 2;
        let models = Arc::clone(models);
        let lease = move || Ok::<_, Infallible>(Lease::new(&models));
        // A little more than the window: a video's reader submits a frame before it waits for room.
        let bounds = Bounds { jobs: window + 4, bytes: usize::MAX };
        let Ok(workers) = Workers::start(threads, bounds, lease);
        Self { workers, cancellation: Cancellation::default(), window }
    }

    /// Queues work. The receiver gets its outcome, and is disconnected if the work panicked.
    pub(crate) fn submit<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Analyzer) -> Outcome<R> + Send + 'static,
    ) -> Receiver<Outcome<R>> {
        let (sender, receiver) = sync_channel(1);
        let job = move |lease: &mut Lease| {
            // Nobody listens any more once the caller has left.
            let _ = sender.send(lease.run(work));
        };
        // A refused job drops its sender, which is reported like a panic; the window keeps it from happening.
        let _ = self.workers.submit(Lane::Photo, &self.cancellation, job);
        receiver
    }

    /// Skips the work that has not begun and ends the threads. Dropping the pool finishes all of it first.
    pub(crate) fn stop(self) {
        self.cancellation.cancel();
    }
}

/// The outcome, if it comes within [`PATIENCE`]. The exclusive reference may cross to code without the interpreter's lock.
pub(crate) fn wait<R>(receiver: &mut Receiver<Outcome<R>>) -> Option<Outcome<R>> {
    match receiver.recv_timeout(PATIENCE) {
        Ok(outcome) => Some(outcome),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(Failure::Panicked)),
    }
}

/// Calls `work` for each of `tasks` on all threads, and `receive` with the outcomes in the order of the tasks. A task is taken
/// from the iterator shortly before its turn, so that memory does not grow with their number.
///
/// # Errors
/// The first error of `tasks` or `receive`, and `KeyboardInterrupt` or what another signal's handler raises.
pub(crate) fn in_order<T, N, R>(
    py: Python<'_>,
    models: &Arc<Models>,
    mut tasks: impl Iterator<Item = PyResult<(N, T)>>,
    work: impl Fn(&mut Analyzer, T) -> Outcome<R> + Clone + Send + 'static,
    mut receive: impl FnMut(N, Outcome<R>) -> PyResult<()>,
) -> PyResult<()>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let pool = Pool::start(models, tasks.size_hint().1.unwrap_or(usize::MAX));
    let mut pending = VecDeque::new();
    let mut run = || {
        loop {
            while pending.len() < pool.window
                && let Some(task) = tasks.next()
            {
                let (note, task) = task?;
                let work = work.clone();
                pending.push_back((note, pool.submit(move |analyzer| work(analyzer, task))));
            }
            let Some((note, mut receiver)) = pending.pop_front() else { return Ok(()) };
            let outcome = loop {
                let outcome = py.detach(|| wait(&mut receiver));
                py.check_signals()?;
                if let Some(outcome) = outcome {
                    break outcome;
                }
            };
            receive(note, outcome)?;
        }
    };
    let result = run();
    // Joining the threads must not keep others from the interpreter.
    py.detach(move || pool.stop());
    result
}
