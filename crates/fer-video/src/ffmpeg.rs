//! Runs `ffmpeg` as a process. Frames come through its standard output, timestamps and errors through its log.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ppm::{self, Picture};
use crate::probe::{input_name, without_origin};
use crate::{Frame, Limits, Selection, VideoError, VideoInfo, seconds};

/// ffmpeg's version, major and minor, or `(0, 0)` if it does not say; `None` if it is not installed.
pub(crate) fn version() -> Option<(u32, u32)> {
    static VERSION: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new("ffmpeg").arg("-version").stdin(Stdio::null()).output().ok()?;
        Some(parse_version(&String::from_utf8_lossy(&output.stdout)))
    })
}

/// Versions look like `ffmpeg version 5.1.9-0+deb12u1 …`, `ffmpeg version n7.0 …` or, built from a checkout, `N-112…`.
fn parse_version(text: &str) -> (u32, u32) {
    let version = text.strip_prefix("ffmpeg version ").unwrap_or_default().trim_start_matches('n');
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    (numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0))
}

/// A command that a Ctrl-C in the terminal does not reach, so that this program ends it when it is done with it.
pub(crate) fn command() -> Command {
    let mut command = Command::new("ffmpeg");
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]);
    command
}

/// What the log says, besides the timestamps.
#[derive(Default)]
struct Log {
    /// Whether decoding has begun. Errors before concern other streams, or are said again.
    decoding: bool,
    /// Frames that have been reported.
    frames: u64,
    /// Time of the last of them, counted from the start of the selection.
    time: Duration,
    /// The first error while decoding, with the number and the time of the last frame before it.
    damage: Option<(u64, Duration, String)>,
    /// The first error at all.
    error: Option<String>,
}

/// The frames that a running ffmpeg decodes.
pub(crate) struct Frames {
    child: Child,
    output: BufReader<ChildStdout>,
    times: Receiver<Option<Duration>>,
    log: Arc<Mutex<Log>>,
    reader: Option<JoinHandle<()>>,
    info: VideoInfo,
    selection: Selection,
    max_pixels: u64,
    /// Number and time of the last frame.
    number: u64,
    time: Duration,
    ended: bool,
}

impl Frames {
    pub(crate) fn start(
        path: &Path,
        info: VideoInfo,
        selection: &Selection,
        limits: Limits,
    ) -> Result<Self, VideoError> {
        let version = version().ok_or(VideoError::NoFfmpeg)?;
        let mut command = command();
        command.args(["-threads", &limits.threads.max(1).to_string()]);
        command.args(["-protocol_whitelist", "file,pipe"]).args(selection.input_arguments());
        command.arg("-i").arg(input_name(path)).args(["-map", "0:V:0", "-vf", &selection.filters()]);
        // Every frame once, as it is; before ffmpeg 5.1 the option had another name.
        command.args([
            if (1..=5).contains(&version.0) && version < (5, 1) { "-vsync" } else { "-fps_mode" },
            "passthrough",
        ]);
        command.args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |cause| VideoError::Process { program: "ffmpeg", cause };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(std::io::Error::other("its output is not connected")));
        };
        let (sender, times) = channel();
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = Arc::clone(&log);
        let reader = std::thread::spawn(move || follow(errors, &sender, &shared));
        Ok(Self {
            child,
            output: BufReader::with_capacity(1 << 16, output),
            times,
            log,
            reader: Some(reader),
            info,
            selection: *selection,
            max_pixels: limits.max_pixels,
            number: 0,
            time: selection.from.unwrap_or_default(),
            ended: false,
        })
    }

    /// The next frame, or the error with which the video ends.
    pub(crate) fn next(&mut self) -> Option<Result<Frame, VideoError>> {
        if self.ended {
            return None;
        }
        match ppm::read(&mut self.output, self.max_pixels) {
            Ok(Picture::Whole(pixels)) => {
                self.number += 1;
                // ffmpeg reports a frame before it writes it. A frame without a time gets that of the one before.
                if let Ok(Some(time)) = self.times.recv() {
                    self.time = self.from() + time;
                }
                Some(Ok(Frame { number: self.number, time: self.time, pixels }))
            }
            Ok(Picture::TooLarge { width, height }) => {
                self.stop();
                Some(Err(VideoError::TooManyPixels { width, height, max_pixels: self.max_pixels }))
            }
            Ok(Picture::End) => self.finish().map(Err),
            Err(cause) => {
                self.stop();
                Some(Err(VideoError::Process { program: "ffmpeg", cause }))
            }
        }
    }

    /// Waits for the end of the process and says what was wrong with the video, if anything.
    fn finish(&mut self) -> Option<VideoError> {
        self.ended = true;
        let success = self.child.wait().is_ok_and(|status| status.success());
        self.join();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let damage = log.damage.take();
        if self.number == 0 && !success {
            let reason = log.error.take().unwrap_or_else(|| "ffmpeg says nothing more".to_owned());
            return Some(VideoError::Unreadable(reason));
        }
        let (last, end) = ((self.number, self.time), self.missing());
        let (position, reason) = match (damage, end) {
            (Some((_, _, reason)), Some(_)) => (last, reason),
            (Some((frame, time, reason)), None) => ((frame, self.from() + time), reason),
            (None, _) if !success => (last, "ffmpeg stopped".to_owned()),
            (None, Some(end)) if self.info.is_exact => {
                (last, format!("it ends here, but its header promises {}", seconds(end)))
            }
            (None, _) => return None,
        };
        let (frame, time) = position;
        Some(VideoError::Damaged { frame, time, reason })
    }

    /// ffmpeg counts times from the start of the selection's range.
    fn from(&self) -> Duration {
        self.selection.from.unwrap_or_default()
    }

    /// When the video should end, if frames are missing there. Lengths in headers are not exact.
    fn missing(&self) -> Option<Duration> {
        let duration = self.info.duration?;
        let end = self.selection.to.map_or(duration, |to| to.min(duration));
        let slack = Duration::from_millis(500).max(duration / 20) + self.selection.every.unwrap_or_default();
        (self.time + slack < end).then_some(end)
    }

    fn stop(&mut self) {
        self.ended = true;
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join();
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A panic there has already been printed.
            let _ = reader.join();
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if !self.ended {
            self.stop();
        }
    }
}

