//! `fer analyze` on a folder of photos and on a video, beside the Python packages fer and DeepFace and a loop over facenet-pytorch
//! and PyTorch; and its memory over a longer video.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::photo::{up_to_six_faces, write_folder};
use super::{Options, median};
use crate::process::{json, memory_of, number};
use crate::workspace;

/// What `tables.py` calls the peers, and what is printed.
const PEERS: [(&str, &str); 3] =
    [("fer", "fer (PyPI)"), ("deepface", "DeepFace"), ("facenet", "facenet loop")];

/// The peers get the first photos or frames, because they take too long for all. A multiple of six, so that their photos have as
/// many faces as ours on average.
const PEER_PICTURES: usize = 30;

/// Seconds of the video that is timed.
const TIMED_VIDEO: usize = 40;

/// Seconds of the video over which memory is measured. The first minute, after which it should not grow, is a third of it.
const LONG_VIDEO: usize = 180;

/// Of both videos.
const FRAMES_PER_SECOND: usize = 25;

/// Time between two measurements of memory.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) fn run(options: &Options) -> Result<()> {
    let contestants = contestants(options)?;
    let folder = tempfile::tempdir()?;
    let photos = Pictures {
        path: folder.path().join("photos"),
        count: options.photos,
        faces: (0..options.photos).map(|number| number % 6 + 1).sum(),
    };
    std::fs::create_dir(&photos.path)?;
    let mut kinds = (1..=6).map(up_to_six_faces).collect::<Result<Vec<_>>>()?;
    write_folder(&photos.path, photos.count, &mut kinds)?;
    println!("folder of {} photos, 640×480, one to six faces", photos.count);
    speeds(&contestants, &photos, options.contestants.rounds)?;
    let video = write_video(&folder.path().join("short.mp4"), TIMED_VIDEO)?;
    println!("video of {} frames, 1280×720, one face", video.count);
    speeds(&contestants, &video, options.contestants.rounds)?;
    memory(&contestants, &write_video(&folder.path().join("long.mp4"), LONG_VIDEO)?)
}

/// A folder of photos or a video.
struct Pictures {
    path: PathBuf,
    count: usize,
    faces: usize,
}

/// Writes a video in which the sample photo moves to and fro.
fn write_video(path: &Path, seconds: usize) -> Result<Pictures> {
    let background = format!("color=0x76797D:size=1280x720:rate={FRAMES_PER_SECOND}:duration={seconds}");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-loglevel", "error", "-f", "lavfi", "-i", &background, "-i"]);
    ffmpeg.arg(workspace("assets/samples/astronaut.png"));
    ffmpeg.args(["-filter_complex", "[1]scale=720:720[photo];[0][photo]overlay=x='280+240*sin(t/3)':y=0"]);
    ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]).arg(path);
    let status = ffmpeg.stdin(Stdio::null()).status().context("cannot start ffmpeg")?;
    ensure!(status.success(), "{ffmpeg:?} failed");
    let frames = FRAMES_PER_SECOND * seconds;
    Ok(Pictures { path: path.to_owned(), count: frames, faces: frames })
}

/// A program that is timed.
enum Contestant {
    /// `fer analyze`, with tract if there is no library of ONNX Runtime.
    Ours { fer: PathBuf, library: Option<PathBuf>, threads: usize },
    /// A Python package, by its name in `tables.py` and for people.
    Peer { python: PathBuf, key: &'static str, name: &'static str },
}

fn contestants(options: &Options) -> Result<Vec<Contestant>> {
    let fer = options.fer_command()?;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut threads = vec![1, cores];
    threads.dedup();
    let runtime = &options.contestants.onnxruntime;
    let engines = std::iter::once(None).chain(runtime.iter().cloned().map(Some));
    let mut contestants: Vec<_> = engines
        .flat_map(|library| threads.iter().map(move |threads| (library.clone(), *threads)))
        .map(|(library, threads)| Contestant::Ours { fer: fer.clone(), library, threads })
        .collect();
    if let Some(python) = &options.contestants.python {
        contestants.extend(PEERS.map(|(key, name)| Contestant::Peer { python: python.clone(), key, name }));
    }
    Ok(contestants)
}

impl Contestant {
    fn name(&self) -> String {
        match self {
            Self::Ours { library, threads, .. } => {
                let engine = if library.is_some() { "ONNX Runtime" } else { "tract" };
                format!("{engine}, {threads} thread{}", if *threads == 1 { "" } else { "s" })
            }
            Self::Peer { name, .. } => (*name).to_owned(),
        }
    }

    fn measure(&self, pictures: &Pictures) -> Result<Measured> {
        match self {
            Self::Ours { fer, library, threads } => {
                let table = tempfile::tempdir()?;
                let mut command = Command::new(fer);
                command.arg("analyze").arg(&pictures.path).args([
                    "--json",
                    "--threads",
                    &threads.to_string(),
                ]);
                command.arg("--out").arg(table.path().join("faces.parquet"));
                match library {
                    Some(library) => command.args(["--engine", "onnxruntime", "--onnxruntime"]).arg(library),
                    None => command.args(["--engine", "tract"]),
                };
                analyze(&mut command, pictures)
            }
            Self::Peer { python, key, .. } => {
                let mut command = Command::new(python);
                command.arg(workspace("xtask/src/bench/tables.py")).arg(key).arg(&pictures.path);
                command.arg(PEER_PICTURES.min(pictures.count).to_string());
                let answer = json(&mut command)?;
                let note = answer["note"].as_str().map(str::to_owned);
                Ok(Measured { per_second: number(&answer, "per_second")?, note, ..Measured::default() })
            }
        }
    }
}

