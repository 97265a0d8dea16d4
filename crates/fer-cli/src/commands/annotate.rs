//! `fer annotate`: photos and videos with a box and a label around each face.

use std::ffi::OsString;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use fer_image::decode;
use fer_model::file::write_atomically;
use fer_video::encode::Encoder;
use fer_video::{VideoError, VideoInfo};
use fer_vision::{Analysis, Analyzer, Thumbnail, Tracker, annotate};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::analyze::{ProgressArgs, SelectionArgs};
use super::{Outcome, Stop};
use crate::inputs::{Input, Place, VideoFile};
use crate::models::{ModelArgs, Models};
use crate::pipeline::{self, Event, FrameResult, Job, Known, PANICKED, Work};
use crate::progress::Progress;

/// Frames per second of a video that does not say its own.
const FRAME_RATE: f64 = 25.0;

#[derive(Args)]
pub(crate) struct AnnotateArgs {
    /// Photos, videos, folders, globs in quotes, addresses, or @LIST.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<OsString>,
    /// A folder, in which each picture keeps its name, or for one input a file. Photos are written as JPEG, PNG or WebP by their
    /// extension. Videos keep their sound.
    #[arg(long, short, value_name = "DIR|FILE")]
    out: PathBuf,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    models: ModelArgs,
}

type PhotoWork = Result<RgbImage, String>;
type FrameWork = Result<(RgbImage, Thumbnail, Analysis), String>;

fn annotated(analyzer: &mut Analyzer, _name: &str, bytes: &[u8]) -> PhotoWork {
    let mut picture = decode(bytes, analyzer.limits()).map_err(|error| error.to_string())?;
    let analysis = analyzer.analyze_pixels(&picture).map_err(|error| error.to_string())?;
    annotate(&mut picture, &analysis);
    Ok(picture)
}

fn analyzed(analyzer: &mut Analyzer, pixels: RgbImage) -> FrameWork {
    let analysis = analyzer.analyze_pixels(&pixels).map_err(|error| error.to_string())?;
    let thumbnail = Thumbnail::of(&pixels);
    Ok((pixels, thumbnail, analysis))
}

/// Runs the command.
pub(crate) fn run(args: &AnnotateArgs) -> Result<Outcome> {
    let selection = args.selection.frames()?;
    let inputs = args.selection.list(&args.inputs)?;
    let outputs = outputs(&inputs, &args.out)?;
    let existing = outputs.iter().find(|output| !args.force && output.exists());
    if let Some(output) = existing {
        bail!("{} exists; --force replaces it", output.display());
    }
    let models = Models::open(&args.models)?;
    let stop = Stop::on_signal()?;
    let progress = args.progress.start(inputs.len(), 0);
    let from = selection.from.unwrap_or_default();
    let mut writer =
        Writer { inputs: &inputs, outputs: &outputs, from, progress, video: None, failed: Vec::new() };
    let (max_pixels, timeout) = (args.models.max_pixels, args.selection.timeout);
    let job = Job { inputs: &inputs, selection, max_pixels, timeout, stop: &stop };
    let work = Work { photo: annotated, frame: analyzed };
    pipeline::run(&job, &models, &work, &|_| Known::Nothing, |event| writer.take(event))?;
    if stop.is_set() {
        return Ok(Outcome::Interrupted);
    }
    let (files, failed) = (inputs.len(), writer.failed.len());
    let summary = format!("{files} files, {failed} failures");
    let json = serde_json::json!({ "event": "end", "files": files, "failed": failed });
    writer.progress.end(&[summary], &json);
    writer.failed.iter().for_each(|line| eprintln!("  {line}"));
    Ok(match failed {
        0 => Outcome::Well,
        _ if failed == files => Outcome::NothingDone,
        _ => Outcome::SomeFailed,
    })
}

/// The output of each input.
///
/// # Errors
/// If two inputs would have the same output, or an output would replace its input.
fn outputs(inputs: &[Input], out: &Path) -> Result<Vec<PathBuf>> {
    let is_file = !out.is_dir() && out.extension().is_some() && inputs.len() == 1;
    let mut outputs = Vec::new();
    for input in inputs {
        let name = match &input.place {
            Place::File(path) => path.file_name().unwrap_or_default().to_owned(),
            Place::Object => input.name.rsplit('/').next().unwrap_or_default().into(),
            Place::Stdin => "stdin.jpg".into(),
            Place::Nowhere(why) => bail!("{}: {why}", input.name),
        };
        let output = if is_file { out.to_owned() } else { out.join(name) };
        ensure!(
            !outputs.contains(&output),
            "two inputs would be written to {}; annotate them into different folders",
            output.display()
        );
        let same = |path: &Path| {
            path.canonicalize().is_ok_and(|path| output.canonicalize().is_ok_and(|o| o == path))
        };
        let replaces = matches!(&input.place, Place::File(path) if same(path));
        ensure!(!replaces, "{} would replace its original; name another folder", output.display());
        outputs.push(output);
    }
    if !is_file {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    }
    Ok(outputs)
}

