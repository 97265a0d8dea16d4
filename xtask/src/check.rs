//! `cargo xtask check`: tests that take too long for `cargo test`.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::process::tests_of_workspace;
use crate::{python, workspace};

/// What to check.
#[derive(Subcommand)]
pub(crate) enum Check {
    /// Train on a software renderer and on the CPU and compare all numbers.
    Gpu {
        /// Leave out the sizes of real runs.
        #[arg(long)]
        small: bool,
    },
    /// Build the wheel of the Python package and run its tests in a temporary virtual environment.
    Python,
}

/// Runs the check.
///
/// # Errors
/// A test fails, or what the tests need cannot be had: a software Vulkan driver, or Python with venv and pip.
pub(crate) fn run(check: &Check) -> Result<()> {
    match check {
        Check::Gpu { small } => gpu(*small),
        Check::Python => python::check(),
    }
}

fn gpu(small: bool) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(tests_of_workspace());
    cargo.args(["--test", "it", "--", "gpu::", "--include-ignored", "--nocapture"]);
    if small {
        cargo.args(["--skip", "real_sizes"]);
    }
    // The driver compiles every kernel that autotune tries, which takes longer than training.
    cargo
        .current_dir(workspace(""))
        .env("FER_REQUIRE", "software-gpu")
        .env("CUBECL_AUTOTUNE_LEVEL", "minimal");
    // Mesa's drivers want an existing folder.
    let folder = tempfile::tempdir()?;
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        cargo.env("XDG_RUNTIME_DIR", folder.path());
    }
    ensure!(cargo.status()?.success(), "training on the software renderer differs from training on the CPU");
    Ok(())
}
