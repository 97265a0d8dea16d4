//! Runs the models over a list of inputs on all threads and hands the results on in the order of the inputs.
//!
//! One thread reads files and decodes videos, the workers analyse, and the calling thread receives. Objects of stores are fetched
//! on threads of `fer-corpus`. At most a few pictures for each worker are in memory at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fer_pool::{Bounds, Cancellation, Lane, Workers};
use fer_video::{Frame, Limits, Selection, VideoError, VideoInfo};
use fer_vision::{Analyzer, Thumbnail};
use image::RgbImage;

use crate::commands::Stop;
use crate::inputs::{self, Contents, Fetch, Input, MOST_BYTES, Place, VideoFile};
use crate::models::Models;

/// What the workers do.
pub(crate) struct Work<P, F> {
    /// With the name and the bytes of a photo.
    pub(crate) photo: fn(&mut Analyzer, &str, &[u8]) -> P,
    /// With a frame of a video.
    pub(crate) frame: fn(&mut Analyzer, RgbImage) -> F,
}

/// What need not be analysed again of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing is known.
    Nothing,
    /// The first frames of the video.
    Frames(u64),
    /// All of it.
    All,
}

/// What is handed on. `input` is an index into the inputs.
pub(crate) enum Event<P, F> {
    /// A photo; `None` if the worker panicked.
    Photo { input: usize, result: Option<P> },
    /// A video begins.
    Opened { input: usize, info: VideoInfo, file: VideoFile },
    /// A frame of the video that was opened last.
    Frame { input: usize, number: u64, time: Duration, result: FrameResult<F> },
    /// The video ends, perhaps because of an error.
    Closed { input: usize, error: Option<VideoError> },
    /// A file that gives no picture, with the reason.
    Unreadable { input: usize, message: String },
}

/// What became of a frame.
pub(crate) enum FrameResult<F> {
    /// It was analysed.
    Analysed(F),
    /// It is known already; tracks need its thumbnail.
    Known(Box<Thumbnail>),
    /// The worker panicked.
    Panicked,
}

/// An event whose result may still be in work.
enum Pending<P, F> {
    Photo { input: usize, result: Receiver<P> },
    Frame { input: usize, number: u64, time: Duration, result: Receiver<F> },
    Ready(Event<P, F>),
}

/// The inputs, and how they are read.
pub(crate) struct Job<'a> {
    pub(crate) inputs: &'a [Input],
    pub(crate) selection: Selection,
    pub(crate) max_pixels: u64,
    /// An object of a store that sends nothing for this long is given up.
    pub(crate) timeout: Duration,
    pub(crate) stop: &'a Stop,
}

/// Runs a job. `known` says for each input what need not be done, and `receive` gets the events in the order of the inputs.
///
/// # Errors
/// If the models do not open, and the first error of `receive`, which ends the job.
pub(crate) fn run<P, F>(
    job: &Job<'_>,
    models: &Models,
    work: &Work<P, F>,
    known: &(dyn Fn(usize) -> Known + Sync),
    mut receive: impl FnMut(Event<P, F>) -> Result<()>,
) -> Result<()>
where
    P: Send + 'static,
    F: Send + 'static,
{
    let window = 2 * models.threads + 2;
    // The channel bounds the jobs, so that the pool never refuses one.
    let bounds = Bounds { jobs: window + 4, bytes: usize::MAX };
    let parts = models.parts.clone();
    let workers = Workers::start(models.threads, bounds, move || parts.analyzer())
        .context("cannot start the models")?;
    let fetch = start_fetching(job, models.threads, known)?;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(window);
        let (workers, threads) = (&workers, models.threads);
        scope.spawn(move || Reader { job, work, workers, threads, sender, fetch }.read_all(known));
        for pending in receiver {
            let event = match pending {
                Pending::Ready(event) => event,
                Pending::Photo { input, result } => Event::Photo { input, result: result.recv().ok() },
                Pending::Frame { input, number, time, result } => {
                    let result = result.recv().map_or(FrameResult::Panicked, FrameResult::Analysed);
                    Event::Frame { input, number, time, result }
                }
            };
            // Returning drops the receiver, which ends the reader.
            receive(event)?;
        }
        Ok(())
    })
}

/// Begins to fetch the objects among the inputs that are not known.
fn start_fetching(
    job: &Job<'_>,
    threads: usize,
    known: &(dyn Fn(usize) -> Known + Sync),
) -> Result<Option<Fetch>> {
    let wanted = job
        .inputs
        .iter()
        .enumerate()
        .filter(|(index, input)| input.place == Place::Object && known(*index) != Known::All);
    let addresses: Vec<_> = wanted.map(|(_, input)| input.name.clone()).collect();
    if addresses.is_empty() {
        return Ok(None);
    }
    inputs::fetch(&addresses, threads + FETCHED_AHEAD, job.timeout).map(Some)
}

