//! `fer report`: a page with charts from a table.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use fer_model::file::write_atomically;

use super::Outcome;
use crate::report::{self, Examples, Summary};

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// A table that `fer analyze` wrote with all columns, in any of its formats.
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// The page to write.
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Show examples of faces, cut out of the original files. Only with the consent of the people.
    #[arg(long)]
    faces: bool,
    /// Also write each chart as SVG and PNG into this folder.
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
    /// Replace a page that exists.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ReportArgs) -> Result<Outcome> {
    let (table, out) = (args.table.display(), args.out.display());
    ensure!(args.force || !args.out.exists(), "{out} exists; --force replaces it");
    let reader = fer_table::read(&args.table).map_err(|error| anyhow!("{table}: {error}"))?;
    let metadata = reader.metadata().clone();
    let mut summary = Summary::default();
    for piece in reader {
        for row in piece.map_err(|error| anyhow!("{table}: {error}"))? {
            summary.add(&row);
        }
    }
    summary.end();
    let charts = report::charts(&summary);
    let examples = args.faces.then(|| Examples::of(&summary.candidates));
    let title = args.table.file_name().unwrap_or_default().to_string_lossy();
    let page = report::page(&title, &summary, &metadata, &charts, examples.as_ref())?;
    write_atomically(&args.out, page.as_bytes()).with_context(|| format!("cannot write {out}"))?;
    if let Some(folder) = &args.charts {
        report::write_charts(&charts, folder)?;
    }
    Ok(Outcome::Well)
}
