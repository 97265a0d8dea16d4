//! Charts as SVG and as PNG.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use fer_model::file::write_atomically;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::evaluation::metrics::Metrics;
use crate::training::state::EpochReport;

/// Width and height of a chart in pixels.
pub(super) const SIZE: (u32, u32) = (760, 440);

/// Colours that people with colour-vision deficiency can tell apart (Okabe & Ito 2008).
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

pub(super) const FONT: &str = "sans-serif";

/// Writes `name.svg` and `name.png` into a folder.
///
/// # Errors
/// If the SVG cannot be rendered, or a file cannot be written.
pub fn write(svg: &str, folder: &Path, name: &str) -> Result<()> {
    let file = |extension: &str| folder.join(name).with_extension(extension);
    let save = |path: &Path, bytes: &[u8]| {
        write_atomically(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    save(&file("svg"), svg.as_bytes())?;
    save(&file("png"), &fer_chart::png(svg)?)
}

/// The SVG of a chart of the given size, which `draw` draws.
pub(super) fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<()>,
) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        failed(area.fill(&WHITE))?;
        draw(&area)?;
        failed(area.present())?;
    }
    Ok(text)
}

pub(super) fn failed<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T> {
    result.map_err(|e| anyhow!("cannot draw a chart: {e}"))
}

/// A chart of numbers over numbers.
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A chart of values over the epochs of a run, whose lines are still to be drawn.
pub(super) fn epoch_axes<'a>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    title: &str,
    epochs: usize,
    values: Range<f64>,
) -> Result<Chart<'a>> {
    let mut chart = failed(
        ChartBuilder::on(area)
            .margin(14)
            .caption(title, (FONT, 17))
            .x_label_area_size(34)
            .y_label_area_size(44)
            .build_cartesian_2d(1.0..epochs as f64, values),
    )?;
    failed(
        chart
            .configure_mesh()
            .x_desc("epoch")
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .light_line_style(WHITE)
            .label_style((FONT, 13))
            .draw(),
    )?;
    Ok(chart)
}

pub(super) fn legend<'a>(chart: &mut Chart<'a>, position: SeriesLabelPosition) -> Result<()> {
    let mut labels = chart.configure_series_labels();
    labels.position(position).background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.2));
    failed(labels.label_font((FONT, 13)).draw())
}

/// The mark of a series in the legend.
pub(super) fn swatch(colour: RGBColor) -> impl Fn((i32, i32)) -> Rectangle<(i32, i32)> {
    move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled())
}

/// One of the two charts of [`learning_curves`].
struct Curves {
    title: &'static str,
    range: Range<f64>,
    /// The values of an epoch: training, validation.
    values: fn(&EpochReport) -> [f64; 2],
}