/// Objects that are fetched at the same time, beyond one for each worker.
const FETCHED_AHEAD: usize = 4;

/// The thread that reads files and decodes videos.
struct Reader<'a, P, F> {
    job: &'a Job<'a>,
    work: &'a Work<P, F>,
    workers: &'a Workers<Analyzer>,
    threads: usize,
    sender: SyncSender<Pending<P, F>>,
    /// Gives the objects of stores, in the order of the inputs.
    fetch: Option<Fetch>,
}

/// The receiver has left, or the user wants to stop.
struct Over;

impl<P: Send + 'static, F: Send + 'static> Reader<'_, P, F> {
    fn read_all(mut self, known: &(dyn Fn(usize) -> Known + Sync)) {
        for index in 0..self.job.inputs.len() {
            let known = known(index);
            if known == Known::All {
                continue;
            }
            // A decoder that cannot cope with a file must not end the run.
            let read = catch_unwind(AssertUnwindSafe(|| self.read(index, known)));
            let panicked = |_| self.ready(Event::Unreadable { input: index, message: PANICKED.to_owned() });
            if read.unwrap_or_else(panicked).is_err() {
                return;
            }
        }
    }

    fn send(&self, pending: Pending<P, F>) -> Result<(), Over> {
        if self.job.stop.is_set() {
            return Err(Over);
        }
        self.sender.send(pending).map_err(|_| Over)
    }

    fn ready(&self, event: Event<P, F>) -> Result<(), Over> {
        self.send(Pending::Ready(event))
    }

    fn read(&mut self, index: usize, known: Known) -> Result<(), Over> {
        let input = &self.job.inputs[index];
        let bytes = match &input.place {
            Place::Object => match self.fetched()? {
                Err(message) => return self.ready(Event::Unreadable { input: index, message }),
                Ok(Contents::Video(file)) => return self.video(index, &file, known),
                Ok(Contents::Photo(bytes)) => bytes,
            },
            place => match (inputs::read(place, MOST_BYTES, fer_video::is_video), place) {
                (Err(message), _) => return self.ready(Event::Unreadable { input: index, message }),
                (Ok(None), Place::File(path)) => {
                    return self.video(index, &(Arc::new(path.clone()) as VideoFile), known);
                }
                (Ok(bytes), _) => bytes.unwrap_or_default(),
            },
        };
        let (photo, name) = (self.work.photo, input.name.clone());
        let result = self.submit(move |analyzer| photo(analyzer, &name, &bytes));
        self.send(Pending::Photo { input: index, result })
    }

    /// The next object.
    fn fetched(&mut self) -> Result<Result<Contents, String>, Over> {
        let stop = self.job.stop;
        let fetch = self.fetch.as_mut().ok_or(Over)?;
        fetch(&|| stop.is_set()).ok_or(Over)
    }

    fn video(&self, index: usize, file: &VideoFile, known: Known) -> Result<(), Over> {
        let limits = Limits { threads: self.threads, max_pixels: self.job.max_pixels };
        let video = match fer_video::open((**file).as_ref(), &self.job.selection, limits) {
            Ok(video) => video,
            Err(error) => return self.ready(Event::Unreadable { input: index, message: error.to_string() }),
        };
        self.ready(Event::Opened { input: index, info: video.info(), file: Arc::clone(file) })?;
        let known = if let Known::Frames(frames) = known { frames } else { 0 };
        let mut failed = None;
        for frame in video {
            let Frame { number, time, pixels } = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            if number <= known {
                let result = FrameResult::Known(Box::new(Thumbnail::of(&pixels)));
                self.ready(Event::Frame { input: index, number, time, result })?;
            } else {
                let work = self.work.frame;
                let result = self.submit(move |analyzer| work(analyzer, pixels));
                self.send(Pending::Frame { input: index, number, time, result })?;
            }
        }
        self.ready(Event::Closed { input: index, error: failed })
    }

    /// Queues work. The channel closes without a result if the worker panics.
    fn submit<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Analyzer) -> R + Send + 'static,
    ) -> Receiver<R> {
        let (sender, receiver) = sync_channel(1);
        let job = move |analyzer: &mut Analyzer| {
            // Nobody listens any more once the command has ended.
            let _ = sender.send(work(analyzer));
        };
        // A refused job drops its sender, which is reported like a panic; the channel's bound keeps it from happening.
        let _ = self.workers.submit(Lane::Photo, &Cancellation::default(), job);
        receiver
    }
}

/// The message of a row whose worker panicked.
pub(crate) const PANICKED: &str = "the analysis ended unexpectedly; this is a bug of this program";
