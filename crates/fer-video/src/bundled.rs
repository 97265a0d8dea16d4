//! The decoder for machines without ffmpeg: MP4 and MOV files with H.264, demuxed by `re_mp4` and decoded by OpenH264.
//!
//! It reads one sample after another, so that memory does not grow with the video. It does not read other codecs, interlaced
//! video or 4:2:2 and 4:4:4 colour.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::catch_unwind;
use std::path::Path;
use std::time::Duration;

use image::{RgbImage, imageops};
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource as _;
use re_mp4::{Mp4, Sample, StsdBoxContent, TrackKind};

use crate::{Frame, Limits, Selection, VideoError, VideoInfo};

/// Largest coded frame, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// The frames of a file that is being decoded.
pub(crate) struct Frames {
    file: File,
    decoder: Decoder,
    samples: Vec<Sample>,
    /// Index of the sample that is decoded next.
    next: usize,
    /// Parameter sets that stand before the first sample.
    parameters: Vec<u8>,
    /// Bytes of the length before each unit of a sample.
    length_size: usize,
    turn: Turn,
    selection: Selection,
    max_pixels: u64,
    /// Presentation times of samples whose pictures have not come out yet. Pictures come out in the order of their times.
    times: BinaryHeap<Reverse<Duration>>,
    /// Decoded frames that have not been handed out.
    ready: VecDeque<(Duration, RgbImage)>,
    /// Interval of the last frame that was taken.
    interval: Option<u128>,
    number: u64,
    time: Duration,
    ended: bool,
}

/// How a picture is turned upright.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    None,
    Right,
    Half,
    Left,
}

/// A file's video track.
struct Track {
    samples: Vec<Sample>,
    parameters: Vec<u8>,
    length_size: usize,
    turn: Turn,
    info: VideoInfo,
}

impl Frames {
    pub(crate) fn start(
        path: &Path,
        selection: &Selection,
        limits: Limits,
    ) -> Result<(VideoInfo, Self), VideoError> {
        let unreadable = |error: io::Error| VideoError::Unreadable(error.to_string());
        let file = File::open(path).map_err(unreadable)?;
        let track = track(&file)?;
        let configuration = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let decoder = Decoder::with_api_config(OpenH264API::from_source(), configuration)
            .map_err(|error| VideoError::Unreadable(error.to_string()))?;
        let from = selection.from.unwrap_or_default();
        let before = track.samples.iter().rposition(|sample| sample.is_sync && time_of(sample) <= from);
        let frames = Self {
            file,
            decoder,
            next: before.unwrap_or(0),
            samples: track.samples,
            parameters: track.parameters,
            length_size: track.length_size,
            turn: track.turn,
            selection: *selection,
            max_pixels: limits.max_pixels,
            times: BinaryHeap::new(),
            ready: VecDeque::new(),
            interval: None,
            number: 0,
            time: from,
            ended: false,
        };
        Ok((track.info, frames))
    }

    /// The next frame, or the error with which the video ends.
    pub(crate) fn next(&mut self) -> Option<Result<Frame, VideoError>> {
        loop {
            while let Some((time, pixels)) = self.ready.pop_front() {
                if let Some(frame) = self.take(time, pixels) {
                    return Some(Ok(frame));
                }
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.decode() {
                self.ended = true;
                self.ready.clear();
                return Some(Err(error));
            }
        }
    }

    /// The frame, if the selection takes it.
    fn take(&mut self, time: Duration, pixels: RgbImage) -> Option<Frame> {
        let from = self.selection.from.unwrap_or_default();
        if self.selection.to.is_some_and(|to| time >= to) {
            self.ended = true;
            return None;
        }
        let elapsed = time.checked_sub(from)?;
        if let Some(every) = self.selection.every.filter(|every| !every.is_zero()) {
            // A microsecond keeps times that were rounded down in their own interval.
            let interval = (elapsed + Duration::from_micros(1)).as_nanos() / every.as_nanos();
            if self.interval.is_some_and(|last| interval <= last) {
                return None;
            }
            self.interval = Some(interval);
        }
        self.number += 1;
        self.time = time;
        Some(Frame { number: self.number, time, pixels })
    }

    /// Decodes one sample, or what is left in the decoder after the last one.
    fn decode(&mut self) -> Result<(), VideoError> {
        let Some(sample) = self.samples.get(self.next).copied() else {
            self.ended = true;
            let pictures = self.decoder.flush_remaining().map_err(|error| error.to_string());
            let pictures = match pictures {
                Ok(pictures) => pictures,
                Err(reason) => return Err(damaged(self.number, self.time, reason)),
            };
            let (turn, max_pixels) = (self.turn, self.max_pixels);
            for picture in &pictures {
                let time = self.times.pop().map_or(self.time, |Reverse(time)| time);
                self.ready.push_back((time, upright(picture, turn, max_pixels)?));
            }
            return Ok(());
        };
        self.next += 1;
        let (number, time) = (self.number, self.time);
        let damage = |reason: String| damaged(number, time, reason);
        let units = self.units(&sample).map_err(|error| damage(error.to_string()))?;
        self.times.push(Reverse(time_of(&sample)));
        let (turn, max_pixels) = (self.turn, self.max_pixels);
        if let Some(picture) = self.decoder.decode(&units).map_err(|error| damage(error.to_string()))? {
            let time = self.times.pop().map_or(time, |Reverse(time)| time);
            self.ready.push_back((time, upright(&picture, turn, max_pixels)?));
        }
        Ok(())
    }

    /// The units of a sample behind start codes, as the decoder expects them.
    fn units(&mut self, sample: &Sample) -> io::Result<Vec<u8>> {
        if sample.size > MOST_BYTES {
            return Err(io::Error::other(format!("a frame of {} bytes", sample.size)));
        }
        self.file.seek(SeekFrom::Start(sample.offset))?;
        let mut bytes = Vec::new();
        (&self.file).take(sample.size).read_to_end(&mut bytes)?;
        let mut units = std::mem::take(&mut self.parameters);
        let mut rest = bytes.as_slice();
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        if bytes.len() as u64 != sample.size {
            return Err(cut());
        }
        while !rest.is_empty() {
            let (length, after) = rest.split_at_checked(self.length_size).ok_or_else(cut)?;
            let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            let (unit, after) = after.split_at_checked(length).ok_or_else(cut)?;
            push_unit(&mut units, unit);
            rest = after;
        }
        Ok(units)
    }
}

fn push_unit(units: &mut Vec<u8>, unit: &[u8]) {
    units.extend([0, 0, 0, 1]);
    units.extend(unit);
}

fn damaged(frame: u64, time: Duration, reason: String) -> VideoError {
    VideoError::Damaged { frame, time, reason }
}

fn time_of(sample: &Sample) -> Duration {
    let seconds = sample.composition_timestamp.max(0) as f64 / sample.timescale.max(1) as f64;
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A file that seems to be followed by an empty box, with which the parser ends. So it reads the index of a file that is cut off
/// within its pictures.
struct Padded<'a> {
    file: BufReader<&'a File>,
    /// Zeros that are left.
    padding: usize,
    /// Furthest position, and how often the parser may still go back from it. A box that claims to be shorter than its header
    /// sends it back for ever.
    furthest: u64,
    returns: u32,
}

impl Read for Padded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        let zeros = buffer.len().min(self.padding);
        buffer[..zeros].fill(0);
        self.padding -= zeros;
        Ok(zeros)
    }
}

