//! The configuration of a single-shot detector's training, read from `configs/detector/*.json` and checked once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fer_detect::mtcnn::Stage;
use fer_detect::single_shot::{OUTPUTS, STRIDES, VALUES};
use fer_model::spec::{Architecture, Shape};
use serde::{Deserialize, Serialize};

use crate::detector::config::{SourceRule, StageTraining, Views};
use crate::training::optimizer::OptimizerConfig;

/// How the network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleShotTraining {
    /// The kind of configuration, which distinguishes it from an MTCNN's.
    pub kind: Kind,
    /// `checkpoint.safetensors` of another run, whose averaged weights this one starts from; random weights if not given.
    /// Its network may lack residual convolutions of this one, which then start as zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// Determines initial weights, split, crops and views.
    pub seed: u64,
    /// Which photos are used, and how.
    pub data: DataConfig,
    /// Ranges of the random crops.
    pub views: ViewConfig,
    /// Input, trunk and heads.
    pub network: Architecture,
    /// Weights of the loss.
    pub loss: LossConfig,
    /// The network that judges each box of the first one, trained after it; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refinement: Option<RefinementTraining>,
    /// Epochs; after each one the validation photos are searched.
    pub epochs: usize,
    /// Mini-batches of an epoch.
    pub steps_per_epoch: usize,
    /// Crops per mini-batch.
    pub batch_size: usize,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Peak of the learning-rate schedule: a linear warm-up, then half a cosine to zero.
    pub learning_rate: f64,
    /// Steps of the warm-up.
    pub warmup_steps: usize,
    /// Largest norm of the gradient over all parameters; a larger one is scaled down to it.
    pub gradient_clip: Option<f64>,
    /// Weight of the old average in the exponential moving average of the weights, which is what is measured and kept.
    pub ema: f64,
}

/// How the refinement network is trained. Its crops are drawn like O-Net's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefinementTraining {
    /// Faces whose longer side is below this many pixels are used neither as faces nor as background.
    pub min_side: f32,
    /// Ranges of the crops' random views.
    pub views: Views,
    /// The network and its schedule.
    pub training: StageTraining,
}

/// The one kind of this configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A single-shot detector.
    SingleShot,
}

/// Which photos are used, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Fraction of a source's photos that is kept out of training, to measure by.
    pub validation: BTreeMap<String, f64>,
    /// Width in pixels of the smallest face that counts on the validation photos.
    pub min_size: f32,
    /// Rules by source. Annotations of other sources are used unchanged; the boxes of a teacher have the source `teacher`.
    pub sources: BTreeMap<String, SourceRule>,
    /// Probabilities with which a photo is drawn from a source, relative to each other; photos without faces are the source
    /// `negatives`. Photos of other sources are not used.
    pub draw: BTreeMap<String, f64>,
    /// What the boxes of a teacher are used for.
    pub teacher: TeacherConfig,
}

/// Scores of a teacher's boxes that belong to no annotated face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// Least score of a box that becomes a face.
    pub face: f32,
    /// Least score of a box that is excluded from both faces and background.
    pub ignore: f32,
}

/// Ranges of the random crops and of their changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// How often each layout is drawn, relative to the others.
    pub layouts: Layouts,
    /// Least and largest side of a crop, in units of the photo's shorter side.
    pub crop: [f64; 2],
    /// Least and largest side of a crop that is filled by one face, in units of the face's longer side.
    pub close: [f64; 2],
    /// Least and largest number of tiles along a side of a crowd.
    pub tiles: [usize; 2],
    /// Largest enlargement of a photo.
    pub enlarge: f64,
    /// Faces whose longer side is smaller than this many pixels in a crop are ignored.
    pub min_side: f64,
    /// Fraction of a face that must be visible; faces of which less is visible are ignored.
    pub min_visible: f64,
    /// Largest rotation in degrees.
    pub turn: f64,
    /// Fraction of the photos that are turned by up to `turn`; others are turned by up to a sixth of it.
    pub turned: f64,
    /// The contrast factor is 1 ± this.
    pub contrast: f64,
    /// The brightness changes by ± this, in units of the network's input, whose range is -1 to 1.
    pub brightness: f64,
    /// The brightness of each colour channel changes by ± this.
    pub colour: f64,
    /// Fraction of the crops that are turned grey.
    pub grey: f64,
    /// Fraction of the crops that are darkened, down to an eighth of their light.
    pub dark: f64,
    /// Fraction of the crops that are blurred.
    pub blur: f64,
    /// Fraction of the crops to which noise is added.
    pub noise: f64,
    /// Fraction of the faces of which a part is covered.
    pub cover: f64,
}

