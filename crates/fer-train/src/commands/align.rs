//! `fer-train align`: makes a data set whose faces have level eyes.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_train::data::align;
use fer_train::report::{alignment, folder};

use super::unreadable;

#[derive(Args)]
pub(crate) struct AlignArgs {
    /// FER-2013 CSV, or a folder of photos with train/<emotion>/*.png or jpg and test/…, in which the largest face of each
    /// photo counts.
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// The new CSV [default: aligned.csv in the report's folder].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder of the report.
    #[arg(long, default_value = "runs/align")]
    report: PathBuf,
    /// Leave out faces that cannot be aligned. Without this, faces of a CSV stay as they are, so that rows keep their
    /// numbers.
    #[arg(long)]
    leave_out: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &AlignArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| args.report.join("aligned.csv"));
    folder::create(&args.report)?;
    let all = align::align(&args.data)?;
    let kept = align::write_csv(&all, args.leave_out, &out)?;
    let report = alignment::write(&all, kept, &args.report)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "{} of {} faces aligned, by {:.1}° on average; {} of the others kept as they were",
            report.aligned, report.pictures, report.mean_degrees, report.kept
        );
        for (emotion, count) in &report.failures_by_emotion {
            println!("  not aligned: {count:>5} {emotion}");
        }
        println!(
            "the new data is {}, the report {}",
            out.display(),
            args.report.join("align.json").display()
        );
        println!(
            "train on it with --set data={} --set crop.level_eyes=true, so that serving levels the eyes too",
            out.display()
        );
    }
    let failures = report.failures.iter().filter(|failure| failure.unreadable);
    let failures: Vec<_> = failures.map(|failure| failure.reason.clone()).collect();
    unreadable(&failures)
}
