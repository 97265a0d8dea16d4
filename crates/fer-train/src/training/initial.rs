//! Weights to start from: those of a bundle, or of a pretrained MobileNetV2 under the names of torchvision.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fer_model::NetworkSpec;
use fer_model::spec::{LayerSpec, Step};
use fer_model::weights::{Arrays, Weights, read_arrays};

/// Weights from a file, and what did not match.
#[derive(Debug)]
pub struct Initial {
    /// All weights of the network.
    pub weights: Weights,
    /// Names of the tensors that the file does not have; they are random.
    pub missing: Vec<String>,
    /// Names of the file's tensors that the network does not have.
    pub unused: Vec<String>,
}

/// Reads a safetensors file. A bundle's may lack heads, as if it was trained on one label set and the network is to learn two.
/// Tensors that the file does not have are drawn by `seed`.
///
/// # Errors
/// If the file cannot be read, or if it does not fit the network.
pub fn read(path: &Path, spec: &NetworkSpec, seed: u64) -> Result<Initial> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes, spec, seed).with_context(|| format!("{} does not start a {}", path.display(), spec.name()))
}

fn parse(bytes: &[u8], spec: &NetworkSpec, seed: u64) -> Result<Initial> {
    // PyTorch stores an integer counter with the running statistics, which no network here needs.
    let arrays = read_arrays(bytes, |name| !name.ends_with("num_batches_tracked"))?;
    if !arrays.keys().any(|name| name.starts_with("features.")) {
        let mut arrays = arrays;
        let missing = fill_in(&mut arrays, spec, seed, |name| is_of_a_head(name, spec));
        let weights = Weights::new(spec.architecture(), arrays)?;
        return Ok(Initial { weights, missing, unused: Vec::new() });
    }
    let places = torchvision_places(spec.architecture().steps());
    let place = |name: &str| {
        let (layer, role) = name.rsplit_once('.')?;
        Some(format!("{}.{role}", places.get(layer)?))
    };
    let (mut found, mut unused) = (Arrays::new(), Vec::new());
    for (name, array) in arrays {
        match place(&name) {
            Some(place) => drop(found.insert(place, array)),
            None => unused.push(name),
        }
    }
    ensure!(!found.is_empty(), "none of its tensors has a place in this network");
    let missing = fill_in(&mut found, spec, seed, |_| true);
    Ok(Initial { weights: Weights::new(spec.architecture(), found)?, missing, unused })
}

/// Adds the tensors that are not there and may be missing, drawn by `seed`. Returns their names.
fn fill_in(
    arrays: &mut Arrays,
    spec: &NetworkSpec,
    seed: u64,
    may_be_missing: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, fresh) in Weights::init(spec.architecture(), seed).iter() {
        if !arrays.contains_key(name) && may_be_missing(name) {
            missing.push(name.to_owned());
            arrays.insert(name.to_owned(), fresh.clone());
        }
    }
    missing
}

/// Whether a tensor belongs to a layer of a head, and not to the trunk.
fn is_of_a_head(tensor: &str, spec: &NetworkSpec) -> bool {
    let architecture = spec.architecture();
    architecture.steps()[architecture.layers().len()..]
        .iter()
        .any(|step| tensor.strip_prefix(&step.name).is_some_and(|role| role.starts_with('.')))
}

/// Maps the layer names of torchvision's `mobilenet_v2` to ours. Each of its `features` is a convolution with batch norm and
/// activation, or an inverted residual. The last convolution of a residual has no activation, so it and its norm have
/// numbers of their own. Its classifier is left out: the head starts with random weights.
fn torchvision_places(steps: &[Step]) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    let (mut feature, mut rest) = (0, steps);
    while let [step, behind @ ..] = rest {
        rest = behind;
        match step.layer {
            LayerSpec::Conv { .. } => {
                places.insert(format!("features.{feature}.0"), step.name.clone());
                if let Some(norm) = norm_of(behind) {
                    places.insert(format!("features.{feature}.1"), norm.name.clone());
                }
            }
            LayerSpec::InvertedResidual { .. } => {
                let body = step.branches.first().map_or(&[][..], Vec::as_slice);
                residual(&format!("features.{feature}.conv"), body, &mut places);
            }
            LayerSpec::Dense { .. } => break,
            _ => continue,
        }
        feature += 1;
    }
    places
}

fn residual(prefix: &str, body: &[Step], places: &mut BTreeMap<String, String>) {
    let mut number = 0;
    for (index, step) in body.iter().enumerate() {
        let behind = &body[index + 1..];
        let (LayerSpec::Conv { .. }, Some(norm)) = (&step.layer, norm_of(behind)) else { continue };
        let activated = behind.get(1).is_some_and(|next| next.layer == LayerSpec::Relu6);
        let names = if activated {
            [format!("{prefix}.{number}.0"), format!("{prefix}.{number}.1")]
        } else {
            [format!("{prefix}.{number}"), format!("{prefix}.{}", number + 1)]
        };
        places.extend(names.into_iter().zip([step.name.clone(), norm.name.clone()]));
        number += 1;
    }
}

