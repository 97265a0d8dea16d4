//! The journal: what an unfinished run has done, beside its output.
//!
//! It is a file of JSON lines. The first says what made it; each other line is `[source, rows, last]` with all rows of one
//! picture, and whether the picture is the last of its file. Each line is written at once when its picture is done, so that a
//! run that is killed loses at most the pictures in work. A line that is cut off is dropped when the journal is read again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fer_table::{Metadata, Row, TableReader};
use serde_json::{Value, json};

use crate::inputs::Input;
use crate::pipeline::Known;

/// Version of the format.
const VERSION: u64 = 1;

/// How often the file is synced to disk. Only a crash of the whole machine can lose what has not been synced.
const SYNC: Duration = Duration::from_secs(5);

/// An open journal.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Length of the file in bytes.
    end: u64,
    /// Where the pictures of the inputs are, in the order of the file.
    spans: Vec<Span>,
    /// One for each input.
    states: Vec<State>,
    synced: Instant,
}

/// Consecutive lines about one file.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Index of the input; `None` for a file that is no longer among the inputs.
    input: Option<usize>,
    start: u64,
    end: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    pictures: u64,
    complete: bool,
}

/// A line of the journal.
struct Line {
    source: String,
    rows: Vec<Row>,
    last: bool,
}

impl Journal {
    /// Name of the journal of an output.
    pub(crate) fn path_of(output: &Path) -> PathBuf {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(".journal");
        output.with_file_name(name)
    }

    /// Begins an empty journal in place of one that may exist.
    ///
    /// # Errors
    /// If the file cannot be written, or another process writes it.
    pub(crate) fn create(path: &Path, metadata: &Metadata, inputs: usize) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(cannot)?;
        lock(&file, path)?;
        file.set_len(0).with_context(cannot)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            end: 0,
            spans: Vec::new(),
            states: vec![State::default(); inputs],
            synced: Instant::now(),
        };
        journal.write_line(&json!({ "journal": VERSION, "metadata": metadata }).to_string())?;
        Ok(journal)
    }

    /// Opens the journal of an interrupted run.
    ///
    /// # Errors
    /// If the file cannot be read or written, another process writes it, or other settings made it.
    pub(crate) fn resume(path: &Path, metadata: &Metadata, inputs: &[Input]) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let file = OpenOptions::new().read(true).write(true).open(path).with_context(cannot)?;
        lock(&file, path)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            end: 0,
            spans: Vec::new(),
            states: vec![State::default(); inputs.len()],
            synced: Instant::now(),
        };
        journal.index(metadata, inputs).with_context(cannot)?;
        Ok(journal)
    }

    /// Makes a journal of a finished table, so that it can be added to.
    ///
    /// # Errors
    /// Like [`Journal::resume`], or if the table cannot be read.
    pub(crate) fn import(
        path: &Path,
        table: TableReader,
        metadata: &Metadata,
        inputs: &[Input],
    ) -> Result<Self> {
        // A table that cannot say what made it is taken to be of the same settings.
        let made = if table.metadata().is_empty() { metadata.clone() } else { table.metadata().clone() };
        let partial = path.with_extension("journal.partial");
        let mut journal = Self::create(&partial, &made, 0)?;
        let mut picture: Vec<Row> = Vec::new();
        let of = |row: &Row| (row.record.source.clone(), row.record.frame, row.record.status);
        for piece in table {
            for row in piece? {
                let next = of(&row);
                if let Some(previous) = picture.last().map(of).filter(|previous| *previous != next) {
                    journal.write_picture(&picture, previous.0 != next.0)?;
                    picture.clear();
                }
                picture.push(row);
            }
        }
        if !picture.is_empty() {
            journal.write_picture(&picture, true)?;
        }
        journal.file.sync_all()?;
        drop(journal);
        std::fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))?;
        Self::resume(path, metadata, inputs)
    }

    fn write_picture(&mut self, picture: &[Row], last: bool) -> Result<()> {
        let source = picture[0].record.source.clone().unwrap_or_default();
        self.write_line(&line(&source, picture, last))
    }

    /// Reads the whole file, and cuts off what is not a complete line.
    fn index(&mut self, metadata: &Metadata, inputs: &[Input]) -> Result<()> {
        let positions: HashMap<&str, usize> =
            (0..).zip(inputs).map(|(i, input)| (input.name.as_str(), i)).collect();
        let mut reader = BufReader::new(&self.file);
        let mut text = Vec::new();
        reader.read_until(b'\n', &mut text)?;
        if !text.ends_with(b"\n") {
            bail!("it is not a journal of this program; --force replaces it");
        }
        check_header(&text, metadata)?;
        let mut end = text.len() as u64;
        let mut spans: Vec<Span> = Vec::new();
        loop {
            text.clear();
            let length = reader.read_until(b'\n', &mut text)? as u64;
            let Some(line) = text.ends_with(b"\n").then(|| parse(&text).ok()).flatten() else { break };
            let input = positions.get(line.source.as_str()).copied();
            if let Some(state) = input.map(|input| &mut self.states[input]) {
                state.pictures += u64::from(!line.rows.is_empty());
                state.complete |= line.last;
            }
            extend(&mut spans, Span { input, start: end, end: end + length });
            end += length;
        }
        self.spans = spans;
        self.end = end;
        self.file.set_len(end)?;
        Ok(())
    }

    /// What is known of an input.
    pub(crate) fn known(&self, input: usize) -> Known {
        match self.states[input] {
            State { complete: true, .. } => Known::All,
            State { pictures: 0, .. } => Known::Nothing,
            State { pictures, .. } => Known::Frames(pictures),
        }
    }

    /// Number of inputs that are complete.
    pub(crate) fn complete(&self) -> usize {
        self.states.iter().filter(|state| state.complete).count()
    }

    /// Adds the rows of one picture; `last` if it is the last of its file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn append(&mut self, input: usize, source: &str, rows: &[Row], last: bool) -> Result<()> {
        let start = self.end;
        self.write_line(&line(source, rows, last))?;
        extend(&mut self.spans, Span { input: Some(input), start, end: self.end });
        self.states[input].pictures += u64::from(!rows.is_empty());
        self.states[input].complete |= last;
        Ok(())
    }

    fn write_line(&mut self, line: &str) -> Result<()> {
        let cannot = || {
            format!(
                "cannot write {}; what is in it is kept, and --resume goes on from there",
                self.path.display()
            )
        };
        self.file.seek(SeekFrom::Start(self.end)).with_context(cannot)?;
        self.file.write_all(format!("{line}\n").as_bytes()).with_context(cannot)?;
        if self.synced.elapsed() >= SYNC {
            self.file.sync_data().with_context(cannot)?;
            self.synced = Instant::now();
        }
        self.end += line.len() as u64 + 1;
        Ok(())
    }

    /// The pictures of one input that are known, in their order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn pictures_of(&self, input: usize) -> Result<Pictures> {
        self.pictures_in(self.spans.iter().filter(|span| span.input == Some(input)).copied().collect())
    }

    /// All pictures in the order of the table: files that are no longer among the inputs, then the inputs.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn pictures(&self) -> Result<Pictures> {
        let mut spans = self.spans.clone();
        spans.sort_by_key(|span| span.input);
        self.pictures_in(spans)
    }

    fn pictures_in(&self, spans: Vec<Span>) -> Result<Pictures> {
        let file = File::open(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(Pictures { file: BufReader::new(file), spans: spans.into_iter(), position: 0, end: 0 })
    }

    /// Deletes the journal of a finished run.
    ///
    /// # Errors
    /// If the file cannot be deleted.
    pub(crate) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| format!("cannot delete {}", self.path.display()))
    }
}

