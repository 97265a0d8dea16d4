//! The pool with a state that counts what it was used for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use fer_pool::{Bounds, Cancellation, Lane, QueueFull, Workers};

/// Time within which a worker must have answered.
const WAIT: Duration = Duration::from_secs(20);

/// How many jobs have run with it.
#[derive(Default)]
struct State {
    jobs: usize,
}

fn pool(jobs: usize) -> Workers<State> {
    let build = || Ok::<_, Infallible>(State::default());
    Workers::start(1, Bounds { jobs, bytes: 1000 }, build).unwrap()
}

/// Keeps the only worker busy until the returned sender is used or dropped.
fn hold(workers: &Workers<State>) -> Sender<()> {
    let (go, gate) = mpsc::channel::<()>();
    let (started, starts) = mpsc::channel();
    let held = move |_: &mut State| {
        started.send(()).unwrap();
        let _ = gate.recv();
    };
    workers.submit(Lane::Photo, &Cancellation::default(), held).unwrap();
    starts.recv_timeout(WAIT).unwrap();
    go
}

/// A job that counts itself and sends the count with a name.
fn named(name: &'static str, send: &Sender<(&'static str, usize)>) -> impl FnOnce(&mut State) + Send + use<> {
    let send = send.clone();
    move |state| {
        state.jobs += 1;
        send.send((name, state.jobs)).unwrap();
    }
}

fn all<T>(receive: &Receiver<T>) -> Vec<T> {
    receive.try_iter().collect()
}

#[test]
fn a_worker_that_panics_gets_a_new_state_and_is_counted() {
    let workers = pool(4);
    for round in 1..=2 {
        let (send, receive) = mpsc::channel::<()>();
        let job = move |_: &mut State| {
            let _owned = send;
            panic!("a bug, planted by this test");
        };
        workers.submit(Lane::Photo, &Cancellation::default(), job).unwrap();
        assert_eq!(receive.recv_timeout(WAIT), Err(RecvTimeoutError::Disconnected));
        let (send, receive) = mpsc::channel();
        workers.submit(Lane::Photo, &Cancellation::default(), named("next", &send)).unwrap();
        assert_eq!(receive.recv_timeout(WAIT).unwrap(), ("next", 1), "the state is a new one");
        assert_eq!(workers.panics(), round);
    }
}

#[test]
fn without_a_new_state_jobs_are_dropped_and_their_callers_told() {
    let built = Arc::new(AtomicUsize::new(0));
    let build =
        move || if built.fetch_add(1, Ordering::Relaxed) == 0 { Ok(State::default()) } else { Err(()) };
    let workers = Workers::start(1, Bounds { jobs: 4, bytes: 0 }, build).unwrap();
    workers.submit(Lane::Photo, &Cancellation::default(), |_| panic!("planted by this test")).unwrap();
    let (send, receive) = mpsc::channel();
    workers.submit(Lane::Photo, &Cancellation::default(), named("never", &send)).unwrap();
    drop(send);
    assert_eq!(receive.recv_timeout(WAIT), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_state_that_cannot_be_built_is_an_error() {
    let refused = Workers::<State>::start(2, Bounds { jobs: 1, bytes: 0 }, || Err("no model"));
    assert_eq!(refused.err(), Some("no model"));
}

/// Two workers used to take twice as long to start as one.
#[test]
fn states_are_built_at_the_same_time() {
    let started = AtomicUsize::new(0);
    let build = move || {
        started.fetch_add(1, Ordering::Relaxed);
        let deadline = Instant::now() + WAIT;
        while started.load(Ordering::Relaxed) < 3 {
            if Instant::now() > deadline {
                return Err("the other states wait for this one");
            }
            std::thread::yield_now();
        }
        Ok(State::default())
    };
    let workers = Workers::start(3, Bounds { jobs: 1, bytes: 0 }, build);
    assert_eq!(workers.unwrap().count(), 3);
}

#[test]
fn a_full_queue_refuses_at_once_and_queued_jobs_are_finished() {
    let workers = pool(2);
    let go = hold(&workers);
    let (send, receive) = mpsc::channel();
    let submit = |lane, name| workers.submit(lane, &Cancellation::default(), named(name, &send));
    assert!(workers.check_room(Lane::Photo).is_ok());
    submit(Lane::Photo, "first").unwrap();
    submit(Lane::Photo, "second").unwrap();
    assert_eq!(submit(Lane::Photo, "third"), Err(QueueFull { waiting: 2 }));
    assert_eq!(workers.check_room(Lane::Photo), Err(QueueFull { waiting: 2 }));
    assert_eq!((workers.count(), workers.waiting()), (1, 2));
    // Live frames have their own places, and the lanes take turns.
    submit(Lane::Live, "frame").unwrap();
    assert_eq!(workers.waiting(), 3);
    go.send(()).unwrap();
    drop(workers);
    assert_eq!(all(&receive), [("frame", 1), ("first", 2), ("second", 3)]);
}

/// Such jobs used to run, although nobody waited for their results.
#[test]
fn jobs_of_callers_that_left_are_skipped() {
    let workers = pool(4);
    let go = hold(&workers);
    let (send, receive) = mpsc::channel();
    let (left, stayed) = (Cancellation::default(), Cancellation::default());
    let (gone, _waiting) = (left.cancel_on_drop(), stayed.cancel_on_drop());
    let reservation = workers.budget().reserve(600).unwrap();
    let job = named("left", &send);
    let with_bytes = move |state: &mut State| {
        job(state);
        drop(reservation);
    };
    workers.submit(Lane::Photo, &left, with_bytes).unwrap();
    workers.submit(Lane::Photo, &stayed, named("stayed", &send)).unwrap();
    drop(gone);
    assert_eq!(workers.budget().used(), 600, "the queue still holds the bytes");
    go.send(()).unwrap();
    assert_eq!(receive.recv_timeout(WAIT).unwrap(), ("stayed", 1));
    assert_eq!((workers.skipped(), workers.budget().used()), (1, 0));
}

#[test]
fn jobs_of_callers_that_left_give_their_places_back_at_once() {
    let workers = pool(2);
    let go = hold(&workers);
    let (send, receive) = mpsc::channel();
    let left = Cancellation::default();
    for _ in 0..2 {
        workers.submit(Lane::Photo, &left, named("left", &send)).unwrap();
    }
    assert!(workers.submit(Lane::Photo, &Cancellation::default(), named("early", &send)).is_err());
    left.cancel();
    workers.submit(Lane::Photo, &Cancellation::default(), named("late", &send)).unwrap();
    assert_eq!((workers.waiting(), workers.skipped()), (1, 2));
    go.send(()).unwrap();
    assert_eq!(receive.recv_timeout(WAIT).unwrap(), ("late", 1));
}

#[test]
fn the_bytes_of_a_job_that_panics_are_given_back() {
    let workers = pool(4);
    let reservation = workers.budget().reserve(1000).unwrap();
    assert!(workers.budget().reserve(1).is_err());
    let job = move |_: &mut State| {
        let _owned = reservation;
        panic!("planted by this test");
    };
    workers.submit(Lane::Live, &Cancellation::default(), job).unwrap();
    let (send, receive) = mpsc::channel();
    workers.submit(Lane::Live, &Cancellation::default(), named("next", &send)).unwrap();
    receive.recv_timeout(WAIT).unwrap();
    assert_eq!(workers.budget().used(), 0);
}
