//! Threads that run the networks: each owns its sessions, all share one bounded queue.
//!
//! A full queue is refused at once, never waited for. A worker that panics is replaced, and its caller told.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{Analysis, AnalyzeError, Analyzer};

/// What a worker does with its analyzer: usually [`Analyzer::analyze`] on a photo's bytes.
pub type Job = Box<dyn FnOnce(&mut Analyzer) -> Result<Analysis, AnalyzeError> + Send>;

/// The caller's end of a job, called once on the worker's thread.
pub type Answer = Box<dyn FnOnce(Result<Analysis, JobError>) + Send>;

/// Why a job has no answer.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The photo or a network.
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
    /// A bug: the worker panicked and was replaced.
    #[error("the worker failed on this photo and was replaced")]
    Panicked,
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
    jobs: VecDeque<(Job, Answer)>,
    closed: bool,
}

impl Shared {
    /// A panic cannot leave the queue half-changed: nothing in its critical sections can panic.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(Job, Answer)> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
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
    /// Starts `count` threads, each with an analyzer from `build`, and a queue of `capacity` photos.
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

    /// Queues a photo; the answer comes on a worker's thread.
    ///
    /// # Errors
    /// [`QueueFull`], at once; `answer` is then dropped.
    pub fn submit(&self, job: Job, answer: Answer) -> Result<(), QueueFull> {
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= self.shared.capacity {
            return Err(QueueFull { waiting: queue.jobs.len() });
        }
        queue.jobs.push_back((job, answer));
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Photos that wait.
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
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

/// A worker's life. After a panic its sessions may be in any state, so it goes on with a new analyzer; where
/// even that cannot be built, the jobs get an answer all the same.
fn work(shared: &Shared, analyzer: Analyzer, build: &(impl Fn() -> Result<Analyzer, AnalyzeError> + ?Sized)) {
    let mut analyzer = Some(analyzer);
    while let Some((job, answer)) = shared.next() {
        if analyzer.is_none() {
            analyzer = catch_unwind(AssertUnwindSafe(build)).ok().and_then(Result::ok);
        }
        let outcome = match analyzer.as_mut() {
            Some(analyzer) => catch_unwind(AssertUnwindSafe(|| job(analyzer))),
            None => {
                answer(Err(JobError::Panicked));
                continue;
            }
        };
        match outcome {
            Ok(result) => answer(result.map_err(JobError::Analyze)),
            Err(_) => {
                shared.panics.fetch_add(1, Ordering::Relaxed);
                analyzer = None;
                answer(Err(JobError::Panicked));
            }
        }
    }
}
