//! The page that `fer report` makes of a table: counts, charts and, if asked for, examples of faces. It is one file without
//! scripts, and everything in it is inline.

mod charts;
mod faces;
mod summary;
mod timeline;

use std::path::Path;

use anyhow::{Context as _, Result};
use fer_model::Emotion;
use fer_table::Metadata;
use minijinja::{Environment, context};
use serde::Serialize;

pub(crate) use charts::Chart;
pub(crate) use faces::Examples;
pub(crate) use summary::Summary;

use crate::models::NOTICE;

/// Most videos that have charts.
const VIDEOS: usize = 40;

/// Most tracks of a video that have a strip; those with the most frames are shown.
const TRACKS: usize = 12;

/// A chart in the page.
#[derive(Serialize)]
struct Figure {
    title: String,
    caption: String,
    svg: String,
}

/// All charts of a table, in the order of the page.
pub(crate) fn charts(summary: &Summary) -> Vec<Chart> {
    let mut charts = Vec::new();
    if summary.faces > 0 {
        charts.push(charts::labels(summary));
        charts.push(charts::probabilities(summary));
    }
    if summary.pictures > 0 {
        charts.push(charts::faces_per_picture(summary));
    }
    let videos = summary.videos.iter().take(VIDEOS);
    charts.extend(videos.filter_map(|(name, timeline)| charts::timeline(name, timeline, TRACKS)));
    charts
}

/// The page. `title` is the table's name.
///
/// # Errors
/// If the template does not fit its values, which is a bug.
pub(crate) fn page(
    title: &str,
    summary: &Summary,
    metadata: &Metadata,
    charts: &[Chart],
    examples: Option<&Examples>,
) -> Result<String> {
    let figures: Vec<Figure> = charts
        .iter()
        .map(|chart| Figure {
            title: chart.title.clone(),
            caption: chart.caption.clone(),
            svg: chart.svg.clone(),
        })
        .collect();
    let settings: Vec<(&str, &str)> = metadata
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("fer.")?, value.as_str())))
        .filter(|(key, _)| *key != "notice")
        .collect();
    let legend: Vec<_> =
        Emotion::ALL.into_iter().map(|emotion| (emotion.name(), charts::colour(emotion))).collect();
    let mut environment = Environment::new();
    environment.add_template("page.html", include_str!("page.html")).context("the page's template")?;
    let template = environment.get_template("page.html").context("the page's template")?;
    let more_videos = summary.videos.len().saturating_sub(VIDEOS);
    let page = template.render(context! {
        title, figures, settings, legend, more_videos, examples, notice => NOTICE,
        counts => summary.counts(), failures => summary.failures, more_failures => summary.more_failures(),
    });
    page.context("the page's template")
}

/// Writes each chart into a folder as SVG and PNG.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write_charts(charts: &[Chart], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (number, chart) in (1..).zip(charts) {
        chart.write(folder, number)?;
    }
    Ok(())
}
