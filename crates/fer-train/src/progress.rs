//! What people see while training: a bar with images/s and time left on a terminal, nothing elsewhere (the
//! line after each epoch is enough for a log).

use indicatif::{ProgressBar, ProgressStyle};

use crate::checkpoint::RunState;
use crate::config::TrainingConfig;

pub(crate) struct Progress {
    bar: ProgressBar,
    batch_size: usize,
    steps: usize,
    epochs: usize,
}

impl Progress {
    pub(crate) fn new(steps: usize, config: &TrainingConfig, epoch: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("epoch {:>3}/{}", epoch + 1, config.epochs));
        Self { bar, batch_size: config.batch_size, steps, epochs: config.epochs }
    }

    pub(crate) fn step(&self, state: &RunState) {
        let faces = (state.step * self.batch_size) as f64;
        let seconds_a_step = state.seconds / state.step as f64;
        let left = ((self.epochs - state.epoch) * self.steps - state.step) as f64 * seconds_a_step;
        self.bar.set_position(state.step as u64);
        self.bar.set_message(format!(
            "loss {:.3}  {:.1} %  {:.0} images/s  {} left",
            state.loss / faces,
            100.0 * state.correct as f64 / faces,
            faces / state.seconds,
            indicatif::HumanDuration(std::time::Duration::from_secs_f64(left)),
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
