//! `fer query`: SQL over tables.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Outcome;
use crate::output::FormatChoice;

#[derive(Args)]
pub(crate) struct QueryArgs {
    /// A SELECT statement, such as 'SELECT dominant, count(*) FROM faces GROUP BY dominant'.
    #[arg(value_name = "SQL")]
    sql: String,
    /// Tables in any format, or folders of Parquet files. The first is called faces, the second faces2 and so on; each also has
    /// the name of its file without the extension.
    #[arg(required = true, value_name = "TABLE")]
    tables: Vec<PathBuf>,
    /// The table to write: .parquet, .csv, .jsonl or .arrow, or - for standard output. By default the result is printed.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Format of the table. The default follows from the extension, and is CSV for standard output.
    #[arg(long, value_enum)]
    format: Option<FormatChoice>,
    /// Replace a table that exists.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
#[cfg(feature = "corpus")]
pub(crate) fn run(args: &QueryArgs) -> Result<Outcome> {
    use std::io::{self, BufWriter, Write as _};
    use std::path::Path;

    use anyhow::{Context as _, ensure};
    use fer_corpus::Query;
    use fer_model::file::write_atomically_with;

    let file = args.out.as_deref().filter(|path| *path != Path::new("-"));
    let file = file
        .map(|path| FormatChoice::for_path(args.format, path).map(|format| (path, format)))
        .transpose()?;
    if let Some((path, _)) = file {
        ensure!(args.force || !path.exists(), "{} exists; --force replaces it", path.display());
    }
    let rows = Query::open(&args.tables)?.select(&args.sql)?;
    if let Some((path, format)) = file {
        let write = |file: &mut std::fs::File| {
            rows.write(BufWriter::new(file), format).map(|_| ()).map_err(io::Error::other)
        };
        write_atomically_with(path, write).with_context(|| path.display().to_string())?;
    } else if args.out.is_some() || args.format.is_some() {
        rows.write(BufWriter::new(io::stdout()), args.format.unwrap_or(FormatChoice::Csv).of_stream())?;
    } else {
        writeln!(io::stdout().lock(), "{}", rows.to_text()?)?;
    }
    Ok(Outcome::Well)
}

/// Says how to install the command.
#[cfg(not(feature = "corpus"))]
pub(crate) fn run(_args: &QueryArgs) -> Result<Outcome> {
    anyhow::bail!(
        "this program was installed without SQL; in a checkout, `cargo install --path crates/fer-cli --features corpus` adds it"
    )
}
