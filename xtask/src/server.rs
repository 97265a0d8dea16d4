//! The real `fer-serve` as a child process, on a port of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;

/// Builds a package's binary or example with all optimisations, and says where it lies.
pub(crate) fn build(arguments: &[&str], file: &str) -> Result<PathBuf> {
    run_cargo(&[&["build", "--release"], arguments].concat(), "release", file)
}

/// A binary as `cargo test --workspace` builds it, so that nothing is compiled twice.
pub(crate) fn build_as_tests_do(file: &str) -> Result<PathBuf> {
    run_cargo(&["test", "--workspace", "--no-run"], "debug", file)
}

fn run_cargo(arguments: &[&str], folder: &str, file: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(workspace(""));
    // What cargo says of xtask itself; build scripts that look at it would run again.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
    }
    ensure!(cargo.status()?.success(), "`cargo {}` fails", arguments.join(" "));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace("target"), PathBuf::from);
    Ok(target.join(folder).join(file))
}

/// A running server; killed when dropped, however the check ends.
pub(crate) struct Server {
    child: Child,
    base: String,
}

impl Server {
    /// Returns when it listens. The engine is tract, whatever this machine has: the folder is one without a runtime.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["--bind", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .env_remove("ORT_DYLIB_PATH")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let output = child.stdout.take().context("fer-serve has no output")?;
        let mut server = Self { child, base: String::new() };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let Some(base) = line.split_whitespace().find(|word| word.starts_with("http://")) else {
            bail!("fer-serve's first line names no address: {line:?}");
        };
        base.trim_end_matches(':').clone_into(&mut server.base);
        Ok(server)
    }

    /// What the API says about a photo.
    pub(crate) fn analyze(&self, photo: &[u8]) -> Result<Value> {
        let mut response = ureq::post(format!("{}/v1/analyze", self.base))
            .content_type("application/octet-stream")
            .send(photo)?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
    }

    /// `http://address:port`
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What an address answers.
    pub(crate) fn json(&self, path: &str) -> Result<Value> {
        let mut response =
            ureq::get(format!("{}{path}", self.base)).call().with_context(|| path.to_owned())?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
    }

    /// Whether an address answers.
    pub(crate) fn get(&self, path: &str) -> Result<()> {
        ureq::get(format!("{}{path}", self.base)).call().with_context(|| path.to_owned())?;
        Ok(())
    }

    /// Resident memory in MiB, from `/proc`.
    pub(crate) fn resident_memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().next().context("no figure")?.parse()?;
        Ok(kilobytes / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
