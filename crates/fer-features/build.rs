//! Cargo resolves build dependencies only for a package with a build script; this one has nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
