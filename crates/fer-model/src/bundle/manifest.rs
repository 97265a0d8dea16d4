//! `model.json`: what it says, its three formats, and the checks that need no weights.

use std::collections::BTreeMap;

use fer_engine::ActivationRanges;
use fer_image::{CropRule, FaceCrop, FaceLocation, Luma};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BundleError, FORMAT_VERSION, WEIGHTS_FILE};
use crate::probabilities::EVEN_CHANCE;
use crate::spec::{NetworkSpec, logits};
use crate::weights::WeightsDtype;
use crate::{Emotion, LabelSet};

/// The weights file, and the hash that it must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsEntry {
    /// Name of the file beside `model.json`.
    pub file: String,
    /// SHA-256 of the file in lower-case hexadecimal.
    pub sha256: String,
    /// How a number is stored.
    pub dtype: WeightsDtype,
}

/// A model's results on one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Number of faces.
    pub samples: usize,
    /// Fraction of the faces whose label is the most probable one, single pass.
    pub accuracy: f64,
    /// Recall by emotion name.
    pub recall: BTreeMap<String, f64>,
    /// Number of faces by label (row) and prediction (column), in the order of the network's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<usize>>,
}

/// How a face is cut out of a picture: everything between the picture and the grey levels that
/// [`crate::Preprocessing`] turns into the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaceSpec {
    /// Which part of the picture around the detected box is the face.
    pub crop: CropRule,
    /// How colours become grey levels.
    pub luma: Luma,
    /// Height of the cropped face in pixels, with the margin of the preprocessing.
    pub height: usize,
    /// Width of the cropped face in pixels, with the margin of the preprocessing.
    pub width: usize,
}

impl FaceSpec {
    /// The face of a network that is served with `crop` and `luma`; the size follows from the network.
    pub fn new(network: &NetworkSpec, crop: CropRule, luma: Luma) -> Self {
        let [height, width] = network.preprocessing().face_size(network.input());
        Self { crop, luma, height, width }
    }

    /// Height and width of the cropped face in pixels.
    pub fn size(self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Cuts a face out of a picture, see [`FaceCrop::extract`].
    pub fn extract(self, image: &RgbImage, face: &FaceLocation) -> Option<FaceCrop> {
        FaceCrop::extract(image, face, self.crop, self.luma, self.size())
    }

    fn check(self, network: &NetworkSpec) -> Result<(), String> {
        self.crop.check().map_err(|message| format!("face.{message}"))?;
        let expected = Self::new(network, self.crop, self.luma).size();
        if self.size() != expected {
            let ([height, width], [expected_height, expected_width]) = (self.size(), expected);
            return Err(format!(
                "face is {height}×{width}, but network '{}' takes {expected_height}×{expected_width} (its input and margin)",
                network.name()
            ));
        }
        Ok(())
    }
}

/// What turns a head's output into probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The softmax of the output divided by the head's temperature.
    Softmax,
}

/// What a head's probabilities are worth, measured on the faces of PublicTest that the detector finds in larger pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Number of faces.
    pub faces: usize,
    /// Expected calibration error (Guo et al. 2017): the mean distance between the probability of the answer and the fraction of
    /// people who gave it, over bins of probability, weighted by the number of faces.
    pub error: f64,
    /// Answers with a probability above it count as certain.
    pub certain_above: f64,
    /// Fraction of the faces with a certain answer.
    pub certain: f64,
    /// Fraction of the certain answers that are what most people said.
    pub certain_accuracy: f64,
}

/// One output of the model, its meaning and its results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadEntry {
    /// Whose labels it learned.
    pub label_set: LabelSet,
    /// Name of the output in the ONNX graph.
    pub output: String,
    /// What turns it into probabilities.
    pub activation: Activation,
    /// The emotion of each value, in order.
    pub labels: Vec<Emotion>,
    /// The logits are divided by it before the softmax; 1 until it has been fitted.
    pub temperature: f32,
    /// How well the probabilities fit at that temperature, and when an answer is certain; nothing until it has been measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Scores by split, on the labels of the label set.
    pub scores: BTreeMap<String, Score>,
}

impl HeadEntry {
    /// The heads of an emotion network, in its order, before anything is known of their results.
    pub fn all(network: &NetworkSpec) -> Vec<Self> {
        let head = |&label_set: &LabelSet| Self {
            label_set,
            output: logits(label_set).to_owned(),
            activation: Activation::Softmax,
            labels: network.labels().to_vec(),
            temperature: 1.0,
            calibration: None,
            scores: BTreeMap::new(),
        };
        network.label_sets().iter().map(head).collect()
    }

    /// The probability above which an answer of this head is certain.
    pub fn certain_above(&self) -> f32 {
        self.calibration.map_or(EVEN_CHANCE, |calibration| calibration.certain_above as f32)
    }