/// Training (dashed) and validation accuracy of some runs by epoch, and the losses below.
///
/// # Errors
/// If the chart cannot be drawn.
pub fn learning_curves(runs: &[(String, Vec<EpochReport>)]) -> Result<String> {
    let epochs = runs.iter().map(|(_, history)| history.len()).max().unwrap_or(0).max(2);
    let extremes = |values: fn(&EpochReport) -> [f64; 2]| {
        let values = runs.iter().flat_map(|(_, history)| history).flat_map(values);
        values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let accuracy: fn(&EpochReport) -> [f64; 2] =
        |report| [100.0 * report.training_accuracy, 100.0 * report.validation_accuracy];
    let loss: fn(&EpochReport) -> [f64; 2] = |report| [report.training_loss, report.validation_loss];
    let (worst, best) = extremes(accuracy);
    let accuracies = (worst / 10.0).floor().min(9.0) * 10.0..((best / 10.0).ceil() * 10.0).max(10.0);
    let (low, high) = extremes(loss);
    let losses = if high > 0.0 { 0.95 * low..1.05 * high } else { 0.0..1.0 };
    svg((SIZE.0, 2 * SIZE.1), |area| {
        let (upper, lower) = area.split_vertically(SIZE.1);
        let title = "accuracy in %, dashed in training";
        draw_curves(&upper, runs, epochs, &Curves { title, range: accuracies, values: accuracy })?;
        let title = "loss, dashed in training";
        draw_curves(&lower, runs, epochs, &Curves { title, range: losses, values: loss })
    })
}

fn draw_curves(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    runs: &[(String, Vec<EpochReport>)],
    epochs: usize,
    curves: &Curves,
) -> Result<()> {
    let mut chart = epoch_axes(area, curves.title, epochs, curves.range.clone())?;
    for (number, (name, history)) in runs.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = |side: usize| {
            history.iter().map(move |report| (report.epoch as f64, (curves.values)(report)[side]))
        };
        failed(chart.draw_series(DashedLineSeries::new(points(0), 5, 4, colour.stroke_width(1))))?;
        failed(chart.draw_series(LineSeries::new(points(1), colour.stroke_width(2))))?
            .label(name)
            .legend(swatch(colour));
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// The confusion matrix: for each label (row), the fraction and number of its faces by predicted label (column).
///
/// # Errors
/// If the chart cannot be drawn.
pub fn confusion(metrics: &Metrics) -> Result<String> {
    let labels = &metrics.labels;
    let (cell, left, top) = (66, 96, 84);
    let side = labels.len() as i32 * cell;
    svg(((left + side + 20) as u32, (top + side + 20) as u32), |area| {
        let middle = plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Center,
        );
        let text = |text: &str, x: i32, y: i32, size: i32, colour: &RGBColor| {
            let style = (FONT, size).into_font().color(colour).pos(middle);
            failed(area.draw(&Text::new(text.to_owned(), (x, y), style)))
        };
        text("predicted", left + side / 2, 24, 15, &BLACK)?;
        text("label", 30, top - 20, 15, &BLACK)?;
        for (i, label) in labels.iter().enumerate() {
            let at = i as i32 * cell + cell / 2;
            text(label.name(), left + at, top - 18, 14, &BLACK)?;
            text(label.name(), left / 2, top + at, 14, &BLACK)?;
        }
        for (row, counts) in metrics.confusion.iter().enumerate() {
            let sum: usize = counts.iter().sum();
            for (column, &count) in counts.iter().enumerate() {
                let fraction = count as f64 / sum.max(1) as f64;
                let (x, y) = (left + column as i32 * cell, top + row as i32 * cell);
                let fade = |full: u8| (255.0 - fraction * f64::from(255 - full)) as u8;
                let RGBColor(r, g, b) = COLOURS[0];
                let style = RGBColor(fade(r), fade(g), fade(b)).filled();
                failed(area.draw(&Rectangle::new([(x, y), (x + cell - 2, y + cell - 2)], style)))?;
                let ink = if fraction > 0.7 { &WHITE } else { &BLACK };
                text(&format!("{:.0} %", 100.0 * fraction), x + cell / 2, y + cell / 2 - 9, 15, ink)?;
                text(&count.to_string(), x + cell / 2, y + cell / 2 + 12, 12, ink)?;
            }
        }
        Ok(())
    })
}

/// The reliability diagram: accuracy by confidence. A calibrated model is on the diagonal.
///
/// # Errors
/// If the chart cannot be drawn.
pub fn reliability(metrics: &Metrics) -> Result<String> {
    svg((SIZE.1, SIZE.1), |area| {
        let mut chart = failed(
            ChartBuilder::on(area)
                .margin(14)
                .caption(format!("calibration error {:.1} %", 100.0 * metrics.ece), (FONT, 17))
                .x_label_area_size(36)
                .y_label_area_size(44)
                .build_cartesian_2d(0.0..100.0, 0.0..100.0),
        )?;
        failed(
            chart
                .configure_mesh()
                .x_desc("confidence in %")
                .y_desc("right in %")
                .light_line_style(WHITE)
                .label_style((FONT, 13))
                .draw(),
        )?;
        let bars = metrics.reliability.iter().map(|bin| {
            let low = 100.0 * bin.low;
            Rectangle::new(
                [(low, 0.0), (low + 100.0 / 15.0, 100.0 * bin.accuracy)],
                COLOURS[0].mix(0.7).filled(),
            )
        });
        failed(chart.draw_series(bars))?;
        let diagonal = [(0.0, 0.0), (100.0, 100.0)];
        failed(chart.draw_series(DashedLineSeries::new(diagonal, 6, 5, BLACK.stroke_width(1))))?;
        let points = metrics
            .reliability
            .iter()
            .map(|bin| Circle::new((100.0 * bin.confidence, 100.0 * bin.accuracy), 3, COLOURS[1].filled()));
        failed(chart.draw_series(points))?;
        Ok(())
    })
}

/// A bar chart of counts by name, with one bar for each group.
///
/// # Errors
/// If the chart cannot be drawn.
pub fn counts(names: &[&str], groups: &[(&str, Vec<usize>)]) -> Result<String> {
    let most = groups.iter().flat_map(|(_, counts)| counts).copied().max().unwrap_or(1).max(1);
    svg(SIZE, |area| {
        let mut chart = failed(
            ChartBuilder::on(area)
                .margin(14)
                .x_label_area_size(34)
                .y_label_area_size(54)
                .build_cartesian_2d(0.0..names.len() as f64, 0.0..1.08 * most as f64),
        )?;
        failed(
            chart
                .configure_mesh()
                .disable_x_mesh()
                .x_labels(0)
                .y_desc("faces")
                .y_label_formatter(&|count| format!("{count:.0}"))
                .light_line_style(WHITE)
                .label_style((FONT, 13))
                .draw(),
        )?;
        let width = 0.8 / groups.len().max(1) as f64;
        for (number, (name, counts)) in groups.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let bars = counts.iter().enumerate().map(|(place, &count)| {
                let left = place as f64 + 0.1 + number as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, count as f64)], colour.filled())
            });
            failed(chart.draw_series(bars))?.label(*name).legend(swatch(colour));
        }
        for (place, name) in names.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(place as f64 + 0.5, 0.0));
            let pos = plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Center,
                plotters::style::text_anchor::VPos::Top,
            );
            let style = (FONT, 14).into_font().color(&BLACK).pos(pos);
            failed(area.draw(&Text::new((*name).to_owned(), (x, y + 8), style)))?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_model::Emotion;

    #[test]
    fn charts_are_drawn_with_their_text() {
        let report = |epoch: usize| EpochReport {
            epoch,
            training_loss: 2.0 / epoch as f64,
            training_accuracy: 0.5,
            validation_accuracy: 0.1 * epoch as f64,
            head_accuracies: std::collections::BTreeMap::new(),
            validation_loss: 1.9,
            learning_rate: 0.1,
            images_per_second: 100.0,
            data_share: 0.0,
        };
        let curves = learning_curves(&[("first run".to_owned(), (1..6).map(report).collect())]).unwrap();
        assert!(curves.contains("first run") && curves.contains("accuracy in %"));
        let rows = vec![vec![0.9, 0.1], vec![0.6, 0.4]];
        let labels = [Emotion::Happy, Emotion::Sad];
        let metrics = Metrics::of(&rows, &labels, &labels);
        let matrix = confusion(&metrics).unwrap();
        assert!(matrix.contains("100 %") && matrix.contains("happy"));
        assert!(reliability(&metrics).unwrap().contains("calibration error"));
        let bars =
            counts(&["happy", "sad"], &[("Training", vec![3, 4]), ("PublicTest", vec![1, 2])]).unwrap();
        assert!(bars.contains("PublicTest"));

        let folder = tempfile::tempdir().unwrap();
        write(&matrix, folder.path(), "matrix").unwrap();
        let png = image::open(folder.path().join("matrix.png")).unwrap().into_rgb8();
        assert_eq!(png.dimensions(), (2 * (96 + 2 * 66 + 20), 2 * (84 + 2 * 66 + 20)));
        // The labels are drawn in black, so the font was found.
        let ink = png.pixels().filter(|pixel| pixel.0.iter().all(|&level| level < 60)).count();
        assert!(ink > 200, "{ink} dark pixels");
    }
}
