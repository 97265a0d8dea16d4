//! Checks that `cargo run -p fer-train` after `cargo test --workspace` compiles no dependency a second time.

use std::collections::BTreeSet;
use std::process::Command;

use crate::workspace;

/// Every package that a build needs, with its version and the features that it is compiled with.
fn packages(selection: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace(""))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p} {f}"])
        .args(selection)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A package whose dependencies stand further up ends in an asterisk.
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect()
}

#[test]
fn fer_train_shares_its_dependencies_with_the_tests() {
    let tests = packages(&["--workspace", "--edges", "normal,build,dev"]);
    let training = packages(&["--package", "fer-train", "--edges", "normal,build"]);
    assert!(tests.len() > 100 && training.len() > 100, "{} and {} packages", tests.len(), training.len());
    let different: Vec<_> = training.difference(&tests).collect();
    assert!(
        different.is_empty(),
        "other members turn on more features of these; add them to crates/fer-features/Cargo.toml: {different:#?}"
    );
}
