//! `cargo xtask load`: what the server takes, beside a small Python server on the same machine in the same run. Loopback alone,
//! and bounded in time. The raw figures go into a JSON file.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use image::{ImageFormat, imageops};
use serde_json::{Value, json};

use crate::bench::{Contestants, encoded, median, six_faces};
use crate::server::{Server, build};
use crate::workspace;

/// Clients that ask again as soon as they are answered.
const CLIENTS: usize = 8;

/// Where the peer's processes listen, one port after the other.
const PEER_PORT: u16 = 5_077;

/// Live connections, and frames a second of each.
const LIVE: usize = 32;
const FRAMES: u64 = 5;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    contestants: Contestants,
    /// Seconds of a measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Minutes at twice the capacity.
    #[arg(long, default_value_t = 10.0)]
    overload_minutes: f64,
    /// Where the raw figures go.
    #[arg(long, default_value = "load.json", value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = build(&["-p", "fer-serve"], "fer-serve")?;
    let photo = encoded(&six_faces()?, ImageFormat::Jpeg)?;
    let throughput = throughput(options, &program, &photo)?;
    let server = start(&program, options.contestants.onnxruntime.as_deref())?;
    let capacity = closed_loop(server.base(), &photo, options.seconds)?;
    let latency = latency(&server, &photo, capacity / 2.0, options.seconds)?;
    let live = live(&server, options.seconds)?;
    let overload = overload(&server, &photo, 2.0 * capacity, options.overload_minutes)?;
    let report = json!({
        "throughput": throughput, "latency_at_half_load": latency, "live": live, "overload": overload,
    });
    std::fs::write(&options.out, serde_json::to_string_pretty(&report)? + "\n")?;
    println!("raw figures: {}", options.out.display());
    Ok(())
}

fn start(program: &Path, library: Option<&Path>) -> Result<Server> {
    let mut arguments = vec!["--log", "off", "--live-per-client", "64"];
    // The server runs in another folder.
    let library = library.map(std::path::absolute).transpose()?.map(|library| library.display().to_string());
    if let Some(library) = &library {
        arguments.extend(["--onnxruntime", library]);
    }
    Server::start(program, &arguments)
}

/// The peer's processes; killed when dropped.
struct Peer(Vec<Child>);