impl Seek for Padded<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(position)?;
        if position < self.furthest {
            self.returns =
                self.returns.checked_sub(1).ok_or_else(|| io::Error::other("its index runs in circles"))?;
        }
        self.furthest = self.furthest.max(position);
        Ok(position)
    }
}

/// Reads the index of a file.
fn track(file: &File) -> Result<Track, VideoError> {
    let unreadable = |reason: String| {
        VideoError::Unreadable(format!(
            "{reason}; without ffmpeg, only MP4 and MOV files with H.264 can be read"
        ))
    };
    let padded = || Padded { file: BufReader::new(file), padding: 16, furthest: 0, returns: 10_000 };
    // The parser is not ours; what it cannot cope with must not end the program.
    let parsed = catch_unwind(|| Mp4::read(padded(), i64::MAX as u64));
    let mp4 = parsed
        .map_err(|_| unreadable("its index is damaged".to_owned()))?
        .map_err(|error| unreadable(error.to_string()))?;
    let track = mp4.tracks().values().find(|track| track.kind == Some(TrackKind::Video));
    let track = track.ok_or_else(|| unreadable("the file has no video stream".to_owned()))?;
    let header = track.trak(&mp4);
    let StsdBoxContent::Avc1(codec) = &header.mdia.minf.stbl.stsd.contents else {
        let codec = track.codec_string(&mp4).unwrap_or_else(|| "unknown".to_owned());
        return Err(unreadable(format!("its codec is {codec}")));
    };
    let mut parameters = Vec::new();
    let sets = codec.avcc.sequence_parameter_sets.iter().chain(&codec.avcc.picture_parameter_sets);
    sets.for_each(|set| push_unit(&mut parameters, &set.bytes));
    let matrix = &header.tkhd.matrix;
    let turn = match [matrix.a.signum(), matrix.b.signum(), matrix.c.signum(), matrix.d.signum()] {
        [0, 1, -1, 0] => Turn::Right,
        [-1, 0, 0, -1] => Turn::Half,
        [0, -1, 1, 0] => Turn::Left,
        _ => Turn::None,
    };
    let duration = track.samples.iter().map(|sample| {
        let length = Duration::try_from_secs_f64(sample.duration as f64 / sample.timescale.max(1) as f64);
        time_of(sample) + length.unwrap_or_default()
    });
    let duration = duration.max();
    let rate = duration.map(|duration| track.samples.len() as f64 / duration.as_secs_f64());
    let info = VideoInfo {
        duration,
        frame_rate: rate.filter(|rate| rate.is_finite() && *rate > 0.0),
        is_exact: true,
    };
    let length_size = usize::from(codec.avcc.length_size_minus_one & 3) + 1;
    Ok(Track { samples: track.samples.clone(), parameters, length_size, turn, info })
}

fn upright(picture: &DecodedYUV<'_>, turn: Turn, max_pixels: u64) -> Result<RgbImage, VideoError> {
    let (width, height) = picture.dimensions();
    if (width as u64).saturating_mul(height as u64) > max_pixels {
        let [width, height] = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        return Err(VideoError::TooManyPixels { width, height, max_pixels });
    }
    let mut bytes = vec![0; width * height * 3];
    picture.write_rgb8(&mut bytes);
    let pixels = RgbImage::from_raw(width as u32, height as u32, bytes).unwrap_or_default();
    Ok(match turn {
        Turn::None => pixels,
        Turn::Right => imageops::rotate90(&pixels),
        Turn::Half => imageops::rotate180(&pixels),
        Turn::Left => imageops::rotate270(&pixels),
    })
}
