//! The configuration of a training run: read from `configs/training/*.json`, overridden on the command line, checked once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fer_image::CropRule;
use fer_model::Emotion;
use serde::{Deserialize, Deserializer, Serialize};

use crate::data::augment::Augmentation;
use crate::training::optimizer::OptimizerConfig;
use crate::training::schedule::Schedule;
use crate::training::teacher::Teacher;

/// Configuration of a training run of an emotion network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// File of the network specification.
    pub model: PathBuf,
    /// Weights to start from, see [`crate::training::initial`]; random ones if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// The FER-2013 CSV.
    pub data: PathBuf,
    /// How serving cuts out faces for the network: it goes into the bundle and must match how the data's faces are cut
    /// out. For the data that `fer-train align` writes, `level_eyes` is true. Values that are not given are those of
    /// FER-2013.
    #[serde(default, deserialize_with = "crop_with_defaults")]
    pub crop: CropRule,
    /// FER+ votes, one row for each row of the data: the soft targets of a network's head for them. A network without such a head
    /// learns them in place of the labels.
    #[serde(default, alias = "labels", skip_serializing_if = "Option::is_none")]
    pub votes: Option<PathBuf>,
    /// A bundle whose probabilities become part of the soft targets of the training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Teacher>,
    /// Leaves out training rows that have a copy in PublicTest or PrivateTest, see `fer-train audit`.
    #[serde(default)]
    pub leave_out_copies: bool,
    /// The faces that choose the best epoch.
    #[serde(default)]
    pub validation: Validation,
    /// Passes over the training rows.
    pub epochs: usize,
    /// Faces per step. An incomplete last mini-batch of an epoch is left out.
    pub batch_size: usize,
    /// Optimiser and its constants.
    pub optimizer: OptimizerConfig,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps in which the rate rises in a line to its peak.
    #[serde(default)]
    pub warmup_steps: usize,
    /// How the rate falls after the warm-up.
    pub schedule: Schedule,
    /// Largest norm of the gradient over all parameters; larger gradients are scaled down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_clip: Option<f64>,
    /// Decay of the exponential moving average of the weights. If given, the average is what is validated and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Ends the run after this many epochs without a better validation accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<usize>,
    /// Probability mass spread evenly over the classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Number of bundles to keep for `fer-train ensemble`, from the ends of equal parts of the run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub snapshots: usize,
    /// Factors on the losses of the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Random changes to the faces.
    pub augmentation: Augmentation,
    /// Initial weights, order of the rows, augmentation and dropout follow from it.
    pub seed: u64,
}

/// The faces that choose the best epoch, reduce the rate on a plateau and stop the run early.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Validation {
    /// The public test of the competition; all training rows train.
    #[default]
    PublicTest,
    /// A fraction of each class of the training rows, drawn by the seed; the other rows train.
    Stratified {
        /// Above 0 and below 1.
        #[serde(rename = "share", default = "a_fifth")]
        fraction: f64,
    },
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A crop rule of which any part may be left out, which the type itself does not allow.
fn crop_with_defaults<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CropRule, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Given {
        scale: Option<f32>,
        shift_down: Option<f32>,
        level_eyes: Option<bool>,
    }
    let (given, default) = (Given::deserialize(deserializer)?, CropRule::default());
    Ok(CropRule {
        scale: given.scale.unwrap_or(default.scale),
        shift_down: given.shift_down.unwrap_or(default.shift_down),
        level_eyes: given.level_eyes.unwrap_or(default.level_eyes),
    })
}

fn a_fifth() -> f64 {
    0.2
}

impl Validation {
    /// Name of the score in the bundle.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PublicTest => "PublicTest",
            Self::Stratified { .. } => "validation",
        }
    }
}

/// Factors on the losses of the classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// Inversely proportional to the frequency of a class, and 1 on average over the faces.
    Balanced,
    /// By emotion; 1 for emotions that are not named.
    Each(BTreeMap<Emotion, f64>),
}

impl TrainingConfig {
    /// Reads a file. Each of `overrides` replaces a field: `key=value` with dots between nested keys, where the value is JSON
    /// or plain text.
    ///
    /// # Errors
    /// Names the file or the override, and what is wrong with it.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let wrong = || format!("{} is not a training config", path.display());
        let mut json: serde_json::Value = serde_json::from_str(&text).with_context(wrong)?;
        for given in overrides {
            set(&mut json, given)?;
        }
        serde_json::from_value(json).with_context(wrong)
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// Names the field and the range.
    pub fn check(&self) -> Result<()> {
        ensure!(self.epochs > 0, "epochs is 0; expected at least 1");
        ensure!(self.batch_size > 1, "batch_size is {}; expected at least 2", self.batch_size);
        let within = |name: &str, value: f64, low: f64, high: f64| {
            if value.is_finite() && value >= low && value < high {
                return Ok(());
            }
            bail!("{name} is {value}; expected {low} to below {high}")
        };
        ensure!(self.learning_rate != 0.0, "learning_rate is 0; nothing would be learned");
        within("learning_rate", self.learning_rate, 0.0, 100.0)?;
        within("label_smoothing", self.label_smoothing, 0.0, 1.0)?;
        self.crop.check().map_err(anyhow::Error::msg)?;
        self.teacher.as_ref().map_or(Ok(()), Teacher::check)?;
        within("ema", self.ema.unwrap_or(0.0), 0.0, 1.0)?;
        ensure!(self.gradient_clip.is_none_or(|most| most > 0.0), "gradient_clip is not above 0");
        ensure!(self.early_stopping != Some(0), "early_stopping is 0; expected at least 1 epoch");
        ensure!(
            self.snapshots == 0 || self.epochs.is_multiple_of(self.snapshots),
            "snapshots is {}, which does not divide the {} epochs",
            self.snapshots,
            self.epochs
        );
        if let Validation::Stratified { fraction } = self.validation {
            ensure!(
                fraction > 0.0 && fraction < 1.0,
                "validation.share is {fraction}; expected above 0 and below 1"
            );
        }
        if let Some(ClassWeights::Each(weights)) = &self.class_weights {
            for (emotion, weight) in weights {
                let ok = weight.is_finite() && *weight > 0.0;
                ensure!(ok, "class_weights: {} is {weight}; expected a number above 0", emotion.name());
            }
        }
        self.optimizer.check()?;
        self.schedule.check()?;
        self.augmentation.check().map_err(anyhow::Error::msg)
    }
}

