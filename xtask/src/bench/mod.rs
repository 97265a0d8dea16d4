//! `cargo xtask bench`: repeats the measurements of `docs/benchmarks.md`.
//!
//! Times vary on a busy or throttled machine. The contestants therefore take turns, round after round; a figure is the
//! median over the rounds, and a ratio is the median of the ratios within a round.

mod detection;
pub(crate) mod photo;
mod python;
mod serving;
mod tables;
mod training;

use std::path::PathBuf;

use anyhow::Result;

use crate::process::build;

/// The contestants beside tract, and the number of rounds.
#[derive(clap::Args)]
pub(crate) struct Contestants {
    /// Python with facenet-pytorch and PyTorch (`load` also needs flask, and `bench --part tables` the packages fer and DeepFace).
    /// Without it the peers are left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
    /// ONNX Runtime's shared library. Without it ONNX Runtime is left out.
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Rounds in which every contestant is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    contestants: Contestants,
    /// Detector folder to time instead of the embedded detector.
    #[arg(long, value_name = "DIR")]
    detector: Option<PathBuf>,
    /// The part to measure [default: all parts].
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Photos for the memory measurement of the server, and in the folders for the Python package and for tables.
    #[arg(long, default_value_t = 1000)]
    photos: usize,
    /// The command `fer` to time, instead of a release build of this checkout.
    #[arg(long, value_name = "FILE")]
    fer: Option<PathBuf>,
}

impl Options {
    /// The command `fer` that is timed.
    ///
    /// # Errors
    /// It does not build.
    fn fer_command(&self) -> Result<PathBuf> {
        self.fer.clone().map_or_else(|| build(&["-p", "fer-cli"], "fer"), Ok)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Detection on one thread, beside facenet-pytorch.
    Detection,
    /// Start-up time, memory, and large photos.
    Serving,
    /// Training on all CPU cores, beside PyTorch, and its scaling over threads.
    Training,
    /// The Python package on a folder, beside the command `fer` and a loop over facenet-pytorch and PyTorch.
    Python,
    /// `fer analyze` on a folder and a video, beside the Python packages fer and DeepFace, and its memory.
    Tables,
}

/// Runs the parts that the options select and prints their tables.
///
/// # Errors
/// A program does not build, start or answer.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |part| options.part.is_none_or(|only| only == part);
    if wanted(Part::Detection) {
        detection::run(options)?;
    }
    if wanted(Part::Serving) {
        serving::run(options.contestants.rounds, options.photos)?;
    }
    if wanted(Part::Training) {
        training::run(&options.contestants)?;
    }
    if wanted(Part::Python) {
        python::run(options)?;
    }
    if wanted(Part::Tables) {
        tables::run(options)?;
    }
    Ok(())
}

/// The middle value, the upper one of two; NaN for no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
