//! `cargo xtask bench`: what `docs/benchmarks.md` says, measured anew.
//!
//! Times on a busy or throttled machine wander, so the contestants take turns, round after round, and what counts is
//! the median over the rounds of the ratios within a round.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use image::{ImageFormat, RgbImage, imageops};
use serde_json::Value;

use crate::server::{Server, build};
use crate::workspace;

/// Who takes part besides tract, and how often each has its turn.
#[derive(clap::Args)]
pub(crate) struct Contestants {
    /// A Python with facenet-pytorch and PyTorch, the peers, and flask for `load`; their part stays empty without.
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
    /// ONNX Runtime's shared library; its part stays empty without.
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    contestants: Contestants,
    /// Folder with pnet.onnx, rnet.onnx and onet.onnx, to time another detector than the embedded one.
    #[arg(long, value_name = "DIR")]
    detector: Option<PathBuf>,
    /// What to time; all of it if not given.
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Photos for the memory measurement.
    #[arg(long, default_value_t = 1000)]
    photos: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Detection beside facenet-pytorch, one thread.
    Detection,
    /// The server's start, memory and large photos.
    Serving,
    /// Training on the CPU beside PyTorch, all cores, and how it grows with cores.
    Training,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |part| options.part.is_none_or(|only| only == part);
    if wanted(Part::Detection) {
        detection(options)?;
    }
    if wanted(Part::Serving) {
        serving(options)?;
    }
    if wanted(Part::Training) {
        training(options)?;
    }
    Ok(())
}

fn detection(options: &Options) -> Result<()> {
    let pipeline = build(&["-p", "fer-vision", "--example", "bench"], "examples/bench")?;
    let folder = tempfile::tempdir()?;
    let photo = folder.path().join("six-faces.png");
    six_faces()?.save(&photo)?;
    println!(
        "one thread, 640×480, six faces, min face 20, median of {} rounds, release build",
        options.contestants.rounds
    );
    detectors(options, &pipeline, &photo)
}

/// The sample's head, six times on grey.
pub(crate) fn six_faces() -> Result<RgbImage> {
    let sample = image::open(workspace("assets/samples/astronaut.png"))?.into_rgb8();
    let head = imageops::crop_imm(&sample, 140, 20, 170, 190).to_image();
    let mut photo = RgbImage::from_pixel(640, 480, image::Rgb([118, 121, 125]));
    for place in 0..6 {
        // 130 to 180 pixels wide, so that the faces fall on different levels of the pyramid.
        let width = 130 + 10 * place;
        let face = imageops::resize(&head, width, width * 190 / 170, imageops::FilterType::Triangle);
        imageops::overlay(
            &mut photo,
            &face,
            i64::from(15 + 210 * (place % 3)),
            i64::from(15 + 230 * (place / 3)),
        );
    }
    Ok(photo)
}

/// One contestant's JSON.
fn measure(command: &mut Command) -> Result<Value> {
    let text = printed(command)?;
    serde_json::from_str(text.trim()).with_context(|| format!("{command:?} prints no JSON: {text}"))
}

/// The first of several JSON objects, a line each.
fn first_line(command: &mut Command) -> Result<Value> {
    let text = printed(command)?;
    let line = text.lines().next().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("{command:?} prints no JSON: {text}"))
}

fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    ensure!(output.status.success(), "{command:?} fails: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn figure(json: &Value, name: &str) -> Result<f64> {
    json[name].as_f64().with_context(|| format!("no {name} in {json}"))
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn detectors(options: &Options, pipeline: &Path, photo: &Path) -> Result<()> {
    let ours = |library: Option<&Path>| {
        let mut command = Command::new(pipeline);
        command.arg("--image").arg(photo);
        command.arg("--model").arg(workspace("assets/models/emotion"));
        if let Some(detector) = &options.detector {
            command.arg("--detector").arg(detector);
        }
        if let Some(library) = library {
            command.arg("--onnxruntime").arg(library);
        }
        command
    };
    let mut contestants = vec![("tract", ours(None))];
    if let Some(library) = &options.contestants.onnxruntime {
        contestants.push(("ONNX Runtime", ours(Some(library))));
    }
    if let Some(python) = &options.contestants.python {
        let mut peer = Command::new(python);
        peer.arg(workspace("xtask/src/bench_facenet.py")).arg(photo).arg("20");
        contestants.push(("facenet-pytorch", peer));
    }
    let mut rounds: Vec<Vec<Value>> = Vec::new();
    for _ in 0..options.contestants.rounds {
        let round = contestants.iter_mut().map(|(_, command)| measure(command));
        rounds.push(round.collect::<Result<_>>()?);
    }
    println!(
        "{:<16}{:>7}{:>12}{:>14}{:>13}{:>16}",
        "", "faces", "detect ms", "/ facenet", "analyze ms", "not in engine"
    );
    for (column, (name, _)) in contestants.iter().enumerate() {
        let over_rounds = |of: &dyn Fn(&[Value]) -> Result<f64>| {
            rounds.iter().map(|round| of(round)).collect::<Result<Vec<_>>>().map(median)
        };
        let detect = over_rounds(&|round| figure(&round[column], "detect_ms"))?;
        let ratio = match options.contestants.python {
            Some(_) => {
                let peer = contestants.len() - 1;
                let ratio = over_rounds(&|round| {
                    Ok(figure(&round[column], "detect_ms")? / figure(&round[peer], "detect_ms")?)
                })?;
                format!("{ratio:.2}")
            }
            None => String::new(),
        };
        let (total, other) = if *name == "facenet-pytorch" {
            (String::new(), String::new())
        } else {
            let total = over_rounds(&|round| figure(&round[column], "total_ms"))?;
            let other = over_rounds(&|round| figure(&round[column], "other_share"))?;
            (format!("{total:.1}"), format!("{:.1} %", 100.0 * other))
        };
        let faces = &rounds[0][column]["faces"];
        println!("{name:<16}{faces:>7}{detect:>12.1}{ratio:>14}{total:>13}{other:>16}");
    }
    Ok(())
}

/// Networks, mini-batch, and steps of a measurement.
const TRAINED: [&str; 2] = ["cnn6", "cnn6-wide"];
const BATCH: usize = 128;
const STEPS: usize = 20;

fn training(options: &Options) -> Result<()> {
    let program = build(&["-p", "fer-train", "--no-default-features"], "fer-train")?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("faces.csv");
    std::fs::write(&data, random_faces())?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = |name: &str| workspace(&format!("configs/models/{name}.json"));
    let mut runs = 0;
    let mut ours = |name: &str, threads: usize| -> Result<Value> {
        runs += 1;
        let mut command = Command::new(&program);
        command
            .args(["train", "--json", "--epochs", "1", "--device", "cpu", "--threads"])
            .arg(threads.to_string());
        command.arg("--config").arg(workspace("configs/training/cnn6.json")).arg("--model").arg(model(name));
        command.arg("--batch-size").arg(BATCH.to_string()).arg("--data").arg(&data);
        command.arg("--runs").arg(folder.path()).arg("--name").arg(runs.to_string());
        first_line(&mut command)
    };
    println!(
        "training on the CPU, batches of {BATCH}, f32, median of {} rounds, release build",
        options.contestants.rounds
    );
    println!("{:<12}{:>9}{:>12}{:>12}{:>10}{:>12}", "", "threads", "images/s", "PyTorch", "ratio", "data");
    for name in TRAINED {
        let (mut own, mut peer, mut ratio, mut data) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.contestants.rounds {
            let epoch = ours(name, cores)?;
            own.push(figure(&epoch, "images_per_second")?);
            data.push(100.0 * figure(&epoch, "data_share")?);
            if let Some(python) = &options.contestants.python {
                let mut command = Command::new(python);
                command.arg(workspace("xtask/src/bench_training.py")).arg(model(name));
                command.args([BATCH, STEPS, cores].map(|number| number.to_string()));
                peer.push(figure(&measure(&mut command)?, "images_per_second")?);
                ratio.extend(own.last().zip(peer.last()).map(|(own, peer)| own / peer));
            }
        }
        println!(
            "{name:<12}{cores:>9}{:>12.0}{:>12.0}{:>10.2}{:>10.1} %",
            median(own),
            median(peer),
            median(ratio),
            median(data)
        );
    }
    let mut threads = 1;
    while threads < cores {
        let rounds =
            (0..options.contestants.rounds).map(|_| figure(&ours(TRAINED[0], threads)?, "images_per_second"));
        println!("{:<12}{threads:>9}{:>12.0}", TRAINED[0], median(rounds.collect::<Result<_>>()?));
        threads *= 2;
    }
    Ok(())
}

/// A CSV of noise: enough training rows for the steps, and some to validate with.
fn random_faces() -> String {
    let mut csv = "emotion,pixels,Usage\n".to_owned();
    let mut state = 1_u64;
    for (usage, rows) in [("Training", STEPS * BATCH), ("PublicTest", BATCH)] {
        for row in 0..rows {
            csv += &format!("{},", row % 7);
            for pixel in 0..48 * 48 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                csv += &format!("{}{}", if pixel == 0 { "" } else { " " }, state >> 56);
            }
            csv += &format!(",{usage}\n");
        }
    }
    csv
}

fn serving(options: &Options) -> Result<()> {
    let program = &build(&["-p", "fer-serve"], "fer-serve")?;
    let photo = encoded(&six_faces()?, ImageFormat::Jpeg)?;
    let mut starts = Vec::new();
    for _ in 0..options.contestants.rounds {
        let started = Instant::now();
        let server = Server::start(program, &["--workers", "4"])?;
        server.analyze(&photo)?;
        starts.push(started.elapsed().as_secs_f64());
    }
    println!("start to first answer (tract, four workers): {:.2} s", median(starts));

    // A phone's 4000×3000.
    let large = imageops::resize(&six_faces()?, 4000, 3000, imageops::FilterType::Triangle);
    let large = encoded(&large, ImageFormat::Jpeg)?;
    let server = Server::start(program, &["--workers", "4"])?;
    let mut ratios = Vec::new();
    for _ in 0..options.contestants.rounds {
        let took = |photo: &[u8]| -> Result<f64> {
            let started = Instant::now();
            let answer = server.analyze(photo)?;
            ensure!(
                answer["faces"].as_array().is_some_and(|faces| faces.len() == 6),
                "not six faces: {answer}"
            );
            Ok(started.elapsed().as_secs_f64())
        };
        ratios.push(took(&large)? / took(&photo)?);
    }
    println!("12 megapixels / 640×480: {:.2}", median(ratios));

    let server = Server::start(program, &["--workers", "4"])?;
    let mut memory = Vec::new();
    for part in 0..=10 {
        if part > 0 {
            std::thread::scope(|scope| {
                let clients: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            (0..options.photos / 40).try_for_each(|_| server.analyze(&photo).map(drop))
                        })
                    })
                    .collect();
                clients
                    .into_iter()
                    .try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
            })?;
        }
        memory.push(server.resident_memory()?);
    }
    let line: Vec<String> = memory.iter().map(|mebibytes| format!("{mebibytes:.0}")).collect();
    println!(
        "resident memory in MiB, {} photos between two figures, four workers: {}",
        options.photos / 10,
        line.join(" ")
    );
    Ok(())
}

pub(crate) fn encoded(image: &RgbImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}
