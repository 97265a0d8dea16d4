//! Time of detection and of the whole analysis on one thread, beside facenet-pytorch.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use super::photo::{six_faces, sixty_faces};
use super::{Options, median};
use crate::process::{build, json, number};
use crate::workspace;

const PEER: &str = "facenet-pytorch";

pub(super) fn run(options: &Options) -> Result<()> {
    let pipeline = build(&["-p", "fer-vision", "--example", "bench"], "examples/bench")?;
    let folder = tempfile::tempdir()?;
    let rounds = options.contestants.rounds;
    for (name, photo) in [("six faces", six_faces()?), ("sixty faces", sixty_faces()?)] {
        let file = folder.path().join("photo.png");
        photo.save(&file)?;
        println!("one thread, 640×480, {name}, median of {rounds} rounds, release build");
        let mut contestants = contestants(options, &pipeline, &file);
        let mut measured: Vec<Vec<Value>> = Vec::new();
        for _ in 0..rounds {
            let round = contestants.iter_mut().map(|(_, command)| json(command));
            measured.push(round.collect::<Result<_>>()?);
        }
        let names: Vec<&str> = contestants.iter().map(|(name, _)| name.as_str()).collect();
        print(&names, &measured)?;
    }
    Ok(())
}

/// Names and commands of the contestants that are available; each command prints one JSON object.
fn contestants(options: &Options, pipeline: &Path, photo: &Path) -> Vec<(String, Command)> {
    let ours = |detector: Option<&Path>, library: Option<&Path>| {
        let mut command = Command::new(pipeline);
        command.arg("--image").arg(photo);
        command.arg("--model").arg(workspace("assets/models/emotion"));
        if let Some(detector) = detector {
            command.arg("--detector").arg(detector);
        }
        if let Some(library) = library {
            command.arg("--onnxruntime").arg(library);
        }
        command
    };
    let mut contestants = Vec::new();
    for (name, detector) in [("", options.detector.as_deref()), ("MTCNN, ", Some(Path::new("mtcnn")))] {
        contestants.push((format!("{name}tract"), ours(detector, None)));
        if let Some(library) = &options.contestants.onnxruntime {
            contestants.push((format!("{name}ONNX Runtime"), ours(detector, Some(library))));
        }
    }
    if let Some(python) = &options.contestants.python {
        let mut peer = Command::new(python);
        peer.arg(workspace("xtask/src/bench/facenet.py")).arg(photo).arg("20");
        contestants.push((PEER.to_owned(), peer));
    }
    contestants
}

/// One line per contestant; `measured` has a value per round and contestant.
fn print(names: &[&str], measured: &[Vec<Value>]) -> Result<()> {
    println!(
        "{:<20}{:>7}{:>12}{:>14}{:>13}{:>16}",
        "", "faces", "detect ms", "/ facenet", "analyze ms", "not in engine"
    );
    let peer = names.iter().position(|name| *name == PEER);
    for (column, name) in names.iter().enumerate() {
        let over_rounds = |value: &dyn Fn(&[Value]) -> Result<f64>| {
            measured.iter().map(|round| value(round)).collect::<Result<Vec<_>>>().map(median)
        };
        let detect = over_rounds(&|round| number(&round[column], "detect_ms"))?;
        let ratio = match peer {
            Some(peer) => {
                let ratio = |round: &[Value]| {
                    Ok(number(&round[column], "detect_ms")? / number(&round[peer], "detect_ms")?)
                };
                format!("{:.2}", over_rounds(&ratio)?)
            }
            None => String::new(),
        };
        let (total, outside) = if *name == PEER {
            (String::new(), String::new())
        } else {
            let total = over_rounds(&|round| number(&round[column], "total_ms"))?;
            let outside = over_rounds(&|round| number(&round[column], "other_share"))?;
            (format!("{total:.1}"), format!("{:.1} %", 100.0 * outside))
        };
        let faces = &measured[0][column]["faces"];
        println!("{name:<20}{faces:>7}{detect:>12.1}{ratio:>14}{total:>13}{outside:>16}");
    }
    Ok(())
}
