//! Hard examples: windows that the stages trained so far take for faces.

use anyhow::Result;
use fer_detect::mtcnn::MtcnnConfig;
use fer_engine::Engine;
use rayon::prelude::*;

use super::nets::{Nets, Stages};
use super::scene::{Label, Scene};

/// A window of a scene and what it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Example {
    /// Position of the scene.
    pub scene: usize,
    /// `x0, y0, x1, y1`
    pub corners: [f32; 4],
    /// What the window shows.
    pub label: Label,
}

/// Hard examples by what they show.
#[derive(Default)]
pub struct Mined {
    /// Windows on a face.
    pub faces: Vec<Example>,
    /// Windows on a part of a face.
    pub parts: Vec<Example>,
    /// Windows on background.
    pub backgrounds: Vec<Example>,
}

/// Runs the stages over the scenes, on all cores, and sorts the windows that pass `threshold` by what they show. Of one
/// scene it keeps at most `per_scene` backgrounds, those with the highest scores.
///
/// # Errors
/// Returns an error if a network fails.
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
        .filter(|(_, scene)| scene.is_mined())
        .map_init(
            || nets.open(engine, &config),
            |stages, (position, scene)| {
                let stages = stages.as_mut().map_err(|e| anyhow::anyhow!("{e:#}"))?;
                examples(stages, position, scene, per_scene)
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

fn examples(stages: &mut Stages, position: usize, scene: &Scene, per_scene: usize) -> Result<Vec<Example>> {
    let passed = stages.run(scene.image())?;
    let mut candidates = passed.refined.unwrap_or(passed.proposals);
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut backgrounds = 0;
    let examples = candidates.iter().filter_map(|candidate| {
        let label = scene.label(candidate).ok()?;
        backgrounds += usize::from(label == Label::Background);
        let kept = label != Label::Background || backgrounds <= per_scene;
        kept.then_some(Example { scene: position, corners: candidate.corners, label })
    });
    Ok(examples.collect())
}