struct Writer<'a> {
    inputs: &'a [Input],
    outputs: &'a [PathBuf],
    /// Start of the selection of videos.
    from: Duration,
    progress: Progress,
    video: Option<OpenVideo>,
    /// A line for each file that failed.
    failed: Vec<String>,
}

struct OpenVideo {
    info: VideoInfo,
    /// Has the sound.
    file: VideoFile,
    tracker: Tracker,
    encoder: Option<Encoder>,
    error: Option<String>,
}

impl Writer<'_> {
    fn take(&mut self, event: Event<PhotoWork, FrameWork>) -> Result<()> {
        match event {
            Event::Photo { input, result } => {
                let picture = result.unwrap_or_else(|| Err(PANICKED.to_owned()));
                let written = picture.and_then(|picture| {
                    write_photo(&picture, &self.outputs[input]).map_err(|error| format!("{error:#}"))
                });
                self.progress.picture(0);
                self.done(input, written.err());
            }
            Event::Unreadable { input, message } => self.done(input, Some(message)),
            Event::Opened { info, file, .. } => {
                let tracker = Tracker::default();
                self.video = Some(OpenVideo { info, file, tracker, encoder: None, error: None });
            }
            Event::Frame { input, time, result, .. } => {
                if let Err(error) = self.frame(input, time, result)
                    && let Some(video) = &mut self.video
                {
                    video.error.get_or_insert(error);
                }
                self.progress.picture(0);
            }
            Event::Closed { input, error } => {
                let written = self.close(input, error);
                self.done(input, written.err());
            }
        }
        Ok(())
    }

    fn done(&mut self, input: usize, error: Option<String>) {
        self.failed.extend(error.map(|error| format!("{}: {error}", self.inputs[input].name)));
        self.progress.file();
    }

    fn frame(&mut self, input: usize, time: Duration, result: FrameResult<FrameWork>) -> Result<(), String> {
        let Some(video) = &mut self.video else { return Ok(()) };
        let FrameResult::Analysed(result) = result else { return Err(PANICKED.to_owned()) };
        let (mut pixels, thumbnail, mut analysis) = result?;
        if video.error.is_some() {
            return Ok(());
        }
        let tracks = video.tracker.update(time, &thumbnail, &analysis.faces);
        for (face, track) in analysis.faces.iter_mut().zip(tracks) {
            face.emotions = track.emotions;
        }
        annotate(&mut pixels, &analysis);
        let encoder = match &mut video.encoder {
            Some(encoder) => encoder,
            none => {
                let sound = (*video.file).as_ref();
                let rate = video.info.frame_rate.unwrap_or(FRAME_RATE).clamp(1.0, 240.0);
                let partial = partial(&self.outputs[input]);
                let started = Encoder::start(&partial, sound, self.from, pixels.dimensions(), rate);
                none.insert(started.map_err(|error| error.to_string())?)
            }
        };
        encoder.write(pixels, time.saturating_sub(self.from)).map_err(|error| error.to_string())
    }

    /// Ends a video. What a damaged file has before the damage is kept.
    fn close(&mut self, input: usize, damage: Option<VideoError>) -> Result<(), String> {
        let Some(OpenVideo { encoder, error, .. }) = self.video.take() else { return Ok(()) };
        let (partial, output) = (partial(&self.outputs[input]), &self.outputs[input]);
        let error = error.or_else(|| damage.map(|damage| damage.to_string()));
        let Some(encoder) = encoder else {
            return Err(error.unwrap_or_else(|| "the video has no frame in the selected range".to_owned()));
        };
        encoder.finish().map_err(|error| error.to_string())?;
        std::fs::rename(&partial, output)
            .map_err(|error| format!("cannot write {}: {error}", output.display()))?;
        error.map_or(Ok(()), Err)
    }
}

/// The temporary name of a video. It keeps the extension, by which ffmpeg chooses the format.
fn partial(output: &Path) -> PathBuf {
    let mut name = OsString::from(".partial-");
    name.push(output.file_name().unwrap_or_default());
    output.with_file_name(name)
}

fn write_photo(picture: &RgbImage, output: &Path) -> Result<()> {
    let cannot = || format!("cannot write {}", output.display());
    let format = ImageFormat::from_path(output).with_context(cannot)?;
    let mut bytes = Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 92)),
        ImageFormat::Png | ImageFormat::WebP => picture.write_to(&mut bytes, format),
        other => return Err(anyhow!("{other:?} is none of JPEG, PNG and WebP")).with_context(cannot),
    }
    .with_context(cannot)?;
    write_atomically(output, &bytes.into_inner()).with_context(cannot)
}
