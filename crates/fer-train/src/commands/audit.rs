//! `fer-train audit`: finds faces that a data set holds twice.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_dataset::Dataset;
use fer_train::report::audit;

#[derive(Args)]
pub(crate) struct AuditArgs {
    /// FER-2013 CSV, or a folder with train/<emotion>/*.png or jpg and test/….
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// Folder of the report.
    #[arg(long, default_value = "runs/audit")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &AuditArgs) -> Result<()> {
    let report = audit::write(&Dataset::read(&args.data)?, &args.out)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!(
        "{} faces, {} pairs of copies: {} equal in every pixel, {} mirrored, {} with different labels",
        report.faces, report.pairs, report.exact, report.mirrored, report.label_conflicts
    );
    for (splits, pairs) in &report.by_splits {
        println!("  {splits:<28} {pairs:>6}");
    }
    println!("{} training rows have a copy in a test split", report.training_rows_in_tests);
    println!("all pairs are in {0}/audit.json, the first ones in {0}/pairs.png", args.out.display());
    Ok(())
}
