//! `cargo xtask check`: tests that take too long for `cargo test`.

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::process::{cargo, tests_of_workspace};
use crate::python;

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
    /// Compile Ballista and run corpora on a scheduler and two executors, also with the slow tests.
    Cluster,
}

/// Runs the check.
///
/// # Errors
/// A test fails, or what the tests need cannot be had: a software Vulkan driver, or Python with venv and pip.
pub(crate) fn run(check: &Check) -> Result<()> {
    match check {
        Check::Gpu { small } => gpu(*small),
        Check::Python => python::check(),
        Check::Cluster => cluster(),
    }
}

fn gpu(small: bool) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(tests_of_workspace());
    cargo.args(["--test", "it", "--", "gpu::", "--include-ignored", "--nocapture"]);
    if small {
        cargo.args(["--skip", "real_sizes"]);
    }
    // The driver compiles every kernel that autotune tries, which takes longer than training.
    cargo.env("FER_REQUIRE", "software-gpu").env("CUBECL_AUTOTUNE_LEVEL", "minimal");
    // Mesa's drivers want an existing folder.
    let folder = tempfile::tempdir()?;
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        cargo.env("XDG_RUNTIME_DIR", folder.path());
    }
    ensure!(cargo.status()?.success(), "training on the software renderer differs from training on the CPU");
    Ok(())
}

fn cluster() -> Result<()> {
    let mut cargo = cargo();
    // Ballista changes features of crates that the whole workspace uses, so that only these members are built with it. fer-features
    // keeps the networks' crates as the tests have them.
    let selection = "test -p fer-cli -p fer-corpus -p fer-features --features fer-cli/cluster";
    cargo.args(selection.split(' '));
    // One test at a time: some of them need both cores.
    cargo.args(["--", "--include-ignored", "--nocapture", "--test-threads", "1"]);
    ensure!(
        cargo.status()?.success(),
        "a corpus on a cluster differs from one on one machine, or is slower than it should be"
    );
    Ok(())
}
