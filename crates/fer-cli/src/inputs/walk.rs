//! The photos and videos of a folder and its subfolders, sorted by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use glob::Pattern;

use super::{Input, Place, name_of};

/// Extensions of files that a folder is searched for. Photos of formats that cannot be decoded are among them, so that a
/// table says that they were not analysed.
const EXTENSIONS: [&str; 38] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "heic", "heif", "avif", "tif", "tiff", "bmp", "jp2", "mp4",
    "m4v", "mov", "qt", "mkv", "webm", "avi", "mpg", "mpeg", "m2v", "ts", "mts", "m2ts", "wmv", "asf", "flv",
    "3gp", "3g2", "ogv", "ogg", "mxf", "vob", "gif", "dv", "f4v",
];

/// Which files of a folder are taken.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Filter {
    /// Takes files that match one of `include`, or by default all photos and videos, and that match none of `exclude`.
    ///
    /// # Errors
    /// A pattern that is not valid.
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let parse = |flag: &str, patterns: &[String]| -> Result<Vec<Pattern>> {
            let parsed = patterns.iter().map(|pattern| {
                Pattern::new(pattern).with_context(|| format!("--{flag} {pattern}: this is not a pattern"))
            });
            parsed.collect()
        };
        Ok(Self { include: parse("include", include)?, exclude: parse("exclude", exclude)? })
    }

    /// Whether a file is taken; `path` is relative to the folder.
    fn takes(&self, path: &Path) -> bool {
        if self.include.is_empty() {
            return has_extension(path);
        }
        matches(&self.include, path)
    }

    /// Whether an object is taken, whose path in a folder of a store this is: it matches, and neither it nor a folder above it
    /// is hidden or left out.
    #[cfg(any(feature = "corpus", test))]
    pub(crate) fn selects(&self, path: &Path) -> bool {
        let is_hidden =
            |part: std::path::Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
        let is_left_out = |path: &Path| !path.as_os_str().is_empty() && self.leaves_out(path);
        self.takes(path) && !path.components().any(is_hidden) && !path.ancestors().any(is_left_out)
    }

    /// Whether a file or folder is left out.
    fn leaves_out(&self, path: &Path) -> bool {
        matches(&self.exclude, path)
    }
}

/// Whether a name has the extension of a photo or a video.
pub(crate) fn has_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// Whether a pattern matches the whole path, or the last part of it if the pattern has no slash.
fn matches(patterns: &[Pattern], path: &Path) -> bool {
    let name = path.file_name().map(Path::new).unwrap_or(path);
    patterns.iter().any(|pattern| {
        let part = if pattern.as_str().contains('/') { path } else { name };
        pattern.matches(&name_of(part))
    })
}

/// Adds the files of a folder. Hidden files and folders are left out, and links to folders are not followed.
pub(crate) fn folder(root: &Path, filter: &Filter, inputs: &mut Vec<Input>) {
    add(root, root, filter, inputs);
}

fn add(root: &Path, folder: &Path, filter: &Filter, inputs: &mut Vec<Input>) {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("the folder cannot be listed: {error}");
            inputs.push(Input { name: name_of(folder), place: Place::Nowhere(message) });
            return;
        }
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path: PathBuf = entry.path();
        let inside = path.strip_prefix(root).unwrap_or(&path);
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if hidden || filter.leaves_out(inside) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => add(root, &path, filter, inputs),
            // Links are followed to files only, so that no circle is possible.
            _ if path.is_dir() => {}
            _ if filter.takes(inside) => {
                inputs.push(Input { name: name_of(&path), place: Place::File(path) });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_selected_like_files() {
        let filter = Filter::new(&[], &["thumbs".to_owned()]).unwrap();
        let selects = |path: &str| filter.selects(Path::new(path));
        assert!(selects("a.jpg") && selects("b/c.MP4"));
        assert!(
            !selects("notes.txt") && !selects(".a.jpg") && !selects("b/.c/d.jpg") && !selects("thumbs/a.jpg")
        );
        let some = Filter::new(&["b/*.txt".to_owned()], &[]).unwrap();
        assert!(some.selects(Path::new("b/notes.txt")) && !some.selects(Path::new("a.jpg")));
    }
}
