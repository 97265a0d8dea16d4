//! Where ONNX Runtime's shared library is looked for when no flag names it.
//!
//! Only folders that belong to the installation count. The working directory is not one of them: whoever can write to it must not
//! decide which code the program loads.

use std::path::{Path, PathBuf};

/// File name of the library on this platform.
pub const NAME: &str = if cfg!(target_os = "windows") {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// Looks beside the executable, then in `assets/runtime` of the checkout that the executable was built in.
pub fn find() -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    candidates(&executable).into_iter().find(|path| path.is_file())
}

/// The paths that are tried, in order. Cargo writes executables to `CHECKOUT/target/PROFILE/` or
/// `CHECKOUT/target/PLATFORM/PROFILE/`; `cargo xtask download-runtime` writes to `CHECKOUT/assets/runtime/`.
fn candidates(executable: &Path) -> Vec<PathBuf> {
    let Some(folder) = executable.parent() else { return Vec::new() };
    let target = folder.ancestors().skip(1).take(2).find(|ancestor| ancestor.ends_with("target"));
    let checkout = target.and_then(Path::parent).map(|checkout| checkout.join("assets/runtime"));
    std::iter::once(folder.to_owned()).chain(checkout).map(|folder| folder.join(NAME)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_installation_and_the_checkout_are_searched() {
        let found = |executable: &str| candidates(Path::new(executable));
        assert_eq!(found("/opt/fer/fer-serve"), [Path::new("/opt/fer").join(NAME)]);
        let checkout = Path::new("/src/fer/assets/runtime").join(NAME);
        let release = found("/src/fer/target/release/fer-serve");
        assert_eq!(release, [Path::new("/src/fer/target/release").join(NAME), checkout.clone()]);
        assert_eq!(found("/src/fer/target/x86_64-unknown-linux-gnu/debug/fer-serve")[1], checkout);
        assert_eq!(found("/target/a/b/c/fer-serve").len(), 1, "not a folder of Cargo");
        assert!(found("/target/a/fer-serve").iter().all(|path| path.is_absolute()));
    }
}
