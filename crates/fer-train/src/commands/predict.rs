//! `fer-train predict`: classifies pictures that show nothing but a face.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use fer_engine::Engine;
use fer_model::file::write_atomically;
use fer_model::{Classifier, Emotion, LabelSet};
use fer_train::evaluation::predict::{self, Prediction};
use fer_train::open_bundle;

use super::unreadable;

/// The bundle that ships with the program.
const DEFAULT_BUNDLE: &str = "assets/models/emotion";

#[derive(Args)]
pub(crate) struct PredictArgs {
    /// Pictures of one face each: files, folders (searched for jpg, png and webp), or globs in quotes.
    #[arg(required = true)]
    faces: Vec<String>,
    /// Folder with model.json and weights.safetensors.
    #[arg(long, default_value = DEFAULT_BUNDLE)]
    bundle: PathBuf,
    /// Labels that the answers follow: `fer2013` or `ferplus` [default: the bundle's].
    #[arg(long, value_name = "NAME")]
    labels: Option<LabelSet>,
    /// Format of the output.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Print JSON; short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write the output to a file instead of standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people.
    Table,
    /// A list of objects with path, dominant, uncertain and probabilities.
    Json,
    /// The columns path, dominant, uncertain, and one for each emotion.
    Csv,
}

pub(crate) fn run(args: &PredictArgs) -> Result<()> {
    let bundle = open_bundle(&args.bundle)?.with_labels(args.labels)?;
    let mut classifier = Classifier::new(&Engine::tract(), &bundle)?;
    let predictions = predict::predict_all(&mut classifier, &predict::find(&args.faces)?);
    let text = match if args.json { Format::Json } else { args.format } {
        Format::Table => table(&predictions.answers)?,
        Format::Json => serde_json::to_string_pretty(&predictions.answers)? + "\n",
        Format::Csv => csv(&predictions.answers)?,
    };
    match &args.out {
        Some(path) => {
            write_atomically(path, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => print!("{text}"),
    }
    unreadable(&predictions.failures)
}

fn table(predictions: &[Prediction]) -> Result<String> {
    let width = predictions.iter().map(|prediction| prediction.path.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:<width$}  {:<21}", "", "dominant");
    Emotion::ALL.iter().for_each(|emotion| text += &format!(" {:>8}", emotion.name()));
    text.push('\n');
    for Prediction { path, dominant, uncertain, probabilities } in predictions {
        let doubt = if *uncertain { ", uncertain" } else { "" };
        write!(text, "{path:<width$}  {:<21}", format!("{dominant}{doubt}"))?;
        for (_, probability) in probabilities.iter() {
            write!(text, " {:>6.1} %", 100.0 * probability)?;
        }
        text.push('\n');
    }
    Ok(text)
}

fn csv(predictions: &[Prediction]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let emotions = Emotion::ALL.iter().map(|emotion| emotion.name());
    writer.write_record(["path", "dominant", "uncertain"].into_iter().chain(emotions))?;
    for Prediction { path, dominant, uncertain, probabilities } in predictions {
        let numbers = probabilities.iter().map(|(_, probability)| probability.to_string());
        writer.write_record(
            [path.clone(), dominant.to_string(), uncertain.to_string()].into_iter().chain(numbers),
        )?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
