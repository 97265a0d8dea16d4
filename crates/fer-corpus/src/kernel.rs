//! What analyses objects. This crate knows no networks: whoever runs a corpus brings a [`Kernels`].

use fer_table::{Metadata, Row};

use crate::store::Fetched;

/// Opens kernels by their settings, so that a plan can travel to another machine.
pub trait Kernels: Send + Sync {
    /// Opens a kernel. Only `metadata` of the plan is equal where the kernels are the same.
    ///
    /// # Errors
    /// Why it does not open, as a sentence.
    fn open(&self, settings: &str, metadata: &Metadata) -> Result<Box<dyn Kernel>, String>;

    /// Says by the first bytes of an object whether it is a video.
    fn is_video(&self) -> fn(&[u8]) -> bool;
}

/// Opened models, from which each thread gets a session.
pub trait Kernel: Send + Sync {
    /// A session for one thread.
    ///
    /// # Errors
    /// Why it does not start, as a sentence.
    fn session(&self) -> Result<Box<dyn Session>, String>;
}

/// Analyses objects on one thread.
pub trait Session: Send {
    /// Gives the rows of an object to `rows`: at once, or those of a video frame by frame, until it returns false because nobody
    /// needs them any more. What is wrong with the object is a row.
    fn analyze(&mut self, uri: &str, contents: Fetched, rows: &mut dyn FnMut(Vec<Row>) -> bool);
}
