//! `fer analyze`: photos, folders and videos in, a table out.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use fer_detect::{Face, Landmarks};
use fer_image::BoundingBox;
use fer_model::Probabilities;
use fer_table::{Metadata, Row, kernel};
use fer_video::{Selection, VideoError, VideoInfo};
use fer_vision::{Analysis, Analyzer, FaceAnalysis, FaceRecord, Origin, Thumbnail, Tracker};
use image::RgbImage;

use super::{Outcome, Stop};
use crate::frames;
use crate::inputs::{self, Filter, Input};
use crate::journal::Pictures;
use crate::models::{ModelArgs, Models};
use crate::output::{Output, OutputArgs};
use crate::pipeline::{self, Event, FrameResult, Job, PANICKED, Work};
use crate::progress::Progress;
use crate::tally::Tally;
use crate::time;

#[derive(Args)]
pub(crate) struct AnalyzeArgs {
    /// Photos, videos, folders, globs in quotes, addresses such as s3://bucket/folder/, @LIST (a file with one of these a line), or
    /// - for a photo on standard input.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<OsString>,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    models: ModelArgs,
}

/// Which files and frames are taken.
#[derive(Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct SelectionArgs {
    /// Take only these files of folders: a glob such as '*.jpg', or with slashes the path in the folder. May be given several times.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave these files and subfolders out. May be given several times.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    #[command(flatten)]
    frames: FrameArgs,
    /// Give up on an object of a store or web server that sends nothing for this long.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::parse)]
    pub(crate) timeout: Duration,
}

/// Which frames of videos are taken.
#[derive(Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct FrameArgs {
    /// Frames per second of videos to take; by default all are taken.
    #[arg(long, value_name = "N", conflicts_with = "every")]
    fps: Option<f64>,
    /// Interval from one frame that is taken to the next, such as 500ms.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    every: Option<Duration>,
    /// Begin videos at this time, such as 90s or 1:30.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from: Option<Duration>,
    /// End videos at this time.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    to: Option<Duration>,
}

/// How progress is reported.
#[derive(Args)]
#[command(next_help_heading = "Progress")]
pub(crate) struct ProgressArgs {
    /// Print errors only.
    #[arg(long, short)]
    quiet: bool,
    /// Report progress on standard error as one JSON object a line.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

impl ProgressArgs {
    pub(crate) fn start(&self, files: usize, before: usize) -> Progress {
        Progress::new(self.quiet, self.json, files, before)
    }

    #[cfg(feature = "corpus")]
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }
}

impl SelectionArgs {
    /// Lists the files.
    ///
    /// # Errors
    /// If a pattern or a list is not valid, or there is nothing to do.
    pub(crate) fn list(&self, arguments: &[OsString]) -> Result<Vec<Input>> {
        let inputs = inputs::list(arguments, &Filter::new(&self.include, &self.exclude)?, self.timeout)?;
        ensure!(!inputs.is_empty(), "there is no photo or video in {}", joined(arguments));
        Ok(inputs)
    }

    /// Which frames of videos are taken.
    ///
    /// # Errors
    /// If a number is out of range.
    pub(crate) fn frames(&self) -> Result<Selection> {
        self.frames.selection()
    }
}

impl FrameArgs {
    /// Which frames of videos are taken.
    ///
    /// # Errors
    /// If a number is out of range.
    pub(crate) fn selection(&self) -> Result<Selection> {
        let every = match (self.fps, self.every) {
            (Some(fps), _) => {
                ensure!((0.001..=1000.0).contains(&fps), "--fps {fps}: it must be between 0.001 and 1000");
                Some(Duration::from_secs_f64(1.0 / fps))
            }
            (None, Some(every)) => {
                ensure!(!every.is_zero(), "--every must be longer than 0");
                Some(every)
            }
            (None, None) => None,
        };
        let ends_early = self.to.is_some_and(|to| to <= self.from.unwrap_or_default());
        ensure!(!ends_early, "--to must be later than --from");
        Ok(Selection { from: self.from, to: self.to, every })
    }
}

