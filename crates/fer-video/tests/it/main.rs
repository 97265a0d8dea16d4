//! Videos that ffmpeg makes of the sample, read back: timestamps, rotation, selections and damage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fer_video::encode::Encoder;
use fer_video::{Frame, Limits, Selection, VideoError, has_ffmpeg, is_video, open};
use image::{Rgb, RgbImage};

const LIMITS: Limits = Limits { threads: 1, max_pixels: 1_000_000 };

/// Runs ffmpeg in a folder.
fn ffmpeg(folder: &Path, arguments: &str) -> bool {
    let arguments = arguments.split_whitespace();
    let status =
        Command::new("ffmpeg").args(["-v", "error", "-y"]).args(arguments).current_dir(folder).status();
    status.unwrap().success()
}

/// A video of 20 frames, 320×240, ten a second, in which the sample moves.
fn clip(folder: &Path) -> PathBuf {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/astronaut.png");
    std::fs::copy(sample, folder.join("sample.png")).unwrap();
    let filter = "scale=400:400,crop=320:240:x=4*n:y=20";
    let made =
        format!("-loop 1 -framerate 10 -i sample.png -t 2 -vf {filter} -pix_fmt yuv420p -g 1 clip.mp4");
    assert!(ffmpeg(folder, &made));
    folder.join("clip.mp4")
}

fn frames(path: &Path, selection: &Selection) -> (Vec<Frame>, Option<VideoError>) {
    let mut frames = Vec::new();
    for frame in open(path, selection, LIMITS).unwrap() {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => return (frames, Some(error)),
        }
    }
    (frames, None)
}

fn times(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| (frame.time.as_secs_f64() * 1000.0).round() as u64).collect()
}

fn milliseconds(time: u64) -> Option<Duration> {
    Some(Duration::from_millis(time))
}

