//! `fer-train explore`: shows what a data set holds.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_dataset::Dataset;
use fer_train::data::explore::SplitFigures;
use fer_train::report::exploration;

use super::unreadable;

#[derive(Args)]
pub(crate) struct ExploreArgs {
    /// FER-2013 CSV, or a folder with train/<emotion>/*.png or jpg and test/….
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// Folder for the figures and pictures.
    #[arg(long, default_value = "runs/explore")]
    out: PathBuf,
    /// Seed that decides which faces the sheet of samples shows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ExploreArgs) -> Result<()> {
    let (dataset, failures) = if args.data.is_dir() {
        Dataset::read_folder(&args.data)?
    } else {
        (Dataset::read(&args.data)?, Vec::new())
    };
    let exploration = exploration::write(&dataset, failures, args.seed, &args.out)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&exploration)?);
        return unreadable(&exploration.failures);
    }
    for SplitFigures { split, faces, counts, mean, std, blank } in &exploration.splits {
        let counts: Vec<String> =
            counts.iter().map(|(emotion, count)| format!("{} {count}", emotion.name())).collect();
        let counts = counts.join(", ");
        println!("{split}: {faces} faces ({counts}), pixels {mean:.3} ± {std:.3}, {blank} blank");
    }
    println!("counts, samples and means are in {} as PNG and SVG", args.out.display());
    unreadable(&exploration.failures)
}
