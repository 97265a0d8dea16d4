//! How far a command is: a line that is painted over on a terminal, plain lines now and then elsewhere, or JSON.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use crate::time::rough;

/// How progress is reported, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Quiet,
    Terminal,
    Lines,
    Json,
}

/// Reports the progress over a list of files.
pub(crate) struct Progress {
    mode: Mode,
    started: Instant,
    shown: Option<Instant>,
    files: usize,
    /// Files that were done before this run.
    before: usize,
    /// Files that are done, those before this run included.
    done: usize,
    /// Part of the current file that is done, 0 to 1.
    fraction: f64,
    pictures: u64,
    faces: u64,
}

impl Progress {
    /// Starts the clock. `before` of the files are done already.
    pub(crate) fn new(quiet: bool, json: bool, files: usize, before: usize) -> Self {
        let mode = match () {
            () if json => Mode::Json,
            () if quiet => Mode::Quiet,
            () if stderr().is_terminal() => Mode::Terminal,
            () => Mode::Lines,
        };
        let (shown, started) = (None, Instant::now());
        Self { mode, started, shown, files, before, done: before, fraction: 0.0, pictures: 0, faces: 0 }
    }

    /// A picture is done.
    pub(crate) fn picture(&mut self, faces: usize) {
        self.pictures += 1;
        self.faces += faces as u64;
        self.show();
    }

    /// How much of the current file is done, from 0 to 1.
    pub(crate) fn within(&mut self, fraction: f64) {
        self.fraction = fraction.clamp(0.0, 1.0);
    }

    /// A file is done.
    pub(crate) fn file(&mut self) {
        self.done += 1;
        self.fraction = 0.0;
        self.show();
    }

    fn show(&mut self) {
        let pause = match self.mode {
            Mode::Quiet => return,
            Mode::Terminal => Duration::from_millis(200),
            Mode::Json => Duration::from_secs(1),
            Mode::Lines => Duration::from_secs(10),
        };
        let now = Instant::now();
        if now.duration_since(self.shown.unwrap_or(self.started)) < pause {
            return;
        }
        self.shown = Some(now);
        match self.mode {
            Mode::Json => eprintln!("{}", self.json()),
            Mode::Terminal => {
                eprint!("\r\x1b[K{}", self.line());
                // A terminal that is gone cannot be told anything.
                let _ = stderr().flush();
            }
            Mode::Lines | Mode::Quiet => eprintln!("{}", self.line()),
        }
    }

    /// Time left, if it can be estimated.
    fn left(&self) -> Option<Duration> {
        let done = (self.done - self.before) as f64 + self.fraction;
        let all = (self.files - self.before) as f64;
        let left = self.started.elapsed().as_secs_f64() * (all - done).max(0.0) / done;
        Duration::try_from_secs_f64(left).ok()
    }

    fn rates(&self) -> [f64; 2] {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        [self.pictures as f64 / seconds, self.faces as f64 / seconds]
    }

    fn line(&self) -> String {
        let [pictures, faces] = self.rates();
        let left = self.left().map_or(String::new(), |left| format!(", about {} left", rough(left)));
        format!(
            "{} of {} files, {} faces, {pictures:.1} pictures/s, {faces:.1} faces/s{left}",
            self.done, self.files, self.faces
        )
    }

    fn json(&self) -> serde_json::Value {
        let [pictures, faces] = self.rates();
        serde_json::json!({
            "event": "progress", "files": self.files, "done": self.done, "pictures": self.pictures, "faces": self.faces,
            "pictures_per_second": pictures, "faces_per_second": faces,
            "seconds": self.started.elapsed().as_secs_f64(), "seconds_left": self.left().map(|left| left.as_secs_f64()),
        })
    }

    /// Reports the end: lines for people, or the object for programs.
    pub(crate) fn end(&self, lines: &[String], json: &serde_json::Value) {
        match self.mode {
            Mode::Json => eprintln!("{json}"),
            Mode::Quiet => {}
            Mode::Terminal | Mode::Lines => {
                if self.mode == Mode::Terminal {
                    eprint!("\r\x1b[K");
                }
                lines.iter().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}
