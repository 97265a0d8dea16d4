//! What `ffprobe` says about a file.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::VideoError;

/// What a video file says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VideoInfo {
    /// Length of the video.
    pub duration: Option<Duration>,
    /// Mean number of frames per second.
    pub frame_rate: Option<f64>,
    /// Whether `duration` is that of the pictures, and not of the whole file, whose sound may be longer.
    pub(crate) is_exact: bool,
}

/// ffmpeg's name of a file. The prefix keeps it from reading a name as an option or as the address of another protocol.
pub(crate) fn input_name(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

pub(crate) fn probe(path: &Path) -> Result<VideoInfo, VideoError> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-protocol_whitelist", "file,pipe", "-of", "json", "-select_streams", "V:0"])
        .args(["-show_entries", "stream=avg_frame_rate,duration:format=duration", "-i"])
        .arg(input_name(path))
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(VideoError::NoFfmpeg),
        other => other.map_err(|cause| VideoError::Process { program: "ffprobe", cause })?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let name = path.to_string_lossy();
        // Lines look like "[mov,mp4,… @ 0x55…] moov atom not found" and "file:NAME: Invalid data found …".
        let first = said.lines().next().unwrap_or("ffprobe says nothing more");
        let reason = without_origin(first).replace(&format!("file:{name}: "), "");
        return Err(VideoError::Unreadable(reason));
    }
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(stream) = json["streams"].get(0) else {
        return Err(VideoError::Unreadable("the file has no video stream".to_owned()));
    };
    let seconds = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    let exact = seconds(&stream["duration"]);
    let duration = exact.or_else(|| seconds(&json["format"]["duration"]));
    Ok(VideoInfo {
        duration: duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        frame_rate: stream["avg_frame_rate"].as_str().and_then(ratio),
        is_exact: exact.is_some(),
    })
}

/// A ratio such as `30000/1001`.
fn ratio(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let ratio = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

/// A line of ffmpeg's log without the part of ffmpeg that wrote it and its address: `[h264 @ 0x55…] error while decoding …`.
pub(crate) fn without_origin(line: &str) -> &str {
    match line.split_once("] ") {
        Some((origin, rest)) if origin.starts_with('[') && origin.contains(" @ 0x") => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_log_lines() {
        assert!((ratio("30000/1001").unwrap() - 29.97).abs() < 0.001);
        assert_eq!([ratio("0/0"), ratio("30"), ratio("a/b")], [None; 3]);
        assert_eq!(without_origin("[mov,mp4 @ 0x55c4] moov atom not found"), "moov atom not found");
        assert_eq!(without_origin("file:a: b"), "file:a: b");
    }
}