/// How often each layout of a crop is drawn, relative to the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layouts {
    /// A part of one photo.
    pub single: f64,
    /// A face that fills the crop or is larger.
    pub close: f64,
    /// Parts of four photos.
    pub mosaic: f64,
    /// A grid of faces.
    pub crowd: f64,
    /// Faces without their surroundings in a plain picture.
    #[serde(default)]
    pub cut_outs: f64,
}

/// Weights of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of the box loss; the score loss has weight 1.
    pub boxes: f32,
    /// Weight of the landmark loss.
    pub landmarks: f32,
    /// Largest number of cells that learn one face.
    pub cells_per_face: usize,
    /// Distance from a face's centre within which cells may learn it, in strides.
    pub radius: f32,
}

impl SingleShotTraining {
    /// Whether a configuration's text is of this kind.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be read, is no JSON, or has a kind that is unknown.
    pub fn is_kind_of(path: &Path) -> Result<bool> {
        #[derive(Deserialize)]
        struct Header {
            kind: Option<String>,
        }
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let header: Header =
            serde_json::from_str(&text).with_context(|| format!("{} is no configuration", path.display()))?;
        match header.kind.as_deref() {
            Some("single_shot") => Ok(true),
            Some("mtcnn") | None => Ok(false),
            Some(kind) => {
                bail!("{}: the kind '{kind}' is unknown; expected mtcnn or single_shot", path.display())
            }
        }
    }

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Returns an error that names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a single-shot detector's configuration", path.display()))?;
        config.check().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    /// Returns the rule for a source.
    pub fn rule(&self, source: &str) -> SourceRule {
        self.data.sources.get(source).cloned().unwrap_or_default()
    }

    /// Side of a crop in pixels.
    pub fn side(&self) -> usize {
        self.network.input().width
    }

    /// Number of mini-batches.
    pub fn steps(&self) -> usize {
        self.epochs * self.steps_per_epoch
    }

    fn check(&self) -> Result<()> {
        self.check_network()?;
        self.optimizer.check()?;
        self.views.check()?;
        if let Some(refinement) = &self.refinement {
            refinement.training.check(Stage::Output).context("refinement")?;
        }
        for (name, value) in [("epochs", self.epochs), ("steps_per_epoch", self.steps_per_epoch)] {
            ensure!(value > 0, "{name} is 0; expected at least 1");
        }
        ensure!(self.batch_size > 1, "batch_size is {}; expected at least 2", self.batch_size);
        let rate = self.learning_rate;
        ensure!(rate > 0.0 && rate < 10.0, "learning_rate is {rate}; expected above 0 and below 10");
        ensure!((0.0..1.0).contains(&self.ema), "ema is {}; expected 0 to below 1", self.ema);
        for (source, share) in &self.data.validation {
            ensure!(
                (0.0..0.9).contains(share),
                "data.validation.{source} is {share}; expected 0 to below 0.9"
            );
        }
        let weights = || self.data.draw.values();
        ensure!(
            weights().all(|weight| weight.is_finite() && *weight >= 0.0) && weights().sum::<f64>() > 0.0,
            "data.draw has a negative weight, or none above 0"
        );
        let LossConfig { boxes, landmarks, cells_per_face, radius } = self.loss;
        ensure!(boxes >= 0.0 && landmarks >= 0.0, "a weight of the loss is negative");
        ensure!(cells_per_face > 0, "loss.cells_per_face is 0; expected at least 1");
        ensure!(radius > 0.5, "loss.radius is {radius}; expected above 0.5");
        Ok(())
    }

    fn check_network(&self) -> Result<()> {
        let input = self.network.input();
        let side = input.width;
        ensure!(
            input.channels == 3 && input.height == side && side.is_multiple_of(32),
            "the input is {}; expected 3 channels and equal sides that are a multiple of 32",
            self.network.input_shape()
        );
        let found: Vec<_> = self
            .network
            .heads()
            .map(|(head, range)| (head.output.clone(), head.softmax, self.network.output_shape(head, &range)))
            .collect();
        let wanted: Vec<_> = OUTPUTS
            .into_iter()
            .zip(STRIDES)
            .map(|(output, stride)| {
                let shape = Shape::Image { channels: VALUES, height: side / stride, width: side / stride };
                (output.to_owned(), false, shape)
            })
            .collect();
        let words = |heads: &[(String, bool, Shape)]| {
            let heads = heads.iter().map(|(output, softmax, shape)| {
                format!("{output} {shape}{}", if *softmax { " with softmax" } else { "" })
            });
            heads.collect::<Vec<_>>().join(", ")
        };
        ensure!(found == wanted, "the heads are {}; expected {}", words(&found), words(&wanted));
        Ok(())
    }
}

