//! Writing a bundle.

use std::fs;
use std::path::Path;

use fer_engine::ActivationRanges;
use fer_image::{CropRule, Luma};
use serde_json::Value;

use super::manifest::Fields;
use super::{
    BundleError, Ensemble, FaceSpec, HeadEntry, MANIFEST_FILE, Manifest, Networks, WEIGHTS_FILE,
    WeightsEntry, member_prefix, sha256,
};
use crate::file::write_atomically;
use crate::spec::NetworkSpec;
use crate::weights::{Weights, WeightsDtype, write_arrays};

/// A bundle about to be written. The hash of the weights and the face's size follow from its fields.
#[derive(Clone, Debug)]
pub struct BundleBuilder<'a> {
    /// The network with its weights, or the members of an ensemble with theirs.
    pub members: Vec<(&'a NetworkSpec, &'a Weights)>,
    /// Name of the ensemble; `None` for a single network.
    pub ensemble: Option<String>,
    /// How serving cuts out faces: as the faces that the network was trained on are cut out.
    pub crop: CropRule,
    /// How serving converts colours to grey.
    pub luma: Luma,
    /// How the weights are stored.
    pub dtype: WeightsDtype,
    /// See [`Manifest::heads`]; [`HeadEntry::all`] makes them for a network.
    pub heads: Vec<HeadEntry>,
    /// See [`Manifest::activation_ranges`].
    pub activation_ranges: Option<ActivationRanges>,
    /// See [`Manifest::training`].
    pub training: Value,
    /// See [`Manifest::data_licence`].
    pub data_licence: String,
    /// See [`Manifest::card`].
    pub card: String,
}

impl BundleBuilder<'_> {
    /// Writes the two files into `folder`, each under a temporary name first. The manifest goes last, so an interrupted
    /// write leaves a bundle whose hash does not match, which is refused, rather than a wrong one.
    ///
    /// # Errors
    /// [`BundleError::Io`] if a file cannot be written; [`BundleError::Manifest`] if the members do not fit together or a
    /// value is out of range. Nothing is written in the second case.
    pub fn write(self, folder: &Path) -> Result<(), BundleError> {
        let (manifest, weights) = self.build()?;
        let mut json =
            serde_json::to_string_pretty(&manifest).map_err(|e| BundleError::Manifest(e.to_string()))?;
        json.push('\n');
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| BundleError::Io { path, cause }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        for (name, bytes) in [(WEIGHTS_FILE, weights.as_slice()), (MANIFEST_FILE, json.as_bytes())] {
            let path = folder.join(name);
            write_atomically(&path, bytes).map_err(io(&path))?;
        }
        Ok(())
    }

    /// The manifest and the bytes of the weights file.
    fn build(self) -> Result<(Manifest, Vec<u8>), BundleError> {
        let single = self.ensemble.is_none();
        let specs: Vec<NetworkSpec> = self.members.iter().map(|(network, _)| (*network).clone()).collect();
        let networks = networks(specs, self.ensemble).map_err(BundleError::Manifest)?;
        let arrays = self.members.iter().enumerate().flat_map(|(member, (_, weights))| {
            let prefix = if single { String::new() } else { member_prefix(member) };
            weights.iter().map(move |(name, array)| (format!("{prefix}{name}"), array))
        });
        let weights = write_arrays(arrays, self.dtype)
            .map_err(|cause| BundleError::Weights { file: WEIGHTS_FILE.to_owned(), cause })?;
        let entry =
            WeightsEntry { file: WEIGHTS_FILE.to_owned(), sha256: sha256(&weights), dtype: self.dtype };
        let face = FaceSpec::new(networks.first(), self.crop, self.luma);
        let fields = Fields {
            networks,
            heads: self.heads,
            activation_ranges: self.activation_ranges,
            weights: entry,
            training: self.training,
            data_licence: self.data_licence,
            card: self.card,
        };
        Ok((Manifest::new(face, fields).map_err(BundleError::Manifest)?, weights))
    }
}

