//! The nets that there are: while the later ones are not trained yet, the first stages of a cascade.

use anyhow::Result;
use fer_detect::Face;
use fer_detect::mtcnn::{Candidate, MtcnnConfig, MtcnnModel, OutputNet, ProposalNet, RefineNet};
use fer_engine::Engine;
use image::RgbImage;

/// P-, R- and O-Net's graphs, as far as they are there.
#[derive(Clone, Default)]
pub struct Nets(pub Vec<Vec<u8>>);

impl From<&MtcnnModel> for Nets {
    fn from(model: &MtcnnModel) -> Self {
        Self(model.graphs().map(<[u8]>::to_vec).to_vec())
    }
}

impl Nets {
    /// Opens them for one thread. There is at least P-Net.
    pub fn open(&self, engine: &Engine, config: &MtcnnConfig) -> Result<Stages> {
        Ok(Stages {
            proposal: ProposalNet::open(engine, &self.0[0])?,
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

/// What each stage let pass.
pub struct Passed {
    pub proposals: Vec<Candidate>,
    pub refined: Option<Vec<Candidate>>,
    pub faces: Option<Vec<Face>>,
}

impl Stages {
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