fn joined(arguments: &[OsString]) -> String {
    let texts: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    texts.join(" ")
}

type FrameWork = Result<(Thumbnail, Analysis), String>;

/// What the workers do with a frame.
#[expect(
    clippy::needless_pass_by_value,
    reason = "`Work` hands the pixels over, because other commands keep them"
)]
fn analyze_frame(analyzer: &mut Analyzer, pixels: RgbImage) -> FrameWork {
    let analysis = analyzer.analyze_pixels(&pixels).map_err(|error| error.to_string())?;
    Ok((Thumbnail::of(&pixels), analysis))
}

/// Runs the command.
pub(crate) fn run(args: &AnalyzeArgs) -> Result<Outcome> {
    let selection = args.selection.frames()?;
    let inputs = args.selection.list(&args.inputs)?;
    let models = Models::open(&args.models)?;
    let mut metadata = models.metadata();
    metadata.extend(metadata_of(&selection));
    let output = Output::open(&args.output, metadata, &inputs)?;
    let known: Vec<_> = (0..inputs.len()).map(|input| output.known(input)).collect();
    let progress = args.progress.start(inputs.len(), output.complete());
    let stop = Stop::on_signal()?;
    let (max_pixels, timeout) = (args.models.max_pixels, args.selection.timeout);
    let job = Job { inputs: &inputs, selection, max_pixels, timeout, stop: &stop };
    let work = Work { photo: kernel::photo, frame: analyze_frame };
    let mut collector = Collector { inputs: &inputs, selection, output, progress, video: None };
    pipeline::run(&job, &models, &work, &|input| known[input], |event| collector.take(event))?;
    if stop.is_set() {
        let lines = ["interrupted; what is done is kept, and --resume goes on from there".to_owned()];
        collector.progress.end(&lines, &serde_json::json!({ "event": "interrupted" }));
        return Ok(Outcome::Interrupted);
    }
    let tally = collector.output.finish()?;
    report(&collector.progress, &tally, inputs.len(), args.progress.is_json());
    Ok(tally.outcome())
}

/// What a table says about the frames that were taken.
pub(crate) fn metadata_of(selection: &Selection) -> Metadata {
    let Selection { every, from, to } = *selection;
    let milliseconds =
        |time: Option<Duration>| time.map_or("none".to_owned(), |time| time.as_millis().to_string());
    let times = [("every_ms", every), ("from_ms", from), ("to_ms", to)];
    times.map(|(key, time)| (format!("fer.settings.{key}"), milliseconds(time))).into()
}

/// The last lines. Failures are named even with `--quiet`.
fn report(progress: &Progress, tally: &Tally, files: usize, is_json: bool) {
    let Tally { pictures, faces, faceless, failed, .. } = *tally;
    let summary = format!(
        "{files} files: {pictures} pictures, {faces} faces, {faceless} pictures without a face, {failed} failures"
    );
    let json = serde_json::json!({
        "event": "end", "files": files, "pictures": pictures, "faces": faces, "faceless": faceless, "failed": failed,
    });
    progress.end(&[summary], &json);
    if !is_json {
        tally.failures().iter().for_each(|line| eprintln!("{line}"));
    }
}

/// Makes rows of events.
struct Collector<'a> {
    inputs: &'a [Input],
    selection: Selection,
    output: Output,
    progress: Progress,
    video: Option<OpenVideo>,
}

/// The video whose frames are coming.
struct OpenVideo {
    info: VideoInfo,
    tracker: Tracker,
    /// Frames of an earlier run.
    known: Option<Pictures>,
    frames: u64,
}

