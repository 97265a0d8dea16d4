//! A pool of worker threads behind a bounded queue. It knows nothing of photos: each worker owns a state of any type.

mod workers;

pub use workers::{Lane, QueueFull, Workers};
