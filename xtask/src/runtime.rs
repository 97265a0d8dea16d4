//! `cargo xtask download-runtime`: extracts ONNX Runtime's shared library from its Python wheel, because wheels have the
//! same layout on every platform.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// The version that fer-engine is tested with.
const PACKAGE: &str = "onnxruntime==1.31.1";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Your own copy: a wheel (onnxruntime-….whl) or the shared library [default: download with pip].
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Installs the library into `assets/runtime`.
///
/// # Errors
/// The wheel cannot be downloaded, or has no library for this system.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = workspace("assets/runtime");
    fs::create_dir_all(&folder)?;
    let downloads = tempfile::tempdir_in(&folder)?;
    let source = match &options.from {
        Some(path) => path.clone(),
        None => pip_download(downloads.path())?,
    };
    let library = install(&source, &folder).with_context(|| format!("cannot use {}", source.display()))?;
    println!("installed {}; a fer-serve that is built in this checkout uses it", library.display());
    Ok(())
}

/// Downloads the wheel for this machine into `folder` and returns its path.
fn pip_download(folder: &Path) -> Result<PathBuf> {
    let python = if cfg!(windows) { "python" } else { "python3" };
    let status = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(folder)
        .arg(PACKAGE)
        .status();
    let alternative = "or download the wheel from https://pypi.org/project/onnxruntime yourself and pass it with --from FILE";
    match status {
        Err(error) => {
            bail!("cannot start {python} for `pip download {PACKAGE}`: {error}; install it, {alternative}")
        }
        Ok(status) if !status.success() => bail!("`pip download {PACKAGE}` failed; fix that, {alternative}"),
        Ok(_) => {
            let mut files = fs::read_dir(folder)?;
            let file = files.next().context("pip downloaded nothing")??;
            Ok(file.path())
        }
    }
}

/// File name of the installed library on this system.
const fn library_name() -> &'static str {
    if cfg!(windows) {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    }
}

/// Whether a file in a wheel is the library, possibly with a version (`libonnxruntime.so.1.31.1`), and not one of the
/// execution providers beside it.
fn is_library(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let (stem, extension) = library_name().split_once('.').unwrap_or((name, ""));
    name.strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|rest| rest.contains(extension))
}

/// Copies the library, or the library inside a wheel, into `folder`; returns its path.
fn install(source: &Path, folder: &Path) -> Result<PathBuf> {
    let target = folder.join(library_name());
    let mut copy = tempfile::NamedTempFile::new_in(folder)?;
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let mut file = BufReader::new(File::open(source)?);
    if name.ends_with(".whl") || name.ends_with(".zip") {
        let mut archive = zip::ZipArchive::new(file)?;
        let inside = archive.file_names().flatten().find(|name| is_library(name)).map(Cow::into_owned);
        let inside = inside.with_context(|| format!("the archive contains no {}", library_name()))?;
        io::copy(&mut archive.by_name(&inside)?, &mut copy)?;
    } else {
        ensure!(is_library(&name), "expected a wheel or a file with the name {}", library_name());
        io::copy(&mut file, &mut copy)?;
    }
    copy.persist(&target)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_library_is_found_among_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("onnxruntime-1.31.1-cp311.whl");
        let versioned = if cfg!(target_os = "linux") { "libonnxruntime.so.1.31.1" } else { library_name() };
        let mut archive = zip::ZipWriter::new(File::create(&wheel).unwrap());
        for (name, content) in [
            ("onnxruntime/capi/libonnxruntime_providers_shared.so", "shared"),
            ("onnxruntime/capi/onnxruntime_pybind11_state.so", "python"),
            (&format!("onnxruntime/capi/{versioned}"), "the library"),
        ] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(content.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        let out = tempfile::tempdir().unwrap();
        let library = install(&wheel, out.path()).unwrap();
        assert_eq!(fs::read(&library).unwrap(), b"the library");
        assert_eq!(library.file_name().unwrap(), library_name());
        let again = install(&library, out.path()).unwrap();
        assert_eq!(fs::read(&again).unwrap(), b"the library");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
        assert!(install(&folder.path().join("nowhere.whl"), out.path()).is_err());
    }
}
