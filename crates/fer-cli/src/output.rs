//! Where the rows of `fer analyze` go: through a journal into a file, or straight into a pipe.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use fer_model::file::write_atomically_with;
use fer_table::{Format, Layout, Metadata, Row, TableError, TableWriter};

use crate::inputs::Input;
use crate::journal::{Journal, Pictures};
use crate::pipeline::Known;
use crate::tally::Tally;

/// The format of a table, as an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatChoice {
    /// Apache Parquet, compressed with Zstandard.
    Parquet,
    /// Comma-separated values.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Arrow IPC: a file (Feather), or a stream on standard output.
    Arrow,
}

impl FormatChoice {
    /// The format of a file: the given one, or that of its extension.
    ///
    /// # Errors
    /// If none is given and the extension is not known.
    pub(crate) fn for_path(choice: Option<Self>, path: &Path) -> Result<Format> {
        match choice {
            Some(choice) => Ok(choice.of_file()),
            None => Format::of_path(path).with_context(|| {
                let known = Format::EXTENSIONS;
                format!("--out {}: the extension is none of {known}; give a --format", path.display())
            }),
        }
    }

    fn of_file(self) -> Format {
        match self {
            Self::Parquet => Format::Parquet,
            Self::Csv => Format::Csv,
            Self::Jsonl => Format::JsonLines,
            Self::Arrow => Format::Arrow,
        }
    }

    /// The format of a pipe or a device, which has no end to go back to.
    pub(crate) fn of_stream(self) -> Format {
        match self.of_file() {
            Format::Arrow => Format::ArrowStream,
            format => format,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColumnsChoice {
    /// All columns of docs/tables.md.
    All,
    /// The columns of py-feat.
    PyFeat,
    /// The columns of the Python package fer: one row a picture, numbered columns for its faces.
    Fer,
}

/// Where the table goes and what it looks like.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// The table to write: .parquet, .csv, .jsonl or .arrow, or - for standard output.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Format of the table. The default follows from the extension, and is CSV for standard output.
    #[arg(long, value_enum)]
    format: Option<FormatChoice>,
    /// Columns of the table.
    #[arg(long, value_enum, default_value = "all")]
    columns: ColumnsChoice,
    /// Go on with an interrupted run, or add what is missing to a finished table.
    #[arg(long)]
    resume: bool,
    /// Replace the output, or the journal of an interrupted run.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
}

/// An open output.
pub(crate) enum Output {
    /// A pipe or a device.
    Stream { name: String, writer: TableWriter<Box<dyn Write + Send>>, tally: Tally },
    /// A file, which is written when everything is done.
    File { path: PathBuf, format: Format, columns: ColumnsKind, metadata: Metadata, journal: Journal },
}

/// The layout, before the number of faces is known.
#[derive(Clone, Copy)]
pub(crate) struct ColumnsKind(ColumnsChoice);

impl Output {
    /// Opens the output, and the journal of an interrupted run if `--resume` says so.
    ///
    /// # Errors
    /// If the output exists and neither `--resume` nor `--force` was given, or cannot be written.
    pub(crate) fn open(args: &OutputArgs, metadata: Metadata, inputs: &[Input]) -> Result<Self> {
        let path = &args.out;
        let is_stdout = path.as_os_str() == "-";
        ensure!(is_stdout || !path.is_dir(), "--out {}: this is a folder; name a file in it", path.display());
        if is_stdout || path.exists() && !path.is_file() {
            return Self::stream(args, is_stdout, &metadata);
        }
        let format = FormatChoice::for_path(args.format, path)?;
        let journal = open_journal(args, &metadata, inputs)?;
        Ok(Self::File { path: path.clone(), format, columns: ColumnsKind(args.columns), metadata, journal })
    }

    fn stream(args: &OutputArgs, is_stdout: bool, metadata: &Metadata) -> Result<Self> {
        ensure!(!args.resume, "--resume needs a file as --out");
        let layout = match args.columns {
            ColumnsChoice::All => Layout::Fer,
            ColumnsChoice::PyFeat => Layout::PyFeat,
            ColumnsChoice::Fer => bail!(
                "--columns fer needs a file as --out: the number of its columns is known only at the end"
            ),
        };
        let format = args.format.unwrap_or(FormatChoice::Csv).of_stream();
        let name = if is_stdout { "standard output".to_owned() } else { args.out.display().to_string() };
        let cannot = || format!("cannot write {name}");
        let sink: Box<dyn Write + Send> = if is_stdout {
            Box::new(BufWriter::new(io::stdout()))
        } else {
            Box::new(BufWriter::new(File::options().write(true).open(&args.out).with_context(cannot)?))
        };
        let writer = TableWriter::new(sink, format, layout, metadata).with_context(cannot)?;
        Ok(Self::Stream { name, writer, tally: Tally::default() })
    }

    /// What need not be done again of an input.
    pub(crate) fn known(&self, input: usize) -> Known {
        match self {
            Self::Stream { .. } => Known::Nothing,
            Self::File { journal, .. } => journal.known(input),
        }
    }

    /// Number of inputs that were done before.
    pub(crate) fn complete(&self) -> usize {
        match self {
            Self::Stream { .. } => 0,
            Self::File { journal, .. } => journal.complete(),
        }
    }

    /// The pictures of an input that are known.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(crate) fn pictures_of(&self, input: usize) -> Result<Option<Pictures>> {
        match self {
            Self::Stream { .. } => Ok(None),
            Self::File { journal, .. } => journal.pictures_of(input).map(Some),
        }
    }

    /// Adds the rows of one picture; `last` if it is the last of its file.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn picture(&mut self, input: usize, source: &str, rows: &[Row], last: bool) -> Result<()> {
        match self {
            Self::Stream { name, writer, tally } => {
                tally.add(rows);
                writer
                    .write(rows)
                    .and_then(|()| writer.flush())
                    .with_context(|| format!("cannot write {name}"))
            }
            Self::File { journal, .. } => journal.append(input, source, rows, last),
        }
    }

