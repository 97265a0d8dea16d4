//! One file per command: its arguments, and what it prints. The work itself is in the library.

pub(crate) mod align;
pub(crate) mod audit;
pub(crate) mod compare;
pub(crate) mod compute;
pub(crate) mod detector;
pub(crate) mod ensemble;
pub(crate) mod evaluate;
pub(crate) mod explore;
pub(crate) mod export;
pub(crate) mod predict;
pub(crate) mod summary;
pub(crate) mod train;

use anyhow::{Result, bail};

/// Fails if there are pictures that could not be read, and names each of them. A command calls this after it has printed
/// what it found in the others.
pub(crate) fn unreadable(failures: &[String]) -> Result<()> {
    match failures {
        [] => Ok(()),
        [one] => bail!("{one}"),
        many => bail!("{} pictures cannot be read: {}", many.len(), many.join("; ")),
    }
}
