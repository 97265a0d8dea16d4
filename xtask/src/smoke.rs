//! `cargo xtask smoke`: the real binary, the sample photo, one answer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::root;

/// Kills the server however the check ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn run() -> Result<()> {
    let detector = root().join("../shared/models/mtcnn-reference");
    if !detector.is_dir() {
        println!("smoke: skipped, there is no detector in {}", detector.display());
        return Ok(());
    }
    let built =
        Command::new(env!("CARGO")).args(["build", "-p", "fer-serve"]).current_dir(root()).status()?;
    ensure!(built.success(), "fer-serve does not build");
    let mut server = Command::new(root().join("target/debug/fer-serve"))
        .args(["--bind", "127.0.0.1:0", "--detector"])
        .arg(&detector)
        .stdout(Stdio::piped())
        .spawn()
        .context("fer-serve does not start")?;
    let output = server.stdout.take().context("fer-serve has no output")?;
    let server = Server(server);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let Some(base) = line.split_whitespace().find(|word| word.starts_with("http://")) else {
        bail!("fer-serve's first line names no address: {line:?}");
    };
    let base = base.trim_end_matches(':');
    let photo = std::fs::read(root().join("assets/samples/astronaut.png"))?;
    let mut response = ureq::post(format!("{base}/v1/analyze")).content_type("image/png").send(&photo[..])?;
    let analysis: Value = serde_json::from_str(&response.body_mut().read_to_string()?)?;
    check(&analysis).with_context(|| format!("the answer is not as expected: {analysis}"))?;
    for path in ["/", "/app.js", "/style.css", "/v1/model", "/healthz"] {
        ureq::get(format!("{base}{path}")).call().with_context(|| path.to_owned())?;
    }
    drop(server);
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
