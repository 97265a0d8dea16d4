//! Ctrl-C: a training ends after the step in progress, with a checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;

/// A flag that Ctrl-C sets. A second Ctrl-C ends the program at once, as it would without this handler.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that Ctrl-C and SIGTERM set from now on.
    pub fn on_ctrl_c() -> Self {
        let stop = Self::default();
        let pressed = Arc::clone(&stop.0);
        let set = ctrlc::set_handler(move || {
            if pressed.swap(true, Ordering::Relaxed) {
                // The dashboard hides the cursor.
                let _ = execute!(std::io::stdout(), Show);
                std::process::exit(130);
            }
        });
        if set.is_err() {
            eprintln!("fer-train: Ctrl-C will not write a checkpoint; the last one stays");
        }
        stop
    }

    /// Returns whether Ctrl-C was pressed.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
