//! Which frames of a video are taken.

use std::fmt::Write as _;
use std::time::Duration;

/// Which frames of a video are taken; all of them by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Time of the first frame; `None` is the start.
    pub from: Option<Duration>,
    /// Time before which the last frame lies; `None` is the end.
    pub to: Option<Duration>,
    /// Length of the intervals, counted from `from`, of each of which the first frame is taken; `None` takes every frame.
    /// Frames keep their own timestamps, and none is repeated where an interval has no frame.
    pub every: Option<Duration>,
}

impl Selection {
    /// ffmpeg's arguments before the input.
    pub(crate) fn input_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (flag, time) in [("-ss", self.from), ("-to", self.to)] {
            if let Some(time) = time {
                arguments.extend([flag.to_owned(), format!("{:.6}", time.as_secs_f64())]);
            }
        }
        arguments
    }

    /// ffmpeg's filters. `showinfo` reports the timestamp of each frame that was taken.
    pub(crate) fn filters(&self) -> String {
        let mut filters = String::new();
        if let Some(every) = self.every.filter(|every| !every.is_zero()) {
            let every = every.as_secs_f64();
            // The small number keeps timestamps that were rounded down in their own interval.
            let interval = |time: &str| format!("floor({time}/{every:.9}+1e-6)");
            let (this, last) = (interval("t"), interval("prev_selected_t"));
            let _ = write!(filters, "select='isnan(prev_selected_t)+gt({this},{last})',");
        }
        filters + "showinfo=checksum=0"
    }
}