/// What a run of a contestant gives.
#[derive(Default)]
struct Measured {
    /// Pictures per second: of the whole process for ours, without the start for a peer.
    per_second: f64,
    /// The largest resident memory in bytes; only for ours.
    peak: f64,
    /// The resident memory in bytes, every [`PAUSE`]; only for ours.
    resident: Vec<f64>,
    /// A remark on the run of a peer.
    note: Option<String>,
}

/// Runs `fer analyze --json` and checks that it saw all pictures, and the faces within one per cent.
fn analyze(command: &mut Command, pictures: &Pictures) -> Result<Measured> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let process = child.id();
    let (sender, ended) = channel::<()>();
    let (output, seconds, memory) = std::thread::scope(|scope| {
        let sampler = scope.spawn(move || sample(process, &ended));
        let output = child.wait_with_output();
        let seconds = started.elapsed().as_secs_f64();
        drop(sender);
        (output, seconds, sampler.join())
    });
    let (peak, resident) = memory.map_err(|_| anyhow!("the thread that reads the memory panicked"))?;
    let log = String::from_utf8(output?.stderr)?;
    let end: Value = serde_json::from_str(log.lines().last().unwrap_or_default())
        .with_context(|| format!("{command:?} failed: {log}"))?;
    let expected = [pictures.count, pictures.faces];
    let [seen, faces] = ["pictures", "faces"].map(|key| end[key].as_u64().unwrap_or_default() as usize);
    // A detector may see a second face in a frame.
    let is_as_expected = seen == pictures.count && faces.abs_diff(pictures.faces) <= pictures.faces / 100;
    ensure!(is_as_expected, "{expected:?} pictures and faces were expected: {end}");
    Ok(Measured { per_second: pictures.count as f64 / seconds, peak, resident, note: None })
}

/// Reads a process's memory until it ends: the peak, and the resident memory every [`PAUSE`].
fn sample(process: u32, ended: &Receiver<()>) -> (f64, Vec<f64>) {
    let (mut peak, mut resident) = (f64::NAN, Vec::new());
    while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        // A process that has just ended has no memory.
        if let (Ok(highest), Ok(now)) = (memory_of(process, "VmHWM"), memory_of(process, "VmRSS")) {
            peak = highest;
            resident.push(now);
        }
    }
    (peak, resident)
}

/// Measures the contestants in turns and prints a table. Peers that do not run are left out.
fn speeds(contestants: &[Contestant], pictures: &Pictures, rounds: u32) -> Result<()> {
    let mut running = Vec::new();
    for contestant in contestants {
        if let Contestant::Peer { name, .. } = contestant {
            match contestant.measure(pictures) {
                Ok(Measured { note: Some(note), .. }) => println!("{name}: {note}"),
                Ok(_) => {}
                Err(error) => {
                    let error = format!("{error:#}");
                    println!("{name} is left out: {}", error.trim().lines().last().unwrap_or_default());
                    continue;
                }
            }
        }
        running.push(contestant);
    }
    let round = |_| running.iter().map(|contestant| contestant.measure(pictures)).collect();
    let measured: Vec<Vec<Measured>> = (0..rounds).map(round).collect::<Result<_>>()?;
    print(&running, &measured);
    Ok(())
}

/// One line per contestant; `measured` has a value per round and contestant.
fn print(contestants: &[&Contestant], measured: &[Vec<Measured>]) {
    let over =
        |value: &dyn Fn(&[Measured]) -> f64| median(measured.iter().map(|round| value(round)).collect());
    let ratio = |one: usize, other: usize| over(&|round| round[one].per_second / round[other].per_second);
    let peers: Vec<_> = (0..contestants.len())
        .filter(|index| matches!(contestants[*index], Contestant::Peer { .. }))
        .collect();
    print!("median of {} rounds{:>21}{:>10}{:>16}", measured.len(), "per second", "peak MB", "of linear");
    peers.iter().for_each(|peer| print!("{:>15}", format!("/ {}", contestants[*peer].name())));
    println!();
    for (index, contestant) in contestants.iter().enumerate() {
        print!("{:<24}{:>14.2}", contestant.name(), over(&|round| round[index].per_second));
        if let Contestant::Ours { threads, .. } = contestant {
            print!("{:>10.0}", over(&|round| round[index].peak / 1e6));
            // The run with one thread comes just before the one with all.
            match threads {
                1 => print!("{:>16}", ""),
                _ => print!("{:>14.1} %", 100.0 * ratio(index, index - 1) / *threads as f64),
            }
            peers.iter().for_each(|peer| print!("{:>15.1}", ratio(index, *peer)));
        }
        println!();
    }
}

/// Prints our memory over a video: the peak, its growth after the first minute of the video, and ten values from start to end.
fn memory(contestants: &[Contestant], video: &Pictures) -> Result<()> {
    println!("memory in MB over a video of {} frames, 1280×720, one face", video.count);
    for contestant in contestants.iter().filter(|contestant| matches!(contestant, Contestant::Ours { .. })) {
        let Measured { peak, resident, .. } = contestant.measure(video)?;
        ensure!(!resident.is_empty(), "the memory of a process can be read only on Linux");
        let later = &resident[resident.len() / (LONG_VIDEO / 60)..];
        let highest = later.iter().copied().fold(f64::NAN, f64::max);
        let values: Vec<_> =
            (0..=9).filter_map(|part| resident.get(part * (resident.len() - 1) / 9)).collect();
        let values: Vec<_> = values.iter().map(|bytes| format!("{:.0}", **bytes / 1e6)).collect();
        println!(
            "{:<24} peak {:.0}, growth after the first minute {:.1} %: {}",
            contestant.name(),
            peak / 1e6,
            100.0 * (highest / later[0] - 1.0),
            values.join(" ")
        );
    }
    Ok(())
}
