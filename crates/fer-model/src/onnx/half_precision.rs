//! Half as many bytes: the constants of a graph in half precision.

use fer_engine::onnx::{
    DecodeError, ModelProto, NodeProto, TensorProto, decode, encode, tensor_proto::DataType,
};
use half::f16;

use super::proto::int;

/// Constants with fewer values stay as they are: they weigh little, and biases need more digits than weights do.
const FEWEST_VALUES: usize = 1024;

/// Returns the graph with its large constants in half precision (IEEE 754, 16 bits). A `Cast` makes each of them a constant of
/// `f32` again, which the engines do once, when they open the graph. So the network computes in `f32`, with weights rounded to
/// eleven significant bits. A graph that was converted before is returned unchanged.
///
/// # Errors
/// If the bytes are no ONNX file.
///
/// # Panics
/// If the values of a constant are not stored as raw bytes, as [`super::graph`] stores them.
pub fn in_half_precision(graph: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut model = decode(graph)?;
    halve(&mut model);
    Ok(encode(&model))
}

fn halve(model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else { return };
    let mut casts = Vec::new();
    for constant in &mut graph.initializer {
        let values = constant.dims.iter().product::<i64>() as usize;
        if constant.data_type == DataType::Float as i32 && values >= FEWEST_VALUES {
            assert_eq!(constant.raw_data.len(), 4 * values, "{}: not stored as raw bytes", constant.name);
            casts.push(halve_constant(constant));
        }
    }
    // A node stands after those that it takes values from.
    graph.node.splice(0..0, casts);
}

/// Rounds a constant, which gets another name, and returns the operator whose result has the name that it had.
fn halve_constant(constant: &mut TensorProto) -> NodeProto {
    let values = constant.raw_data.as_chunks::<4>().0.iter();
    let halves = values.map(|bytes| f16::from_f32(f32::from_le_bytes(*bytes)));
    constant.raw_data = halves.flat_map(f16::to_le_bytes).collect();
    constant.data_type = DataType::Float16 as i32;
    let name = std::mem::take(&mut constant.name);
    constant.name = format!("{name}.f16");
    NodeProto {
        input: vec![constant.name.clone()],
        output: vec![name.clone()],
        name,
        op_type: "Cast".to_owned(),
        attribute: vec![int("to", DataType::Float as i64)],
        ..NodeProto::default()
    }
}

#[cfg(test)]
mod tests {
    use fer_engine::{Engine, Tensor};

    use super::super::graph;
    use super::*;
    use crate::spec::Architecture;
    use crate::weights::{Weights, WeightsDtype};

    #[test]
    fn large_constants_take_half_of_the_bytes_and_compute_as_rounded_weights_do() {
        let json = r#"{
            "input": { "channels": 3, "height": 8, "width": 8 },
            "layers": [
                { "kind": "conv", "channels": 64, "kernel": 3 }, { "kind": "relu" },
                { "kind": "flatten" }
            ],
            "heads": [{ "output": "logits", "layers": [{ "kind": "dense", "units": 4 }] }]
        }"#;
        let architecture: Architecture = serde_json::from_str(json).unwrap();
        let weights = Weights::init(&architecture, 3);
        let exact = graph("net", &architecture, &weights);
        let halved = in_half_precision(&exact).unwrap();
        // 1,728 weights of the convolution and those of the dense layer, two bytes less for each.
        assert!(halved.len() < exact.len() - 2 * 1728, "{} of {}", halved.len(), exact.len());
        assert_eq!(in_half_precision(&halved).unwrap(), halved);

        let rounded = weights.to_safetensors(WeightsDtype::F16).unwrap();
        let rounded = Weights::from_safetensors(&architecture, &rounded).unwrap();
        let input =
            Tensor::new([1, 3, 8, 8], (0..192).map(|i| (i as f32).sin()).collect::<Vec<_>>()).unwrap();
        let run = |graph: &[u8]| {
            let mut outputs = Engine::tract().open(graph).unwrap().run(&input).unwrap();
            outputs.take("logits").unwrap().data().to_vec()
        };
        assert_eq!(run(&halved), run(&graph("net", &architecture, &rounded)));
    }

    #[test]
    fn bytes_that_are_no_graph_are_refused() {
        assert!(in_half_precision(b"no graph").is_err());
    }
}
