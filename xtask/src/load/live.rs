//! Many live connections at once: how many answers per second each of them receives.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use image::imageops;
use serde_json::{Value, json};
use tungstenite::{Error, Message};

use super::client::join;
use crate::bench::photo::jpeg;
use crate::server::Server;
use crate::workspace;

const CONNECTIONS: usize = 32;

/// Frames per second that each connection sends.
const FRAMES: u64 = 5;

/// Opens the connections, sends frames with one face and returns the answers per second of each.
pub(super) fn measure(server: &Server, seconds: u64) -> Result<Value> {
    let sample = image::open(workspace("assets/samples/astronaut.png"))?.into_rgb8();
    let frame = jpeg(&imageops::resize(&sample, 320, 320, imageops::FilterType::Triangle))?;
    let host = server.base().trim_start_matches("http://");
    let duration = Duration::from_secs(seconds);
    let rates = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| answers_per_second(host, &frame, duration))).collect();
        join(clients)
    })?;
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{CONNECTIONS} live connections at {FRAMES} frames/s: mean {mean:.2} answered, slowest {slowest:.2} ({:.0} %)",
        100.0 * slowest / mean
    );
    Ok(json!({ "frames_per_second": rates }))
}

/// One connection that sends the frame at a fixed rate.
fn answers_per_second(host: &str, frame: &[u8], duration: Duration) -> Result<f64> {
    let stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
    let (mut socket, _) = tungstenite::client(format!("ws://{host}/v1/live"), stream)
        .map_err(|error| anyhow!("cannot open a live connection: {error}"))?;
    let (started, mut sent, mut answered) = (Instant::now(), 0, 0_u64);
    while started.elapsed() < duration {
        if started.elapsed().as_secs_f64() * FRAMES as f64 > sent as f64 {
            socket.send(Message::binary(frame.to_vec()))?;
            sent += 1;
        }
        match socket.read() {
            Ok(Message::Text(_)) => answered += 1,
            Ok(other) => bail!("the server sent {other:?} instead of an answer"),
            Err(Error::Io(error)) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(answered as f64 / started.elapsed().as_secs_f64())
}
