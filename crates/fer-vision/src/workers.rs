//! Threads that run the networks: each owns its sessions, all share one bounded queue.
//!
//! A full queue is refused at once, never waited for. A worker that panics is replaced, and its caller told.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{AnalyzeError, Analyzer};

/// What a worker does with its analyzer.
type Job = Box<dyn FnOnce(&mut Analyzer) + Send>;

/// Where a job waits. The workers take from both in turn, so that neither can starve the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Single photos.
    Photo,
    /// Frames of videos; who has one waiting or running should not send another.
    Live,
}

/// The queue has no place; try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all workers are busy and {waiting} photos wait already")]
pub struct QueueFull {
    /// Photos in the queue.
    pub waiting: usize,
}

/// The pool. Dropping it finishes what is queued and joins the threads.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    capacity: usize,
    panics: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// By lane.
    lanes: [VecDeque<Job>; 2],
    /// The lane that has its turn.
    turn: usize,
    closed: bool,
}

impl Queue {
    fn pop(&mut self) -> Option<Job> {
        let first = self.turn;
        let lane = if self.lanes[first].is_empty() { 1 - first } else { first };
        self.turn = 1 - lane;
        self.lanes[lane].pop_front()
    }
}

impl Shared {
    /// A panic cannot leave the queue half-changed: nothing in its critical sections can panic.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Workers {
    /// Starts `count` threads, each with an analyzer from `build`, and a queue of `capacity` places in each lane.
    ///
    /// # Errors
    /// The first analyzer that cannot be built; then no thread is left behind.
    pub fn start<F>(count: usize, capacity: usize, build: F) -> Result<Self, AnalyzeError>
    where
        F: Fn() -> Result<Analyzer, AnalyzeError> + Send + Sync + 'static,
    {
        let analyzers = (0..count.max(1)).map(|_| build()).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            capacity: capacity.max(1),
            panics: AtomicU64::new(0),
        });
        let build = Arc::new(build);
        let threads = analyzers
            .into_iter()
            .map(|analyzer| {
                let (shared, build) = (Arc::clone(&shared), Arc::clone(&build));
                thread::spawn(move || work(&shared, analyzer, &*build))
            })
            .collect();
        Ok(Self { shared, threads })
    }

    /// Queues what a worker is to do: usually [`Analyzer::analyze`] on a photo's bytes. The job owns the caller's end of a
    /// channel and sends the answer itself; if it panics, the channel closes without one.
    ///
    /// # Errors
    /// [`QueueFull`], at once; `job` is then dropped.
    pub fn submit(
        &self,
        lane: Lane,
        job: impl FnOnce(&mut Analyzer) + Send + 'static,
    ) -> Result<(), QueueFull> {
        let mut queue = self.shared.lock();
        let jobs = &mut queue.lanes[lane as usize];
        if jobs.len() >= self.shared.capacity {
            return Err(QueueFull { waiting: jobs.len() });
        }
        jobs.push_back(Box::new(job));
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Threads.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Jobs that wait, in both lanes.
    pub fn waiting(&self) -> usize {
        self.shared.lock().lanes.iter().map(VecDeque::len).sum()
    }

    /// Workers that panicked and were replaced since the start.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A worker's life. After a panic its sessions may be in any state, so it goes on with a new analyzer; where even that
/// cannot be built, the jobs are dropped, which tells their callers.
fn work(shared: &Shared, analyzer: Analyzer, build: &(impl Fn() -> Result<Analyzer, AnalyzeError> + ?Sized)) {
    let mut analyzer = Some(analyzer);
    while let Some(job) = shared.next() {
        if analyzer.is_none() {
            analyzer = catch_unwind(AssertUnwindSafe(build)).ok().and_then(Result::ok);
        }
        let Some(working) = analyzer.as_mut() else { continue };
        if catch_unwind(AssertUnwindSafe(|| job(working))).is_err() {
            shared.panics.fetch_add(1, Ordering::Relaxed);
            analyzer = None;
        }
    }
}