impl ViewConfig {
    fn check(&self) -> Result<()> {
        let Layouts { single, close, mosaic, crowd, cut_outs } = self.layouts;
        let layouts = [single, close, mosaic, crowd, cut_outs];
        ensure!(
            layouts.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
                && layouts.iter().sum::<f64>() > 0.0,
            "views.layouts has a negative weight, or none above 0"
        );
        for (name, [least, most]) in [("crop", self.crop), ("close", self.close)] {
            ensure!(
                least > 0.0 && least <= most && most.is_finite(),
                "views.{name} is [{least}, {most}]; expected two positive numbers in order"
            );
        }
        let [least, most] = self.tiles;
        ensure!(
            (2..=16).contains(&least) && (least..=16).contains(&most),
            "views.tiles is [{least}, {most}]; expected two numbers from 2 to 16 in order"
        );
        for (name, value) in [
            ("min_visible", self.min_visible),
            ("turned", self.turned),
            ("grey", self.grey),
            ("dark", self.dark),
            ("blur", self.blur),
            ("noise", self.noise),
            ("cover", self.cover),
        ] {
            ensure!((0.0..=1.0).contains(&value), "views.{name} is {value}; expected 0 to 1");
        }
        for (name, value) in [
            ("turn", self.turn),
            ("contrast", self.contrast),
            ("brightness", self.brightness),
            ("colour", self.colour),
            ("min_side", self.min_side),
        ] {
            ensure!(value.is_finite() && value >= 0.0, "views.{name} is {value}; expected at least 0");
        }
        ensure!(self.enlarge > 0.0, "views.enlarge is {}; expected above 0", self.enlarge);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use fer_model::spec::Step;

    const CONFIG: &str = include_str!("../../../../../configs/detector/single_shot.json");

    /// The configuration that continues the other one's run with a deeper network.
    const DEEPER: &str = include_str!("../../../../../configs/detector/single_shot_deeper.json");

    /// The configuration from which the embedded detector's training begins.
    pub(in crate::detector::single_shot) fn shipped() -> SingleShotTraining {
        serde_json::from_str(CONFIG).unwrap()
    }

    fn error(from: &str, to: &str) -> String {
        assert!(CONFIG.contains(from), "the config has no {from}");
        let read = serde_json::from_str::<SingleShotTraining>(&CONFIG.replacen(from, to, 1));
        let read = read.map_err(anyhow::Error::from);
        format!("{:#}", read.and_then(|config| config.check()).unwrap_err())
    }

    /// The configuration that ends it.
    pub(in crate::detector::single_shot) fn deeper() -> SingleShotTraining {
        serde_json::from_str(DEEPER).unwrap()
    }

    #[test]
    fn the_configs_hold_and_their_networks_are_small() {
        for config in [shipped(), deeper()] {
            config.check().unwrap();
            assert!(config.network.is_fully_convolutional());
            let multiply_adds: usize = config.network.steps().iter().map(Step::multiply_adds).sum();
            println!("{multiply_adds} multiply-adds, {} parameters", config.network.trainable_parameters());
            assert!((60_000_000..150_000_000).contains(&multiply_adds), "{multiply_adds}");
            assert!(config.network.trainable_parameters() < 300_000);
        }
        let crops = [shipped(), deeper()].map(|config| config.steps() * config.batch_size);
        assert!(crops.iter().sum::<usize>() >= 700_000, "{crops:?}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(error("\"width\": 320", "\"width\": 352").contains("expected 3 channels and equal sides"));
        assert!(
            error("\"output\": \"stride8\"", "\"output\": \"fine\"").contains("the heads are fine 15×40×40")
        );
        assert!(error("\"cells_per_face\": 10", "\"cells_per_face\": 0").contains("cells_per_face is 0"));
        assert!(error("\"tiles\": [3", "\"tiles\": [1").contains("views.tiles is [1, 10]"));
        assert!(error("\"grey\": 0.15", "\"grey\": 1.5").contains("views.grey is 1.5"));
        assert!(error("\"seed\": 1", "\"sead\": 1").contains("sead"));
    }
}
