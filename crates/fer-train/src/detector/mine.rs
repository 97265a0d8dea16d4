//! Hard examples: what the stages before take for a face.

use anyhow::Result;
use fer_detect::{Candidate, DetectorConfig, Proposer, Refiner};
use fer_engine::Engine;
use image::RgbImage;
use rayon::prelude::*;

use super::samples::{Example, Label, Mined, Scene};

/// The nets that are trained already.
#[derive(Clone, Default)]
pub(crate) struct Trained {
    /// P-, R- and O-Net's graphs, as far as they are there.
    pub(crate) graphs: Vec<Vec<u8>>,
}

/// The first stages of a cascade.
pub(crate) struct Stages {
    proposer: Proposer,
    refiner: Option<Refiner>,
}

impl Trained {
    /// Opens P-Net, and R-Net if it is there.
    pub(crate) fn open(&self, engine: &Engine) -> Result<Stages> {
        let proposer = Proposer::open(engine, &self.graphs[0])?;
        let refiner = self.graphs.get(1).map(|graph| Refiner::open(engine, graph)).transpose()?;
        Ok(Stages { proposer, refiner })
    }
}

impl Stages {
    /// What the last of the stages lets pass.
    pub(crate) fn candidates(&mut self, image: &RgbImage, config: &DetectorConfig) -> Result<Vec<Candidate>> {
        let proposals = self.proposer.propose(image, config)?;
        Ok(match &mut self.refiner {
            Some(refiner) => refiner.refine(image, &proposals, config)?,
            None => proposals,
        })
    }
}

/// Runs the stages over the scenes, on all cores, and sorts what they find by what it shows.
pub(crate) fn mine(
    engine: &Engine,
    trained: &Trained,
    scenes: &[Scene],
    threshold: f32,
    per_scene: usize,
) -> Result<Mined> {
    let config = DetectorConfig { thresholds: [threshold; 3], ..DetectorConfig::default() };
    let found: Vec<Vec<Example>> = scenes
        .par_iter()
        .enumerate()
        .filter(|(_, of)| of.is_mined())
        .map_init(
            || trained.open(engine),
            |stages, (scene, of)| {
                let stages = stages.as_mut().map_err(|e| anyhow::anyhow!("{e:#}"))?;
                let mut candidates = stages.candidates(of.image(), &config)?;
                candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
                let mut backgrounds = 0;
                let examples = candidates.iter().filter_map(|candidate| {
                    let label = of.label(candidate).ok()?;
                    backgrounds += usize::from(label == Label::Background);
                    let kept = label != Label::Background || backgrounds <= per_scene;
                    kept.then_some(Example { scene, corners: candidate.corners, label })
                });
                Ok(examples.collect())
            },
        )
        .collect::<Result<_>>()?;
    let mut mined = Mined::default();
    for example in found.into_iter().flatten() {
        match example.label {
            Label::Face(_) => mined.faces.push(example),
            Label::Part(_) => mined.parts.push(example),
            Label::Background => mined.backgrounds.push(example),
        }
    }
    Ok(mined)
}