impl Collector<'_> {
    fn take(&mut self, event: Event<Vec<Row>, FrameWork>) -> Result<()> {
        match event {
            Event::Photo { input, result } => {
                let rows = result.unwrap_or_else(|| vec![Row::failed(&self.origin(input), PANICKED)]);
                self.last(input, &rows)
            }
            Event::Unreadable { input, message } => {
                let row = Row::failed(&self.origin(input), message);
                self.last(input, &[row])
            }
            Event::Opened { input, info, .. } => {
                let known = self.output.pictures_of(input)?;
                self.video = Some(OpenVideo { info, tracker: Tracker::default(), known, frames: 0 });
                Ok(())
            }
            Event::Frame { input, number, time, result } => self.frame(input, number, time, result),
            Event::Closed { input, error } => self.close(input, error.as_ref()),
        }
    }

    fn origin(&self, input: usize) -> Origin {
        Origin::photo(Some(self.inputs[input].name.clone()))
    }

    fn frame(
        &mut self,
        input: usize,
        number: u64,
        time: Duration,
        result: FrameResult<FrameWork>,
    ) -> Result<()> {
        let origin = frames::origin_of(self.origin(input), number, time);
        let Some(video) = &mut self.video else { bail!("a frame came before its video; this is a bug") };
        video.frames += 1;
        if let Some(duration) = video.info.duration {
            let from = self.selection.from.unwrap_or_default();
            let length = self.selection.to.unwrap_or(duration).min(duration).saturating_sub(from);
            self.progress.within(time.saturating_sub(from).as_secs_f64() / length.as_secs_f64().max(1e-3));
        }
        let rows = match result {
            FrameResult::Analysed(Ok((thumbnail, analysis))) => {
                let tracks = video.tracker.update(time, &thumbnail, &analysis.faces);
                Row::of_frame(&origin, &analysis, &tracks)
            }
            FrameResult::Analysed(Err(message)) => vec![Row::failed(&origin, message)],
            FrameResult::Panicked => vec![Row::failed(&origin, PANICKED)],
            FrameResult::Known(thumbnail) => {
                let rows =
                    video.known.as_mut().map(Pictures::next).transpose()?.flatten().unwrap_or_default();
                let same = rows.first().is_some_and(|row| row.record.timestamp_ms == origin.timestamp_ms);
                let name = &self.inputs[input].name;
                ensure!(same, "{name} has changed since the interrupted run; --force starts anew");
                video.tracker.update(time, &thumbnail, &rows.iter().filter_map(face_of).collect::<Vec<_>>());
                return Ok(());
            }
        };
        self.output.picture(input, &self.inputs[input].name, &rows, false)?;
        self.progress.picture(faces(&rows));
        Ok(())
    }

    fn close(&mut self, input: usize, error: Option<&VideoError>) -> Result<()> {
        let frames = self.video.take().map_or(0, |video| video.frames);
        let row = frames::last_row(self.origin(input), frames, error);
        self.output.picture(input, &self.inputs[input].name, row.as_slice(), true)?;
        self.progress.file();
        Ok(())
    }

    /// The only picture of a file.
    fn last(&mut self, input: usize, rows: &[Row]) -> Result<()> {
        self.output.picture(input, &self.inputs[input].name, rows, true)?;
        self.progress.picture(faces(rows));
        self.progress.file();
        Ok(())
    }
}

fn faces(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.record.face.is_some()).count()
}

/// The face of a row as the network saw it, for the tracker.
fn face_of(row: &Row) -> Option<FaceAnalysis> {
    let FaceRecord { x, y, width, height, confidence, .. } = row.record;
    let FaceRecord { left_eye_x, left_eye_y, right_eye_x, right_eye_y, nose_x, nose_y, .. } = row.record;
    let FaceRecord { mouth_left_x, mouth_left_y, mouth_right_x, mouth_right_y, .. } = row.record;
    let landmarks = Landmarks {
        left_eye: [left_eye_x?, left_eye_y?],
        right_eye: [right_eye_x?, right_eye_y?],
        nose: [nose_x?, nose_y?],
        mouth_left: [mouth_left_x?, mouth_left_y?],
        mouth_right: [mouth_right_x?, mouth_right_y?],
    };
    let bounding_box = BoundingBox { x: x?, y: y?, width: width?, height: height? };
    let face = Face { bounding_box, confidence: confidence?, landmarks };
    Some(FaceAnalysis { face, emotions: Probabilities::from_values(row.raw?)? })
}
