//! Names of files as texts of a table, also those that are not valid UTF-8.

use std::path::{Path, PathBuf};

/// The name of a file in a table: its path, in which a byte that is not part of valid UTF-8 is written as `\xFF`.
pub(crate) fn name_of(path: &Path) -> String {
    #[cfg(unix)]
    {
        use std::fmt::Write as _;
        use std::os::unix::ffi::OsStrExt as _;
        let mut name = String::new();
        for chunk in path.as_os_str().as_bytes().utf8_chunks() {
            name += chunk.valid();
            for byte in chunk.invalid() {
                // Writing into a String cannot fail.
                let _ = write!(name, "\\x{byte:02X}");
            }
        }
        name
    }
    #[cfg(not(unix))]
    path.to_string_lossy().into_owned()
}

/// The path that a line of a list names.
pub(crate) fn path_of_bytes(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(name_of(&path_of_bytes(b"a/\xc3\xbc/b\xff\xfe.jpg")), "a/ü/b\\xFF\\xFE.jpg");
    }
}
