//! Requests beyond the server's capacity: it must shed them with 503, keep its memory bounded and serve the rest in time.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::client::{open_loop, percentile};
use crate::server::Server;

/// The memory is read at the start and after each of these parts.
const PARTS: u32 = 5;

/// Sends photos at `rate` per second for so many minutes; prints and returns statuses, p99 and memory.
pub(super) fn measure(server: &Server, photo: &[u8], rate: f64, minutes: f64) -> Result<Value> {
    let mut memory = vec![server.resident_memory()?];
    let mut answers = Vec::new();
    for _ in 0..PARTS {
        let duration = Duration::from_secs_f64(60.0 * minutes) / PARTS;
        answers.extend(open_loop(server.base(), photo, rate, duration)?);
        memory.push(server.resident_memory()?);
    }
    let count = |status: u16| answers.iter().filter(|answer| answer.0 == status).count();
    let (served, shed) = (count(200), count(503));
    let others = answers.len() - served - shed;
    let mut times: Vec<Duration> =
        answers.iter().filter(|(status, _)| *status == 200).map(|(_, time)| *time).collect();
    times.sort();
    let p99 = percentile(&times, 0.99);
    let panics = server.json("/healthz")?["worker_panics"].clone();
    println!(
        "{minutes} minutes at {rate:.1} photos/s: {served} succeeded (200), {shed} were shed (503), {others} had another \
         status; p99 of the served {p99:.0} ms; worker panics {panics}; memory {} MiB",
        memory.iter().map(|mebibytes| format!("{mebibytes:.0}")).collect::<Vec<_>>().join(" ")
    );
    Ok(json!({
        "photos_per_second": rate, "minutes": minutes, "served": served, "refused": shed, "others": others,
        "p99_ms": p99, "worker_panics": panics, "memory_mib": memory,
    }))
}