/// Pictures that are read from a journal.
pub(crate) struct Pictures {
    file: BufReader<File>,
    spans: std::vec::IntoIter<Span>,
    /// Where the reader is, and where the current span ends.
    position: u64,
    end: u64,
}

impl Pictures {
    /// The rows of the next picture; `None` at the end.
    ///
    /// # Errors
    /// If the journal cannot be read or was changed.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Row>>> {
        loop {
            if self.position >= self.end {
                let Some(span) = self.spans.next() else { return Ok(None) };
                let distance = i64::try_from(span.start)? - i64::try_from(self.position)?;
                self.file.seek_relative(distance)?;
                (self.position, self.end) = (span.start, span.end);
            }
            let mut text = Vec::new();
            let length = self.file.by_ref().take(self.end - self.position).read_until(b'\n', &mut text)?;
            ensure!(length > 0, "the journal was cut off by another program");
            self.position += length as u64;
            let rows = parse(&text)?.rows;
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
    }
}

fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            bail!("another process is writing {}; wait for it or name another output", path.display())
        }
        // Some network file systems have no locks. Then nothing guards against two runs with one output.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Compares what made the journal with what would go on.
fn check_header(text: &[u8], metadata: &Metadata) -> Result<()> {
    let header: Value = serde_json::from_slice(text).unwrap_or_default();
    let Some(version) = header["journal"].as_u64() else {
        bail!("it is not a journal of this program; --force replaces it");
    };
    ensure!(
        version == VERSION,
        "it has version {version}, and this program reads {VERSION}; --force starts anew"
    );
    let made: Metadata = serde_json::from_value(header["metadata"].clone()).context("its first line")?;
    let keys = made.keys().chain(metadata.keys()).filter(|key| key.starts_with("fer."));
    for key in keys {
        let value = |metadata: &Metadata| metadata.get(key).map_or("nothing".to_owned(), Clone::clone);
        let (then, now) = (value(&made), value(metadata));
        ensure!(
            then == now,
            "{key} was {then} and is now {now}; use the same settings, or --force to start anew"
        );
    }
    Ok(())
}

