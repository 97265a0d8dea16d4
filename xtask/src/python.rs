//! The Python package: builds its wheel, installs it into a temporary virtual environment and runs its tests there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::process::{build_as_tests_do, cargo_environment};
use crate::workspace;

/// A virtual environment with the wheel of this checkout.
pub(crate) struct Environment {
    folder: TempDir,
}

impl Environment {
    /// Makes the environment with `python`, builds the wheel with a profile of Cargo's and installs it.
    ///
    /// # Errors
    /// The interpreter has no venv or pip, maturin cannot be installed, or the wheel does not build.
    pub(crate) fn with_wheel(python: &Path, profile: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        run(Command::new(python).args(["-m", "venv"]).arg(folder.path()))?;
        let environment = Self { folder };
        environment.install(["maturin>=1.9,<2"])?;
        let wheels = environment.folder.path().join("wheels");
        let mut maturin = Command::new(environment.program("maturin"));
        // The wheel is for this machine: it need not run on older systems.
        maturin.args([
            "build",
            "--locked",
            "--quiet",
            "--compatibility",
            "linux",
            "--profile",
            profile,
            "--out",
        ]);
        maturin.arg(&wheels).current_dir(workspace("bindings/python"));
        run(cargo_environment(&mut maturin))?;
        let wheel = std::fs::read_dir(&wheels)?.next().context("maturin built no wheel")??.path();
        println!("the wheel has {:.1} MB", wheel.metadata()?.len() as f64 / 1e6);
        environment.install([wheel])?;
        Ok(environment)
    }

    /// Installs packages with pip.
    ///
    /// # Errors
    /// pip fails.
    pub(crate) fn install<T: AsRef<OsStr>>(&self, packages: impl IntoIterator<Item = T>) -> Result<()> {
        let mut pip = self.python();
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))
    }

    /// The command `python` of the environment.
    pub(crate) fn python(&self) -> Command {
        Command::new(self.program("python"))
    }

    /// A program of the environment.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join(if cfg!(windows) { "Scripts" } else { "bin" }).join(name)
    }
}

/// The name of the interpreter.
pub(crate) fn interpreter() -> &'static Path {
    Path::new(if cfg!(windows) { "python" } else { "python3" })
}

/// Runs the package's tests. The wheel has the development profile, so that it shares its dependencies with the Rust tests.
///
/// # Errors
/// The wheel does not build, or a test fails.
pub(crate) fn check() -> Result<()> {
    let fer = build_as_tests_do("fer")?;
    let environment = Environment::with_wheel(interpreter(), "dev")?;
    let mut required = std::env::var("FER_REQUIRE").unwrap_or_default();
    let requirements = std::fs::read_to_string(workspace("bindings/python/tests/requirements.txt"))?;
    let lines = requirements.lines().filter(|line| !line.starts_with('#'));
    for packages in lines.map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        match environment.install(&packages) {
            // What could be installed must not be skipped.
            Ok(()) => packages.iter().for_each(|package| required += &format!(",python-{package}")),
            Err(error) => {
                let essential = ["pytest", "pillow"].contains(&packages[0]);
                ensure!(!essential, "{error:#}");
                println!("{} cannot be installed; its tests are skipped", packages.join(" and "));
            }
        }
    }
    let mut pytest = environment.python();
    pytest.args(["-m", "pytest"]).current_dir(workspace("bindings/python"));
    run(pytest.env("FER_BINARY", fer).env("FER_REQUIRE", required).env_remove("PYTHONPATH"))
}

fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
