//! One file per command: its arguments, and what it prints. The work itself is in the library.

pub(crate) mod compute;
pub(crate) mod detector;
