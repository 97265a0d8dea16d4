//! Hard examples: what the stages before take for a face.

use anyhow::Result;
use fer_detect::mtcnn::MtcnnConfig;
use fer_engine::Engine;
use rayon::prelude::*;

use super::nets::Nets;
use super::samples::{Example, Label, Mined, Scene};

/// Runs the stages over the scenes, on all cores, and sorts what they find by what it shows.
pub fn mine(
    engine: &Engine,
    nets: &Nets,
    scenes: &[Scene],
    threshold: f32,
    per_scene: usize,
) -> Result<Mined> {
    let config = MtcnnConfig { thresholds: [threshold; 3], ..MtcnnConfig::default() };
    let found: Vec<Vec<Example>> = scenes
        .par_iter()
        .enumerate()
        .filter(|(_, of)| of.is_mined())
        .map_init(
            || nets.open(engine, &config),
            |stages, (scene, of)| {
                let stages = stages.as_mut().map_err(|e| anyhow::anyhow!("{e:#}"))?;
                let passed = stages.run(of.image())?;
                let mut candidates = passed.refined.unwrap_or(passed.proposals);
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
