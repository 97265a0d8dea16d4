//! The architecture as data: what a network's JSON says, checked.
//!
//! The JSON defines the network: the burn network, the weights file and the ONNX graph all follow from its
//! [`Architecture`]. A [`NetworkSpec`] adds labels and preprocessing, which make an emotion network of it. Both are
//! checked when they are made, so code that receives one does not check shapes again.

mod architecture;
mod layer;

use serde::{Deserialize, Serialize};

use crate::{Emotion, LabelSet, Preprocessing};

pub use architecture::{Architecture, HeadSpec, ParameterSpec, Step};
pub use layer::{LayerSpec, Padding, Shape};

/// The network's input without the batch: `[channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// 1 for grey, 3 for colour. An emotion network with 3 channels gets the grey face three times.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// Why a spec is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// The text is not JSON, or a field is missing or unknown.
    #[error("model spec: {0}")]
    Json(String),
    /// The JSON of a layer is not a layer.
    #[error("layer {index}: {message}")]
    LayerJson {
        /// Number of the layer, counted from 0.
        index: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A layer does not fit the one before it.
    #[error("layer {index} ({kind}): {message}")]
    Layer {
        /// Number of the layer, counted from 0.
        index: usize,
        /// Kind of the layer.
        kind: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// The input, the outputs, the labels or the preprocessing are wrong.
    #[error("model spec: {0}")]
    Field(String),
}

/// Name of an emotion network's output in the ONNX graph. It is not part of the JSON.
pub const fn logits(set: LabelSet) -> &'static str {
    match set {
        LabelSet::Fer2013 => "logits",
        LabelSet::FerPlus => "logits_ferplus",
    }
}

/// An emotion network: how a face becomes its input, and the layers that lead to one logit for each label. The softmax
/// is not part of it.
///
/// A network that learned two label sets has a head for each on top of the same layers. Without `heads` in the JSON, the layers
/// end in the logits of FER-2013's labels.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    name: String,
    preprocessing: Preprocessing,
    labels: Vec<Emotion>,
    label_sets: Vec<LabelSet>,
    architecture: Architecture,
}

/// Layers that lead from the trunk to the logits of a label set.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelHead {
    label_set: LabelSet,
    layers: Vec<LayerSpec>,
}

/// The fields of the file, before the check. Layers stay JSON at first, so that an error can name the layer's number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkFields {
    name: String,
    input: InputSpec,
    preprocessing: Preprocessing,
    labels: Vec<Emotion>,
    layers: Vec<serde_json::Value>,
    #[serde(default)]
    heads: Vec<LabelHead>,
}

impl<'de> Deserialize<'de> for NetworkSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_fields(NetworkFields::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for NetworkSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            name: &'a str,
            input: InputSpec,
            preprocessing: Preprocessing,
            labels: &'a [Emotion],
            layers: &'a [LayerSpec],
            #[serde(skip_serializing_if = "Vec::is_empty")]
            heads: Vec<LabelHead>,
        }
        let Self { name, preprocessing, labels, label_sets, architecture } = self;
        let (input, layers) = (architecture.input(), architecture.layers());
        let heads = label_sets.iter().zip(architecture.heads());
        let mut heads: Vec<LabelHead> = heads
            .map(|(&label_set, (head, _))| LabelHead { label_set, layers: head.layers.clone() })
            .collect();
        if matches!(heads.as_slice(), [LabelHead { label_set: LabelSet::Fer2013, layers }] if layers.is_empty())
        {
            heads.clear();
        }
        Fields { name, input, preprocessing: *preprocessing, labels, layers, heads }.serialize(serializer)
    }
}