fn norm_of(behind: &[Step]) -> Option<&Step> {
    behind.first().filter(|next| next.layer == LayerSpec::BatchNorm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_model::weights::{Array, WeightsDtype, write_arrays};

    fn spec() -> NetworkSpec {
        NetworkSpec::from_json(include_str!("../../../../configs/models/mobilenet-v2.json")).unwrap()
    }

    /// The four tensors of a batch norm, filled with `value`.
    fn norm(file: &mut Arrays, name: &str, channels: usize, value: f32) {
        for role in ["weight", "bias", "running_mean", "running_var"] {
            let array = Array { shape: vec![channels], values: vec![value; channels] };
            file.insert(format!("{name}.{role}"), array);
        }
    }

    fn conv(file: &mut Arrays, name: &str, shape: [usize; 4], value: f32) {
        let values = vec![value; shape.iter().product()];
        file.insert(format!("{name}.weight"), Array { shape: shape.to_vec(), values });
    }

    /// Names and shapes of torchvision's `mobilenet_v2().state_dict()`; each convolution is filled with its number.
    fn torchvision() -> Arrays {
        let mut file = Arrays::new();
        let mut count = 0.0;
        let mut pair = |file: &mut Arrays, names: [String; 2], shape: [usize; 4]| {
            count += 1.0;
            conv(file, &names[0], shape, count);
            norm(file, &names[1], shape[0], count);
        };
        let both = |prefix: &str| [format!("{prefix}.0"), format!("{prefix}.1")];
        pair(&mut file, both("features.0"), [32, 3, 3, 3]);
        let (mut feature, mut channels) = (0, 32);
        for (expansion, wide, blocks) in
            [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
        {
            for _ in 0..blocks {
                feature += 1;
                let prefix = format!("features.{feature}.conv");
                let hidden = channels * expansion;
                let mut at = 0;
                if expansion > 1 {
                    pair(&mut file, both(&format!("{prefix}.0")), [hidden, channels, 1, 1]);
                    at = 1;
                }
                pair(&mut file, both(&format!("{prefix}.{at}")), [hidden, 1, 3, 3]);
                let last = [format!("{prefix}.{}", at + 1), format!("{prefix}.{}", at + 2)];
                pair(&mut file, last, [wide, hidden, 1, 1]);
                channels = wide;
            }
        }
        pair(&mut file, both("features.18"), [1280, 320, 1, 1]);
        file.insert(
            "classifier.1.weight".into(),
            Array { shape: vec![1000, 1280], values: vec![0.0; 1_280_000] },
        );
        file.insert("classifier.1.bias".into(), Array { shape: vec![1000], values: vec![0.0; 1000] });
        file
    }

    fn bytes(arrays: &Arrays) -> Vec<u8> {
        write_arrays(arrays.iter().map(|(name, array)| (name.clone(), array)), WeightsDtype::F32).unwrap()
    }

    #[test]
    fn torchvisions_names_find_their_places_and_the_head_stays_fresh() {
        let file = torchvision();
        assert_eq!(file.len(), 52 * 5 + 2, "the number of torchvision's tensors without its counters");
        let Initial { weights, missing, unused } = parse(&bytes(&file), &spec(), 9).unwrap();
        assert_eq!(unused, ["classifier.1.bias", "classifier.1.weight"]);
        let head =
            [25, 27, 29].map(|layer| [format!("layers.{layer}.bias"), format!("layers.{layer}.weight")]);
        assert_eq!(missing, head.concat());
        let first = |name: &str| weights.get(name).values[0];
        // In the order of the file: the stem, the block without expansion, the first with one, the last convolution.
        let expected = [
            ("layers.0.weight", 1.0),
            ("layers.1.running_var", 1.0),
            ("layers.3.body.0.weight", 2.0),
            ("layers.3.body.4.bias", 3.0),
            ("layers.4.body.0.weight", 4.0),
            ("layers.4.body.3.weight", 5.0),
            ("layers.4.body.6.weight", 6.0),
            ("layers.4.body.7.running_mean", 6.0),
            ("layers.20.weight", 52.0),
            ("layers.21.weight", 52.0),
        ];
        assert_eq!(expected.map(|(name, _)| (name, first(name))), expected);
        let fresh = Weights::init(spec().architecture(), 9);
        assert_eq!(weights.get("layers.29.weight"), fresh.get("layers.29.weight"));
    }

    #[test]
    fn other_networks_files_are_refused() {
        let refusal =
            |file: &Arrays, spec: &NetworkSpec| format!("{:#}", parse(&bytes(file), spec, 9).unwrap_err());
        let mut wrong = torchvision();
        conv(&mut wrong, "features.18.0", [1280, 320, 3, 3], 1.0);
        assert!(refusal(&wrong, &spec()).contains("'layers.20.weight' has shape [1280, 320, 3, 3]"));
        let mut vgg = Arrays::new();
        conv(&mut vgg, "features.99.0", [64, 3, 3, 3], 1.0);
        assert!(refusal(&vgg, &spec()).contains("none of its tensors has a place"));
    }
}
