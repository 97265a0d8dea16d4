//! Initial weights from another run, whose network may lack residual layers of the new one (Net2Net: Chen et al. 2016).

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fer_model::spec::{Architecture, LayerSpec, Step};
use fer_model::weights::{Array, Arrays, Weights, read_arrays, read_metadata};
use serde_json::Value;

/// Reads the averaged weights of a checkpoint, or its weights if it keeps no average, for `architecture`.
///
/// The layers of the checkpoint's network must be among those of `architecture`, in the same order. Others may only be convolutions
/// and batch norms whose result is added to the value before them: they start as zero, so that the network computes at first what the
/// checkpoint's does.
///
/// # Errors
/// Returns an error if the file cannot be read, or if its network is another one.
pub(super) fn read(path: &Path, architecture: &Architecture, seed: u64) -> Result<Weights> {
    let parse = || {
        let bytes = std::fs::read(path)?;
        let config: Value =
            serde_json::from_str(read_metadata(&bytes)?.get("config").map_or("", String::as_str))?;
        let smaller: Architecture = serde_json::from_value(config["config"]["network"].clone())?;
        let arrays = read_arrays(&bytes, |_| true)?;
        let role =
            if arrays.keys().any(|name| name.starts_with("average.")) { "average." } else { "weights." };
        let of_role = |(name, array): (String, Array)| Some((name.strip_prefix(role)?.to_owned(), array));
        let weights = Weights::new(&smaller, arrays.into_iter().filter_map(of_role).collect())?;
        grown(&weights, &smaller, architecture, seed)
    };
    parse().with_context(|| format!("cannot start from {}", path.display()))
}

/// The weights of a network for a larger one that computes the same.
fn grown(weights: &Weights, smaller: &Architecture, larger: &Architecture, seed: u64) -> Result<Weights> {
    let mut arrays: Arrays =
        Weights::init(larger, seed).iter().map(|(name, array)| (name.to_owned(), array.clone())).collect();
    let mut old = smaller.steps().iter().peekable();
    let mut in_branch = false;
    for (number, step) in larger.steps().iter().enumerate() {
        let same = if in_branch { None } else { old.next_if(|old| old.layer == step.layer) };
        if let Some(same) = same {
            for (name, array) in weights.iter() {
                if let Some(role) = role(name, same) {
                    arrays.insert(format!("{}{role}", step.name), array.clone());
                }
            }
            continue;
        }
        match step.layer {
            LayerSpec::Tap { .. } if !in_branch => in_branch = true,
            LayerSpec::Add { .. } if in_branch => in_branch = false,
            LayerSpec::BatchNorm if ends_branch(&larger.steps()[number..]) => {
                for role in ["weight", "bias"] {
                    if let Some(array) = arrays.get_mut(&step.parameter_name(role)) {
                        array.values.fill(0.0);
                    }
                }
            }
            LayerSpec::Conv { .. } | LayerSpec::BatchNorm if in_branch => {}
            LayerSpec::Relu if in_branch => {}
            // The sum is the value before the branch, which has no negative numbers if a ReLU gave it.
            LayerSpec::Relu if number > 0 && is_add(&larger.steps()[number - 1]) => {}
            _ => bail!("its network has no layer like {}, which is in no residual branch either", step.name),
        }
    }
    ensure!(old.next().is_none(), "its network has layers that this one lacks, or in another order");
    Ok(Weights::new(larger, arrays)?)
}

/// The part of a tensor's name behind that of its layer; `None` if it is another layer's.
fn role<'a>(name: &'a str, step: &Step) -> Option<&'a str> {
    name.strip_prefix(&step.name).filter(|role| role.starts_with('.'))
}

/// Whether these layers begin with a batch norm whose result is added to another value.
fn ends_branch(steps: &[Step]) -> bool {
    matches!(steps, [_, add, ..] if is_add(add))
}