#[test]
fn every_frame_has_its_own_time_and_upright_pixels() {
    if !has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    assert!(is_video(&std::fs::read(&clip).unwrap()));
    let info = open(&clip, &Selection::default(), LIMITS).unwrap().info();
    assert_eq!((info.duration, info.frame_rate), (milliseconds(2000), Some(10.0)));
    let (all, error) = frames(&clip, &Selection::default());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(times(&all), (0..20).map(|frame| 100 * frame).collect::<Vec<_>>());
    assert_eq!(all.iter().map(|frame| frame.number).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert_eq!(all[3].pixels.dimensions(), (320, 240));

    // Phones write frames at varying intervals.
    let times_of = "settb=1/1000,setpts='if(lt(N,10),N*40,400+(N-10)*300)'";
    assert!(ffmpeg(
        folder.path(),
        &format!("-i clip.mp4 -vf {times_of} -enc_time_base -1 -fps_mode passthrough vfr.mp4")
    ));
    let (varying, _) = frames(&folder.path().join("vfr.mp4"), &Selection::default());
    let expected = (0..10).map(|n| 40 * n).chain((0..10).map(|n| 400 + 300 * n)).collect::<Vec<u64>>();
    assert_eq!(times(&varying), expected);

    // Phones also write frames that lie on their side, and say so.
    let turned = ffmpeg(folder.path(), "-display_rotation 90 -i clip.mp4 -c copy turned.mp4")
        || ffmpeg(folder.path(), "-i clip.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4");
    assert!(turned);
    let (turned, _) = frames(&folder.path().join("turned.mp4"), &Selection::default());
    assert_eq!(turned[0].pixels.dimensions(), (240, 320));
}

#[test]
fn selections_keep_the_frames_own_times() {
    if !has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let taken = |from, to, every| times(&frames(&clip, &Selection { from, to, every }).0);
    assert_eq!(taken(None, None, milliseconds(250)), [0, 300, 500, 800, 1000, 1300, 1500, 1800]);
    assert_eq!(taken(milliseconds(500), milliseconds(1000), None), [500, 600, 700, 800, 900]);
    assert_eq!(taken(milliseconds(500), milliseconds(1500), milliseconds(250)), [500, 800, 1000, 1300]);
    assert_eq!(taken(None, None, milliseconds(10)).len(), 20, "no frame is repeated");
    assert_eq!(taken(milliseconds(9000), None, None), [0_u64; 0]);
}

#[test]
fn damage_keeps_the_frames_before_it_and_says_where() {
    if !has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = tempfile::tempdir().unwrap();
    clip(folder.path());
    assert!(ffmpeg(folder.path(), "-i clip.mp4 -c copy -movflags +faststart whole.mp4"));
    assert!(ffmpeg(folder.path(), "-i clip.mp4 -c copy whole.mkv"));
    for name in ["whole.mp4", "whole.mkv"] {
        let whole = std::fs::read(folder.path().join(name)).unwrap();
        let cut = folder.path().join(name.replace("whole", "cut"));
        std::fs::write(&cut, &whole[..whole.len() * 6 / 10]).unwrap();
        let (before, error) = frames(&cut, &Selection::default());
        assert!((8..=13).contains(&before.len()), "{name}: {}", before.len());
        let Some(VideoError::Damaged { frame, time, .. }) = error else { panic!("{name}: {error:?}") };
        assert_eq!((frame, time), (before.len() as u64, before.last().unwrap().time), "{name}");
    }
    // The index is at the end of the file, and missing.
    let whole = std::fs::read(folder.path().join("clip.mp4")).unwrap();
    for bytes in [&whole[..whole.len() / 2], b""] {
        let path = folder.path().join("-odd:name.mp4");
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path, &Selection::default(), LIMITS).err().unwrap().to_string();
        assert_eq!(error, "the video cannot be read: moov atom not found");
    }
    let small = Limits { max_pixels: 1000, ..LIMITS };
    let first = open(&folder.path().join("clip.mp4"), &Selection::default(), small).unwrap().next().unwrap();
    assert!(matches!(first, Err(VideoError::TooManyPixels { width: 320, height: 240, .. })));
    assert!(ffmpeg(folder.path(), "-f lavfi -i sine=duration=1 sound.wav"));
    let sound = open(&folder.path().join("sound.wav"), &Selection::default(), LIMITS).err().unwrap();
    assert!(sound.to_string().contains("no video stream"), "{sound}");
}

#[test]
fn encoding_keeps_times_and_sound() {
    if !has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = tempfile::tempdir().unwrap();
    clip(folder.path());
    assert!(ffmpeg(folder.path(), "-f lavfi -i sine=duration=2 -i clip.mp4 -c:v copy sound.mp4"));
    let (sound, output) = (folder.path().join("sound.mp4"), folder.path().join("out.mp4"));
    // Odd sides, and a frame that is shown for a second.
    let mut encoder = Encoder::start(&output, &sound, Duration::ZERO, (33, 21), 10.0).unwrap();
    for (grey, time) in [(10, 0), (200, 100), (90, 1100), (250, 1200)] {
        encoder.write(RgbImage::from_pixel(33, 21, Rgb([grey; 3])), Duration::from_millis(time)).unwrap();
    }
    assert!(encoder.write(RgbImage::new(4, 4), Duration::ZERO).is_err());
    encoder.finish().unwrap();
    let (frames, error) = frames(&output, &Selection::default());
    assert!(error.is_none(), "{error:?}");
    assert_eq!((frames.len(), frames[0].pixels.dimensions()), (13, (34, 22)));
    let grey = |frame: usize| frames[frame].pixels.get_pixel(10, 10).0[0];
    assert!(grey(0) < 40 && grey(5) > 160 && grey(11) < 120 && grey(12) > 220);
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-show_entries", "stream=codec_type", "-of", "csv"]).arg(&output);
    assert!(String::from_utf8_lossy(&probe.output().unwrap().stdout).contains("audio"));
    let nowhere = Encoder::start(&folder.path().join("no/out.mp4"), &sound, Duration::ZERO, (8, 8), 10.0);
    let ended = nowhere.and_then(|mut encoder| {
        encoder.write(RgbImage::new(8, 8), Duration::ZERO)?;
        encoder.finish()
    });
    assert!(matches!(ended, Err(VideoError::Encode(_))), "{ended:?}");
}