fn line(source: &str, rows: &[Row], last: bool) -> String {
    let rows: Vec<String> = rows.iter().map(Row::to_json).collect();
    format!("[{},[{}],{last}]", Value::from(source), rows.join(","))
}

fn parse(text: &[u8]) -> Result<Line> {
    let json: Value = serde_json::from_slice(text)?;
    let (Some(source), Some(rows), Some(last)) = (json[0].as_str(), json[1].as_array(), json[2].as_bool())
    else {
        bail!("a line of the journal is damaged");
    };
    let rows = rows.iter().map(|row| Row::from_json(row).map_err(|problem| anyhow!(problem)));
    Ok(Line { source: source.to_owned(), rows: rows.collect::<Result<_>>()?, last })
}

/// Adds a span, or lengthens the last one.
fn extend(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.input == span.input && last.end == span.start => last.end = span.end,
        _ => spans.push(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Place;
    use fer_vision::Origin;

    fn inputs(names: &[&str]) -> Vec<Input> {
        let input = |name: &&str| Input { name: (*name).to_owned(), place: Place::Nowhere(String::new()) };
        names.iter().map(input).collect()
    }

    fn rows(source: &str, frame: Option<u64>) -> Vec<Row> {
        let origin = Origin { source: Some(source.to_owned()), frame, timestamp_ms: frame };
        vec![Row::failed(&origin, "x")]
    }

    fn all(journal: &Journal) -> Vec<(String, Option<u64>)> {
        let mut pictures = journal.pictures().unwrap();
        let mut found = Vec::new();
        while let Some(rows) = pictures.next().unwrap() {
            found.push((rows[0].record.source.clone().unwrap(), rows[0].record.frame));
        }
        found
    }

    #[test]
    fn a_cut_line_is_dropped_and_the_order_is_that_of_the_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv.journal");
        let settings = Metadata::from([("fer.engine".to_owned(), "tract".to_owned())]);
        let mut journal = Journal::create(&path, &settings, 2).unwrap();
        journal.append(0, "b", &rows("b", None), true).unwrap();
        journal.append(1, "v", &rows("v", Some(1)), false).unwrap();
        journal.append(1, "v", &rows("v", Some(2)), false).unwrap();
        let length = journal.end;
        journal.append(1, "v", &rows("v", Some(3)), false).unwrap();
        assert!(Journal::resume(&path, &settings, &[]).is_err(), "it is locked");
        drop(journal);
        File::options().write(true).open(&path).unwrap().set_len(length + 20).unwrap();

        let mut journal = Journal::resume(&path, &settings, &inputs(&["a", "v", "c"])).unwrap();
        assert_eq!(journal.end, length);
        assert_eq!([0, 1, 2].map(|i| journal.known(i)), [Known::Nothing, Known::Frames(2), Known::Nothing]);
        journal.append(0, "a", &rows("a", None), true).unwrap();
        journal.append(1, "v", &rows("v", Some(3)), false).unwrap();
        journal.append(1, "v", &[], true).unwrap();
        assert_eq!((journal.known(1), journal.complete()), (Known::All, 2));
        let named = |name: &str, frame| (name.to_owned(), frame);
        let frames = [named("v", Some(1)), named("v", Some(2)), named("v", Some(3))];
        assert_eq!(all(&journal), [&[named("b", None), named("a", None)], &frames[..]].concat());
        let mut of_video = journal.pictures_of(1).unwrap();
        assert_eq!(of_video.next().unwrap().unwrap(), rows("v", Some(1)));
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn other_settings_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv.journal");
        let settings = |engine: &str| Metadata::from([("fer.engine".to_owned(), engine.to_owned())]);
        drop(Journal::create(&path, &settings("tract"), 0).unwrap());
        let error = format!("{:#}", Journal::resume(&path, &settings("onnxruntime"), &[]).err().unwrap());
        assert!(error.contains("fer.engine was tract and is now onnxruntime"), "{error}");
        std::fs::write(&path, "source,frame\n").unwrap();
        let error = format!("{:#}", Journal::resume(&path, &settings("tract"), &[]).err().unwrap());
        assert!(error.contains("not a journal"), "{error}");
    }
}
