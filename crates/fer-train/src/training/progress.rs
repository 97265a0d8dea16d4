//! The display of a training run: on a terminal a dashboard below one line per epoch, otherwise only the lines, or one JSON
//! object per epoch.

use std::io::{IsTerminal, Stdout, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Widget};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use crate::training::config::TrainingConfig;
use crate::training::state::{EpochReport, RunState};

/// Height of the dashboard in rows of the terminal.
const ROWS: u16 = 16;

/// Least time between two frames of the dashboard.
const FRAME: Duration = Duration::from_millis(200);

const TRAINING: Color = Color::Yellow;
const VALIDATION: Color = Color::Cyan;

/// How a run reports its progress.
pub enum Progress {
    /// One line per epoch.
    Lines,
    /// One JSON object per epoch.
    Json,
    /// One line per epoch above a dashboard.
    Dashboard(Box<Dashboard>),
}

impl Progress {
    /// The JSON display, or a dashboard if standard output is a terminal, or lines.
    ///
    /// # Errors
    /// If the terminal cannot be drawn on.
    pub fn open(json: bool, title: &str, config: &TrainingConfig, steps: usize) -> Result<Self> {
        if json {
            return Ok(Self::Json);
        }
        if !stdout().is_terminal() {
            return Ok(Self::Lines);
        }
        let options = TerminalOptions { viewport: Viewport::Inline(ROWS) };
        let terminal = Terminal::with_options(CrosstermBackend::new(stdout()), options)
            .context("cannot draw on this terminal; send the output to a file or a pipe for plain lines")?;
        Ok(Self::Dashboard(Box::new(Dashboard {
            terminal,
            view: View {
                title: title.to_owned(),
                steps,
                epochs: config.epochs,
                batch_size: config.batch_size,
                rate: 0.0,
            },
            drawn: None,
        })))
    }

    /// Reports a step and its learning rate.
    pub fn step(&mut self, state: &RunState, rate: f64) {
        if let Self::Dashboard(dashboard) = self {
            dashboard.view.rate = rate;
            dashboard.draw(state);
        }
    }

    /// Reports an epoch; `line` is its text.
    ///
    /// # Errors
    /// If the terminal cannot be drawn on.
    pub fn epoch(&mut self, report: &EpochReport, line: &str) -> Result<()> {
        if let Self::Json = self {
            println!("{}", serde_json::to_string(report)?);
        }
        self.say(line)
    }

    /// Prints a line of text; nothing in the JSON display.
    ///
    /// # Errors
    /// If the terminal cannot be drawn on.
    pub fn say(&mut self, line: &str) -> Result<()> {
        match self {
            Self::Lines => println!("{line}"),
            Self::Json => {}
            Self::Dashboard(dashboard) => {
                let text = Line::from(line);
                dashboard.terminal.insert_before(1, |buffer| text.render(buffer.area, buffer))?;
            }
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Dashboard(dashboard) = self {
            // A terminal that cannot be restored must not hide the error that ended the run.
            let _ = dashboard.terminal.clear();
            let _ = dashboard.terminal.show_cursor();
        }
    }
}

/// A view of the run that is redrawn in place.
pub struct Dashboard {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    view: View,
    drawn: Option<Instant>,
}

impl Dashboard {
    fn draw(&mut self, state: &RunState) {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < FRAME) {
            return;
        }
        self.drawn = Some(Instant::now());
        let view = &self.view;
        // Training goes on if a frame cannot be drawn.
        let _ = self.terminal.draw(|frame| view.render(state, frame));
    }
}

/// The constants of a run, and its learning rate.
struct View {
    title: String,
    steps: usize,
    epochs: usize,
    batch_size: usize,
    rate: f64,
}

