//! Frames of video files, upright, as RGB pixels, with the presentation timestamps that the file gives them.
//!
//! [`open`] starts `ffmpeg` as a process, so that every format that it knows can be read, and [`Video`] iterates over the
//! frames of a [`Selection`]. Where ffmpeg is not installed, the feature `openh264` reads MP4 and MOV files with H.264. One
//! frame is held at a time, however long the video is. [`is_video`] recognises video files by their first bytes.
//! [`encode::Encoder`] writes frames as a video.

#[cfg(feature = "openh264")]
mod bundled;
mod bytes;
pub mod encode;
mod error;
mod ffmpeg;
mod ppm;
mod probe;
mod selection;

use std::path::Path;
use std::time::Duration;

use image::RgbImage;

pub use bytes::is_video;
pub use error::VideoError;
pub use probe::VideoInfo;
pub use selection::Selection;

/// A frame of a video.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Number among the frames of the selection, counted from 1.
    pub number: u64,
    /// Presentation time since the start of the video.
    pub time: Duration,
    /// Upright pixels.
    pub pixels: RgbImage,
}

/// Limits on the work for one video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads that may decode.
    pub threads: usize,
    /// Largest frame, in pixels.
    pub max_pixels: u64,
}

/// A video that is being decoded: an iterator of its frames.
///
/// A file that is damaged gives the frames that can be decoded and then one error that says where the damage begins.
pub struct Video {
    info: VideoInfo,
    frames: Frames,
}

enum Frames {
    Ffmpeg(Box<ffmpeg::Frames>),
    #[cfg(feature = "openh264")]
    Bundled(Box<bundled::Frames>),
}

/// Opens a video.
///
/// # Errors
/// [`VideoError::NoFfmpeg`] if `ffmpeg` is not installed and nothing else can read videos, and [`VideoError::Unreadable`] if
/// the file is not a video.
pub fn open(path: &Path, selection: &Selection, limits: Limits) -> Result<Video, VideoError> {
    #[cfg(feature = "openh264")]
    if !has_ffmpeg() {
        return open_bundled(path, selection, limits);
    }
    let info = probe::probe(path)?;
    let frames = ffmpeg::Frames::start(path, info, selection, limits)?;
    Ok(Video { info, frames: Frames::Ffmpeg(Box::new(frames)) })
}

/// Opens an MP4 or MOV file with H.264 with the decoder that is part of this crate.
///
/// # Errors
/// [`VideoError::Unreadable`] if the file is another one.
#[cfg(feature = "openh264")]
pub fn open_bundled(path: &Path, selection: &Selection, limits: Limits) -> Result<Video, VideoError> {
    let (info, frames) = bundled::Frames::start(path, selection, limits)?;
    Ok(Video { info, frames: Frames::Bundled(Box::new(frames)) })
}

/// Whether `ffmpeg` is installed.
pub fn has_ffmpeg() -> bool {
    ffmpeg::version().is_some()
}

impl Video {
    /// What the file says about itself.
    pub fn info(&self) -> VideoInfo {
        self.info
    }
}

impl Iterator for Video {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.frames {
            Frames::Ffmpeg(frames) => frames.next(),
            #[cfg(feature = "openh264")]
            Frames::Bundled(frames) => frames.next(),
        }
    }
}

/// A time as people write it: seconds with milliseconds.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
