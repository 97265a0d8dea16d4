//! The operator's own music, `--music DIR`: `DIR/<emotion>/` holds the files that are played for an emotion.
//!
//! The folder is read once, at the start. Only files that were found then are ever opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fer_model::Emotion;

/// Extensions of the formats that browsers play.
const EXTENSIONS: [&str; 9] = ["aac", "flac", "m4a", "mp3", "oga", "ogg", "opus", "wav", "weba"];

/// Paths of the files by emotion and name.
#[derive(Debug, Default)]
pub(crate) struct Library(BTreeMap<&'static str, BTreeMap<String, PathBuf>>);

impl Library {
    /// Reads the folder.
    ///
    /// # Errors
    /// A folder that cannot be read or contains no music.
    pub(crate) fn scan(folder: &Path) -> Result<Self> {
        ensure!(folder.is_dir(), "--music: {} is not a folder", folder.display());
        let mut library = Self::default();
        for emotion in Emotion::ALL {
            let own = folder.join(emotion.name());
            if !own.is_dir() {
                continue;
            }
            let entries =
                own.read_dir().with_context(|| format!("--music: cannot read {}", own.display()))?;
            let files = entries.filter_map(|entry| {
                let path = entry.ok()?.path();
                let extension = path.extension()?.to_str()?.to_ascii_lowercase();
                let name = path.file_name()?.to_str()?.to_owned();
                (path.is_file() && EXTENSIONS.contains(&extension.as_str())).then_some((name, path))
            });
            let files: BTreeMap<_, _> = files.collect();
            if !files.is_empty() {
                library.0.insert(emotion.name(), files);
            }
        }
        ensure!(
            !library.0.is_empty(),
            "--music: there is no music in {}; expected files such as {} ({})",
            folder.display(),
            folder.join("happy").join("a.mp3").display(),
            EXTENSIONS.join(", ")
        );
        Ok(library)
    }

    /// File names by emotion.
    pub(crate) fn names(&self) -> BTreeMap<&'static str, Vec<&str>> {
        let folders = self.0.iter();
        folders.map(|(emotion, files)| (*emotion, files.keys().map(String::as_str).collect())).collect()
    }

    /// The path of a file that was found at the start.
    pub(crate) fn file(&self, emotion: &str, name: &str) -> Option<&Path> {
        self.0.get(emotion)?.get(name).map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_music_is_refused_and_other_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| Library::scan(path).unwrap_err().to_string();
        assert!(refusal(&folder.path().join("nowhere")).contains("is not a folder"));
        let happy = folder.path().join("happy");
        std::fs::create_dir_all(happy.join("folder.mp3")).unwrap();
        std::fs::write(happy.join("cover.jpg"), "x").unwrap();
        assert!(refusal(folder.path()).contains("there is no music in"));
        std::fs::write(happy.join("b.MP3"), "x").unwrap();
        std::fs::write(happy.join("a.ogg"), "x").unwrap();
        let library = Library::scan(folder.path()).unwrap();
        assert_eq!(library.0["happy"].keys().collect::<Vec<_>>(), ["a.ogg", "b.MP3"]);
    }
}
