//! Charts as SVG. Text and axes have the colour of the text around them, so that a chart fits a light and a dark page.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fer_model::Emotion;
use fer_model::file::write_atomically;

use super::summary::{BINS, Summary};
use super::timeline::{Strip, Timeline};

/// Width of every chart, in units of the SVG.
const WIDTH: f64 = 720.0;

/// Space left of the bars and strips, for their names.
const LEFT: f64 = 90.0;

/// Space to the right of them, for the last label of the axis.
const RIGHT: f64 = 26.0;

/// A chart.
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: String,
    /// How it is read.
    pub(crate) caption: String,
    /// The `svg` element.
    pub(crate) svg: String,
}

/// Colours that people with colour-vision deficiency can tell apart (Okabe & Ito 2008), readable on white and on black.
pub(crate) fn colour(emotion: Emotion) -> &'static str {
    match emotion {
        Emotion::Angry => "#d55e00",
        Emotion::Disgust => "#009e73",
        Emotion::Fear => "#cc79a7",
        Emotion::Happy => "#e69f00",
        Emotion::Sad => "#2f7fc1",
        Emotion::Surprise => "#56b4e9",
        Emotion::Neutral => "#8c8c8c",
    }
}

/// Faces by their most probable label.
pub(crate) fn labels(summary: &Summary) -> Chart {
    let bars: Vec<_> = Emotion::ALL
        .into_iter()
        .map(|emotion| (emotion.name().to_owned(), summary.dominant[emotion.index()], colour(emotion)))
        .collect();
    Chart {
        title: "Labels".to_owned(),
        caption: "Number of faces by their most probable label.".to_owned(),
        svg: bar_chart("Faces by label", &bars),
    }
}

/// Pictures by their number of faces.
pub(crate) fn faces_per_picture(summary: &Summary) -> Chart {
    let name = |faces: usize| if faces == 6 { "6 or more".to_owned() } else { faces.to_string() };
    let bars: Vec<_> =
        summary.crowd.iter().enumerate().map(|(faces, count)| (name(faces), *count, "#4c8f8a")).collect();
    Chart {
        title: "Faces in a picture".to_owned(),
        caption: "Number of photos and frames by the number of faces in them.".to_owned(),
        svg: bar_chart("Pictures by number of faces", &bars),
    }
}

/// Horizontal bars with their names and values.
fn bar_chart(label: &str, bars: &[(String, u64, &str)]) -> String {
    let most = bars.iter().map(|(_, value, _)| *value).max().unwrap_or(0).max(1) as f64;
    let mut svg = open(label, 26.0 * bars.len() as f64 + 8.0);
    for (row, (name, value, colour)) in bars.iter().enumerate() {
        let y = 26.0 * row as f64 + 6.0;
        let width = (*value as f64 / most * (WIDTH - LEFT - 90.0)).max(if *value > 0 { 1.0 } else { 0.0 });
        text(&mut svg, LEFT - 8.0, y + 14.0, "end", name);
        rectangle(&mut svg, [LEFT, y, width, 18.0], colour);
        text(&mut svg, LEFT + width + 6.0, y + 14.0, "start", &value.to_string());
    }
    svg + "</svg>"
}

/// A histogram of the probability of each label.
pub(crate) fn probabilities(summary: &Summary) -> Chart {
    let (row_height, height) = (44.0, 44.0 * Emotion::COUNT as f64 + 22.0);
    let mut svg = open("Probabilities by label", height);
    let width = (WIDTH - LEFT - RIGHT) / BINS as f64;
    for (row, emotion) in Emotion::ALL.into_iter().enumerate() {
        let bins = &summary.histograms[emotion.index()];
        // Square roots keep the small bars visible beside the large one near 0.
        let most = (bins.iter().copied().max().unwrap_or(0).max(1) as f64).sqrt();
        let bottom = row_height * (row + 1) as f64;
        text(&mut svg, LEFT - 8.0, bottom - 8.0, "end", emotion.name());
        for (bin, count) in bins.iter().enumerate() {
            let high = (*count as f64).sqrt() / most * (row_height - 8.0);
            rectangle(
                &mut svg,
                [LEFT + bin as f64 * width, bottom - high, width - 1.0, high],
                colour(emotion),
            );
        }
    }
    for percent in [0, 25, 50, 75, 100] {
        let x = LEFT + f64::from(percent) / 100.0 * width * BINS as f64;
        text(&mut svg, x, height - 4.0, "middle", &format!("{percent} %"));
    }
    Chart {
        title: "Probabilities".to_owned(),
        caption:
            "How many faces have which probability of each label. Heights are square roots of the counts."
                .to_owned(),
        svg: svg + "</svg>",
    }
}