impl NetworkSpec {
    /// Reads and checks a network's JSON.
    ///
    /// # Errors
    /// Names the layer by its number, and says what was found and what was expected.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        Self::from_fields(serde_json::from_str(text).map_err(|e| SpecError::Json(e.to_string()))?)
    }

    fn from_fields(fields: NetworkFields) -> Result<Self, SpecError> {
        let NetworkFields { name, input, preprocessing, labels, layers, mut heads } = fields;
        let layers = layers
            .into_iter()
            .enumerate()
            .map(|(index, layer)| {
                serde_json::from_value(layer)
                    .map_err(|e| SpecError::LayerJson { index, message: e.to_string() })
            })
            .collect::<Result<_, _>>()?;
        if heads.is_empty() {
            heads.push(LabelHead { label_set: LabelSet::Fer2013, layers: Vec::new() });
        }
        let label_sets = heads.iter().map(|head| head.label_set).collect();
        let heads = heads.into_iter().map(|LabelHead { label_set, layers }| HeadSpec {
            output: logits(label_set).to_owned(),
            softmax: false,
            from: None,
            layers,
        });
        let architecture = Architecture::new(input, layers, heads.collect())?;
        let spec = Self { name, preprocessing, labels, label_sets, architecture };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), SpecError> {
        let field = |message: String| Err(SpecError::Field(message));
        if let Err(message) = self.preprocessing.check() {
            return field(message);
        }
        if let Some((_, label)) = self.labels.iter().enumerate().find(|(i, l)| self.labels[..*i].contains(l))
        {
            return field(format!("label '{label}' is given twice"));
        }
        let steps = self.architecture.steps();
        for (head, range) in self.architecture.heads() {
            let shape = self.architecture.output_shape(head, &range);
            if shape != Shape::Vector(self.labels.len()) {
                // A head without layers has the trunk's last one.
                let end = if range.is_empty() { self.architecture.layers().len() } else { range.end };
                let index = end.saturating_sub(1);
                let kind = steps.get(index).map_or("missing", |step| step.layer.kind());
                let message = format!(
                    "the head gives {shape}, but there are {count} labels; expected a dense layer with {count} units",
                    count = self.labels.len()
                );
                return Err(SpecError::Layer { index, kind, message });
            }
        }
        Ok(())
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network's layers.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Channels, height and width of the input.
    pub fn input(&self) -> InputSpec {
        self.architecture.input()
    }

    /// How grey levels become the input.
    pub fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    /// The emotion of each logit, in order.
    pub fn labels(&self) -> &[Emotion] {
        &self.labels
    }

    /// The label set of each head, in the order of the architecture's heads; at least one.
    pub fn label_sets(&self) -> &[LabelSet] {
        &self.label_sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CNN6: &str = include_str!("../../../../configs/models/cnn6.json");

    fn error(from: &str, to: &str) -> String {
        assert!(CNN6.contains(from), "the config has no {from}");
        NetworkSpec::from_json(&CNN6.replacen(from, to, 1)).unwrap_err().to_string()
    }

    /// Name, trainable and total parameters, labels, and the shape of the last image before the dense layers.
    const SIZES: [(&str, usize, usize, usize, &str); 12] = [
        ("classroom-4block", 9_009_223, 9_014_727, 7, "512×2×2"),
        ("cnn6", 2_866_631, 2_870_087, 7, "512×3×3"),
        ("cnn6-ferplus", 2_870_222, 2_873_678, 7, "512×3×3"),
        ("cnn6-wide", 4_472_775, 4_476_743, 7, "512×3×3"),
        ("custom-11conv", 9_012_295, 9_019_719, 7, "512×2×2"),
        ("mobilenet-v2", 2_396_551, 2_430_663, 7, "1280×3×3"),
        ("resnet14", 2_117_054, 2_121_038, 7, "224×6×6"),
        ("resnet18", 11_171_271, 11_180_871, 7, "512×6×6"),
        ("resnet34", 21_279_431, 21_296_455, 7, "512×6×6"),
        ("shallow", 679_306, 679_306, 6, "36×12×12"),
        ("vgg-fer", 29_890_759, 29_894_599, 7, "512×2×2"),
        ("wider", 450_374, 450_374, 6, "64×6×6"),
    ];

    #[test]
    fn every_config_has_the_published_size() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models");
        let files = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(files, SIZES.len(), "every config has a row in this table");
        for (name, trainable, total, labels, last_image) in SIZES {
            let json = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
            let spec = NetworkSpec::from_json(&json).unwrap();
            assert_eq!(spec.name(), name);
            let architecture = spec.architecture();
            assert_eq!(architecture.trainable_parameters(), trainable, "{name}");
            assert_eq!(architecture.total_parameters(), total, "{name}");
            assert_eq!(spec.labels().len(), labels, "{name}");
            let steps = architecture.steps();
            let image = steps.iter().rev().find(|step| matches!(step.output, Shape::Image { .. })).unwrap();
            assert_eq!(image.output.to_string(), last_image, "{name}");
            let again = NetworkSpec::from_json(&serde_json::to_string(&spec).unwrap()).unwrap();
            assert_eq!(again, spec);
        }
    }

    #[test]
    fn two_label_sets_share_a_trunk() {
        let json = include_str!("../../../../configs/models/cnn6-ferplus.json");
        let spec = NetworkSpec::from_json(json).unwrap();
        assert_eq!(spec.label_sets(), LabelSet::ALL);
        let outputs: Vec<_> = spec.architecture().heads().map(|(head, _)| head.output.clone()).collect();
        assert_eq!(outputs, ["logits", "logits_ferplus"]);
        // The first head has the names of the network with one head.
        let one = NetworkSpec::from_json(CNN6).unwrap();
        let (one, two) = (one.architecture().parameters(), spec.architecture().parameters());
        assert_eq!(two[..one.len()], one);
        assert_eq!(two.len(), one.len() + 2);
        assert_eq!(NetworkSpec::from_json(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
        let refusal = |from: &str, to: &str| {
            NetworkSpec::from_json(&json.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(refusal("\"ferplus\"", "\"fer2013\"").contains("output 'logits' is given twice"));
        assert!(refusal("\"ferplus\"", "\"affectnet\"").contains("affectnet"));
        let wide = json.replacen("units\": 7", "units\": 8", 1);
        let wide = NetworkSpec::from_json(&wide).unwrap_err().to_string();
        assert!(wide.contains("gives 8, but there are 7 labels"), "{wide}");
    }

    #[test]
    fn biases_and_multiply_adds_are_counted() {
        let wide = include_str!("../../../../configs/models/cnn6-wide.json");
        let biased = NetworkSpec::from_json(&wide.replace("\"bias\": false", "\"bias\": true")).unwrap();
        assert_eq!(biased.architecture().trainable_parameters(), 4_474_759);
        let spec = NetworkSpec::from_json(CNN6).unwrap();
        let steps = spec.architecture().steps();
        assert_eq!(steps[0].multiply_adds(), 48 * 48 * 64 * 9);
        assert_eq!(steps[21].multiply_adds(), 512 * 9 * 256);
        let mobile = include_str!("../../../../configs/models/mobilenet-v2.json");
        let spec = NetworkSpec::from_json(mobile).unwrap();
        let steps = spec.architecture().steps();
        // 32 channels of 48×48: depthwise 3×3, then 1×1 to 16.
        assert_eq!(steps[3].multiply_adds(), 48 * 48 * (32 * 9 + 32 * 16));
    }

    #[test]
    fn a_number_in_the_json_changes_the_network() {
        let wider = CNN6.replacen("\"channels\": 64", "\"channels\": 65", 1);
        assert_ne!(NetworkSpec::from_json(&wider).unwrap().architecture().trainable_parameters(), 2_866_631);
    }

    #[test]
    fn errors_name_the_layer_and_what_was_expected() {
        let unknown = error("\"channels\": 64", "\"chanels\": 64");
        assert!(unknown.starts_with("layer 0:") && unknown.contains("chanels"), "{unknown}");
        let large = error("\"kernel\": 3", "\"kernel\": 49");
        assert!(large.starts_with("layer 0 (conv): kernel 49 is larger than its input 48×48"), "{large}");
        let head = error("\"units\": 7", "\"units\": 8");
        assert!(head.contains("gives 8, but there are 7 labels"), "{head}");
        let flat = error("    { \"kind\": \"flatten\" },\n", "");
        assert!(flat.contains("layer 20 (dense): needs a vector, but gets an image 512×3×3"), "{flat}");
        let label = error("\"disgust\"", "\"digust\"");
        assert!(label.contains("digust"), "{label}");
        let twice = error("\"disgust\"", "\"angry\"");
        assert!(twice.contains("'angry' is given twice"), "{twice}");
        let rate = error("\"rate\": 0.4", "\"rate\": 1.0");
        assert!(rate.contains("rate is 1; expected 0 to below 1"), "{rate}");
        let grey = error("\"channels\": 1", "\"channels\": 2");
        assert!(grey.contains("expected 1 (grey) or 3"), "{grey}");
        let std = error("\"std\": 0.255", "\"std\": 0");
        assert!(std.contains("std"), "{std}");
    }
}