impl View {
    fn render(&self, state: &RunState, frame: &mut Frame<'_>) {
        let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(6)];
        let [head, gauge, charts] = Layout::vertical(rows).areas(frame.area());
        let [losses, accuracies] = Layout::horizontal([Constraint::Fill(1); 2]).areas(charts);
        let seconds_a_step = state.seconds / state.step.max(1) as f64;
        let done = state.epoch * self.steps + state.step;
        let total = self.epochs * self.steps;
        let left = Duration::from_secs_f64((total - done) as f64 * seconds_a_step);
        let head_line = format!(
            "{}  epoch {}/{}  {:.0} images/s  {} left  learning rate {:.2e}  Ctrl-C saves",
            self.title,
            state.epoch + 1,
            self.epochs,
            self.batch_size as f64 / seconds_a_step.max(1e-9),
            indicatif::HumanDuration(left),
            self.rate,
        );
        frame.render_widget(Paragraph::new(head_line).bold(), head);
        let fraction = done as f64 / total.max(1) as f64;
        frame.render_widget(Gauge::default().ratio(fraction.min(1.0)).gauge_style(VALIDATION), gauge);

        let faces = (state.step * self.batch_size).max(1) as f64;
        let now = state.epoch as f64 + state.step as f64 / self.steps.max(1) as f64;
        let curve = |of: fn(&EpochReport) -> f64, latest: Option<f64>| -> Vec<(f64, f64)> {
            let past = state.history.iter().map(|report| (report.epoch as f64, of(report)));
            past.chain(latest.map(|value| (now, value))).collect()
        };
        let curves = [
            curve(|report| report.training_loss, Some(state.loss / faces)),
            curve(|report| report.validation_loss, None),
        ];
        self.chart("loss", &curves, losses, frame);
        let percent = [
            curve(|report| 100.0 * report.training_accuracy, Some(100.0 * state.correct as f64 / faces)),
            curve(|report| 100.0 * report.validation_accuracy, None),
        ];
        self.chart("right, %", &percent, accuracies, frame);
    }

    /// Draws the curves of training and validation over the epochs.
    fn chart(
        &self,
        title: &str,
        [training, validation]: &[Vec<(f64, f64)>; 2],
        area: Rect,
        frame: &mut Frame<'_>,
    ) {
        let values = training.iter().chain(validation).map(|(_, value)| *value);
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let room = (0.05 * (high - low)).max(0.01);
        let (low, high) = (low - room, high + room);
        let line = |points, color| {
            let set = Dataset::default().data(points).style(Style::new().fg(color));
            set.marker(Marker::Braille).graph_type(GraphType::Line)
        };
        let legend = vec![format!("{title}  ").into(), "training ".fg(TRAINING), "validation".fg(VALIDATION)];
        let epochs = Axis::default().bounds([0.0, self.epochs as f64]);
        let range = Axis::default().bounds([low, high]);
        let chart = Chart::new(vec![line(training, TRAINING), line(validation, VALIDATION)])
            .block(Block::bordered().title(Line::from(legend)))
            .x_axis(epochs.labels(["0".to_owned(), self.epochs.to_string()]))
            .y_axis(range.labels([low, high].map(|value| format!("{value:.2}"))));
        frame.render_widget(chart, area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    #[test]
    fn the_dashboard_shows_where_a_run_stands() {
        let report = |epoch: usize| EpochReport {
            epoch,
            training_loss: 2.0 / epoch as f64,
            training_accuracy: 0.2 * epoch as f64,
            validation_accuracy: 0.15 * epoch as f64,
            head_accuracies: std::collections::BTreeMap::new(),
            validation_loss: 1.9 / epoch as f64,
            learning_rate: 0.1,
            images_per_second: 0.0,
            data_share: 0.0,
        };
        let state = RunState {
            epoch: 3,
            step: 50,
            loss: 3200.0,
            correct: 3000,
            seconds: 32.0,
            data_seconds: 1.0,
            history: (1..=3).map(report).collect(),
        };
        let view = View { title: "cnn6".to_owned(), steps: 100, epochs: 8, batch_size: 128, rate: 0.0425 };
        let mut terminal = Terminal::new(TestBackend::new(120, ROWS)).unwrap();
        terminal.draw(|frame| view.render(&state, frame)).unwrap();
        let screen = terminal.backend().to_string();
        for part in
            ["epoch 4/8", "200 images/s", "5 minutes left", "4.25e-2", "44%", "training", "validation"]
        {
            assert!(screen.contains(part), "no {part} in\n{screen}");
        }
        assert!(screen.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count() > 40, "{screen}");
        // A run that has not started, on a tiny terminal.
        let mut terminal = Terminal::new(TestBackend::new(20, 5)).unwrap();
        terminal.draw(|frame| view.render(&RunState::default(), frame)).unwrap();
    }
}
