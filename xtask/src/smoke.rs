//! `cargo xtask smoke`: starts the real binary, sends it the sample photo and checks the answer.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::build_as_tests_do;
use crate::server::Server;
use crate::workspace;

/// Runs the smoke test.
///
/// # Errors
/// The server does not start, or answers something else than one face with seven emotions.
pub(crate) fn run() -> Result<()> {
    let program = build_as_tests_do("fer-serve")?;
    let server = Server::start(&program, &[])?;
    let analysis = server.analyze(&std::fs::read(workspace("assets/samples/astronaut.png"))?)?;
    check(&analysis).with_context(|| format!("unexpected answer: {analysis}"))?;
    for path in ["/", "/app.js", "/style.css", "/v1/model", "/healthz"] {
        server.get(path)?;
    }
    println!("smoke: one face, {}", analysis["faces"][0]["dominant_emotion"]);
    Ok(())
}

fn check(analysis: &Value) -> Result<()> {
    let faces = analysis["faces"].as_array().context("there is no list of faces")?;
    ensure!(faces.len() == 1, "there are {} faces instead of one", faces.len());
    let emotions = faces[0]["emotions"].as_object().context("the face has no emotions")?;
    let sum: f64 = emotions.values().filter_map(Value::as_f64).sum();
    ensure!(
        emotions.len() == 7 && (sum - 1.0).abs() < 1e-3,
        "there are {} emotions with the sum {sum}; expected 7 with the sum 1",
        emotions.len()
    );
    ensure!(analysis["mood"]["faces"] == 1, "the mood does not cover one face");
    Ok(())
}
