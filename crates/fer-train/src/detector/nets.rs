//! The networks that are trained so far: the first stages of a cascade while the later ones are missing.

use anyhow::{Context as _, Result};
use fer_detect::Face;
use fer_detect::mtcnn::{Candidate, MtcnnConfig, MtcnnModel, OutputNet, ProposalNet, RefineNet};
use fer_engine::Engine;
use image::RgbImage;

use super::mine::Search;

/// The graphs of P-Net, R-Net and O-Net, in this order, as far as they are trained.
#[derive(Clone, Default)]
pub struct Nets(pub Vec<Vec<u8>>);

impl From<&MtcnnModel> for Nets {
    fn from(model: &MtcnnModel) -> Self {
        Self(model.graphs().map(<[u8]>::to_vec).to_vec())
    }
}

impl Nets {
    /// Opens the networks for one thread, as a search for windows that at least the score `threshold` lets pass.
    ///
    /// # Errors
    /// Returns an error like [`Nets::open`].
    pub fn search(&self, engine: &Engine, threshold: f32) -> Result<Search> {
        let config = MtcnnConfig { thresholds: [threshold; 3], ..MtcnnConfig::default() };
        let mut stages = self.open(engine, &config)?;
        Ok(Box::new(move |image| {
            let passed = stages.run(image)?;
            Ok(passed.refined.unwrap_or(passed.proposals))
        }))
    }

    /// Opens the networks for one thread.
    ///
    /// # Errors
    /// Returns an error if there is no P-Net or the engine does not open a graph.
    pub fn open(&self, engine: &Engine, config: &MtcnnConfig) -> Result<Stages> {
        let proposal = self.0.first().context("there is no P-Net yet")?;
        Ok(Stages {
            proposal: ProposalNet::open(engine, proposal)?,
            refine: self.0.get(1).map(|graph| RefineNet::open(engine, graph)).transpose()?,
            output: self.0.get(2).map(|graph| OutputNet::open(engine, graph)).transpose()?,
            config: config.clone(),
        })
    }
}

/// The opened stages.
pub struct Stages {
    proposal: ProposalNet,
    refine: Option<RefineNet>,
    output: Option<OutputNet>,
    config: MtcnnConfig,
}

/// What each stage lets pass.
pub struct Passed {
    /// After P-Net.
    pub proposals: Vec<Candidate>,
    /// After R-Net, if there is one.
    pub refined: Option<Vec<Candidate>>,
    /// After O-Net, if there is one.
    pub faces: Option<Vec<Face>>,
}

impl Stages {
    /// Runs all stages over a picture.
    ///
    /// # Errors
    /// Returns an error if a network fails.
    pub fn run(&mut self, image: &RgbImage) -> Result<Passed> {
        let proposals = self.proposal.propose(image, &self.config)?;
        let mut passed = Passed { proposals, refined: None, faces: None };
        if let Some(refine) = &mut self.refine {
            let refined = refine.refine(image, &passed.proposals, &self.config)?;
            if let Some(output) = &mut self.output {
                passed.faces = Some(output.finish(image, &refined, &self.config)?);
            }
            passed.refined = Some(refined);
        }
        Ok(passed)
    }
}