/// Sets the field that an override names.
fn set(json: &mut serde_json::Value, given: &str) -> Result<()> {
    let (path, value) = given
        .split_once('=')
        .with_context(|| format!("--set {given}: expected key=value, such as optimizer.momentum=0.95"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
    let mut field = json;
    for key in path.split('.') {
        if !field.is_object() {
            *field = serde_json::json!({});
        }
        field = field
            .as_object_mut()
            .unwrap_or_else(|| unreachable!("it was made an object just above"))
            .entry(key)
            .or_insert(serde_json::Value::Null);
    }
    *field = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/training/cnn6.json")
    }

    fn config() -> TrainingConfig {
        TrainingConfig::read(&path(), &[]).unwrap()
    }

    #[test]
    fn every_config_holds() {
        for entry in std::fs::read_dir(path().parent().unwrap()).unwrap() {
            let file = entry.unwrap().path();
            let config = TrainingConfig::read(&file, &[]).unwrap();
            config.check().unwrap();
            let model = path().parent().unwrap().join("../..").join(&config.model);
            assert!(model.is_file(), "{} names {}", file.display(), model.display());
        }
    }

    #[test]
    fn any_field_can_be_set() {
        let set = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
            TrainingConfig::read(&path(), &given)
        };
        let changed = set(&[
            "epochs=3",
            "optimizer={\"kind\": \"adam\"}",
            "validation.kind=stratified",
            "augmentation.flip=0",
            "class_weights=balanced",
            "crop.level_eyes=true",
            "model=other.json",
        ])
        .unwrap();
        assert_eq!((changed.epochs, changed.augmentation.flip), (3, 0.0));
        assert!(matches!(changed.optimizer, OptimizerConfig::Adam { beta_1: 0.9, .. }));
        assert_eq!(changed.validation, Validation::Stratified { fraction: 0.2 });
        assert_eq!(changed.class_weights, Some(ClassWeights::Balanced));
        assert_eq!(changed.model, Path::new("other.json"));
        assert_eq!(config().crop, CropRule::default());
        assert_eq!(changed.crop, CropRule { level_eyes: true, ..CropRule::default() });
        let refusal = |given: &str| format!("{:#}", set(&[given]).unwrap_err());
        assert!(refusal("epoch=3").contains("unknown field `epoch`"), "{}", refusal("epoch=3"));
        assert!(refusal("crop.level=true").contains("unknown field `level`"));
        assert!(refusal("epochs").contains("expected key=value"));
        assert!(refusal("optimizer.kind=sdg").contains("sdg"));
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |change: fn(&mut TrainingConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(wrong(|c| c.learning_rate = f64::NAN).contains("learning_rate is NaN"));
        assert!(wrong(|c| c.learning_rate = 0.0).contains("learning_rate is 0"));
        assert!(wrong(|c| c.crop.scale = 0.0).contains("crop.scale is 0"));
        assert!(wrong(|c| c.batch_size = 0).contains("batch_size is 0"));
        assert!(wrong(|c| c.ema = Some(1.0)).contains("ema is 1"));
        let teacher = |c: &mut TrainingConfig| {
            c.teacher = Some(Teacher { bundle: PathBuf::new(), weight: 1.5, temperature: 1.0 });
        };
        assert!(wrong(teacher).contains("teacher.share is 1.5"));
        assert!(wrong(|c| c.snapshots = 7).contains("snapshots is 7, which does not divide the 36 epochs"));
        assert!(wrong(|c| c.augmentation.scale = 2.0).contains("augmentation.scale is 2"));
        assert!(wrong(|c| c.augmentation.mixup = -1.0).contains("augmentation.mixup is -1"));
        assert!(wrong(|c| c.validation = Validation::Stratified { fraction: 1.0 }).contains("share is 1"));
        let weights = |c: &mut TrainingConfig| {
            c.class_weights = Some(ClassWeights::Each(BTreeMap::from([(Emotion::Sad, 0.0)])));
        };
        assert!(wrong(weights).contains("class_weights: sad is 0"));
    }
}
