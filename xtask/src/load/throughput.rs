//! Photos per second of fer-serve on each engine and of the Python server, in turns.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::client::{CLIENTS, closed_loop};
use super::peer::Peer;
use super::{Options, start};
use crate::bench::median;

#[derive(Clone, Copy, PartialEq)]
enum Contestant {
    Tract,
    OnnxRuntime,
    OneFlaskProcess,
    FourFlaskProcesses,
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::OnnxRuntime => "ONNX Runtime",
            Self::OneFlaskProcess => "Flask, one process",
            Self::FourFlaskProcesses => "Flask, four processes of one thread",
        }
    }

    fn available(options: &Options) -> Vec<Self> {
        let mut contestants = vec![Self::Tract];
        if options.contestants.onnxruntime.is_some() {
            contestants.push(Self::OnnxRuntime);
        }
        if options.contestants.python.is_some() {
            contestants.extend([Self::OneFlaskProcess, Self::FourFlaskProcesses]);
        }
        contestants
    }

    /// Starts the contestant and returns its photos per second.
    fn measure(self, options: &Options, program: &Path, photo: &[u8]) -> Result<f64> {
        let python = || options.contestants.python.as_deref().context("--python is missing");
        let seconds = options.seconds;
        match self {
            Self::Tract => closed_loop(start(program, None)?.base(), photo, seconds),
            Self::OnnxRuntime => {
                let server = start(program, options.contestants.onnxruntime.as_deref())?;
                closed_loop(server.base(), photo, seconds)
            }
            Self::OneFlaskProcess => {
                let _peer = Peer::start(python()?, 1, 0)?;
                closed_loop(&[Peer::address(0)], photo, seconds)
            }
            Self::FourFlaskProcesses => {
                let _peer = Peer::start(python()?, 4, 1)?;
                closed_loop(&[0, 1, 2, 3].map(Peer::address), photo, seconds)
            }
        }
    }
}

/// Measures all contestants, round after round, prints medians and returns the raw figures.
pub(super) fn measure(options: &Options, program: &Path, photo: &[u8]) -> Result<Value> {
    let contestants = Contestant::available(options);
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for _ in 0..options.contestants.rounds {
        let round = contestants.iter().map(|contestant| contestant.measure(options, program, photo));
        rounds.push(round.collect::<Result<_>>()?);
    }
    println!("640×480 JPEG, six faces, {CLIENTS} clients, median of {} rounds", rounds.len());
    for (column, contestant) in contestants.iter().enumerate() {
        let own = median(rounds.iter().map(|round| round[column]).collect());
        let ratios = [Contestant::OneFlaskProcess, Contestant::FourFlaskProcesses].map(|peer| {
            let Some(position) = contestants.iter().position(|one| *one == peer) else {
                return String::new();
            };
            let ratio = median(rounds.iter().map(|round| round[column] / round[position]).collect());
            format!("  {ratio:>6.2} of {}", peer.name())
        });
        println!("  {:<38}{own:>8.1} photos/s{}", contestant.name(), ratios.concat());
    }
    let names: Vec<_> = contestants.iter().map(|contestant| contestant.name()).collect();
    Ok(json!({ "contestants": names, "photos_per_second": rounds }))
}
