//! A pool of worker threads behind a queue that is bounded by jobs and by bytes. It knows nothing of photos: each worker owns a
//! state of any type.

mod budget;
mod cancellation;
mod workers;

pub use budget::{ByteBudget, OverBudget, Reservation};
pub use cancellation::{CancelOnDrop, Cancellation};
pub use workers::{Bounds, Lane, QueueFull, Workers};
