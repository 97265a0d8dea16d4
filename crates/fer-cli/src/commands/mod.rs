//! The subcommands: one file each.

pub(crate) mod analyze;
pub(crate) mod annotate;
pub(crate) mod corpus;
pub(crate) mod query;
pub(crate) mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was done.
    Well,
    /// Some files failed.
    SomeFailed,
    /// Every file failed.
    NothingDone,
    /// Ctrl-C.
    Interrupted,
}

/// Whether the user has asked the program to stop.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that Ctrl-C and SIGTERM set. A second signal ends the process at once.
    pub(crate) fn on_signal() -> Result<Self> {
        let stop = Self::default();
        let flag = stop.clone();
        let handler = move || {
            if flag.is_set() {
                std::process::exit(130);
            }
            flag.set();
        };
        ctrlc::set_handler(handler).context("cannot wait for Ctrl-C")?;
        Ok(stop)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
