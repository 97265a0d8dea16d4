//! Hard examples: windows that the networks before the one that is trained take for faces.

use anyhow::Result;
use fer_detect::mtcnn::Candidate;
use image::RgbImage;
use rayon::prelude::*;

use super::scene::{Label, Scene};

/// Searches a picture for windows that may show a face. Each thread opens its own.
pub type Search = Box<dyn FnMut(&RgbImage) -> Result<Vec<Candidate>>>;

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

/// Searches the scenes, on all cores, and sorts the windows by what they show. Of one scene it keeps at most `per_scene`
/// backgrounds, those with the highest scores.
///
/// # Errors
/// Returns an error if a search cannot be opened or fails.
pub fn mine(open: &(dyn Fn() -> Result<Search> + Sync), scenes: &[Scene], per_scene: usize) -> Result<Mined> {
    let found: Vec<Vec<Example>> = scenes
        .par_iter()
        .enumerate()
        .filter(|(_, scene)| scene.is_mined())
        .map_init(open, |search, (position, scene)| {
            let search = search.as_mut().map_err(|e| anyhow::anyhow!("{e:#}"))?;
            Ok(examples(search(scene.image())?, position, scene, per_scene))
        })
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

fn examples(
    mut candidates: Vec<Candidate>,
    position: usize,
    scene: &Scene,
    per_scene: usize,
) -> Vec<Example> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut backgrounds = 0;
    let examples = candidates.iter().filter_map(|candidate| {
        let label = scene.label(candidate).ok()?;
        backgrounds += usize::from(label == Label::Background);
        let kept = label != Label::Background || backgrounds <= per_scene;
        kept.then_some(Example { scene: position, corners: candidate.corners, label })
    });
    examples.collect()
}
