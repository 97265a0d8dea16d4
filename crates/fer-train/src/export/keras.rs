//! A network's layers as the JSON string that Keras's `model_from_json` reads. It describes a `Functional` graph, because a
//! sequential model has no blocks. Layers, shapes and parameter counts are those of the spec; the string holds no weights.
//!
//! Keras puts channels last, which only changes the order of the features after a flatten. The spec pads by half the kernel
//! on every side; with strides, Keras's "same" pads asymmetrically, so an explicit zero padding replaces it.

use std::collections::BTreeMap;

use fer_model::NetworkSpec;
use fer_model::spec::{LayerSpec, Padding, Shape, Step};
use serde_json::{Value, json};

/// The JSON of the whole model.
pub fn model(spec: &NetworkSpec) -> Value {
    let input = spec.input();
    let shape = json!([null, input.height, input.width, input.channels]);
    let mut graph = Graph { layers: Vec::new(), taps: BTreeMap::new() };
    graph.layers.push(json!({
        "class_name": "InputLayer",
        "config": {"batch_shape": shape, "dtype": "float32", "name": "input"},
        "name": "input",
        "inbound_nodes": [],
    }));
    let first = Tensor { name: "input".to_owned(), shape: spec.architecture().input_shape() };
    let output = graph.sequence(spec.architecture().steps(), first).name;
    json!({
        "class_name": "Functional",
        "config": {
            "name": spec.name(),
            "trainable": true,
            "layers": graph.layers,
            "input_layers": [["input", 0, 0]],
            "output_layers": [[output, 0, 0]],
        },
        "registered_name": "Functional",
        "module": "keras.src.models.functional",
    })
}

struct Graph {
    layers: Vec<Value>,
    /// The tapped outputs by name.
    taps: BTreeMap<String, Tensor>,
}

/// The output of a layer.
#[derive(Clone)]
struct Tensor {
    /// Name of the layer.
    name: String,
    shape: Shape,
}

impl Tensor {
    fn json(&self) -> Value {
        let shape = match self.shape {
            Shape::Image { channels, height, width } => json!([null, height, width, channels]),
            Shape::Vector(features) => json!([null, features]),
        };
        json!({
            "class_name": "__keras_tensor__",
            "config": {"shape": shape, "dtype": "float32", "keras_history": [self.name, 0, 0]},
        })
    }
}

impl Graph {
    /// Appends layers one after the other and returns the output of the last.
    fn sequence(&mut self, steps: &[Step], mut from: Tensor) -> Tensor {
        for step in steps {
            from = self.step(step, from);
        }
        from
    }

    fn step(&mut self, step: &Step, from: Tensor) -> Tensor {
        let name = step.name.replace('.', "_");
        let (class, config) = match &step.layer {
            LayerSpec::Conv { .. } => return self.conv(step, name, from),
            LayerSpec::Residual { .. } | LayerSpec::InvertedResidual { .. } => {
                return self.block(step, name, &from);
            }
            LayerSpec::BatchNorm => {
                ("BatchNormalization", json!({"axis": -1, "epsilon": 1e-5, "momentum": 0.9}))
            }
            LayerSpec::Relu => ("ReLU", json!({})),
            LayerSpec::Relu6 => ("ReLU", json!({"max_value": 6.0})),
            LayerSpec::Elu { alpha } => ("ELU", json!({"alpha": alpha})),
            LayerSpec::MaxPool { size } => {
                ("MaxPooling2D", json!({"pool_size": [size, size], "padding": "valid"}))
            }
            LayerSpec::AvgPool { size } => {
                ("AveragePooling2D", json!({"pool_size": [size, size], "padding": "valid"}))
            }
            LayerSpec::GlobalAvgPool => ("GlobalAveragePooling2D", json!({})),
            LayerSpec::Dropout { rate } => ("Dropout", json!({"rate": rate})),
            LayerSpec::Flatten => ("Flatten", json!({})),
            LayerSpec::Dense { units, bias } => ("Dense", json!({"units": units, "use_bias": bias})),
            LayerSpec::Upsample { factor } => {
                ("UpSampling2D", json!({"size": [factor, factor], "interpolation": "nearest"}))
            }
            LayerSpec::Tap { name } => {
                self.taps.insert(name.clone(), from.clone());
                return from;
            }
            LayerSpec::Add { tap, .. } => {
                let tapped = self.taps.get(tap).cloned().unwrap_or_else(|| from.clone());
                let lateral = step.branches.iter().flatten();
                let lateral = lateral.fold(tapped, |tapped, step| self.step(step, tapped));
                return self.layer("Add", name, json!({}), &[from, lateral], step.output);
            }
        };
        self.layer(class, name, config, &[from], step.output)
    }

    /// Appends the layers of each branch, and their sum if there are several branches.
    fn block(&mut self, step: &Step, name: String, from: &Tensor) -> Tensor {
        let ends: Vec<Tensor> =
            step.branches.iter().map(|branch| self.sequence(branch, from.clone())).collect();
        match ends.as_slice() {
            [one] => one.clone(),
            _ => self.layer("Add", name, json!({}), &ends, step.output),
        }
    }

