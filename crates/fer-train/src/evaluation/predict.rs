//! Answers for pictures that are faces already: files, folders, globs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use fer_engine::Engine;
use fer_model::bundle::write_whole;
use fer_model::{Classifier, Emotion, Probabilities};
use serde::Serialize;

use crate::data::dataset::pictures;

/// The bundle that ships with the program.
const DEFAULT_BUNDLE: &str = "assets/models/emotion";

#[derive(Args)]
pub struct PredictArgs {
    /// Pictures of one face each: files, folders (searched for jpg, png and webp), or globs in quotes.
    #[arg(required = true)]
    faces: Vec<String>,
    /// Folder with model.json and weights.safetensors.
    #[arg(long, default_value = DEFAULT_BUNDLE)]
    bundle: PathBuf,
    /// How to write the answers.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Print JSON: short for --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write them to a file instead.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// A list of objects: path, dominant, uncertain, probabilities.
    Json,
    /// path, dominant, uncertain, a column for each emotion.
    Csv,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    dominant: Emotion,
    uncertain: bool,
    probabilities: Probabilities,
}

/// Runs the command.
pub fn run(args: &PredictArgs) -> Result<()> {
    let bundle = crate::open_bundle(&args.bundle)?;
    let mut classifier = Classifier::new(&Engine::tract(), &bundle)?;
    let paths = find(&args.faces)?;
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    for path in paths {
        match predict(&mut classifier, &path) {
            Ok(probabilities) => {
                let (path, dominant) = (path.display().to_string(), probabilities.dominant());
                let uncertain = probabilities.is_uncertain();
                answers.push(Answer { path, dominant, uncertain, probabilities });
            }
            Err(error) => failures.push(format!("{}: {error:#}", path.display())),
        }
    }
    let text = match if args.json { Format::Json } else { args.format } {
        Format::Table => table(&answers)?,
        Format::Json => serde_json::to_string_pretty(&answers)? + "\n",
        Format::Csv => csv(&answers)?,
    };
    match &args.out {
        Some(path) => {
            write_whole(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => print!("{text}"),
    }
    match failures.as_slice() {
        [] => Ok(()),
        [one] => bail!("{one}"),
        many => bail!("{} pictures cannot be read: {}", many.len(), many.join("; ")),
    }
}

/// The whole picture is the face.
fn predict(classifier: &mut Classifier, path: &Path) -> Result<Probabilities> {
    let picture = image::ImageReader::open(path)?.with_guessed_format()?.decode()?.into_rgb8();
    let face = classifier.whole(&picture).context("the picture is empty")?;
    classifier.classify(&[face])?.pop().context("no answer")
}

/// Pictures in the order of the arguments, those of a folder or a glob by name.
fn find(arguments: &[String]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for argument in arguments {
        let path = Path::new(argument);
        if path.is_file() {
            found.push(path.to_owned());
            continue;
        }
        let before = found.len();
        if path.is_dir() {
            let files = pictures(path).with_context(|| format!("cannot read {}", path.display()))?;
            found.extend(files);
        } else {
            let matches = glob::glob(argument).with_context(|| format!("'{argument}' is no glob"))?;
            let files = matches.collect::<Result<Vec<_>, _>>()?;
            found.extend(files.into_iter().filter(|file| file.is_file()));
        }
        ensure!(found.len() > before, "{argument}: no such picture, or none in it");
    }
    Ok(found)
}

fn table(answers: &[Answer]) -> Result<String> {
    let width = answers.iter().map(|answer| answer.path.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:<width$}  {:<21}", "", "dominant");
    Emotion::ALL.iter().for_each(|emotion| text += &format!(" {:>8}", emotion.name()));
    text.push('\n');
    for Answer { path, dominant, uncertain, probabilities } in answers {
        let doubt = if *uncertain { ", uncertain" } else { "" };
        write!(text, "{path:<width$}  {:<21}", format!("{dominant}{doubt}"))?;
        for (_, probability) in probabilities.iter() {
            write!(text, " {:>6.1} %", 100.0 * probability)?;
        }
        text.push('\n');
    }
    Ok(text)
}

fn csv(answers: &[Answer]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let emotions = Emotion::ALL.iter().map(|emotion| emotion.name());
    writer.write_record(["path", "dominant", "uncertain"].into_iter().chain(emotions))?;
    for Answer { path, dominant, uncertain, probabilities } in answers {
        let numbers = probabilities.iter().map(|(_, probability)| probability.to_string());
        writer.write_record(
            [path.clone(), dominant.to_string(), uncertain.to_string()].into_iter().chain(numbers),
        )?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