fn is_add(step: &Step) -> bool {
    matches!(step.layer, LayerSpec::Add { .. })
}

#[cfg(test)]
mod tests {
    use fer_engine::{Engine, Tensor};
    use fer_model::onnx;

    use super::super::config::tests::{deeper, shipped};
    use super::*;

    const SMALLER: &str = r#"[
        { "kind": "conv", "channels": 4, "kernel": 3, "bias": false }, { "kind": "batch_norm" }, { "kind": "relu" },
        { "kind": "tap", "name": "c" }, { "kind": "conv", "channels": 4, "kernel": 3, "stride": 2 }
    ]"#;

    const LARGER: &str = r#"[
        { "kind": "conv", "channels": 4, "kernel": 3, "bias": false }, { "kind": "batch_norm" }, { "kind": "relu" },
        { "kind": "tap", "name": "b" }, { "kind": "conv", "channels": 4, "kernel": 3, "bias": false }, { "kind": "batch_norm" },
        { "kind": "add", "tap": "b" }, { "kind": "relu" },
        { "kind": "tap", "name": "c" }, { "kind": "conv", "channels": 4, "kernel": 3, "stride": 2 }
    ]"#;

    fn architecture(layers: &str) -> Architecture {
        let json = format!(
            r#"{{ "input": {{ "channels": 3, "height": 8, "width": 8 }}, "layers": {layers},
                "heads": [{{ "output": "y", "from": "c", "layers": [{{ "kind": "conv", "channels": 2, "kernel": 1 }}] }}] }}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn output(architecture: &Architecture, weights: &Weights) -> Vec<f32> {
        let input =
            Tensor::new([1, 3, 8, 8], (0..192).map(|i| (i as f32).sin()).collect::<Vec<_>>()).unwrap();
        let graph = onnx::graph("net", architecture, weights);
        Engine::tract().open(&graph).unwrap().run(&input).unwrap().take("y").unwrap().into_data()
    }

    #[test]
    fn new_residual_layers_change_nothing_at_first() {
        let (smaller, larger) = (architecture(SMALLER), architecture(LARGER));
        let weights = Weights::init(&smaller, 5);
        let grown_weights = grown(&weights, &smaller, &larger, 6).unwrap();
        assert_eq!(output(&larger, &grown_weights), output(&smaller, &weights));
        assert!(
            grown_weights.get("layers.4.weight").values.iter().any(|value| *value != 0.0),
            "it must learn"
        );
        assert_eq!(grown(&weights, &smaller, &smaller, 6).unwrap(), weights);
    }

    #[test]
    fn the_second_config_continues_the_first() {
        let (first, second) = (shipped(), deeper());
        let weights = Weights::init(&first.network, first.seed);
        let grown = grown(&weights, &first.network, &second.network, second.seed).unwrap();
        // Taps change no numbers; the layers behind both branches have other numbers.
        let moved =
            [("layers.11.", "layers.11."), ("layers.13.", "layers.18."), ("layers.46.", "layers.56.")];
        for (from, to) in moved {
            for (name, array) in weights.iter().filter(|(name, _)| name.starts_with(from)) {
                assert_eq!(grown.get(&name.replace(from, to)), array, "{name}");
            }
        }
    }

    #[test]
    fn other_networks_are_refused() {
        let (smaller, larger) = (architecture(SMALLER), architecture(LARGER));
        let refusal = |from: &Architecture, to: &Architecture| {
            grown(&Weights::init(from, 5), from, to, 6).unwrap_err().to_string()
        };
        assert!(refusal(&larger, &smaller).contains("layers that this one lacks"));
        let pooled = SMALLER.replace(
            r#"{ "kind": "tap", "name": "c" }"#,
            r#"{ "kind": "max_pool", "size": 2 }, { "kind": "tap", "name": "c" }"#,
        );
        assert!(refusal(&smaller, &architecture(&pooled)).contains("no layer like layers.3"));
    }
}