/// Reads ffmpeg's log until it ends.
fn follow(log: impl Read, times: &Sender<Option<Duration>>, shared: &Mutex<Log>) {
    let mut lines = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let mut log = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time) = timestamp(text) {
            log.frames += 1;
            log.time = time.unwrap_or(log.time);
            // Nobody listens any more once the caller has left.
            let _ = times.send(time);
        } else if text.contains("Stream mapping:") {
            log.decoding = true;
        } else if let Some(error) = error(text) {
            if log.decoding && log.damage.is_none() {
                log.damage = Some((log.frames, log.time, error.to_owned()));
            }
            log.error.get_or_insert_with(|| error.to_owned());
        }
    }
}

/// The timestamp in a line of `showinfo`, such as `[Parsed_showinfo_0 @ 0x55] [info] n: 3 pts: 300 pts_time:0.3 …`; `None`
/// inside if the frame has none.
fn timestamp(line: &str) -> Option<Option<Duration>> {
    let (origin, rest) = line.split_once(" pts_time:")?;
    if !origin.starts_with("[Parsed_showinfo") {
        return None;
    }
    let seconds = rest.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
    Some(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

/// The message of a line that reports an error.
fn error(line: &str) -> Option<&str> {
    let line = without_origin(line);
    line.strip_prefix("[error] ").or_else(|| line.strip_prefix("[fatal] "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log() {
        let line =
            "[Parsed_showinfo_1 @ 0x5556] [info] n:   3 pts:   3072 pts_time:0.3     pos: 1 fmt:yuv420p";
        assert_eq!(timestamp(line), Some(Some(Duration::from_millis(300))));
        assert_eq!(
            timestamp("[Parsed_showinfo_1 @ 0x5556] [info] n: 3 pts: NOPTS pts_time:NOPTS"),
            Some(None)
        );
        assert_eq!(timestamp("[info] title: n pts_time:3"), None);
        assert_eq!(
            error("[h264 @ 0x1] [error] error while decoding MB 0 11"),
            Some("error while decoding MB 0 11")
        );
        assert_eq!(error("[fatal] Conversion failed"), Some("Conversion failed"));
        assert_eq!(error("[h264 @ 0x1] [warning] odd"), None);
    }

    #[test]
    fn versions() {
        assert_eq!(parse_version("ffmpeg version 5.1.9-0+deb12u1 Copyright"), (5, 1));
        assert_eq!(parse_version("ffmpeg version n7.0 Copyright"), (7, 0));
        assert_eq!(parse_version("ffmpeg version N-112-gabc Copyright"), (0, 0));
    }
}
