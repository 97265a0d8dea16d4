//! SQL and object stores, which need the feature `corpus`; without it, that the program says so.

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "corpus")]
mod manifests;
#[cfg(feature = "corpus")]
mod query;
#[cfg(feature = "corpus")]
mod servers;
#[cfg(feature = "corpus")]
mod stores;

#[cfg(not(feature = "corpus"))]
#[test]
fn without_the_feature_the_program_says_how_to_install_it() {
    let folder = super::harness::Folder::new();
    for arguments in [
        ["query", "SELECT 1", "t.csv"].as_slice(),
        &["analyze", "s3://b/a.jpg", "--out", "t.csv"],
        &["corpus", "plan", "in", "--out", "m"],
    ] {
        let run = folder.run(arguments).expect(1);
        assert!(
            run.stderr.contains("cargo install --path crates/fer-cli --features corpus"),
            "{}",
            run.stderr
        );
    }
}