impl Peer {
    fn start(python: &Path, processes: u16, threads: usize) -> Result<Self> {
        let mut peer = Self(Vec::new());
        for process in 0..processes {
            let mut command = Command::new(python);
            command.arg(workspace("xtask/src/load_flask.py"));
            command.args([(PEER_PORT + process).to_string(), threads.to_string()]);
            peer.0.push(
                command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .context("the peer does not start")?,
            );
        }
        for process in 0..processes {
            let deadline = Instant::now() + Duration::from_secs(60);
            while TcpStream::connect(("127.0.0.1", PEER_PORT + process)).is_err() {
                ensure!(
                    Instant::now() < deadline,
                    "the peer does not listen; has its Python flask and facenet-pytorch?"
                );
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Photos a second of each contestant, in turns.
fn throughput(options: &Options, program: &Path, photo: &[u8]) -> Result<Value> {
    let mut names = vec!["tract"];
    if options.contestants.onnxruntime.is_some() {
        names.push("ONNX Runtime");
    }
    if options.contestants.python.is_some() {
        names.extend(["Flask, one process", "Flask, four processes of one thread"]);
    }
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..options.contestants.rounds {
        let round = names.iter().map(|name| {
            let python = || options.contestants.python.as_deref().context("no --python");
            match *name {
                "tract" => closed_loop(start(program, None)?.base(), photo, options.seconds),
                "ONNX Runtime" => closed_loop(
                    start(program, options.contestants.onnxruntime.as_deref())?.base(),
                    photo,
                    options.seconds,
                ),
                "Flask, one process" => {
                    let _peer = Peer::start(python()?, 1, 0)?;
                    closed_loop(&[peer_address(0)], photo, options.seconds)
                }
                _ => {
                    let _peer = Peer::start(python()?, 4, 1)?;
                    closed_loop(&[0, 1, 2, 3].map(peer_address), photo, options.seconds)
                }
            }
        });
        rounds.push(round.collect::<Result<_>>()?);
    }
    println!("640×480 JPEG, six faces, {CLIENTS} clients, median of {} rounds", rounds.len());
    for (column, name) in names.iter().enumerate() {
        let own = median(rounds.iter().map(|round| round[column]).collect());
        let ratio = |peer: &str| {
            let peer = names.iter().position(|name| *name == peer)?;
            Some(median(rounds.iter().map(|round| round[column] / round[peer]).collect()))
        };
        let ratios = ["Flask, one process", "Flask, four processes of one thread"]
            .map(|peer| ratio(peer).map_or_else(String::new, |ratio| format!("  {ratio:>6.2} of {peer}")));
        println!("  {name:<38}{own:>8.1} photos/s{}", ratios.concat());
    }
    Ok(json!({ "contestants": names, "photos_per_second": rounds }))
}

fn peer_address(process: u16) -> String {
    format!("http://127.0.0.1:{}", PEER_PORT + process)
}

trait Addresses {
    fn of_client(&self, client: usize) -> &str;
}

impl Addresses for str {
    fn of_client(&self, _: usize) -> &str {
        self
    }
}

impl<const N: usize> Addresses for [String; N] {
    fn of_client(&self, client: usize) -> &str {
        &self[client % N]
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(60))).build().into()
}

/// Status and time of one photo.
fn ask(agent: &ureq::Agent, base: &str, photo: &[u8]) -> Result<(u16, Duration)> {
    let started = Instant::now();
    let request = agent.post(format!("{base}/v1/analyze")).content_type("application/octet-stream");
    let mut response = request.send(photo)?;
    let text = response.body_mut().read_to_string()?;
    let status = response.status().as_u16();
    if status == 200 {
        let json: Value = serde_json::from_str(&text)?;
        ensure!(json["faces"].as_array().is_some_and(|faces| faces.len() == 6), "not six faces: {text}");
    }
    Ok((status, started.elapsed()))
}

/// Answers a second to clients that ask again as soon as they are answered.
fn closed_loop<A: Addresses + Sync + ?Sized>(base: &A, photo: &[u8], seconds: u64) -> Result<f64> {
    let warm = ask(&agent(), base.of_client(0), photo)?;
    ensure!(warm.0 == 200, "status {}", warm.0);
    let (started, answered) = (Instant::now(), AtomicU64::new(0));
    let end = started + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let answered = &answered;
                scope.spawn(move || -> Result<()> {
                    let agent = agent();
                    while Instant::now() < end {
                        let (status, _) = ask(&agent, base.of_client(client), photo)?;
                        ensure!(status == 200, "status {status}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        joined(clients)
    })?;
    Ok(answered.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

fn joined<T>(threads: Vec<std::thread::ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    threads
        .into_iter()
        .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
        .collect()
}

/// Photos at a steady rate whatever the answers do; status, and time from when each was due.
fn open_loop(base: &str, photo: &[u8], rate: f64, time: Duration) -> Result<Vec<(u16, Duration)>> {
    let count = (rate * time.as_secs_f64()) as u64;
    let (started, next) = (Instant::now(), AtomicU64::new(0));
    // As many as can be under way: what is due while all wait would be sent late.
    let clients = (rate * 3.0).ceil().clamp(16.0, 256.0) as usize;
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                let next = &next;
                scope.spawn(move || -> Result<Vec<(u16, Duration)>> {
                    let (agent, mut answers) = (agent(), Vec::new());
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return Ok(answers);
                        }
                        let due = started + Duration::from_secs_f64(number as f64 / rate);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let (status, _) = ask(&agent, base, photo)?;
                        answers.push((status, due.elapsed()));
                    }
                })
            })
            .collect();
        joined(clients)
    })?;
    Ok(answers.concat())
}

/// Of sorted times, in milliseconds.
fn percentile(times: &[Duration], share: f64) -> f64 {
    let place = (share * times.len() as f64).ceil() as usize;
    times.get(place.saturating_sub(1)).map_or(f64::NAN, |time| 1000.0 * time.as_secs_f64())
}

fn latency(server: &Server, photo: &[u8], rate: f64, seconds: u64) -> Result<Value> {
    let answers = open_loop(server.base(), photo, rate, Duration::from_secs(2 * seconds))?;
    ensure!(answers.iter().all(|(status, _)| *status == 200), "not all were answered at half of the load");
    let mut times: Vec<Duration> = answers.iter().map(|(_, time)| *time).collect();
    times.sort();
    let (half, most) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!(
        "at {rate:.1} photos/s, half of the load: median {half:.0} ms, p99 {most:.0} ms, {:.1} times",
        most / half
    );
    Ok(json!({ "photos_per_second": rate, "median_ms": half, "p99_ms": most, "answers": times.len() }))
}

/// Frames a second that each of many live connections is answered.
fn live(server: &Server, seconds: u64) -> Result<Value> {
    let sample = image::open(workspace("assets/samples/astronaut.png"))?.into_rgb8();
    let frame =
        encoded(&imageops::resize(&sample, 320, 320, imageops::FilterType::Triangle), ImageFormat::Jpeg)?;
    let host = server.base().trim_start_matches("http://").to_owned();
    let time = Duration::from_secs(seconds);
    let rates = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..LIVE)
            .map(|_| {
                let (host, frame) = (&host, &frame);
                scope.spawn(move || -> Result<f64> {
                    let stream = TcpStream::connect(host)?;
                    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
                    let (mut socket, _) = tungstenite::client(format!("ws://{host}/v1/live"), stream)
                        .map_err(|error| anyhow::anyhow!("no live connection: {error}"))?;
                    let (started, mut sent, mut answered) = (Instant::now(), 0, 0_u64);
                    while started.elapsed() < time {
                        if started.elapsed().as_secs_f64() * FRAMES as f64 > sent as f64 {
                            socket.send(tungstenite::Message::binary(frame.clone()))?;
                            sent += 1;
                        }
                        match socket.read() {
                            Ok(tungstenite::Message::Text(_)) => answered += 1,
                            Ok(other) => bail!("instead of an answer: {other:?}"),
                            Err(tungstenite::Error::Io(error))
                                if [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut]
                                    .contains(&error.kind()) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                    Ok(answered as f64 / started.elapsed().as_secs_f64())
                })
            })
            .collect();
        joined(clients)
    })?;
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{LIVE} live connections at {FRAMES} frames/s: mean {mean:.2} answered, slowest {slowest:.2} ({:.0} %)",
        100.0 * slowest / mean
    );
    Ok(json!({ "frames_per_second": rates }))
}

