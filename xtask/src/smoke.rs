//! `cargo xtask smoke`: the real binary, the sample photo, one answer.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::server::{Server, build_as_tests_do};
use crate::workspace;

pub(crate) fn run() -> Result<()> {
    let program = build_as_tests_do("fer-serve")?;
    let server = Server::start(&program, &[])?;
    let analysis = server.analyze(&std::fs::read(workspace("assets/samples/astronaut.png"))?)?;
    check(&analysis).with_context(|| format!("the answer is not as expected: {analysis}"))?;
    for path in ["/", "/app.js", "/style.css", "/v1/model", "/healthz"] {
        server.get(path)?;
    }
    println!("smoke: one face, {}", analysis["faces"][0]["dominant_emotion"]);
    Ok(())
}

fn check(analysis: &Value) -> Result<()> {
    let faces = analysis["faces"].as_array().context("no faces")?;
    ensure!(faces.len() == 1, "{} faces instead of one", faces.len());
    let emotions = faces[0]["emotions"].as_object().context("no emotions")?;
    let sum: f64 = emotions.values().filter_map(Value::as_f64).sum();
    ensure!(emotions.len() == 7 && (sum - 1.0).abs() < 1e-3, "{} emotions with sum {sum}", emotions.len());
    ensure!(analysis["mood"]["faces"] == 1, "the mood is not that of one face");
    Ok(())
}
