//! The progress bar of commands that go through many pictures. Training a network has its own display
//! (`training/progress.rs`).

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `total` items with the time that is left. `items` is their plural, such as "photos".
///
/// The bar is drawn on standard error, only if that is a terminal, and erased when it is dropped.
pub(crate) fn bar(total: usize, items: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total as u64).with_style(style).with_message(items)
}
