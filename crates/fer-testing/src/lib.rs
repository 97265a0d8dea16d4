//! One convention for tests that need something that may be absent: ONNX Runtime, a browser, Python, ffmpeg, reference networks.
//!
//! ```no_run
//! if !std::path::Path::new("../shared/datasets").is_dir() {
//!     return fer_testing::skip("datasets", "there is no folder ../shared/datasets");
//! }
//! ```

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Environment variable that turns skips into failures: `all`, or names of things separated by commas.
pub const REQUIRE: &str = "FER_REQUIRE";

/// Reports that a test skips `what` and `why`, as one line `skipped: WHAT: WHY` on standard error, past the test
/// harness's capture so that skips can be counted. `what` is one of `onnxruntime`, `reference`, `chromium`, `python`,
/// `ffmpeg`, `moto`, `datasets` and `int8`, the processor's instructions for products of bytes.
///
/// # Panics
/// Panics if [`REQUIRE`] is `all` or names `what`.
pub fn skip(what: &str, why: &str) {
    let required = std::env::var(REQUIRE).unwrap_or_default();
    assert!(!is_required(&required, what), "{REQUIRE}={required}, but {what} is absent: {why}");
    // Nothing depends on the line, so a closed standard error must not fail the test.
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {why}");
}

/// ONNX Runtime's shared library: `ORT_DYLIB_PATH`, or the one that `cargo xtask download-runtime` downloads. Without it the test
/// [skips](skip).
pub fn onnx_runtime() -> Option<PathBuf> {
    let downloaded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/runtime/libonnxruntime.so");
    let library = std::env::var_os("ORT_DYLIB_PATH").map_or(downloaded, PathBuf::from);
    if library.is_file() {
        return Some(library);
    }
    let why = format!("no library at {}; `cargo xtask download-runtime` downloads it", library.display());
    skip("onnxruntime", &why);
    None
}

fn is_required(required: &str, what: &str) -> bool {
    required.split(',').map(str::trim).any(|name| name == "all" || name == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_the_name_makes_it_required() {
        assert!(is_required("all", "python"));
        assert!(is_required("onnxruntime, python", "python"));
        assert!(!is_required("onnxruntime", "python"));
        assert!(!is_required("", "python"));
    }
}
