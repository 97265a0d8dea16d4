//! The nets that there are: while the later ones are not trained yet, the first stages of a cascade.

use anyhow::Result;
use fer_detect::{Candidate, DetectorConfig, DetectorModel, Face, Finisher, Proposer, Refiner};
use fer_engine::Engine;
use image::RgbImage;

/// P-, R- and O-Net's graphs, as far as they are there.
#[derive(Clone, Default)]
pub struct Nets(pub Vec<Vec<u8>>);

impl From<&DetectorModel> for Nets {
    fn from(model: &DetectorModel) -> Self {
        Self(model.graphs().map(<[u8]>::to_vec).to_vec())
    }
}

impl Nets {
    /// Opens them for one thread. There is at least P-Net.
    pub fn open(&self, engine: &Engine, config: &DetectorConfig) -> Result<Stages> {
        Ok(Stages {
            proposer: Proposer::open(engine, &self.0[0])?,
            refiner: self.0.get(1).map(|graph| Refiner::open(engine, graph)).transpose()?,
            finisher: self.0.get(2).map(|graph| Finisher::open(engine, graph)).transpose()?,
            config: config.clone(),
        })
    }
}

/// The opened stages.
pub struct Stages {
    proposer: Proposer,
    refiner: Option<Refiner>,
    finisher: Option<Finisher>,
    config: DetectorConfig,
}

/// What each stage let pass.
pub struct Passed {
    pub proposals: Vec<Candidate>,
    pub refined: Option<Vec<Candidate>>,
    pub faces: Option<Vec<Face>>,
}

impl Stages {
    pub fn run(&mut self, image: &RgbImage) -> Result<Passed> {
        let proposals = self.proposer.propose(image, &self.config)?;
        let mut passed = Passed { proposals, refined: None, faces: None };
        if let Some(refiner) = &mut self.refiner {
            let refined = refiner.refine(image, &passed.proposals, &self.config)?;
            if let Some(finisher) = &mut self.finisher {
                passed.faces = Some(finisher.finish(image, &refined, &self.config)?);
            }
            passed.refined = Some(refined);
        }
        Ok(passed)
    }
}
