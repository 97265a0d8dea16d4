//! The Python package on a folder of photos, beside the command `fer` and a Python loop over facenet-pytorch and PyTorch.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::photo::{six_faces, write_folder};
use super::{Contestants, Options, median};
use crate::process::{json, number};
use crate::python::{Environment, interpreter};
use crate::workspace;

/// The peer gets one of this many photos, because it takes too long for all.
const PEER_SHARE: usize = 20;

pub(super) fn run(options: &Options) -> Result<()> {
    let Options { contestants, photos, .. } = options;
    let fer = options.fer_command()?;
    let environment = Environment::with_wheel(interpreter(), "release")?;
    let folder = tempfile::tempdir()?;
    write_folder(folder.path(), *photos, &mut [six_faces()?])?;
    let mut rounds = Vec::new();
    for _ in 0..contestants.rounds {
        rounds.push(round(contestants, &environment, &fer, folder.path())?);
    }
    let over = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let count = *photos as f64;
    println!("folder of {photos} photos, 640×480, six faces, all cores, median of {} rounds", rounds.len());
    println!("fer analyze, whole process:    {:8.1} photos/s", over(&|round| count / round.native));
    println!("analyze_batch, whole process:  {:8.1} photos/s", over(&|round| count / round.process));
    println!("analyze_batch, without start:  {:8.1} photos/s", over(&|round| count / round.batch));
    println!(
        "analyze_batch / fer analyze, whole processes: {:.3}",
        over(&|round| round.native / round.process)
    );
    println!("import fer_rs: {:.3} s", over(&|round| round.import));
    println!("first answer after the import: {:.3} s", over(&|round| round.first));
    if contestants.python.is_some() {
        println!("loop over facenet-pytorch and PyTorch: {:.2} photos/s", over(&|round| round.peer));
        println!("analyze_batch / loop: {:.1}", over(&|round| count / round.batch / round.peer));
    }
    Ok(())
}

/// One round. Times are in seconds.
struct Round {
    /// `fer analyze`, from the start of the process to its end.
    native: f64,
    /// Python with `analyze_batch`, the same.
    process: f64,
    /// `analyze_batch` by itself.
    batch: f64,
    import: f64,
    /// Opening an analyzer and the first photo.
    first: f64,
    /// Photos per second of the peer's loop, without its start.
    peer: f64,
}

fn round(contestants: &Contestants, environment: &Environment, fer: &Path, folder: &Path) -> Result<Round> {
    let mut native = Command::new(fer);
    native.arg("analyze").arg(folder).args(["--quiet", "--force", "--out"]);
    native.arg(folder.with_extension("parquet")).stdout(Stdio::null());
    let mut ours = environment.python();
    ours.arg(workspace("xtask/src/bench/folder.py")).arg(folder);
    match &contestants.onnxruntime {
        Some(library) => {
            native.arg("--onnxruntime").arg(library);
            ours.arg(library);
        }
        None => {
            native.args(["--engine", "tract"]);
        }
    }
    let started = Instant::now();
    ensure!(native.status()?.success(), "{native:?} failed");
    let native = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let measured = json(&mut ours)?;
    let process = started.elapsed().as_secs_f64();
    std::fs::remove_file(folder.with_extension("parquet"))?;
    let peer = match &contestants.python {
        Some(python) => {
            let mut peer = Command::new(python);
            peer.arg(workspace("xtask/src/bench/facenet_folder.py")).arg(folder).arg(PEER_SHARE.to_string());
            number(&json(&mut peer)?, "photos_per_second")?
        }
        None => f64::NAN,
    };
    Ok(Round {
        native,
        process,
        batch: number(&measured, "batch")?,
        import: number(&measured, "import")?,
        first: number(&measured, "first")?,
        peer,
    })
}
