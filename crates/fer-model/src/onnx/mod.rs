//! The graph that serving runs: architecture and weights as an ONNX model, built in memory. An ensemble is one graph.
//!
//! The input `input` has shape `[n, channels, height, width]` and holds preprocessed values. There is one output for each
//! head, under its name, followed by a softmax if the head asks for one. Height and width are free if the network is fully
//! convolutional.
//!
//! A batch norm is folded into a convolution or a dense layer that it directly follows, and emitted as it is elsewhere:
//! folding it forward into a padded convolution would be wrong at the border. Dropout is left out.

mod batch_norm;
mod builder;
mod half_precision;
mod proto;

use crate::spec::{Architecture, LOGITS};
use crate::weights::{Array, Weights};
use builder::Builder;
pub use half_precision::in_half_precision;

/// Name of the graph's input.
pub const INPUT: &str = "input";

/// The bytes of the ONNX file. `name` is the graph's name.
pub fn graph(name: &str, architecture: &Architecture, weights: &Weights) -> Vec<u8> {
    let mut builder = Builder::new();
    let steps = architecture.steps();
    builder.layers(&steps[..architecture.layers().len()], weights);
    let trunk = builder.value().to_owned();
    let mut outputs = Vec::new();
    for (head, range) in architecture.heads() {
        builder.start_head(head, &trunk);
        builder.layers(&steps[range.clone()], weights);
        builder.output(head);
        outputs.push((head.output.clone(), architecture.output_shape(head, &range)));
    }
    builder.finish(name, architecture, &outputs)
}

/// The bytes of the ONNX file of an ensemble. All members have the same input.
///
/// The output `logits` `[n, labels]` is the logarithm of the mean of the members' softmax, in which no probability is below
/// 1e-37.
///
/// # Panics
/// If there are no members.
pub fn ensemble(name: &str, members: &[(&Architecture, &Weights)]) -> Vec<u8> {
    let mut builder = Builder::new();
    let mut probabilities = Vec::new();
    for (member, (architecture, weights)) in members.iter().enumerate() {
        builder.set_prefix(format!("members.{member}."));
        builder.start_at(INPUT);
        builder.layers(architecture.steps(), weights);
        let value = builder.value().to_owned();
        builder.push("softmax", "Softmax", vec![value], vec![proto::int("axis", 1)]);
        probabilities.push(builder.value().to_owned());
    }
    builder.set_prefix(String::new());
    builder.push("mean", "Mean", probabilities, vec![]);
    let floor = builder.initializer("floor", &Array { shape: vec![], values: vec![1e-37] });
    builder.push("bounded", "Max", vec![builder.value().to_owned(), floor], vec![]);
    builder.push(LOGITS, "Log", vec![builder.value().to_owned()], vec![]);
    let (architecture, _) = members[0];
    let outputs = architecture.heads().map(|(head, range)| architecture.output_shape(head, &range));
    let outputs: Vec<_> = outputs.map(|shape| (LOGITS.to_owned(), shape)).collect();
    builder.finish(name, architecture, &outputs)
}
