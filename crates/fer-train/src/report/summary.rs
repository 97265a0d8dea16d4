//! The layer table of a network.

use anyhow::Result;
use fer_model::NetworkSpec;
use fer_model::spec::{ParameterSpec, Step};
use serde::Serialize;

/// A network's layers and what they cost for one face.
#[derive(Serialize)]
pub struct Summary<'a> {
    name: &'a str,
    input: String,
    layers: Vec<Line>,
    total_params: usize,
    trainable_params: usize,
    /// Multiplications with a weight.
    macs: usize,
}

#[derive(Serialize)]
struct Line {
    /// Place in the weights file, without "layers.".
    index: String,
    kind: &'static str,
    output: String,
    params: usize,
    macs: usize,
    /// Of a layer inside of a block, whose own line has the sum.
    #[serde(skip_serializing_if = "is_zero")]
    depth: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(depth: &usize) -> bool {
    *depth == 0
}

impl<'a> Summary<'a> {
    pub fn of(spec: &'a NetworkSpec) -> Self {
        let architecture = spec.architecture();
        let steps = architecture.steps();
        let mut layers = Vec::new();
        lines(&steps, 0, &mut layers);
        Self {
            name: spec.name(),
            input: architecture.input_shape().to_string(),
            layers,
            total_params: architecture.total_parameters(),
            trainable_params: architecture.trainable_parameters(),
            macs: steps.iter().map(Step::multiply_adds).sum(),
        }
    }

    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        println!("{}, input {}", self.name, self.input);
        println!(
            "{:<20} {:<18} {:>14} {:>14} {:>16}",
            "layer", "kind", "output", "parameters", "multiply-adds"
        );
        for Line { index, kind, output, params, macs, depth } in &self.layers {
            let index = format!("{}{index}", "  ".repeat(*depth));
            println!("{index:<20} {kind:<18} {output:>14} {:>14} {:>16}", grouped(*params), grouped(*macs));
        }
        println!(
            "{} parameters, {} of them trainable; {} multiply-adds a face",
            grouped(self.total_params),
            grouped(self.trainable_params),
            grouped(self.macs)
        );
        Ok(())
    }
}

fn lines(steps: &[Step], depth: usize, lines_out: &mut Vec<Line>) {
    for step in steps {
        let params = step.parameters().iter().map(ParameterSpec::len).sum();
        let index = step.name.trim_start_matches("layers.").to_owned();
        let (kind, output) = (step.layer.kind(), step.output.to_string());
        lines_out.push(Line { index, kind, output, params, macs: step.multiply_adds(), depth });
        for branch in &step.branches {
            lines(branch, depth + 1, lines_out);
        }
    }
}

/// With commas between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let mut groups: Vec<&str> = if head.is_empty() { Vec::new() } else { vec![head] };
    groups.extend((0..rest.len()).step_by(3).map(|at| &rest[at..at + 3]));
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 12, 999, 1000, 2_866_631].map(grouped), ["0", "12", "999", "1,000", "2,866,631"]);
    }

    #[test]
    fn blocks_are_listed_with_what_is_in_them_and_counted_once() {
        let spec = include_str!("../../../../configs/models/resnet18.json");
        let spec = NetworkSpec::from_json(spec).unwrap();
        let summary = Summary::of(&spec);
        let outer = summary.layers.iter().filter(|line| line.depth == 0);
        assert_eq!(outer.map(|line| line.params).sum::<usize>(), summary.total_params);
        assert_eq!((summary.total_params, summary.trainable_params), (11_180_871, 11_171_271));
        let inner = summary.layers.iter().find(|line| line.index == "7.shortcut.0").unwrap();
        assert_eq!((inner.kind, inner.output.as_str(), inner.params), ("conv", "128×24×24", 8192));
    }
}
