//! MTCNN (Zhang et al. 2016): a cascade of three small networks over an image pyramid.
//!
//! The data flows pyramid → P-Net ([`ProposalNet`]) → R-Net ([`RefineNet`]) → O-Net ([`OutputNet`]) → boxes with five
//! landmarks. The arithmetic around the networks follows facenet-pytorch, so that its weights give the same boxes. The
//! weights that are part of the program are trained by `fer-train detector train`.
//!
//! # Layout of the networks
//! Input `input`: RGB, `[batch, 3, height, width]`, normalised as the manifest says. Outputs `reg` (box regression, four
//! values), `prob` (probabilities of no face and face) and, for O-Net, `lmk` (five x, then five y, as fractions of the
//! box). R-Net takes 24×24 pixels and O-Net 48×48. P-Net is fully convolutional with a stride of 2 and a window of 12
//! pixels; its outputs have the shape `[1, channels, height, width]`.

mod candidate;
mod config;
mod model;
mod network;
mod pyramid;
mod stages;

use std::time::Duration;

use fer_engine::Engine;
use image::RgbImage;

pub use candidate::{Candidate, box_regression, point_fractions};
pub use config::MtcnnConfig;
pub use model::{MtcnnFiles, MtcnnManifest, MtcnnModel};
pub use network::{Stage, append_crop};
pub(crate) use stages::Judged;
pub use stages::{OutputNet, ProposalNet, RefineNet};

use crate::{DetectError, Face, FaceDetector};

/// The opened cascade.
pub struct Mtcnn {
    proposal: ProposalNet,
    refine: RefineNet,
    output: OutputNet,
    config: MtcnnConfig,
}

impl Mtcnn {
    /// Opens the three networks for one thread at a time.
    ///
    /// # Errors
    /// Returns an error if a setting is out of range or the engine does not open a graph.
    pub fn open(engine: &Engine, model: &MtcnnModel, config: MtcnnConfig) -> Result<Self, DetectError> {
        config.check().map_err(DetectError::Config)?;
        let [proposal, refinement, output] = model.graphs();
        Ok(Self {
            proposal: ProposalNet::open(engine, proposal)?,
            refine: RefineNet::open(engine, refinement)?,
            output: OutputNet::open(engine, output)?,
            config,
        })
    }
}

impl FaceDetector for Mtcnn {
    fn detect(&mut self, image: &RgbImage) -> Result<Vec<Face>, DetectError> {
        let proposals = self.proposal.propose(image, &self.config)?;
        let refined = self.refine.refine(image, &proposals, &self.config)?;
        self.output.finish(image, &refined, &self.config)
    }

    fn take_inference_time(&mut self) -> Duration {
        self.proposal.take_inference_time()
            + self.refine.take_inference_time()
            + self.output.take_inference_time()
    }
}