    /// Checks that the heads are those of the network, each once, in any order.
    fn check(heads: &[Self], network: &NetworkSpec) -> Result<(), String> {
        let mut missing = Self::all(network);
        for head in heads {
            let Some(place) = missing.iter().position(|expected| expected.label_set == head.label_set) else {
                return Err(format!(
                    "heads: network '{}' has no head for {}, or it is given twice",
                    network.name(),
                    head.label_set
                ));
            };
            let expected = missing.swap_remove(place);
            if head.output != expected.output {
                return Err(format!(
                    "heads: the output is '{}'; expected '{}'",
                    head.output, expected.output
                ));
            }
            if head.labels != expected.labels {
                return Err("heads: the labels are not those of the network, in its order".to_owned());
            }
            let temperature = head.temperature;
            if !(temperature.is_finite() && temperature > 0.0) {
                return Err(format!("temperature is {temperature}; expected a number above 0"));
            }
            let certain_above = head.certain_above();
            if !(0.0..1.0).contains(&certain_above) {
                return Err(format!("certain_above is {certain_above}; expected 0 to below 1"));
            }
        }
        match missing.first() {
            Some(head) => Err(format!("heads: the head for {} is missing", head.label_set)),
            None => Ok(()),
        }
    }
}

/// The networks of a bundle.
///
/// Serialises as `{ "network": … }` or as `{ "name": …, "members": [ … ] }`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Networks {
    /// One network.
    Single {
        /// Name, input, preprocessing, labels and layers.
        network: NetworkSpec,
    },
    /// Several networks whose probabilities are averaged.
    Ensemble(Ensemble),
}

/// A named ensemble. Invariant: at least one member; all have the same input, preprocessing, labels and heads.
///
/// In the weights file, the names of the first member's tensors begin with `members.0.`, and so on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ensemble {
    name: String,
    members: Vec<NetworkSpec>,
}

impl Ensemble {
    /// Checks that the probabilities of the members can be averaged.
    ///
    /// # Errors
    /// Names the two members that differ, and in what.
    pub fn new(name: String, members: Vec<NetworkSpec>) -> Result<Self, String> {
        let Some(first) = members.first() else {
            return Err(format!("the ensemble '{name}' has no members"));
        };
        let input = |network: &NetworkSpec| (network.input(), network.preprocessing());
        for other in &members {
            let what = match () {
                () if other.labels() != first.labels() => "labels",
                () if other.label_sets() != first.label_sets() => "heads",
                () if input(other) != input(first) => "input and preprocessing",
                () => continue,
            };
            return Err(format!(
                "{} and {} have different {what}, so their probabilities cannot be averaged",
                first.name(),
                other.name()
            ));
        }
        Ok(Self { name, members })
    }

    /// The ensemble's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The networks, at least one.
    pub fn members(&self) -> &[NetworkSpec] {
        &self.members
    }
}

impl Networks {
    /// Name of the network or of the ensemble.
    pub fn name(&self) -> &str {
        match self {
            Self::Single { network } => network.name(),
            Self::Ensemble(ensemble) => ensemble.name(),
        }
    }

    /// The network, or the first member of an ensemble.
    pub fn first(&self) -> &NetworkSpec {
        &self.all()[0]
    }

    /// The network, or the members of an ensemble; at least one.
    pub fn all(&self) -> &[NetworkSpec] {
        match self {
            Self::Single { network } => std::slice::from_ref(network),
            Self::Ensemble(ensemble) => ensemble.members(),
        }
    }

    /// From the three fields of the file, of which either the first or the other two are given.
    fn from_fields(
        network: Option<NetworkSpec>,
        name: Option<String>,
        members: Vec<NetworkSpec>,
    ) -> Result<Self, String> {
        match (network, name, members) {
            (Some(network), None, members) if members.is_empty() => Ok(Self::Single { network }),
            (None, Some(name), members) if !members.is_empty() => {
                Ensemble::new(name, members).map(Self::Ensemble)
            }
            _ => Err("expected either 'network', or 'name' and 'members'".to_owned()),
        }
    }
}

/// What `model.json` says, checked. It serialises as a `model.json` of format [`FORMAT_VERSION`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    format_version: u32,
    /// How a face is cut out of a picture.
    pub face: FaceSpec,
    /// The networks: name, input, preprocessing, labels and layers.
    #[serde(flatten)]
    pub networks: Networks,
    /// The outputs: one for each label set. The first one answers unless another is asked for.
    pub heads: Vec<HeadEntry>,
    /// The values inside the network on typical faces, by which [`Engine`](fer_engine::Engine) computes it in 8-bit integers; nothing
    /// until they have been measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_ranges: Option<ActivationRanges>,
    /// The weights file.
    pub weights: WeightsEntry,
    /// How the model was trained: the configuration and what came of it, for people and for repeating it.
    pub training: Value,
    /// Terms of the data that the model was trained on.
    pub data_licence: String,
    /// What the model is for and what it cannot do: a few sentences.
    pub card: String,
}

/// The fields that all formats have in common, and which each reader passes on.
pub(super) struct Fields {
    pub(super) networks: Networks,
    pub(super) heads: Vec<HeadEntry>,
    pub(super) activation_ranges: Option<ActivationRanges>,
    pub(super) weights: WeightsEntry,
    pub(super) training: Value,
    pub(super) data_licence: String,
    pub(super) card: String,
}

