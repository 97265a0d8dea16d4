//! From the arguments of a command to a list of files: photos, videos, folders, globs, lists, addresses and standard input.
//!
//! The list is complete before any work begins, in an order that depends only on the arguments and the names of the files. What
//! cannot be listed becomes an input with a problem, which becomes a row of the table.

mod name;
mod remote;
mod walk;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub(crate) use name::{name_of, path_of_bytes};
use remote::Stores;
pub(crate) use remote::{Contents, Fetch, VideoFile, fetch};
pub(crate) use walk::Filter;
#[cfg(feature = "corpus")]
pub(crate) use walk::has_extension;

/// Largest photo file, in bytes.
pub(crate) const MOST_BYTES: u64 = 256 << 20;

/// Something to analyse.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    /// The `source` of its rows, unique among the inputs.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) place: Place,
}

/// Where an input is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// Standard input: the bytes of one photo.
    Stdin,
    /// An object of a store, whose address is the input's name.
    Object,
    /// Nowhere; the text says why.
    Nowhere(String),
}

/// Lists the files that the arguments name. Files that are named twice are listed once. A store that sends nothing for `timeout`
/// counts as stalled.
///
/// # Errors
/// If a list cannot be read, or an argument is an address that this program cannot open.
pub(crate) fn list(
    arguments: &[impl AsRef<OsStr>],
    filter: &Filter,
    timeout: Duration,
) -> Result<Vec<Input>> {
    let mut list = List { filter, stores: Stores::new(timeout), inputs: Vec::new() };
    for argument in arguments {
        list.add(argument.as_ref(), true)?;
    }
    let mut names = HashSet::new();
    list.inputs.retain(|input| names.insert(input.name.clone()));
    Ok(list.inputs)
}

/// A list in the making.
struct List<'a> {
    filter: &'a Filter,
    stores: Stores,
    inputs: Vec<Input>,
}

impl List<'_> {
    /// Adds what an argument names. It may be a list if `lists` says so.
    fn add(&mut self, argument: &OsStr, lists: bool) -> Result<()> {
        let path = Path::new(argument);
        let text = argument.to_str().unwrap_or_default();
        if text == "-" {
            self.inputs.push(Input { name: "-".to_owned(), place: Place::Stdin });
            return Ok(());
        }
        if let Some(list) = text.strip_prefix('@').filter(|_| lists && !path.exists()) {
            return self.add_list(list);
        }
        if text.contains("://") {
            return self.stores.add(text, self.filter, &mut self.inputs);
        }
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => walk::folder(path, self.filter, &mut self.inputs),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_glob(text) => {
                add_glob(text, self.filter, &mut self.inputs)?;
            }
            // A file that cannot be opened gets a row that says so when its turn comes.
            _ => self.inputs.push(Input { name: name_of(path), place: Place::File(path.to_owned()) }),
        }
        Ok(())
    }

    /// Adds the files of a list: one path, glob, folder or address a line; empty lines are skipped. `-` is standard input.
    fn add_list(&mut self, list: &str) -> Result<()> {
        let cannot = || format!("cannot read the list {list}");
        let mut bytes = Vec::new();
        if list == "-" {
            io::stdin().lock().read_to_end(&mut bytes).with_context(cannot)?;
        } else {
            bytes = std::fs::read(list).with_context(cannot)?;
        }
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() && line != b"-" {
                self.add(path_of_bytes(line).as_os_str(), false)?;
            }
        }
        Ok(())
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn add_glob(pattern: &str, filter: &Filter, inputs: &mut Vec<Input>) -> Result<()> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let found =
        glob::glob_with(pattern, options).with_context(|| format!("{pattern} is not a valid pattern"))?;
    let before = inputs.len();
    for path in found {
        let path = match path {
            Ok(path) => path,
            Err(error) => {
                let message = format!("cannot be listed: {}", error.error());
                inputs.push(Input { name: name_of(error.path()), place: Place::Nowhere(message) });
                continue;
            }
        };
        if path.is_dir() {
            walk::folder(&path, filter, inputs);
        } else {
            inputs.push(Input { name: name_of(&path), place: Place::File(path) });
        }
    }
    if inputs.len() == before {
        let message = "no file matches this pattern".to_owned();
        inputs.push(Input { name: pattern.to_owned(), place: Place::Nowhere(message) });
    }
    Ok(())
}

