//! Training throughput on the CPU, beside PyTorch, and its scaling over threads.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use super::{Contestants, median};
use crate::process::{build, first_json_line, json, number};
use crate::workspace;

const NETWORKS: [&str; 2] = ["cnn6", "cnn6-wide"];
const BATCH_SIZE: usize = 128;
/// Steps of one measurement.
const STEPS: usize = 20;

pub(super) fn run(contestants: &Contestants) -> Result<()> {
    let program = build(&["-p", "fer-train", "--no-default-features"], "fer-train")?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("faces.csv");
    std::fs::write(&data, random_faces())?;
    let mut trainer = Trainer { program, data, folder: folder.path(), runs: 0 };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rounds = contestants.rounds;
    println!("training on the CPU, batches of {BATCH_SIZE}, f32, median of {rounds} rounds, release build");
    println!("{:<12}{:>9}{:>12}{:>12}{:>10}{:>12}", "", "threads", "images/s", "PyTorch", "ratio", "data");
    for network in NETWORKS {
        beside_pytorch(&mut trainer, contestants, network, cores)?;
    }
    let mut threads = 1;
    while threads < cores {
        let speeds = (0..rounds)
            .map(|_| number(&trainer.epoch(NETWORKS[0], threads)?, "images_per_second"))
            .collect::<Result<_>>()?;
        println!("{:<12}{threads:>9}{:>12.0}", NETWORKS[0], median(speeds));
        threads *= 2;
    }
    Ok(())
}

/// Prints one network's images per second in `fer-train` and, if a Python is given, in PyTorch.
fn beside_pytorch(
    trainer: &mut Trainer<'_>,
    contestants: &Contestants,
    network: &str,
    cores: usize,
) -> Result<()> {
    let (mut own, mut peer, mut ratio, mut data) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..contestants.rounds {
        let epoch = trainer.epoch(network, cores)?;
        let speed = number(&epoch, "images_per_second")?;
        own.push(speed);
        data.push(100.0 * number(&epoch, "data_share")?);
        if let Some(python) = &contestants.python {
            let mut command = Command::new(python);
            command.arg(workspace("xtask/src/bench/training.py")).arg(model(network));
            command.args([BATCH_SIZE, STEPS, cores].map(|number| number.to_string()));
            let peer_speed = number(&json(&mut command)?, "images_per_second")?;
            peer.push(peer_speed);
            ratio.push(speed / peer_speed);
        }
    }
    println!(
        "{network:<12}{cores:>9}{:>12.0}{:>12.0}{:>10.2}{:>10.1} %",
        median(own),
        median(peer),
        median(ratio),
        median(data)
    );
    Ok(())
}

fn model(network: &str) -> PathBuf {
    workspace(&format!("configs/models/{network}.json"))
}

/// `fer-train` and the data that it trains on.
struct Trainer<'a> {
    program: PathBuf,
    data: PathBuf,
    /// The folder for the runs.
    folder: &'a Path,
    /// Number of runs so far; each run needs a unique name.
    runs: usize,
}

impl Trainer<'_> {
    /// Trains one epoch and returns its report.
    fn epoch(&mut self, network: &str, threads: usize) -> Result<Value> {
        self.runs += 1;
        let mut command = Command::new(&self.program);
        command
            .args(["train", "--json", "--epochs", "1", "--device", "cpu", "--threads"])
            .arg(threads.to_string());
        command.arg("--config").arg(workspace("configs/training/cnn6.json"));
        command.arg("--model").arg(model(network));
        command.arg("--batch-size").arg(BATCH_SIZE.to_string()).arg("--data").arg(&self.data);
        command.arg("--runs").arg(self.folder).arg("--name").arg(self.runs.to_string());
        first_json_line(&mut command)
    }
}

/// A FER-2013 CSV of noise: Training rows for all steps, and one mini-batch of PublicTest rows.
fn random_faces() -> String {
    let mut csv = "emotion,pixels,Usage\n".to_owned();
    let mut state = 1_u64;
    for (usage, rows) in [("Training", STEPS * BATCH_SIZE), ("PublicTest", BATCH_SIZE)] {
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
