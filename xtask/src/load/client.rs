//! Clients that send photos: in a closed loop (the next photo follows the answer) and in an open loop (at a fixed rate).

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

/// Clients of a closed loop.
pub(super) const CLIENTS: usize = 8;

/// The servers that a group of clients talks to: one address, or several that the clients share evenly.
pub(super) trait Addresses {
    /// The address for a client.
    fn for_client(&self, client: usize) -> &str;
}

impl Addresses for str {
    fn for_client(&self, _: usize) -> &str {
        self
    }
}

impl<const N: usize> Addresses for [String; N] {
    fn for_client(&self, client: usize) -> &str {
        &self[client % N]
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(60))).build().into()
}

/// Sends one photo; returns the status and the time. A successful answer must have six faces.
fn send(agent: &ureq::Agent, base: &str, photo: &[u8]) -> Result<(u16, Duration)> {
    let started = Instant::now();
    let request = agent.post(format!("{base}/v1/analyze")).content_type("application/octet-stream");
    let mut response = request.send(photo)?;
    let text = response.body_mut().read_to_string()?;
    let status = response.status().as_u16();
    if status == 200 {
        let json: Value = serde_json::from_str(&text)?;
        let faces = json["faces"].as_array().map_or(0, Vec::len);
        ensure!(faces == 6, "the server found {faces} faces instead of six: {text}");
    }
    Ok((status, started.elapsed()))
}

/// Answers per second for clients that send the next photo as soon as they have an answer.
///
/// # Errors
/// A request fails or has another status than 200.
pub(super) fn closed_loop<A: Addresses + Sync + ?Sized>(
    servers: &A,
    photo: &[u8],
    seconds: u64,
) -> Result<f64> {
    let (status, _) = send(&agent(), servers.for_client(0), photo)?;
    ensure!(status == 200, "the server answered with status {status}");
    let (started, answered) = (Instant::now(), AtomicU64::new(0));
    let end = started + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let answered = &answered;
                scope.spawn(move || -> Result<()> {
                    let agent = agent();
                    while Instant::now() < end {
                        let (status, _) = send(&agent, servers.for_client(client), photo)?;
                        ensure!(status == 200, "the server answered with status {status}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        join(clients)
    })?;
    Ok(answered.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// Sends photos at a fixed `rate` per second, independent of the answers. Returns each status with the time since the
/// photo was due.
///
/// # Errors
/// A request fails.
pub(super) fn open_loop(
    base: &str,
    photo: &[u8],
    rate: f64,
    duration: Duration,
) -> Result<Vec<(u16, Duration)>> {
    let count = (rate * duration.as_secs_f64()) as u64;
    let (started, next) = (Instant::now(), AtomicU64::new(0));
    // Enough clients for all requests in flight: a photo that is due while all clients wait would be sent late.
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
                        let (status, _) = send(&agent, base, photo)?;
                        answers.push((status, due.elapsed()));
                    }
                })
            })
            .collect();
        join(clients)
    })?;
    Ok(answers.concat())
}

/// Waits for all threads and returns their results, or the first error.
///
/// # Errors
/// A thread returned an error or panicked.
pub(super) fn join<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    threads
        .into_iter()
        .map(|thread| thread.join().map_err(|_| anyhow!("a client thread panicked"))?)
        .collect()
}

/// The smallest of the sorted `times` that is not exceeded by this `fraction` of them, in milliseconds.
pub(super) fn percentile(times: &[Duration], fraction: f64) -> f64 {
    let rank = (fraction * times.len() as f64).ceil() as usize;
    times.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| 1000.0 * time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.5), 50.0);
        assert_eq!(percentile(&times, 0.99), 99.0);
        assert_eq!(percentile(&times[..1], 0.99), 1.0);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
