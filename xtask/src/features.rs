//! Checks that `cargo run -p fer-train` and the Python wheel after `cargo test --workspace` compile no dependency a second time.

use std::collections::BTreeSet;

use crate::process::cargo;

/// Every package that a build needs, with its version and the features that it is compiled with.
fn packages(selection: &[&str]) -> BTreeSet<String> {
    let output = cargo()
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p} {f}"])
        .args(selection)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A package whose dependencies stand further up ends in an asterisk.
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect()
}

/// Checks that a build of a member compiles every package with features with which the tests compile it too. A package may be
/// compiled twice, for the program and for build scripts, so that the program's packages are also compared by themselves. The tests
/// are built with `features`.
fn check_shared(member: &str, features: &[&str]) {
    for (all, own) in [("normal,build,dev", "normal,build"), ("normal,dev", "normal")] {
        let tests = packages(&[&["--workspace", "--edges", all], features].concat());
        let member = packages(&["--package", member, "--edges", own]);
        assert!(tests.len() > 100 && member.len() > 100, "{} and {} packages", tests.len(), member.len());
        let different: Vec<_> = member.difference(&tests).collect();
        assert!(
            different.is_empty(),
            "other members turn on more features of these; add them to crates/fer-features/Cargo.toml: {different:#?}"
        );
    }
}

#[test]
fn fer_train_shares_its_dependencies_with_the_tests() {
    check_shared("fer-train", &[]);
    check_shared("fer-train", &["--features", "fer-cli/corpus"]);
}

#[test]
fn the_python_wheel_shares_its_dependencies_with_the_tests() {
    check_shared("fer-python", &[]);
}