/// Twice what it can do: only 200 and 503, memory, and how long the accepted ones take.
fn overload(server: &Server, photo: &[u8], rate: f64, minutes: f64) -> Result<Value> {
    const PARTS: u32 = 5;
    let mut memory = vec![server.resident_memory()?];
    let mut answers = Vec::new();
    for _ in 0..PARTS {
        answers.extend(open_loop(
            server.base(),
            photo,
            rate,
            Duration::from_secs_f64(60.0 * minutes) / PARTS,
        )?);
        memory.push(server.resident_memory()?);
    }
    let with = |status: u16| answers.iter().filter(|answer| answer.0 == status).count();
    let (served, refused) = (with(200), with(503));
    let others = answers.len() - served - refused;
    let mut times: Vec<Duration> =
        answers.iter().filter(|(status, _)| *status == 200).map(|(_, time)| *time).collect();
    times.sort();
    let p99 = percentile(&times, 0.99);
    let panics = server.json("/healthz")?["worker_panics"].clone();
    println!(
        "{minutes} minutes at {rate:.1} photos/s: {served} times 200, {refused} times 503, {others} others; p99 of the served \
         {p99:.0} ms; worker panics {panics}; memory {} MiB",
        memory.iter().map(|mebibytes| format!("{mebibytes:.0}")).collect::<Vec<_>>().join(" ")
    );
    Ok(json!({
        "photos_per_second": rate, "minutes": minutes, "served": served, "refused": refused, "others": others,
        "p99_ms": p99, "worker_panics": panics, "memory_mib": memory,
    }))
}
