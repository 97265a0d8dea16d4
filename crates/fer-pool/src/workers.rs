//! Worker threads that share one bounded queue.
//!
//! A full queue refuses a job at once. A job whose caller has left is skipped. A worker that panics gets a new state, and its
//! caller is told.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{ByteBudget, Cancellation};

/// What a worker does with its state, and whether anybody still needs it.
struct Job<W> {
    run: Box<dyn FnOnce(&mut W) + Send>,
    cancellation: Cancellation,
}

/// Where a job waits. The workers take from both lanes in turn, so that neither can starve the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Single photos.
    Photo,
    /// Frames of videos. Send the next frame only after the previous answer.
    Live,
}

/// How much the pool accepts before it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Jobs that may wait in each lane, at least one.
    pub jobs: usize,
    /// Bytes that callers may hold for their jobs, from the first byte that they read until the job is done.
    pub bytes: usize,
}

/// The queue is full; try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all workers are busy and {waiting} photos are waiting")]
pub struct QueueFull {
    /// Jobs in the lane.
    pub waiting: usize,
}

/// The pool. Dropping it finishes the queued jobs and joins the threads.
pub struct Workers<W> {
    shared: Arc<Shared<W>>,
    threads: Vec<JoinHandle<()>>,
    budget: ByteBudget,
}

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    wake: Condvar,
    capacity: usize,
    panics: AtomicU64,
    skipped: AtomicU64,
}

struct Queue<W> {
    /// Indexed by [`Lane`].
    lanes: [VecDeque<Job<W>>; 2],
    /// The lane from which the next job is taken.
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

    /// Removes the jobs of a lane that nobody needs any more.
    fn take_cancelled(&mut self, lane: usize) -> VecDeque<Job<W>> {
        let jobs = std::mem::take(&mut self.lanes[lane]);
        let (cancelled, needed) = jobs.into_iter().partition(|job| job.cancellation.is_cancelled());
        self.lanes[lane] = needed;
        cancelled
    }
}

impl<W> Shared<W> {
    /// A poisoned lock is used as it is, because no critical section leaves the queue half changed.
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job that is still needed. `None` after the pool was closed and the queue is empty.
    fn next(&self) -> Option<Job<W>> {
        let mut queue = self.lock();
        loop {
            match queue.pop() {
                Some(job) if job.cancellation.is_cancelled() => {
                    self.skipped.fetch_add(1, Ordering::Relaxed);
                    drop(queue);
                    // Dropping a job runs code of the caller, which must not hold the lock.
                    drop(job);
                    queue = self.lock();
                }
                Some(job) => return Some(job),
                None if queue.closed => return None,
                None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Checks that a lane has room, without the cancelled jobs in it.
    fn make_room(&self, queue: &mut Queue<W>, lane: Lane) -> Result<VecDeque<Job<W>>, QueueFull> {
        let lane = lane as usize;
        if queue.lanes[lane].len() < self.capacity {
            return Ok(VecDeque::new());
        }
        let cancelled = queue.take_cancelled(lane);
        self.skipped.fetch_add(cancelled.len() as u64, Ordering::Relaxed);
        let waiting = queue.lanes[lane].len();
        if waiting < self.capacity { Ok(cancelled) } else { Err(QueueFull { waiting }) }
    }
}

impl<W: Send + 'static> Workers<W> {
    /// Starts `count` threads, at least one, each with its own state from `build`. The states are built at the same time, because
    /// opening a network takes as long as dozens of photos.
    ///
    /// # Errors
    /// The first state that cannot be built. No worker is started then.
    pub fn start<F, E>(count: usize, bounds: Bounds, build: F) -> Result<Self, E>
    where
        F: Fn() -> Result<W, E> + Send + Sync + 'static,
        E: Send,
    {
        let states = build_all(count.max(1), &build)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { lanes: Default::default(), turn: 0, closed: false }),
            wake: Condvar::new(),
            capacity: bounds.jobs.max(1),
            panics: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        });
        let build = Arc::new(build);
        let threads = states
            .into_iter()
            .map(|state| {
                let (shared, build) = (Arc::clone(&shared), Arc::clone(&build));
                thread::spawn(move || work(&shared, state, &*build))
            })
            .collect();
        Ok(Self { shared, threads, budget: ByteBudget::new(bounds.bytes) })
    }

    /// The bound on bytes. A caller reserves what it reads for a job and moves the reservation into the job, so that the bytes
    /// count until the job is done.
    pub fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Whether a job would be accepted now, so that a caller can refuse work before it reads it.
    ///
    /// # Errors
    /// [`QueueFull`] if the lane has no room.
    pub fn check_room(&self, lane: Lane) -> Result<(), QueueFull> {
        let mut queue = self.shared.lock();
        let cancelled = self.shared.make_room(&mut queue, lane)?;
        drop(queue);
        drop(cancelled);
        Ok(())
    }

    /// Queues a job. The job owns the sending end of a channel and sends its result itself. If it panics or is skipped, the
    /// channel closes without a result.
    ///
    /// The job is skipped if `cancellation` is cancelled before a worker takes it.
    ///
    /// # Errors
    /// [`QueueFull`] if the lane has no room. The job is dropped then.
    pub fn submit(
        &self,
        lane: Lane,
        cancellation: &Cancellation,
        job: impl FnOnce(&mut W) + Send + 'static,
    ) -> Result<(), QueueFull> {
        let job = Job { run: Box::new(job), cancellation: cancellation.clone() };
        let mut queue = self.shared.lock();
        let cancelled = self.shared.make_room(&mut queue, lane)?;
        queue.lanes[lane as usize].push_back(job);
        drop(queue);
        drop(cancelled);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Number of waiting jobs in both lanes.
    pub fn waiting(&self) -> usize {
        self.shared.lock().lanes.iter().map(VecDeque::len).sum()
    }

    /// Number of workers that panicked and got a new state since the start.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// Number of jobs that were skipped because their callers had left.
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Ordering::Relaxed)
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

/// Builds `count` states, each on a thread.
fn build_all<W: Send, E: Send>(
    count: usize,
    build: &(impl Fn() -> Result<W, E> + Sync),
) -> Result<Vec<W>, E> {
    thread::scope(|scope| {
        let building: Vec<_> = (0..count).map(|_| scope.spawn(build)).collect();
        building.into_iter().map(|state| state.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// The life of a worker. A panic may leave the state unusable, so the worker goes on with a new one. If that cannot be built, jobs
/// are dropped, which tells their callers.
fn work<W, E>(shared: &Shared<W>, state: W, build: &impl Fn() -> Result<W, E>) {
    let mut state = Some(state);
    while let Some(job) = shared.next() {
        if state.is_none() {
            state = catch_unwind(AssertUnwindSafe(build)).ok().and_then(Result::ok);
        }
        let Some(working) = state.as_mut() else { continue };
        if catch_unwind(AssertUnwindSafe(|| (job.run)(working))).is_err() {
            shared.panics.fetch_add(1, Ordering::Relaxed);
            state = None;
        }
    }
}