/// A strip for the group and for each track of a video; `None` if the video has no face.
pub(crate) fn timeline(name: &str, timeline: &Timeline, most_tracks: usize) -> Option<Chart> {
    if timeline.group.is_empty() {
        return None;
    }
    let mut tracks: Vec<_> = timeline.tracks.iter().collect();
    tracks.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
    let hidden = tracks.len().saturating_sub(most_tracks);
    tracks.truncate(most_tracks);
    tracks.sort_by_key(|(track, _)| **track);
    let height = 84.0 + 30.0 * tracks.len() as f64 + 24.0;
    let mut svg = open(&format!("Labels over time in {name}"), height);
    text(&mut svg, LEFT - 8.0, 44.0, "end", "all faces");
    strip(&mut svg, &timeline.group, timeline.intervals, [6.0, 70.0]);
    for (row, (track, (_, cells))) in tracks.iter().enumerate() {
        let y = 84.0 + 30.0 * row as f64;
        text(&mut svg, LEFT - 8.0, y + 17.0, "end", &format!("track {track}"));
        strip(&mut svg, cells, timeline.intervals, [y, 24.0]);
    }
    axis(&mut svg, timeline, height);
    let more = if hidden > 0 { format!(" {hidden} shorter tracks are not shown.") } else { String::new() };
    Some(Chart {
        title: name.to_owned(),
        caption: format!(
            "Mean probabilities over time, stacked to 100 %. Each column is {} s.{more}",
            timeline.interval as f64 / 1000.0
        ),
        svg: svg + "</svg>",
    })
}

/// Columns of stacked probabilities. Nothing is drawn where there is no face.
fn strip(svg: &mut String, cells: &Strip, intervals: u64, [top, height]: [f64; 2]) {
    let width = (WIDTH - LEFT - RIGHT) / intervals.max(1) as f64;
    for (interval, cell) in cells {
        let mut y = top + height;
        for (emotion, mean) in Emotion::ALL.into_iter().zip(cell.mean()) {
            let high = mean * height;
            if high >= 0.05 {
                y -= high;
                // A little wider, so that no gap shows between columns.
                rectangle(svg, [LEFT + *interval as f64 * width, y, width + 0.2, high], colour(emotion));
            }
        }
    }
}

fn axis(svg: &mut String, timeline: &Timeline, height: f64) {
    let length = (timeline.intervals * timeline.interval) as f64 / 1000.0;
    let steps = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];
    let step = steps.into_iter().find(|step| length / step <= 8.0).unwrap_or(7200.0);
    let mut time = 0.0;
    while time <= length {
        let x = LEFT + time / length * (WIDTH - LEFT - RIGHT);
        let seconds = time as u64;
        text(svg, x, height - 4.0, "middle", &format!("{}:{:02}", seconds / 60, seconds % 60));
        time += step;
    }
}

fn open(label: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\" \
         font-family=\"sans-serif\" font-size=\"13\">",
        escaped(label)
    )
}

fn rectangle(svg: &mut String, [x, y, width, height]: [f64; 4], colour: &str) {
    // Writing into a String cannot fail.
    let _ = write!(
        svg,
        "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{colour}\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"currentColor\">{}</text>",
        escaped(content)
    );
}

/// Text for XML. Control characters, which XML does not allow, are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            other => escaped.push(other),
        }
    }
    escaped
}

impl Chart {
    /// Writes `NUMBER-title.svg` and `.png` into a folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn write(&self, folder: &Path, number: usize) -> Result<()> {
        let title = self.title.rsplit(['/', '\\']).next().unwrap_or_default().to_lowercase();
        let plain: String =
            title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        // Where no page gives a colour, text is dark on white.
        let svg = self.svg.replacen("<svg ", "<svg color=\"#1c2422\" style=\"background:#fff\" ", 1);
        for (extension, bytes) in [("svg", svg.clone().into_bytes()), ("png", fer_chart::png(&svg)?)] {
            let path = folder.join(format!("{number:02}-{plain}.{extension}"));
            write_atomically(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}