/// Format 1: the crop and the luma are not in the file, because there was only one way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format1 {
    #[serde(rename = "format_version")]
    _format_version: u32,
    network: Option<NetworkSpec>,
    name: Option<String>,
    #[serde(default)]
    members: Vec<NetworkSpec>,
    weights: WeightsEntry,
    temperature: f32,
    training: Value,
    scores: BTreeMap<String, Score>,
    data_licence: String,
    card: String,
}

/// Format 2 adds `face` and one head, whose temperature and scores are the bundle's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format2 {
    #[serde(rename = "format_version")]
    _format_version: u32,
    face: FaceSpec,
    network: Option<NetworkSpec>,
    name: Option<String>,
    #[serde(default)]
    members: Vec<NetworkSpec>,
    heads: Vec<Format2Head>,
    weights: WeightsEntry,
    temperature: f32,
    training: Value,
    scores: BTreeMap<String, Score>,
    data_licence: String,
    card: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format2Head {
    output: String,
    activation: Activation,
    labels: Vec<Emotion>,
}

/// In format 3, each head has its label set, temperature and scores.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format3 {
    #[serde(rename = "format_version")]
    _format_version: u32,
    face: FaceSpec,
    network: Option<NetworkSpec>,
    name: Option<String>,
    #[serde(default)]
    members: Vec<NetworkSpec>,
    heads: Vec<HeadEntry>,
    #[serde(default)]
    activation_ranges: Option<ActivationRanges>,
    weights: WeightsEntry,
    training: Value,
    data_licence: String,
    card: String,
}

impl Manifest {
    /// Reads a `model.json` of any format.
    pub(super) fn from_json(model_json: &[u8]) -> Result<Self, BundleError> {
        let invalid = |e: serde_json::Error| BundleError::Manifest(e.to_string());
        let value: Value = serde_json::from_slice(model_json).map_err(invalid)?;
        let version = value.get("format_version").and_then(Value::as_u64);
        match version {
            Some(1) => Self::from_format_1(serde_json::from_value(value).map_err(invalid)?),
            Some(2) => Self::from_format_2(serde_json::from_value(value).map_err(invalid)?),
            Some(3) => Self::from_format_3(serde_json::from_value(value).map_err(invalid)?),
            Some(found) => {
                return Err(BundleError::Version { found: found.try_into().unwrap_or(u32::MAX) });
            }
            None => Err("format_version is missing".to_owned()),
        }
        .map_err(BundleError::Manifest)
    }

    /// The values that format 1 leaves out are those that its readers had built in.
    fn from_format_1(file: Format1) -> Result<Self, String> {
        let networks = Networks::from_fields(file.network, file.name, file.members)?;
        let rule_of_format_1 = CropRule { scale: 0.88, shift_down: -0.025, level_eyes: false };
        let face = FaceSpec::new(networks.first(), rule_of_format_1, Luma::REC_601);
        let mut heads = HeadEntry::all(networks.first());
        for head in &mut heads {
            head.temperature = file.temperature;
            head.scores.clone_from(&file.scores);
        }
        let Format1 { weights, training, data_licence, card, .. } = file;
        let fields =
            Fields { networks, heads, activation_ranges: None, weights, training, data_licence, card };
        Self::new(face, fields)
    }

    fn from_format_2(file: Format2) -> Result<Self, String> {
        let networks = Networks::from_fields(file.network, file.name, file.members)?;
        let heads = file.heads.into_iter().map(|Format2Head { output, activation, labels }| HeadEntry {
            label_set: LabelSet::Fer2013,
            output,
            activation,
            labels,
            temperature: file.temperature,
            calibration: None,
            scores: file.scores.clone(),
        });
        let heads = heads.collect();
        let Format2 { face, weights, training, data_licence, card, .. } = file;
        let fields =
            Fields { networks, heads, activation_ranges: None, weights, training, data_licence, card };
        Self::new(face, fields)
    }

    fn from_format_3(file: Format3) -> Result<Self, String> {
        let networks = Networks::from_fields(file.network, file.name, file.members)?;
        let Format3 { face, heads, activation_ranges, weights, training, data_licence, card, .. } = file;
        Self::new(face, Fields { networks, heads, activation_ranges, weights, training, data_licence, card })
    }

    /// Checks what needs no weights.
    pub(super) fn new(face: FaceSpec, fields: Fields) -> Result<Self, String> {
        let Fields { networks, heads, activation_ranges, weights, training, data_licence, card } = fields;
        HeadEntry::check(&heads, networks.first())?;
        if weights.file != WEIGHTS_FILE {
            return Err(format!("weights.file is '{}'; expected '{WEIGHTS_FILE}'", weights.file));
        }
        face.check(networks.first())?;
        Ok(Self {
            format_version: FORMAT_VERSION,
            face,
            networks,
            heads,
            activation_ranges,
            weights,
            training,
            data_licence,
            card,
        })
    }
}
