//! Why a video cannot be read or written.

use std::io;
use std::time::Duration;

use crate::seconds;

/// Why a video cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// `ffmpeg` is not installed.
    #[error(
        "videos are read with ffmpeg, which was not found; install it (https://ffmpeg.org) so that `ffmpeg` and `ffprobe` \
         can be started, or build with the feature `openh264`, which reads MP4 and MOV files with H.264"
    )]
    NoFfmpeg,
    /// A program cannot be started or its output cannot be read.
    #[error("{program} cannot be run: {cause}")]
    Process {
        /// `ffmpeg` or `ffprobe`.
        program: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file has no video that can be decoded.
    #[error("the video cannot be read: {0}")]
    Unreadable(String),
    /// The file is damaged: some frames are missing or wrong from here on.
    #[error("the video is damaged after {}, frame {frame}: {reason}", seconds(*time))]
    Damaged {
        /// Number of the last frame before the damage.
        frame: u64,
        /// Time of that frame.
        time: Duration,
        /// What the decoder said first.
        reason: String,
    },
    /// The frames are larger than allowed.
    #[error("the video's frames have {width}×{height} pixels; at most {max_pixels} are allowed")]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// The video cannot be written.
    #[error("the video cannot be written: {0}")]
    Encode(String),
}