/// The decoder that is part of the crate sees the same frames at the same times as ffmpeg.
#[cfg(feature = "openh264")]
#[test]
fn the_bundled_decoder_agrees_with_ffmpeg() {
    if !has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = tempfile::tempdir().unwrap();
    clip(folder.path());
    // Frames that are coded out of their order, at varying intervals.
    let times_of = "settb=1/1000,setpts='if(lt(N,10),N*40,400+(N-10)*300)'";
    let coded = "-c:v libx264 -profile:v main -bf 2 -g 8 -enc_time_base -1 -fps_mode passthrough varying.mp4";
    assert!(ffmpeg(folder.path(), &format!("-i clip.mp4 -vf {times_of} {coded}")));
    let selections = [
        Selection::default(),
        Selection { from: milliseconds(500), to: milliseconds(2600), every: None },
        Selection { every: milliseconds(250), ..Selection::default() },
    ];
    for name in ["clip.mp4", "varying.mp4"] {
        for selection in &selections {
            let path = folder.path().join(name);
            let (expected, _) = frames(&path, selection);
            let video = fer_video::open_bundled(&path, selection, LIMITS).unwrap();
            let found: Vec<Frame> = video.map(|frame| frame.unwrap()).collect();
            assert_eq!(times(&found), times(&expected), "{name}, {selection:?}");
            for (found, expected) in found.iter().zip(&expected) {
                let difference =
                    found.pixels.iter().zip(expected.pixels.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)));
                assert!(
                    difference.sum::<f64>() / (320.0 * 240.0 * 3.0) < 6.0,
                    "{name}, frame {}",
                    found.number
                );
            }
        }
    }
    assert!(ffmpeg(folder.path(), "-i clip.mp4 -c copy -movflags +faststart whole.mp4"));
    let whole = std::fs::read(folder.path().join("whole.mp4")).unwrap();
    let cut = folder.path().join("cut.mp4");
    std::fs::write(&cut, &whole[..whole.len() * 6 / 10]).unwrap();
    let cut: Vec<_> = fer_video::open_bundled(&cut, &Selection::default(), LIMITS).unwrap().collect();
    assert!((8..=13).contains(&cut.len()) && matches!(cut.last(), Some(Err(VideoError::Damaged { .. }))));
    std::fs::write(folder.path().join("text.mp4"), b"hello").unwrap();
    let text = fer_video::open_bundled(&folder.path().join("text.mp4"), &Selection::default(), LIMITS);
    assert!(text.err().unwrap().to_string().contains("without ffmpeg, only MP4 and MOV files with H.264"));
}

/// Files with wrong bytes end with an error or with wrong pixels, and never with a panic or a crash.
#[cfg(feature = "openh264")]
#[test]
fn the_bundled_decoder_survives_wrong_bytes() {
    if !has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = tempfile::tempdir().unwrap();
    clip(folder.path());
    assert!(ffmpeg(folder.path(), "-i clip.mp4 -vf scale=96:72 -g 8 -bf 2 -movflags +faststart small.mp4"));
    let whole = std::fs::read(folder.path().join("small.mp4")).unwrap();
    let path = folder.path().join("wrong.mp4");
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..ROUNDS {
        let mut wrong = whole.clone();
        // Half of the rounds hit the index, which comes first.
        let end = if round % 2 == 0 { 1500.min(wrong.len()) } else { wrong.len() };
        for _ in 0..=random(8) {
            wrong[random(end)] = random(256) as u8;
        }
        std::fs::write(&path, &wrong).unwrap();
        if let Ok(video) = fer_video::open_bundled(&path, &Selection::default(), LIMITS) {
            assert!(video.count() < 10_000);
        }
    }
}

#[cfg(feature = "openh264")]
const ROUNDS: usize = 300;
