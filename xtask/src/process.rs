//! Child processes: cargo builds, and contestants of a benchmark that print JSON.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace;

/// Builds a binary or an example in the release profile and returns its path. `arguments` select the target,
/// `file` is its path below the profile's folder.
///
/// # Errors
/// The build fails.
pub(crate) fn build(arguments: &[&str], file: &str) -> Result<PathBuf> {
    run_cargo(&[&["build", "--release"], arguments].concat(), "release", file)
}

/// Arguments for a test build of the whole workspace. The variable `FER_TEST_FEATURES` names features with which the tests were
/// built, as for `--features`; others would compile much a second time.
pub(crate) fn tests_of_workspace() -> Vec<String> {
    let mut arguments = vec!["test".to_owned(), "--workspace".to_owned()];
    if let Ok(features) = std::env::var("FER_TEST_FEATURES") {
        arguments.extend(["--features".to_owned(), features]);
    }
    arguments
}

/// Builds a binary the way the tests are built, so that nothing is compiled twice, and returns its path.
///
/// # Errors
/// The build fails.
pub(crate) fn build_as_tests_do(file: &str) -> Result<PathBuf> {
    let mut arguments = tests_of_workspace();
    arguments.push("--no-run".to_owned());
    run_cargo(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), "debug", file)
}

fn run_cargo(arguments: &[&str], folder: &str, file: &str) -> Result<PathBuf> {
    ensure!(cargo().args(arguments).status()?.success(), "`cargo {}` failed", arguments.join(" "));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace("target"), PathBuf::from);
    Ok(target.join(folder).join(file))
}

/// Cargo, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo_environment(&mut cargo).current_dir(workspace(""));
    cargo
}

/// Removes what Cargo tells xtask about xtask. Build scripts that depend on it would run again.
pub(crate) fn cargo_environment(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_str().unwrap_or_default();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command that prints one JSON value.
///
/// # Errors
/// The command does not start, exits with an error, or prints no JSON.
pub(crate) fn json(command: &mut Command) -> Result<Value> {
    let text = standard_output(command)?;
    serde_json::from_str(text.trim()).with_context(|| format!("{command:?} printed no JSON: {text}"))
}

/// Runs a command that prints one JSON value per line and returns the first.
///
/// # Errors
/// As for [`json`].
pub(crate) fn first_json_line(command: &mut Command) -> Result<Value> {
    let text = standard_output(command)?;
    let line = text.lines().next().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("{command:?} printed no JSON: {text}"))
}

fn standard_output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A number in a contestant's JSON.
///
/// # Errors
/// The field is missing or no number.
pub(crate) fn number(json: &Value, name: &str) -> Result<f64> {
    json[name].as_f64().with_context(|| format!("there is no number {name} in {json}"))
}

/// The memory of a process in bytes, from `/proc`. `field` is `VmRSS` for the resident memory or `VmHWM` for its peak.
///
/// # Errors
/// The process has no readable `/proc` entry, as on systems other than Linux.
pub(crate) fn memory_of(process: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = value.and_then(|value| value.split_whitespace().next());
    let kibibytes: f64 = kibibytes.with_context(|| format!("{path} has no {field}"))?.parse()?;
    Ok(kibibytes * 1024.0)
}