    /// Ends the table.
    ///
    /// # Errors
    /// If it cannot be written. The journal is kept then.
    pub(crate) fn finish(self) -> Result<Tally> {
        match self {
            Self::Stream { name, writer, tally } => {
                writer.finish().with_context(|| format!("cannot write {name}"))?;
                Ok(tally)
            }
            Self::File { path, format, columns, metadata, journal } => {
                let mut tally = Tally::default();
                let mut pictures = journal.pictures()?;
                while let Some(rows) = pictures.next()? {
                    tally.add(&rows);
                }
                let layout = match columns.0 {
                    ColumnsChoice::All => Layout::Fer,
                    ColumnsChoice::PyFeat => Layout::PyFeat,
                    ColumnsChoice::Fer => Layout::FerPackage { faces: tally.most_faces.max(1) },
                };
                assemble(&path, format, layout, &metadata, journal.pictures()?).with_context(|| {
                    format!("cannot write {}; nothing is lost, and --resume tries again", path.display())
                })?;
                journal.remove()?;
                Ok(tally)
            }
        }
    }
}

fn open_journal(args: &OutputArgs, metadata: &Metadata, inputs: &[Input]) -> Result<Journal> {
    let (output, path) = (&args.out, Journal::path_of(&args.out));
    if args.force {
        return Journal::create(&path, metadata, inputs.len());
    }
    match (path.exists(), output.exists()) {
        (false, false) => Journal::create(&path, metadata, inputs.len()),
        (true, _) if args.resume => Journal::resume(&path, metadata, inputs),
        (true, _) => bail!(
            "{} is of an interrupted run; --resume goes on with it, --force starts anew",
            path.display()
        ),
        (false, true) if args.resume => {
            let table = fer_table::read(output).map_err(|error| anyhow!("{}: {error}", output.display()))?;
            Journal::import(&path, table, metadata, inputs)
        }
        (false, true) => {
            bail!("{} exists; --resume adds what is missing, --force replaces it", output.display())
        }
    }
}

/// Writes the table under a temporary name and renames it.
fn assemble(
    path: &Path,
    format: Format,
    layout: Layout,
    metadata: &Metadata,
    mut pictures: Pictures,
) -> io::Result<()> {
    let as_io = |error: TableError| match error {
        TableError::Io(cause) => cause,
        other => io::Error::other(other),
    };
    write_atomically_with(path, |file| {
        let mut writer = TableWriter::new(BufWriter::new(file), format, layout, metadata).map_err(as_io)?;
        while let Some(rows) = pictures.next().map_err(io::Error::other)? {
            writer.write(&rows).map_err(as_io)?;
        }
        writer.finish().map_err(as_io)
    })
}