    /// Appends a convolution, with an explicit zero padding before it where Keras's "same" would be asymmetric.
    fn conv(&mut self, step: &Step, name: String, from: Tensor) -> Tensor {
        let LayerSpec::Conv { channels, kernel, stride, padding, groups, bias } = step.layer else {
            unreachable!("called for convolutions only")
        };
        let from = if padding == Padding::Same && kernel > 1 && stride > 1 {
            let pad = kernel / 2;
            let padded = match from.shape {
                Shape::Image { channels, height, width } => {
                    Shape::Image { channels, height: height + 2 * pad, width: width + 2 * pad }
                }
                vector @ Shape::Vector(_) => vector,
            };
            let config = json!({"padding": pad});
            self.layer("ZeroPadding2D", format!("{name}_pad"), config, &[from], padded)
        } else {
            from
        };
        let same = padding == Padding::Same && (stride == 1 || kernel == 1);
        let config = json!({
            "filters": channels,
            "kernel_size": [kernel, kernel],
            "strides": [stride, stride],
            "padding": if same { "same" } else { "valid" },
            "groups": groups,
            "use_bias": bias,
        });
        self.layer("Conv2D", name, config, &[from], step.output)
    }

    fn layer(
        &mut self,
        class: &str,
        name: String,
        mut config: Value,
        from: &[Tensor],
        shape: Shape,
    ) -> Tensor {
        config["name"] = name.as_str().into();
        config["dtype"] = "float32".into();
        let tensors: Vec<Value> = from.iter().map(Tensor::json).collect();
        let arguments = if let [one] = tensors.as_slice() { json!([one]) } else { json!([tensors]) };
        self.layers.push(json!({
            "class_name": class,
            "config": config,
            "name": name,
            "registered_name": null,
            "module": "keras.layers",
            "inbound_nodes": [{"args": arguments, "kwargs": {}}],
        }));
        Tensor { name, shape }
    }
}

/// The tests recompute shapes and parameter counts from the string, as Keras does.
#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn spec(json: &str) -> NetworkSpec {
        NetworkSpec::from_json(json).unwrap()
    }

    /// The output shape, channels last, and the number of parameters, as Keras computes them from the string.
    fn replay(model: &Value) -> (Vec<usize>, usize) {
        let mut shapes = std::collections::BTreeMap::<String, Vec<usize>>::new();
        let mut parameters = 0;
        for layer in model["config"]["layers"].as_array().unwrap() {
            let config = &layer["config"];
            let number = |key: &str| config[key].as_u64().unwrap() as usize;
            let name = layer["name"].as_str().unwrap().to_owned();
            let from = layer["inbound_nodes"].get(0).map(|node| {
                let argument = &node["args"][0];
                let first = if argument.is_array() { &argument[0] } else { argument };
                shapes[first["config"]["keras_history"][0].as_str().unwrap()].clone()
            });
            let shape = match (layer["class_name"].as_str().unwrap(), from) {
                ("InputLayer", _) => {
                    let sides = config["batch_shape"].as_array().unwrap();
                    sides[1..].iter().map(|side| side.as_u64().unwrap() as usize).collect()
                }
                ("ZeroPadding2D", Some(s)) => {
                    vec![s[0] + 2 * number("padding"), s[1] + 2 * number("padding"), s[2]]
                }
                ("Conv2D", Some(s)) => {
                    let [kernel, stride] =
                        ["kernel_size", "strides"].map(|key| config[key][0].as_u64().unwrap() as usize);
                    let bias = usize::from(config["use_bias"].as_bool().unwrap());
                    let filters = number("filters");
                    parameters += filters * (kernel * kernel * s[2] / number("groups") + bias);
                    let side = |side: usize| match config["padding"].as_str().unwrap() {
                        "same" => side.div_ceil(stride),
                        _ => (side - kernel) / stride + 1,
                    };
                    vec![side(s[0]), side(s[1]), filters]
                }
                ("BatchNormalization", Some(s)) => {
                    parameters += 4 * s.last().unwrap();
                    s
                }
                ("MaxPooling2D" | "AveragePooling2D", Some(s)) => {
                    let size = config["pool_size"][0].as_u64().unwrap() as usize;
                    vec![s[0] / size, s[1] / size, s[2]]
                }
                ("GlobalAveragePooling2D", Some(s)) => vec![s[2]],
                ("Flatten", Some(s)) => vec![s.iter().product()],
                ("Dense", Some(s)) => {
                    let bias = usize::from(config["use_bias"].as_bool().unwrap());
                    parameters += number("units") * (s[0] + bias);
                    vec![number("units")]
                }
                ("ReLU" | "ELU" | "Dropout" | "Add", Some(s)) => s,
                (other, _) => panic!("{other}"),
            };
            shapes.insert(name, shape);
        }
        let last = model["config"]["output_layers"][0][0].as_str().unwrap();
        (shapes[last].clone(), parameters)
    }

    #[test]
    fn shapes_and_counts_are_the_specs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models");
        for entry in std::fs::read_dir(folder).unwrap() {
            let spec = spec(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
            if spec.label_sets().len() > 1 {
                continue;
            }
            let (output, parameters) = replay(&model(&spec));
            assert_eq!(output, [spec.labels().len()], "{}", spec.name());
            assert_eq!(parameters, spec.architecture().total_parameters(), "{}", spec.name());
        }
    }

    #[test]
    fn the_last_image_has_the_specs_shape() {
        let spec = spec(include_str!("../../../../configs/models/mobilenet-v2.json"));
        let steps = spec.architecture().steps();
        let image = steps.iter().rev().find(|step| matches!(step.output, Shape::Image { .. })).unwrap();
        let mut model = model(&spec);
        model["config"]["output_layers"][0][0] = image.name.replace('.', "_").into();
        assert_eq!(replay(&model).0, [3, 3, 1280]);
    }
}