/// Reads the first bytes of a file, and then all of it unless `stop` says that they are enough.
///
/// # Errors
/// Why the file cannot be read, as a sentence.
pub(crate) fn read(
    place: &Place,
    most: u64,
    is_enough: impl FnOnce(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let mut input: Box<dyn BufRead> = match place {
        Place::Nowhere(message) => return Err(message.clone()),
        Place::Object => return Err("is an object of a store, which is not read like a file".to_owned()),
        Place::Stdin => Box::new(io::stdin().lock()),
        Place::File(path) => {
            let metadata = path.metadata().map_err(cannot)?;
            if metadata.is_dir() {
                return Err("is a folder".to_owned());
            }
            Box::new(io::BufReader::new(std::fs::File::open(path).map_err(cannot)?))
        }
    };
    let mut bytes = Vec::new();
    input.by_ref().take(512).read_to_end(&mut bytes).map_err(cannot)?;
    if matches!(place, Place::File(_)) && is_enough(&bytes) {
        return Ok(None);
    }
    input
        .by_ref()
        .take(most.saturating_sub(bytes.len() as u64) + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > most {
        return Err(format!("has more than {} MB, which is too much for a photo", most >> 20));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&Path], filter: &Filter) -> Vec<String> {
        let inputs = list(arguments, filter, Duration::ZERO).unwrap();
        inputs
            .into_iter()
            .map(|input| Path::new(&input.name).file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn arguments_become_files_in_a_fixed_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("b/thumbs")).unwrap();
        for file in ["z.jpg", "a.PNG", "notes.txt", "b/c.mp4", "b/thumbs/t.webp", ".hidden.jpg"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let all = Filter::new(&[], &[]).unwrap();
        assert_eq!(names(&[root], &all), ["a.PNG", "c.mp4", "t.webp", "z.jpg"]);
        let some = Filter::new(&["*.jpg".to_owned(), "*.txt".to_owned()], &[]).unwrap();
        assert_eq!(names(&[root], &some), ["notes.txt", "z.jpg"]);
        let others = Filter::new(&[], &["thumbs".to_owned(), "a.*".to_owned()]).unwrap();
        assert_eq!(names(&[root], &others), ["c.mp4", "z.jpg"]);
        assert_eq!(
            names(&[&root.join("*.jpg"), &root.join("notes.txt"), root], &others)[..2],
            ["z.jpg", "notes.txt"]
        );
        let nothing = list(&[root.join("*.gif")], &all, Duration::ZERO).unwrap();
        assert!(matches!(&nothing[0].place, Place::Nowhere(why) if why.contains("no file matches")));
        let lines = format!("{}\r\n\n{}\n", root.join("z.jpg").display(), root.join("missing.jpg").display());
        std::fs::write(root.join("list.txt"), lines).unwrap();
        let from_list =
            list(&[format!("@{}", root.join("list.txt").display())], &all, Duration::ZERO).unwrap();
        assert_eq!(from_list.len(), 2);
        assert!(read(&from_list[1].place, 9, |_| false).unwrap_err().starts_with("cannot be read"));
        let error = list(&["ftp://host/a.jpg"], &all, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("ftp://host/a.jpg: "), "{error}");
    }

    #[test]
    fn reading_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 3000]).unwrap();
        let place = Place::File(path);
        assert_eq!(read(&place, 3000, |_| false).unwrap().unwrap().len(), 3000);
        assert!(read(&place, 2999, |_| false).is_err());
        assert_eq!(read(&place, 10, |start| start.len() == 512), Ok(None));
        assert!(read(&Place::File(folder.path().to_owned()), 10, |_| false).unwrap_err().contains("folder"));
    }
}
