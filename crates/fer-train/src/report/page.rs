//! An evaluation as one self-contained HTML page, with its charts and faces also as PNG and SVG.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use fer_model::Bundle;
use fer_model::bundle::write_whole;

use crate::data::dataset::Sample;
use crate::evaluation::evaluate::Evaluation;
use crate::evaluation::metrics::Metrics;
use crate::report::charts;
use crate::report::sheet::{Sheet, escape};

/// Most confidently wrong faces that are shown.
const SHOWN: usize = 40;
const ACROSS: usize = 8;

/// Writes index.html, evaluation.json and the pictures into a folder. `probabilities` has a row for each sample.
pub fn write(
    evaluation: &Evaluation,
    bundle: &Bundle,
    samples: &[Sample],
    probabilities: &[Vec<f64>],
    folder: &Path,
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let metrics = &evaluation.plain;
    let confusion = charts::confusion(metrics)?;
    let reliability = charts::reliability(metrics)?;
    let mistakes = mistakes(metrics, samples, probabilities);
    charts::write(&confusion, folder, "confusion")?;
    charts::write(&reliability, folder, "reliability")?;
    mistakes.write(folder, "mistakes")?;
    let json = serde_json::to_string_pretty(evaluation)?;
    let page = page(evaluation, bundle, &confusion, &reliability, &mistakes.svg()?)?;
    for (name, text) in [("evaluation.json", json), ("index.html", page)] {
        let path = folder.join(name);
        write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Faces whose answer is wrong, the most confident first, with label and answer below.
fn mistakes(metrics: &Metrics, samples: &[Sample], probabilities: &[Vec<f64>]) -> Sheet {
    let mut wrong: Vec<(f64, String, &Sample)> = samples
        .iter()
        .zip(probabilities)
        .filter_map(|(sample, row)| {
            let answer = crate::training::shards::most_probable(row);
            let label = metrics.labels[answer];
            let text = format!("{}, not {}", sample.label.name(), label.name());
            (label != sample.label).then_some((row[answer], text, sample))
        })
        .collect();
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0));
    wrong.truncate(SHOWN);
    let mut sheet = Sheet::new(ACROSS);
    for row in wrong.chunks(ACROSS) {
        let sure = row.first().map_or(0.0, |(confidence, ..)| 100.0 * confidence);
        let faces = row.iter().map(|(_, text, sample)| (sample.picture(), text.clone()));
        sheet.row(&format!("{sure:.0} % sure"), faces.collect());
    }
    sheet
}

fn page(
    evaluation: &Evaluation,
    bundle: &Bundle,
    confusion: &str,
    reliability: &str,
    mistakes: &str,
) -> Result<String> {
    let metrics = &evaluation.plain;
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let share = |share: Option<f64>| share.map_or("–".to_owned(), percent);
    let interval = |[low, high]: [f64; 2]| format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high);
    let name = escape(bundle.name());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{name} on the {split} test</title><style>{STYLE}</style>\n\
         <h1>{name} on the {split} test</h1><p>{} faces. {}</p>",
        metrics.samples,
        escape(&bundle.manifest().card),
        split = evaluation.split,
    );
    if let Some(count) = evaluation.private_scorings {
        write!(
            page,
            "<p>This bundle has been scored on the private test so often, this time included: {count}.</p>"
        )?;
    }
    page += "<h2>Accuracy</h2><table><tr><th>views<th>right<th>95 % interval";
    for (views, accuracy, bounds) in [
        ("one, as it is served", metrics.accuracy, metrics.accuracy_interval),
        ("two: mirrored too", evaluation.accuracy_tta, evaluation.accuracy_tta_interval),
        ("ten crops", evaluation.accuracy_ten_crop, evaluation.accuracy_ten_crop_interval),
    ] {
        write!(page, "<tr><td>{views}<td>{}<td>{}", percent(accuracy), interval(bounds))?;
    }
    write!(
        page,
        "</table><p>All that follows is of one view. Mean of the recalls {}, cross-entropy {:.4}, expected calibration \
         error {} at temperature {:.3}.</p><h2>By class</h2><table><tr><th><th>precision<th>recall<th>F1<th>faces",
        percent(metrics.balanced_accuracy),
        metrics.loss,
        percent(metrics.ece),
        evaluation.temperature,
    )?;
    for (emotion, class) in &metrics.per_class {
        let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(share);
        write!(page, "<tr><th>{}<td>{precision}<td>{recall}<td>{f1}<td>{}", emotion.name(), class.support)?;
    }
    writeln!(
        page,
        "</table><h2>Confusion</h2>{confusion}<h2>Calibration</h2>{reliability}<h2>Most confidently wrong</h2>\
         <p>Label, and what was answered instead. Many of FER-2013's labels are wrong themselves.</p>{mistakes}\
         <h2>Training</h2><pre>{}</pre><p>{}</p></html>",
        escape(&serde_json::to_string_pretty(&bundle.manifest().training)?),
        escape(&bundle.manifest().data_licence),
    )?;
    Ok(page)
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;\
     color:#1b1b1b;background:#fff}table{border-collapse:collapse}td,th{padding:.2rem 1rem .2rem 0;text-align:right;\
     font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}\
     pre{background:#f4f4f4;padding:1rem;overflow:auto;font-size:13px}";
