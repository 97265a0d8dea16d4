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

use crate::spec::Architecture;
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

/// The bytes of the ONNX file of an ensemble. All members have the same input and the same heads.
///
/// Each output `[n, labels]` is the logarithm of the mean of the members' softmax of that head, in which no probability is below
/// 1e-37.
///
/// # Panics
/// If there are no members.
pub fn ensemble(name: &str, members: &[(&Architecture, &Weights)]) -> Vec<u8> {
    let mut builder = Builder::new();
    let (first, _) = members[0];
    let mut probabilities = vec![Vec::new(); first.heads().count()];
    for (member, (architecture, weights)) in members.iter().enumerate() {
        builder.set_prefix(format!("members.{member}."));
        builder.start_at(INPUT);
        let steps = architecture.steps();
        builder.layers(&steps[..architecture.layers().len()], weights);
        let trunk = builder.value().to_owned();
        for (of_head, (head, range)) in probabilities.iter_mut().zip(architecture.heads()) {
            builder.start_head(head, &trunk);
            builder.layers(&steps[range], weights);
            let value = builder.value().to_owned();
            builder.push(
                &format!("{}.softmax", head.output),
                "Softmax",
                vec![value],
                vec![proto::int("axis", 1)],
            );
            of_head.push(builder.value().to_owned());
        }
    }
    builder.set_prefix(String::new());
    let floor = builder.initializer("floor", &Array { shape: vec![], values: vec![1e-37] });
    let mut outputs = Vec::new();
    for (of_head, (head, range)) in probabilities.into_iter().zip(first.heads()) {
        builder.push(&format!("{}.mean", head.output), "Mean", of_head, vec![]);
        let mean = builder.value().to_owned();
        builder.push(&format!("{}.bounded", head.output), "Max", vec![mean, floor.clone()], vec![]);
        builder.push(&head.output, "Log", vec![builder.value().to_owned()], vec![]);
        outputs.push((head.output.clone(), first.output_shape(head, &range)));
    }
    builder.finish(name, first, &outputs)
}
