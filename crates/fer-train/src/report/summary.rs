//! The layers of a network and what they cost.

use fer_model::NetworkSpec;
use fer_model::spec::{ParameterSpec, Step};
use serde::Serialize;

/// A network's layers and what they cost for one face.
#[derive(Serialize)]
pub struct Summary<'a> {
    /// The network's name.
    pub name: &'a str,
    /// Shape of the input.
    pub input: String,
    /// All layers; the layers inside of a block follow the block.
    pub layers: Vec<LayerLine>,
    /// Number of all values in the weights file, running statistics included.
    #[serde(rename = "total_params")]
    pub total_parameters: usize,
    /// Number of values that training changes by gradient.
    #[serde(rename = "trainable_params")]
    pub trainable_parameters: usize,
    /// Multiplications with a weight for one face.
    #[serde(rename = "macs")]
    pub multiply_adds: usize,
}

/// One layer.
#[derive(Serialize)]
pub struct LayerLine {
    /// The layer's name in the weights file, without the prefix `layers.`.
    pub index: String,
    /// The layer's kind in the spec.
    pub kind: &'static str,
    /// Shape of the output.
    pub output: String,
    /// Number of values in the weights file.
    #[serde(rename = "params")]
    pub parameters: usize,
    /// Multiplications with a weight for one face.
    #[serde(rename = "macs")]
    pub multiply_adds: usize,
    /// Number of blocks around the layer; the line of a block has the sums of its layers.
    #[serde(skip_serializing_if = "is_zero")]
    pub depth: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(depth: &usize) -> bool {
    *depth == 0
}

impl<'a> Summary<'a> {
    /// Lists the layers of a network.
    pub fn of(spec: &'a NetworkSpec) -> Self {
        let architecture = spec.architecture();
        let steps = architecture.steps();
        let mut layers = Vec::new();
        lines(steps, 0, &mut layers);
        Self {
            name: spec.name(),
            input: architecture.input_shape().to_string(),
            layers,
            total_parameters: architecture.total_parameters(),
            trainable_parameters: architecture.trainable_parameters(),
            multiply_adds: steps.iter().map(Step::multiply_adds).sum(),
        }
    }
}

fn lines(steps: &[Step], depth: usize, lines_out: &mut Vec<LayerLine>) {
    for step in steps {
        lines_out.push(LayerLine {
            index: step.name.trim_start_matches("layers.").to_owned(),
            kind: step.layer.kind(),
            output: step.output.to_string(),
            parameters: step.parameters().iter().map(ParameterSpec::len).sum(),
            multiply_adds: step.multiply_adds(),
            depth,
        });
        for branch in &step.branches {
            lines(branch, depth + 1, lines_out);
        }
    }
}

/// The number in decimal, with commas between thousands.
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
        assert_eq!(outer.map(|line| line.parameters).sum::<usize>(), summary.total_parameters);
        assert_eq!((summary.total_parameters, summary.trainable_parameters), (11_180_871, 11_171_271));
        let inner = summary.layers.iter().find(|line| line.index == "7.shortcut.0").unwrap();
        assert_eq!((inner.kind, inner.output.as_str(), inner.parameters), ("conv", "128×24×24", 8192));
    }
}
