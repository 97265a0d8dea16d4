//! The server's start-up time, its memory, and large photos, on tract with four workers.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use image::imageops;

use super::median;
use super::photo::{jpeg, six_faces};
use crate::process::build;
use crate::server::Server;

const WORKERS: [&str; 2] = ["--workers", "4"];

/// Clients that send photos at the same time during the memory measurement.
const CLIENTS: usize = 4;

pub(super) fn run(rounds: u32, photos: usize) -> Result<()> {
    let program = build(&["-p", "fer-serve"], "fer-serve")?;
    let photo = jpeg(&six_faces()?)?;
    start(&program, &photo, rounds)?;
    large_photo(&program, &photo, rounds)?;
    memory(&program, &photo, photos)
}

/// Seconds from the start of the process to the first answer.
fn start(program: &Path, photo: &[u8], rounds: u32) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let server = Server::start(program, &WORKERS)?;
        server.analyze(photo)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    println!("start to first answer (tract, four workers): {:.2} s", median(seconds));
    Ok(())
}

/// Time of a 4000×3000 photo, as phones take them, relative to the same photo at 640×480.
fn large_photo(program: &Path, photo: &[u8], rounds: u32) -> Result<()> {
    let large = imageops::resize(&six_faces()?, 4000, 3000, imageops::FilterType::Triangle);
    let large = jpeg(&large)?;
    let server = Server::start(program, &WORKERS)?;
    let seconds = |photo: &[u8]| -> Result<f64> {
        let started = Instant::now();
        let analysis = server.analyze(photo)?;
        let faces = analysis["faces"].as_array().map_or(0, Vec::len);
        ensure!(faces == 6, "the server found {faces} faces instead of six: {analysis}");
        Ok(started.elapsed().as_secs_f64())
    };
    let ratios = (0..rounds).map(|_| Ok(seconds(&large)? / seconds(photo)?)).collect::<Result<_>>()?;
    println!("12 megapixels / 640×480: {:.2}", median(ratios));
    Ok(())
}

/// Resident memory before, and after each tenth of the photos.
fn memory(program: &Path, photo: &[u8], photos: usize) -> Result<()> {
    let server = Server::start(program, &WORKERS)?;
    let mut memory = vec![server.resident_memory()?];
    for _ in 0..10 {
        let send = || (0..photos / (10 * CLIENTS)).try_for_each(|_| server.analyze(photo).map(drop));
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send)).collect();
            clients
                .into_iter()
                .try_for_each(|client| client.join().map_err(|_| anyhow!("a client thread panicked"))?)
        })?;
        memory.push(server.resident_memory()?);
    }
    let line: Vec<String> = memory.iter().map(|mebibytes| format!("{mebibytes:.0}")).collect();
    println!(
        "resident memory in MiB, {} photos between two figures, four workers: {}",
        photos / 10,
        line.join(" ")
    );
    Ok(())
}
