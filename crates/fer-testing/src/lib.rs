//! One convention for tests that need something that may be absent: ONNX Runtime, a browser, Python, ffmpeg, reference networks.
//!
//! ```no_run
//! if !std::path::Path::new("assets/runtime/libonnxruntime.so").is_file() {
//!     return fer_testing::skip("onnxruntime", "no library at assets/runtime/libonnxruntime.so");
//! }
//! ```

use std::io::Write as _;

/// Environment variable that turns skips into failures: `all`, or names of things separated by commas.
pub const REQUIRE: &str = "FER_REQUIRE";

/// Reports that a test skips `what` and `why`, as one line `skipped: WHAT: WHY` on standard error, past the test
/// harness's capture so that skips can be counted. `what` is one of `onnxruntime`, `reference`, `chromium`, `python`,
/// `ffmpeg`, `moto` and `datasets`.
///
/// # Panics
/// Panics if [`REQUIRE`] is `all` or names `what`.
pub fn skip(what: &str, why: &str) {
    let required = std::env::var(REQUIRE).unwrap_or_default();
    assert!(!is_required(&required, what), "{REQUIRE}={required}, but {what} is absent: {why}");
    // Nothing depends on the line, so a closed standard error must not fail the test.
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {why}");
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