fn networks(mut specs: Vec<NetworkSpec>, ensemble: Option<String>) -> Result<Networks, String> {
    if let Some(name) = ensemble {
        return Ensemble::new(name, specs).map(Networks::Ensemble);
    }
    match (specs.pop(), specs.as_slice()) {
        (Some(network), []) => Ok(Networks::Single { network }),
        (network, _) => {
            let count = specs.len() + usize::from(network.is_some());
            Err(format!("{count} networks without a name for the ensemble; expected one network"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bundle, LabelSet};

    fn cnn6() -> NetworkSpec {
        NetworkSpec::from_json(include_str!("../../../../configs/models/cnn6.json")).unwrap()
    }

    fn builder<'a>(network: &'a NetworkSpec, weights: &'a Weights) -> BundleBuilder<'a> {
        BundleBuilder {
            members: vec![(network, weights)],
            ensemble: None,
            crop: CropRule::default(),
            luma: Luma::REC_601,
            dtype: WeightsDtype::F16,
            heads: HeadEntry::all(network),
            activation_ranges: None,
            training: serde_json::json!({"epochs": 1}),
            data_licence: "research".to_owned(),
            card: "a test".to_owned(),
        }
    }

    fn files(folder: &Path) -> (Vec<u8>, Vec<u8>) {
        (fs::read(folder.join(MANIFEST_FILE)).unwrap(), fs::read(folder.join(WEIGHTS_FILE)).unwrap())
    }

    fn written(folder: &Path) -> (Vec<u8>, Vec<u8>) {
        let network = cnn6();
        let weights = Weights::init(network.architecture(), 3);
        builder(&network, &weights).write(folder).unwrap();
        files(folder)
    }

    fn refusal(json: &str, weights: &[u8]) -> String {
        Bundle::from_bytes(json.as_bytes(), weights).unwrap_err().to_string()
    }

    /// The same bundle as a `model.json` of format 1 or 2.
    fn as_format(version: u32, json: &[u8]) -> String {
        let mut json: serde_json::Map<String, Value> = serde_json::from_slice(json).unwrap();
        json.insert("format_version".to_owned(), version.into());
        let head = json["heads"][0].as_object_mut().unwrap();
        head.remove("label_set");
        let moved = ["temperature", "scores"].map(|field| (field.to_owned(), head.remove(field).unwrap()));
        json.extend(moved);
        json.retain(|name, _| version == 2 || name != "face" && name != "heads");
        serde_json::to_string(&json).unwrap()
    }

    #[test]
    fn a_written_bundle_opens() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let bundle = Bundle::open(folder.path()).unwrap();
        assert_eq!(bundle.name(), "cnn6");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn crop_and_luma_pass_from_training_to_serving() {
        let folder = tempfile::tempdir().unwrap();
        let network = cnn6();
        let weights = Weights::init(network.architecture(), 3);
        let crop = CropRule { scale: 1.25, shift_down: 0.1, level_eyes: true };
        let luma = Luma::new(0.2126, 0.7152, 0.0722).unwrap();
        BundleBuilder { crop, luma, ..builder(&network, &weights) }.write(folder.path()).unwrap();
        let bundle = Bundle::open(folder.path()).unwrap();
        assert_eq!(bundle.face(), FaceSpec { crop, luma, height: 48, width: 48 });
        bundle.to_builder().write(&folder.path().join("again")).unwrap();
        assert_eq!(files(&folder.path().join("again")), files(folder.path()));
    }

    #[test]
    fn format_1_has_the_values_that_its_readers_had_built_in() {
        let folder = tempfile::tempdir().unwrap();
        let (json, weights) = written(folder.path());
        let old = Bundle::from_bytes(as_format(1, &json).as_bytes(), &weights).unwrap();
        let crop = CropRule { scale: 0.88, shift_down: -0.025, level_eyes: false };
        assert_eq!(old.face(), FaceSpec { crop, luma: Luma::REC_601, height: 48, width: 48 });
        let newer = Bundle::from_bytes(as_format(2, &json).as_bytes(), &weights).unwrap();
        // Written again, they are of the current format.
        for bundle in [old, newer] {
            bundle.to_builder().write(folder.path()).unwrap();
            assert_eq!(files(folder.path()), (json.clone(), weights.clone()));
        }
    }

    #[test]
    fn a_file_of_one_format_with_the_fields_of_the_other_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (json, weights) = written(folder.path());
        let text = String::from_utf8(json).unwrap();
        let old = text.replace("\"format_version\": 3", "\"format_version\": 1");
        assert!(refusal(&old, &weights).contains("unknown field `face`"), "{}", refusal(&old, &weights));
        let new = as_format(1, text.as_bytes()).replace("\"format_version\":1", "\"format_version\":3");
        assert!(
            refusal(&new, &weights).contains("unknown field `temperature`"),
            "{}",
            refusal(&new, &weights)
        );
    }

    #[test]
    fn a_face_or_head_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (json, weights) = written(folder.path());
        let changed = |change: fn(&mut Value)| {
            let mut value: Value = serde_json::from_slice(&json).unwrap();
            change(&mut value);
            refusal(&value.to_string(), &weights)
        };
        for (change, expected) in [
            ((|json| json["face"]["crop"]["scale"] = 0.into()) as fn(&mut Value), "face.crop.scale is 0"),
            (|json| json["face"]["crop"]["shift_down"] = 11.into(), "face.crop.shift_down is 11"),
            (|json| json["face"]["crop"]["level"] = true.into(), "unknown field `level`"),
            (
                |json| drop(json["face"]["crop"].as_object_mut().unwrap().remove("level_eyes")),
                "missing field `level_eyes`",
            ),
            (|json| json["face"]["luma"]["red"] = 0.5.into(), "expected numbers from 0 to 1 that sum to 1"),
            (|json| json["face"]["width"] = 40.into(), "face is 48×40, but network 'cnn6' takes 48×48"),
            (|json| json["heads"] = serde_json::json!([]), "heads: the head for fer2013 is missing"),
            (|json| json["heads"][0]["label_set"] = "ferplus".into(), "no head for ferplus"),
            (|json| json["heads"][0]["temperature"] = 0.into(), "temperature is 0"),
            (
                |json| json["heads"][0]["output"] = "scores".into(),
                "the output is 'scores'; expected 'logits'",
            ),
            (|json| json["heads"][0]["activation"] = "sigmoid".into(), "unknown variant `sigmoid`"),
            (
                |json| json["heads"][0]["labels"].as_array_mut().unwrap().reverse(),
                "heads: the labels are not",
            ),
        ] {
            let message = changed(change);
            assert!(message.contains(expected), "{message} does not say {expected}");
        }
    }

    #[test]
    fn damage_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (json, mut weights) = written(folder.path());
        let text = String::from_utf8(json.clone()).unwrap();
        let newer = text.replace("\"format_version\": 3", "\"format_version\": 4");
        assert!(refusal(&newer, &weights).contains("format_version is 4; this program reads 1 to 3"));
        let unknown = text.replace("\"temperature\"", "\"temprature\"");
        assert!(refusal(&unknown, &weights).contains("temprature"));
        let elsewhere = text.replace("\"weights.safetensors\"", "\"../secret\"");
        assert!(refusal(&elsewhere, &weights).contains("expected 'weights.safetensors'"));
        let cut = &weights[..weights.len() - 100];
        assert!(refusal(&text, cut).contains("sha256"));
        let rehashed = text.replace(&sha256(&weights), &sha256(cut));
        assert!(refusal(&rehashed, cut).contains("not a readable safetensors file"));
        *weights.last_mut().unwrap() ^= 1;
        assert!(refusal(&text, &weights).contains("sha256"));
        let missing = Bundle::open(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(missing.contains("model.json"), "{missing}");
    }

    #[test]
    fn the_shipped_bundle_is_of_the_current_format() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/emotion");
        let text = fs::read_to_string(folder.join(MANIFEST_FILE)).unwrap();
        assert!(text.starts_with("{\n  \"format_version\": 3,\n"), "{}", &text[..80]);
        let bundle = Bundle::open(&folder).unwrap();
        let face = FaceSpec { crop: CropRule::default(), luma: Luma::REC_601, height: 48, width: 48 };
        assert_eq!(bundle.face(), face);
        assert_eq!((bundle.head().label_set, bundle.head().temperature), (LabelSet::FerPlus, 0.944_425));
        let again = tempfile::tempdir().unwrap();
        bundle.to_builder().write(again.path()).unwrap();
        assert!(files(again.path()) == files(&folder), "written again, it has the same bytes");
    }

    #[test]
    fn small_bundles_of_all_formats_open() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fer-serve/fuzz/seeds");
        let weights = fs::read(seeds.join("small.safetensors")).unwrap();
        let open =
            |name: &str| Bundle::from_bytes(&fs::read(seeds.join("model").join(name)).unwrap(), &weights);
        let face = FaceSpec { crop: CropRule::default(), luma: Luma::REC_601, height: 12, width: 12 };
        assert_eq!(open("small.json").unwrap().face(), face);
        let luma = Luma::new(0.2126, 0.7152, 0.0722).unwrap();
        let crop = CropRule { scale: 1.1, shift_down: 0.05, level_eyes: true };
        for name in ["format-2.json", "format-3.json"] {
            assert_eq!(open(name).unwrap().face(), FaceSpec { crop, luma, ..face });
        }
    }

    #[test]
    fn networks_that_do_not_go_together_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("bundle");
        let (network, six) = (cnn6(), six_labels());
        let weights = Weights::init(network.architecture(), 3);
        let others = Weights::init(six.architecture(), 3);
        let refusal = |builder: BundleBuilder<'_>| builder.write(&out).unwrap_err().to_string();
        let two = || vec![(&network, &weights), (&six, &others)];
        let nameless = BundleBuilder { members: two(), ..builder(&network, &weights) };
        assert!(refusal(nameless).contains("2 networks without a name for the ensemble"));
        let ensemble = Some("both".to_owned());
        let unlike =
            BundleBuilder { members: two(), ensemble: ensemble.clone(), ..builder(&network, &weights) };
        assert!(refusal(unlike).contains("cnn6 and cnn6 have different labels"));
        let empty = BundleBuilder { members: vec![], ensemble, ..builder(&network, &weights) };
        assert!(refusal(empty).contains("'both' has no members"));
        let crop = CropRule { scale: f32::NAN, ..CropRule::default() };
        assert!(refusal(BundleBuilder { crop, ..builder(&network, &weights) }).contains("crop.scale is NaN"));
        assert!(!out.exists());
    }

    fn six_labels() -> NetworkSpec {
        let json = include_str!("../../../../configs/models/cnn6.json");
        let json = json.replace("\"disgust\", ", "").replace("\"units\": 7", "\"units\": 6");
        NetworkSpec::from_json(&json).unwrap()
    }
}
