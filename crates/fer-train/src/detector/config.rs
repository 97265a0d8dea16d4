//! The configuration of a detector's training, read from `configs/detector/*.json` and checked once.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fer_detect::mtcnn::Stage;
use fer_model::spec::{Architecture, Shape};
use serde::{Deserialize, Serialize};

/// How the three networks are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorTraining {
    /// Determines initial weights, split, samples and views.
    pub seed: u64,
    /// Fraction of the annotated photos that is kept out of training, to measure by.
    pub validation_share: f64,
    /// Faces whose longer side is below this many pixels are used neither as faces nor as background.
    pub min_side: f64,
    /// Rules by source. Annotations of other sources are used unchanged.
    pub sources: BTreeMap<String, SourceRule>,
    /// Ranges of the crops' random views.
    pub views: Views,
    /// P-Net.
    pub proposal: StageTraining,
    /// R-Net.
    pub refinement: StageTraining,
    /// O-Net.
    pub output: StageTraining,
}

/// How one source's annotations are used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceRule {
    /// By how much boxes are widened to the left, upwards, to the right and downwards, as fractions of their sides, because
    /// sources draw boxes differently.
    pub widen: [f64; 4],
    /// Whether its faces teach only landmarks.
    pub landmarks_only: bool,
}

/// Ranges of the random changes to a crop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Views {
    /// The contrast factor is 1 ± this.
    pub contrast: f64,
    /// The brightness changes by ± this, in units of the network's input, whose range is -1 to 1.
    pub brightness: f64,
    /// The brightness of each colour channel changes by ± this.
    pub colour: f64,
    /// Photos with faces are used a second time, turned by up to this many degrees.
    pub turn: f64,
    /// Fraction of the crops that are turned grey.
    pub grey: f64,
    /// Fraction of R-Net's and O-Net's crops that are blurred.
    pub blur: f64,
    /// Fraction of R-Net's and O-Net's crops of which up to a third is cut off, as at a picture's border.
    pub cut: f64,
    /// Fraction of the crops of which a rectangle is covered, in place of hands, masks and other heads.
    pub cover: f64,
}

/// How one network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageTraining {
    /// Input, trunk and heads: `prob`, `reg` and, for O-Net, `lmk`.
    pub network: Architecture,
    /// Number of mini-batches.
    pub steps: usize,
    /// Crops per mini-batch.
    pub batch_size: usize,
    /// Peak of the learning-rate schedule: linear warm-up over a twentieth of the steps, then a cosine to zero.
    pub learning_rate: f64,
    /// Weight decay of weights with more than one dimension.
    pub weight_decay: f64,
    /// Fraction of the mini-batch whose face loss counts: the hardest crops.
    pub hard_share: f64,
    /// Weight of the box loss; the face loss has weight 1.
    pub box_weight: f64,
    /// Weight of the landmark loss.
    #[serde(default)]
    pub landmark_weight: f64,
    /// Least score at which a box of the previous stages becomes a hard example.
    #[serde(default)]
    pub mining_threshold: f64,
    /// Largest number of hard backgrounds from one photo, those with the highest scores.
    #[serde(default)]
    pub mined_per_photo: usize,
}

impl DetectorTraining {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Returns an error that names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a detector's training configuration", path.display()))?;
        config.check().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    /// Returns a stage's part.
    pub fn stage(&self, stage: Stage) -> &StageTraining {
        match stage {
            Stage::Proposal => &self.proposal,
            Stage::Refinement => &self.refinement,
            Stage::Output => &self.output,
        }
    }

    /// Returns the rule for a source.
    pub fn rule(&self, source: &str) -> SourceRule {
        self.sources.get(source).cloned().unwrap_or_default()
    }

    fn check(&self) -> Result<()> {
        if !(0.0..0.9).contains(&self.validation_share) {
            bail!("validation_share is {}; expected 0 to below 0.9", self.validation_share);
        }
        for stage in Stage::ALL {
            self.stage(stage).check(stage).with_context(|| stage.net())?;
        }
        Ok(())
    }
}

impl StageTraining {
    pub(super) fn check(&self, stage: Stage) -> Result<()> {
        let input = self.network.input();
        let side = stage.side();
        if (input.channels, input.height, input.width) != (3, side, side) {
            bail!("the input is {}; expected 3×{side}×{side}", self.network.input_shape());
        }
        if stage == Stage::Proposal && !self.network.is_fully_convolutional() {
            bail!("it has a flatten or dense layer; it slides over pictures and must be fully convolutional");
        }
        let heads: Vec<_> = self
            .network
            .heads()
            .map(|(head, range)| {
                let features = match self.network.output_shape(head, &range) {
                    Shape::Vector(features) => features,
                    Shape::Image { channels, height, width } => channels * height * width,
                };
                (head.output.as_str(), head.softmax, features)
            })
            .collect();
        let wanted = [("prob", true, 2), ("reg", false, 4), ("lmk", false, 10)];
        let wanted = &wanted[..if stage == Stage::Output { 3 } else { 2 }];
        if heads != wanted {
            bail!("the heads are {heads:?}; expected {wanted:?} (output, softmax, features)");
        }
        if self.steps == 0 || self.batch_size < 16 {
            bail!("steps is {} and batch_size {}; expected at least 1 and 16", self.steps, self.batch_size);
        }
        if !(self.learning_rate > 0.0 && self.learning_rate < 10.0) {
            bail!("learning_rate is {}; expected above 0 and below 10", self.learning_rate);
        }
        if !(self.hard_share > 0.0 && self.hard_share <= 1.0) {
            bail!("hard_share is {}; expected above 0, at most 1", self.hard_share);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTCNN: &str = include_str!("../../../../configs/detector/mtcnn.json");

    fn error(from: &str, to: &str) -> String {
        assert!(MTCNN.contains(from), "the config has no {from}");
        let text = MTCNN.replacen(from, to, 1);
        let read = serde_json::from_str::<DetectorTraining>(&text).map_err(anyhow::Error::from);
        format!("{:#}", read.and_then(|config| config.check()).unwrap_err())
    }

    #[test]
    fn the_config_holds() {
        serde_json::from_str::<DetectorTraining>(MTCNN).unwrap().check().unwrap();
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(error("\"height\": 24", "\"height\": 25").contains("R-Net: the input is 3×25×24"));
        assert!(error("\"output\": \"reg\"", "\"output\": \"box\"").contains("P-Net: the heads are"));
        assert!(error("\"hard_share\": 0.7", "\"hard_share\": 0").contains("hard_share is 0"));
        assert!(error("\"stride\": 2", "\"strides\": 2").contains("strides"));
    }
}
