//! Named lines over the epochs of a run, in charts below each other.

use std::ops::Range;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::report::charts::{COLOURS, SIZE, epoch_axes, failed, legend, svg, swatch};

/// One chart.
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// Range of the values; `None` fits them.
    pub range: Option<Range<f64>>,
    /// Name and values of each line; the first value belongs to epoch 1. A value that is not finite interrupts nothing: it is
    /// left out.
    pub lines: Vec<(String, Vec<f64>)>,
}

impl Panel {
    fn values(&self) -> Range<f64> {
        let values =
            self.lines.iter().flat_map(|(_, values)| values).copied().filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let fitted =
            if low < high { low - 0.05 * (high - low)..high + 0.05 * (high - low) } else { 0.0..1.0 };
        self.range.clone().unwrap_or(fitted)
    }
}

/// The SVG of some charts, one below the other.
///
/// # Errors
/// If a chart cannot be drawn.
pub fn draw(panels: &[Panel]) -> Result<String> {
    let rows = panels.len().max(1);
    svg((SIZE.0, SIZE.1 * rows as u32), |area| {
        let areas = area.split_evenly((rows, 1));
        panels.iter().zip(&areas).try_for_each(|(panel, area)| draw_panel(area, panel))
    })
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel) -> Result<()> {
    let epochs = panel.lines.iter().map(|(_, values)| values.len()).max().unwrap_or(0).max(2);
    let mut chart = epoch_axes(area, &panel.title, epochs, panel.values())?;
    for (number, (name, values)) in panel.lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points = (1..).zip(values).filter(|(_, value)| value.is_finite());
        let points = points.map(|(epoch, value)| (f64::from(epoch), *value));
        failed(chart.draw_series(LineSeries::new(points, colour.stroke_width(2))))?
            .label(name)
            .legend(swatch(colour));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_in_the_legend() {
        let panel = |title: &str, range| Panel {
            title: title.to_owned(),
            range,
            lines: vec![
                ("web photos".to_owned(), vec![0.1, 0.6, 0.7]),
                ("crowds".to_owned(), vec![f64::NAN, 0.2]),
            ],
        };
        let svg = draw(&[panel("average precision", Some(0.0..1.0)), panel("loss", None)]).unwrap();
        assert!(svg.contains("average precision") && svg.contains("loss"));
        assert_eq!(svg.matches("crowds").count(), 2);
        assert!(draw(&[Panel { title: "none".to_owned(), range: None, lines: Vec::new() }]).is_ok());
    }
}
