//! `cargo xtask load`: throughput, latency, live connections and overload of fer-serve, beside a small Python server on
//! the same machine in the same run. It uses only the loopback interface and ends after a fixed time. It writes the raw
//! figures to a JSON file.

mod client;
mod live;
mod overload;
mod peer;
mod throughput;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::client::{closed_loop, open_loop, percentile};
use crate::bench::Contestants;
use crate::bench::photo::{jpeg, six_faces};
use crate::process::build;
use crate::server::Server;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    contestants: Contestants,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Minutes of the overload, at twice the server's capacity.
    #[arg(long, default_value_t = 10.0)]
    overload_minutes: f64,
    /// File for the raw figures.
    #[arg(long, default_value = "load.json", value_name = "FILE")]
    out: PathBuf,
}

/// Runs all measurements, prints them and writes the raw figures.
///
/// # Errors
/// A server does not build, start or answer as expected.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = build(&["-p", "fer-serve"], "fer-serve")?;
    let photo = jpeg(&six_faces()?)?;
    let throughput = throughput::measure(options, &program, &photo)?;
    let server = start(&program, options.contestants.onnxruntime.as_deref())?;
    let capacity = closed_loop(server.base(), &photo, options.seconds)?;
    let latency = latency(&server, &photo, capacity / 2.0, options.seconds)?;
    let live = live::measure(&server, options.seconds)?;
    let overload = overload::measure(&server, &photo, 2.0 * capacity, options.overload_minutes)?;
    let report = json!({
        "throughput": throughput, "latency_at_half_load": latency, "live": live, "overload": overload,
    });
    std::fs::write(&options.out, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", options.out.display()))?;
    println!("raw figures: {}", options.out.display());
    Ok(())
}

/// Starts fer-serve on ONNX Runtime if its library is given, else on tract.
fn start(program: &Path, library: Option<&Path>) -> Result<Server> {
    let mut arguments = vec!["--log", "off", "--live-per-client", "64"];
    // The server runs in another folder, so the path must be absolute.
    let library = library.map(std::path::absolute).transpose()?.map(|library| library.display().to_string());
    if let Some(library) = &library {
        arguments.extend(["--onnxruntime", library]);
    }
    Server::start(program, &arguments)
}

/// Latency at a steady `rate` in photos per second that the server can serve.
fn latency(server: &Server, photo: &[u8], rate: f64, seconds: u64) -> Result<Value> {
    let answers = open_loop(server.base(), photo, rate, Duration::from_secs(2 * seconds))?;
    ensure!(
        answers.iter().all(|(status, _)| *status == 200),
        "some requests failed at half of the server's capacity"
    );
    let mut times: Vec<Duration> = answers.iter().map(|(_, time)| *time).collect();
    times.sort();
    let (median, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!(
        "at {rate:.1} photos/s, half of the load: median {median:.0} ms, p99 {p99:.0} ms, {:.1} times the median",
        p99 / median
    );
    Ok(json!({ "photos_per_second": rate, "median_ms": median, "p99_ms": p99, "answers": times.len() }))
}
