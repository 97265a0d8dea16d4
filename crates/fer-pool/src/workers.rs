//! Threads that run the networks: each owns its sessions, all share one bounded queue.
//!
//! A full queue is refused at once, never waited for. A worker that panics is replaced, and its caller told.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What a worker does with its state.
type Job<W> = Box<dyn FnOnce(&mut W) + Send>;

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
pub struct Workers<W> {
    shared: Arc<Shared<W>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    wake: Condvar,
    capacity: usize,
    panics: AtomicU64,
}

struct Queue<W> {
    /// By lane.
    lanes: [VecDeque<Job<W>>; 2],
    /// The lane that has its turn.
    turn: usize,
    closed: bool,
}

impl<W> Queue<W> {
    fn pop(&mut self) -> Option<Job<W>> {
        let first = self.turn;
        let lane = if self.lanes[first].is_empty() { 1 - first } else { first };
        self.turn = 1 - lane;
        self.lanes[lane].pop_front()
    }
}

impl<W> Shared<W> {
    /// A panic cannot leave the queue half-changed: nothing in its critical sections can panic.
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job<W>> {
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

impl<W: Send + 'static> Workers<W> {
    /// Starts `count` threads, each with an state from `build`, and a queue of `capacity` places in each lane.
    ///
    /// # Errors
    /// The first state that cannot be built; then no thread is left behind.
    pub fn start<F, E>(count: usize, capacity: usize, build: F) -> Result<Self, E>
    where
        F: Fn() -> Result<W, E> + Send + Sync + 'static,
    {
        let states = (0..count.max(1)).map(|_| build()).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { lanes: Default::default(), turn: 0, closed: false }),
            wake: Condvar::new(),
            capacity: capacity.max(1),
            panics: AtomicU64::new(0),
        });
        let build = Arc::new(build);
        let threads = states
            .into_iter()
            .map(|state| {
                let (shared, build) = (Arc::clone(&shared), Arc::clone(&build));
                thread::spawn(move || work(&shared, state, &*build))
            })
            .collect();
        Ok(Self { shared, threads })
    }

    /// Queues what a worker is to do: usually analysis on a photo's bytes. The job owns the caller's end of a
    /// channel and sends the answer itself; if it panics, the channel closes without one.
    ///
    /// # Errors
    /// [`QueueFull`], at once; `job` is then dropped.
    pub fn submit(&self, lane: Lane, job: impl FnOnce(&mut W) + Send + 'static) -> Result<(), QueueFull> {
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

impl<W> Drop for Workers<W> {
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

/// A worker's life. After a panic its sessions may be in any state, so it goes on with a new state; where even that
/// cannot be built, the jobs are dropped, which tells their callers.
fn work<W, E>(shared: &Shared<W>, state: W, build: &impl Fn() -> Result<W, E>) {
    let mut state = Some(state);
    while let Some(job) = shared.next() {
        if state.is_none() {
            state = catch_unwind(AssertUnwindSafe(build)).ok().and_then(Result::ok);
        }
        let Some(working) = state.as_mut() else { continue };
        if catch_unwind(AssertUnwindSafe(|| job(working))).is_err() {
            shared.panics.fetch_add(1, Ordering::Relaxed);
            state = None;
        }
    }
}
