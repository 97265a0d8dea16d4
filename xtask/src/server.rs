//! The real `fer-serve` as a child process on a free port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::memory_of;

/// A running server; dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    base: String,
}

impl Server {
    /// Starts the server and returns when it listens. Its engine is tract unless `arguments` name a runtime.
    ///
    /// # Errors
    /// The process does not start, or does not print its address.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let engine = if arguments.contains(&"--onnxruntime") { "onnxruntime" } else { "tract" };
        let mut child = Command::new(program)
            .args(["--bind", "127.0.0.1:0", "--engine", engine])
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .env_remove("ORT_DYLIB_PATH")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let output = child.stdout.take().context("fer-serve has no standard output")?;
        let mut server = Self { child, base: String::new() };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let Some(base) = line.split_whitespace().find(|word| word.starts_with("http://")) else {
            bail!("the first line of fer-serve has no address: {line:?}");
        };
        base.trim_end_matches(':').clone_into(&mut server.base);
        Ok(server)
    }

    /// Sends a photo to `/v1/analyze` and returns the answer.
    ///
    /// # Errors
    /// The request fails or its status is not a success.
    pub(crate) fn analyze(&self, photo: &[u8]) -> Result<Value> {
        let mut response = ureq::post(format!("{}/v1/analyze", self.base))
            .content_type("application/octet-stream")
            .send(photo)?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
    }

    /// The server's URL without a path: `http://address:port`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Gets a path and returns its JSON.
    ///
    /// # Errors
    /// As for [`Self::get`], or the answer is not JSON.
    pub(crate) fn json(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.get(path)?)?)
    }

    /// Gets a path and returns the body as text.
    ///
    /// # Errors
    /// The request fails or its status is not a success.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut response =
            ureq::get(format!("{}{path}", self.base)).call().with_context(|| format!("GET {path}"))?;
        Ok(response.body_mut().read_to_string()?)
    }

    /// Resident memory in MiB, from `/proc`.
    ///
    /// # Errors
    /// The process has no readable `/proc` entry, as on systems other than Linux.
    pub(crate) fn resident_memory(&self) -> Result<f64> {
        Ok(memory_of(self.child.id(), "VmRSS")? / 1024.0 / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
