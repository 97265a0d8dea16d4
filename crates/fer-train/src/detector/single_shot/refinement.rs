//! Trains the network that judges each box of the first one: on crops of the same photos, and on the boxes that the first
//! network finds in them.

use std::path::Path;

use anyhow::Result;
use fer_detect::mtcnn::Stage;
use fer_detect::single_shot::{SingleShot, SingleShotConfig, SingleShotModel};
use fer_engine::Engine;
use fer_model::onnx;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::RefinementTraining;
use super::corpus::{Corpus, Group, TrainingPhoto};
use super::run_folder::RunFolder;
use super::train::{RunSettings, measure, words};
use crate::detector::corpus::turned;
use crate::detector::mine::Search;
use crate::detector::scene::{Face, Scene};
use crate::detector::stage_training::StageRun;
use crate::training::device::Compute;
use crate::training::stop::Stop;

/// What the refinement network's weights follow from.
#[derive(PartialEq, Serialize, Deserialize)]
struct Settings {
    run: RunSettings,
    refinement: RefinementTraining,
}

/// The training of a refinement network.
pub struct Run<'a> {
    /// Settings of the run that trained the first network.
    pub settings: &'a RunSettings,
    /// How the refinement network is trained.
    pub refinement: &'a RefinementTraining,
    /// Folder of the photos.
    pub images: &'a Path,
    /// Where the network is computed.
    pub compute: &'a Compute,
    /// Ends the training with a checkpoint.
    pub stop: &'a Stop,
}

impl Run<'_> {
    /// Trains the network for the detector in a run's folder, or continues from the checkpoint there, and adds it to that
    /// detector. The photos are those that the first network learned from and was measured by.
    ///
    /// # Errors
    /// Returns an error if there is nothing to learn from, the training diverges, or a file cannot be read or written.
    pub fn train(&self, corpus: Corpus, folder: &RunFolder) -> Result<()> {
        let Corpus { groups, validation } = corpus;
        let detector = folder.network()?;
        let graph = self.network(groups, folder, &detector)?;
        let refined = SingleShotModel::new(detector.config(), detector.graph().to_vec(), Some(graph));
        let min_size = self.settings.config.data.min_size;
        let sources = measure(&validation, self.images, min_size, &refined)?;
        eprintln!("with the refinement network: average precision {}", words(&sources));
        let parameters = self.refinement.training.network.trainable_parameters();
        let described = json!({ "parameters": parameters, "config": self.refinement, "validation": sources });
        folder.add_refinement(&refined, described)
    }

    /// Returns the ONNX graph of the trained network.
    fn network(&self, groups: Vec<Group>, folder: &RunFolder, detector: &SingleShotModel) -> Result<Vec<u8>> {
        let (engine, seed) = (Engine::tract(), self.settings.config.seed);
        let RefinementTraining { min_side, ref views, ref training } = *self.refinement;
        let photos = groups.into_iter().flat_map(|group| group.photos);
        let mut scenes: Vec<Scene> = photos.map(|photo| scene(photo, min_side)).collect();
        scenes.extend(turned(&scenes, views, seed));
        let threshold = training.mining_threshold as f32;
        let search = || search(&engine, detector, threshold);
        let settings = Settings { run: self.settings.clone(), refinement: self.refinement.clone() };
        let network = StageRun {
            stage: Stage::Output,
            training,
            views,
            seed,
            scenes: &scenes,
            compute: self.compute,
            folder: folder.path().join("refinement"),
            settings: &settings,
            stop: self.stop,
        };
        Ok(onnx::in_half_precision(&network.train(Some(&search))?)?)
    }
}

/// Opens the first network as a search for the squares that the refinement network will judge.
fn search(engine: &Engine, detector: &SingleShotModel, threshold: f32) -> Result<Search> {
    let config = SingleShotConfig { threshold, ..detector.config() };
    let mut detector = SingleShot::open(engine, detector, config)?;
    Ok(Box::new(move |image| Ok(detector.propose(image)?)))
}

/// The photo at its full size; small faces become ignored boxes. Landmarks are only the annotated ones.
fn scene(photo: TrainingPhoto, min_side: f32) -> Scene {
    let TrainingPhoto { levels, faces, mut ignored, landmarks_only } = photo;
    let is_small = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0).max(y1 - y0) < min_side;
    let (small, faces): (Vec<_>, Vec<_>) = faces.into_iter().partition(|face| is_small(face.corners));
    ignored.extend(small.into_iter().map(|face| face.corners));
    let faces = faces.into_iter().map(|face| Face { corners: face.corners, points: face.annotated });
    let image = levels.into_iter().next().unwrap_or_default();
    Scene::of(image, faces.collect(), ignored, landmarks_only)
}
