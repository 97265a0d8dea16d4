//! Writes frames as a video through `ffmpeg`, with the sound of another file.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use image::RgbImage;

use crate::probe::input_name;
use crate::{VideoError, ffmpeg};

/// Writes a video of a constant frame rate. A frame is shown until the time of the next one, so that frames with any times
/// stay in step with the sound.
pub struct Encoder {
    child: Child,
    input: Option<ChildStdin>,
    frame_rate: f64,
    size: (u32, u32),
    /// Frames that have been written.
    written: u64,
    /// The frame that is shown until the next one.
    current: Option<RgbImage>,
}

impl Encoder {
    /// Starts a video of frames of this size, with the sound of `sound` from `from` on. The file's name decides on its format.
    ///
    /// # Errors
    /// If ffmpeg cannot be started.
    pub fn start(
        output: &Path,
        sound: &Path,
        from: Duration,
        (width, height): (u32, u32),
        frame_rate: f64,
    ) -> Result<Self, VideoError> {
        ffmpeg::version().ok_or(VideoError::NoFfmpeg)?;
        let mut command = ffmpeg::command();
        command.args(["-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
        command.args(["-s", &format!("{width}x{height}"), "-r", &frame_rate.to_string(), "-i", "pipe:0"]);
        command.args([
            "-ss",
            &format!("{:.6}", from.as_secs_f64()),
            "-protocol_whitelist",
            "file,pipe",
            "-i",
        ]);
        command.arg(input_name(sound)).args(["-map", "0:v", "-map", "1:a?", "-shortest"]);
        // Sides must be even in 4:2:0.
        command.args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]);
        if output.extension() == sound.extension() && from.is_zero() {
            command.args(["-c:a", "copy"]);
        }
        command.arg(input_name(output)).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| VideoError::Process { program: "ffmpeg", cause })?;
        let input = child.stdin.take();
        Ok(Self { child, input, frame_rate, size: (width, height), written: 0, current: None })
    }

    /// Adds a frame. `time` counts from the start of the output.
    ///
    /// # Errors
    /// If ffmpeg has ended, or the frame has another size than the first.
    pub fn write(&mut self, frame: RgbImage, time: Duration) -> Result<(), VideoError> {
        if frame.dimensions() != self.size {
            return Err(VideoError::Encode("the size of the frames changes".to_owned()));
        }
        self.show_until(time)?;
        self.current = Some(frame);
        Ok(())
    }

    /// Writes the last frame and ends the file.
    ///
    /// # Errors
    /// If ffmpeg cannot write the file.
    pub fn finish(mut self) -> Result<(), VideoError> {
        let end = (self.written + 1) as f64 / self.frame_rate;
        self.show_until(Duration::from_secs_f64(end))?;
        self.input = None;
        self.end()
    }

    fn show_until(&mut self, time: Duration) -> Result<(), VideoError> {
        let due = (time.as_secs_f64() * self.frame_rate).round() as u64;
        while self.written < due {
            // Before the first frame there is nothing to show, and the first one is shown from the start.
            let (Some(frame), Some(input)) = (&self.current, &mut self.input) else { break };
            if input.write_all(frame.as_raw()).is_err() {
                self.input = None;
                self.end()?;
                return Err(VideoError::Encode("ffmpeg ended early".to_owned()));
            }
            self.written += 1;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), VideoError> {
        let mut said = String::new();
        if let Some(errors) = &mut self.child.stderr {
            // What cannot be read is only missing in the message.
            let _ = errors.read_to_string(&mut said);
        }
        let status = self.child.wait().map_err(|cause| VideoError::Process { program: "ffmpeg", cause })?;
        if status.success() {
            return Ok(());
        }
        let last = said.trim().lines().last().unwrap_or("ffmpeg says nothing more").to_owned();
        Err(VideoError::Encode(last))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if self.input.take().is_some() {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
