//! The three stages, one after the other: each is trained on what the ones before let pass.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use fer_detect::mtcnn::{MtcnnConfig, Stage};
use fer_engine::Engine;
use fer_model::file::write_atomically;
use fer_model::onnx;
use fer_model::weights::Weights;
use fer_network::{Network, Replica, mix};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::annotations::{self, Photo};
use super::config::{DetectorTraining, StageTraining};
use super::evaluate::{Report, measure};
use super::mine::mine;
use super::nets::Nets;
use super::samples::{Mined, Sample, Samples, Scene};
use crate::training::checkpoint::{self, Checkpoint};
use crate::training::device::Compute;
use crate::training::optimizer::{Optimizer, OptimizerConfig, OptimizerState};
use crate::training::schedule::{cosine, warm_up};
use crate::training::shards::{Shards, host, images};

/// Steps between two checkpoints, and between two lines.
const CHECKPOINT_STEPS: usize = 500;

const MOMENTUM: f64 = 0.9;

/// Photos to learn from and to measure by.
pub struct Corpus {
    scenes: Vec<Scene>,
    validation: Vec<Photo>,
}

impl Corpus {
    /// Splits the annotated photos by a hash of seed and path, so that a photo stays where it is when others come.
    pub fn open(
        config: &DetectorTraining,
        photos: Vec<Photo>,
        negatives: Vec<Photo>,
        folder: &Path,
    ) -> Result<Self> {
        let held_out = |photo: &Photo| {
            let letters = photo.path.bytes().fold(config.seed, |hash, byte| mix([hash, u64::from(byte), 0]));
            let only_landmarks = photo.faces.iter().any(|row| config.rule(&row.source).landmarks_only);
            !only_landmarks && (letters % 10_000) as f64 / 10_000.0 < config.validation_share
        };
        let (mut validation, mut training): (Vec<_>, Vec<_>) = photos.into_iter().partition(held_out);
        // What another detector filled in is no truth to measure by.
        for row in validation.iter_mut().flat_map(|photo| &mut photo.faces) {
            row.ignore |= u8::from(row.source == super::complete::SOURCE);
        }
        training.extend(negatives);
        let pixels = annotations::open_all(folder, &training)?;
        let scenes = training.iter().zip(pixels).map(|(photo, image)| Scene::new(image, photo, config));
        let mut scenes: Vec<Scene> = scenes.collect();
        let most = config.views.turn as f32;
        if most > 0.0 {
            let with_faces: Vec<(usize, &Scene)> =
                scenes.iter().enumerate().filter(|(_, scene)| scene.has_faces()).collect();
            let turned: Vec<Scene> = with_faces
                .par_iter()
                .map(|(place, scene)| {
                    let mut random = StdRng::seed_from_u64(mix([config.seed, *place as u64, 1]));
                    scene.turned(random.random_range(-most..=most))
                })
                .collect();
            scenes.extend(turned);
        }
        Ok(Self { scenes, validation })
    }
}

/// Where a stage stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct StageState {
    /// Finished steps.
    step: usize,
}

/// Trains the nets that are not in `run` yet, and returns all three and what they are worth on the validation photos.
pub fn train(
    config: &DetectorTraining,
    corpus: &Corpus,
    images: &Path,
    compute: &Compute,
    run: &Path,
) -> Result<(Nets, Report)> {
    let engine = Engine::tract();
    std::fs::create_dir_all(run).with_context(|| format!("cannot create {}", run.display()))?;
    annotations::write(&run.join("validation.csv"), &corpus.validation)?;
    let mut nets = Nets::default();
    for stage in Stage::ALL {
        let file = run.join(stage.file_name());
        let graph = if file.exists() {
            eprintln!("{}: {} is there already", stage.net(), file.display());
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?
        } else {
            let graph = Run { config, corpus, compute, folder: run, stage, of: config.stage(stage) }
                .train(&engine, &nets)?;
            write_atomically(&file, &graph).with_context(|| format!("cannot write {}", file.display()))?;
            graph
        };
        nets.0.push(graph);
        let report = measure(&engine, &nets, &MtcnnConfig::default(), &corpus.validation, images)?.0;
        eprintln!(
            "after {}: average precision {:.3}, recall {:.3}, {:.2} false positives a photo ({} validation photos)",
            stage.net(),
            report.ap50,
            report.recall,
            report.false_positives as f64 / report.photos.max(1) as f64,
            report.photos
        );
        if stage == Stage::Output {
            return Ok((nets, report));
        }
    }
    unreachable!("O-Net is the last stage")
}

/// One stage's training.
struct Run<'a> {
    config: &'a DetectorTraining,
    corpus: &'a Corpus,
    compute: &'a Compute,
    folder: &'a Path,
    stage: Stage,
    of: &'a StageTraining,
}

/// Sums over a shard's part of a mini-batch.
#[derive(Clone, Copy, Default)]
struct Sums {
    faces: f64,
    boxes: f64,
    landmarks: f64,
    asked: f64,
    right: f64,
}

impl Run<'_> {
    /// The net's graph.
    fn train(&self, engine: &Engine, before: &Nets) -> Result<Vec<u8>> {
        let net = self.stage.net();
        let started = Instant::now();
        let architecture = &self.of.network;
        let folder = self.folder.join(self.stage.file_name()).with_extension("");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let seed = mix([self.config.seed, self.stage.side() as u64, 0]);
        let checkpoint = if folder.join(checkpoint::FILE).exists() {
            Checkpoint::<StageState>::read(&folder, architecture, self.config)?
        } else {
            let weights = Weights::init(architecture, seed);
            Checkpoint {
                state: StageState::default(),
                weights,
                average: None,
                optimizer: OptimizerState::new(),
            }
        };
        let first = checkpoint.state.step;
        let mined = if before.0.is_empty() || first == self.of.steps {
            Mined::default()
        } else {
            mine(
                engine,
                before,
                &self.corpus.scenes,
                self.of.mining_threshold as f32,
                self.of.mined_per_photo,
            )?
        };
        if !before.0.is_empty() && first < self.of.steps {
            eprintln!(
                "{net}: mined {} faces, {} parts, {} backgrounds in {:.0} s",
                mined.faces.len(),
                mined.parts.len(),
                mined.backgrounds.len(),
                started.elapsed().as_secs_f64()
            );
        }
        let samples = Samples::new(self.stage, &self.config.views, &self.corpus.scenes, &mined);
        samples.check()?;
        let autodiff = self.compute.device.clone().autodiff();
        let mut network = Network::new(architecture, &checkpoint.weights, &autodiff);
        let weight_decay = self.of.weight_decay;
        let sgd = OptimizerConfig::Sgd { momentum: MOMENTUM, nesterov: true, weight_decay };
        let mut optimizer = Optimizer::new(&network, sgd);
        optimizer.restore(&network, checkpoint.optimizer, &self.compute.device)?;
        let shards = Shards::new(self.compute.device.clone(), self.compute.shards)?;
        let (steps, batch) = (self.of.steps, self.of.batch_size);
        let (mut sums, mut since, mut counted) = (Sums::default(), Instant::now(), 0);
        for step in first..steps {
            let dropout = mix([seed, step as u64, u64::MAX]);
            let (gradients, parts) = shards.step(&network, dropout, batch, |network, range, device| {
                let drawn = range.map(|place| {
                    let mut random = StdRng::seed_from_u64(mix([seed, step as u64, place as u64]));
                    samples.draw(place, &mut random)
                });
                self.loss(network, &drawn.collect::<Vec<_>>(), device)
            });
            for part in parts {
                sums.faces += part.faces;
                sums.boxes += part.boxes;
                sums.landmarks += part.landmarks;
                sums.asked += part.asked;
                sums.right += part.right;
            }
            counted += 1;
            if !sums.faces.is_finite() {
                bail!("{net}: the loss is not a number at step {}; try a lower learning_rate", step + 1);
            }
            let rate = self.of.learning_rate
                * warm_up(step, steps / 20).unwrap_or_else(|| cosine(step, steps, steps / 20));
            network = optimizer.step(network, gradients, rate, step, None);
            if (step + 1) % CHECKPOINT_STEPS == 0 || step + 1 == steps {
                let crops = (counted * batch) as f64;
                eprintln!(
                    "{net} step {:>6}/{steps}  face loss {:.4}  {:.2} % right  box loss {:.4}  landmark loss {:.4}  {:.0} crops/s",
                    step + 1,
                    sums.faces / sums.asked,
                    100.0 * sums.right / sums.asked,
                    sums.boxes / crops,
                    sums.landmarks / crops,
                    crops / since.elapsed().as_secs_f64(),
                );
                (sums, since, counted) = (Sums::default(), Instant::now(), 0);
                let weights = network.weights(architecture).context("the training diverged")?;
                let (state, optimizer) = (StageState { step: step + 1 }, optimizer.state(&network));
                Checkpoint { state, weights, average: None, optimizer }.write(&folder, self.config)?;
            }
        }
        let weights = network.weights(architecture).context("the training diverged")?;
        Ok(onnx::graph(net, architecture, &weights))
    }

    /// The multi-task loss of some crops, its share of the mini-batch's mean.
    fn loss(&self, network: &Replica, drawn: &[Sample], device: &Device) -> (Tensor<1>, Sums) {
        let share = drawn.len() as f64 / self.of.batch_size as f64;
        let pixels = drawn.iter().flat_map(|sample| sample.pixels.iter().copied()).collect();
        let mut outputs = network.forward(images(pixels, self.of.network.input(), device)).into_iter();
        let mut next = || outputs.next().unwrap_or_else(|| unreachable!("the config's heads were checked"));
        let (scores, box_regression) = (next(), next());

        let column = |values: Vec<f32>, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [drawn.len(), columns]), device)
        };
        // Cross-entropy, of the hardest crops only (online hard-example mining).
        let wanted = drawn.iter().flat_map(|sample| match sample.face {
            Some(face) => [f32::from(!face), f32::from(face)],
            None => [0.0, 0.0],
        });
        let losses = (log_softmax(scores.clone(), 1) * column(wanted.collect(), 2)).sum_dim(1).neg();
        let by_crop = host(losses.clone().inner());
        let hard = hardest(&by_crop, drawn, self.of.hard_share);
        let kept = hard.iter().sum::<f32>().max(1.0);
        let faces = (losses * column(hard, 1)).sum() / f64::from(kept);

        let (targets, weights, asked) = box_regression_wanted(drawn);
        let distance = (box_regression - column(targets, 4)).abs() * column(weights, 4);
        let boxes = distance.sum() / asked.max(1.0);

        let mut sums = Sums::default();
        let mut loss = faces + boxes.clone() * self.of.box_weight;
        if self.stage == Stage::Output {
            let points = next();
            // The mouth's centre is the mean of its corners, in x and in y.
            let corner = |from: usize| points.clone().narrow(1, from, 1);
            let centre = [(corner(3) + corner(4)) / 2.0, (corner(8) + corner(9)) / 2.0];
            let points = Tensor::cat([vec![points], centre.to_vec()].concat(), 1);
            let (targets, weights, asked) = points_wanted(drawn);
            let distance = (points - column(targets, 12)).abs() * column(weights, 12);
            let landmarks = distance.sum() / asked.max(1.0);
            sums.landmarks = scalar(&landmarks) * drawn.len() as f64;
            loss = loss + landmarks * self.of.landmark_weight;
        }
        let rows = host(scores.inner());
        for ((sample, row), loss) in drawn.iter().zip(rows.as_chunks::<2>().0).zip(by_crop) {
            if let Some(face) = sample.face {
                sums.asked += 1.0;
                sums.faces += f64::from(loss);
                sums.right += f64::from(u8::from((row[1] > row[0]) == face));
            }
        }
        sums.boxes = scalar(&boxes) * drawn.len() as f64;
        (loss * share, sums)
    }
}

fn scalar(value: &Tensor<1>) -> f64 {
    f64::from(value.clone().inner().into_scalar::<f32>())
}

/// 1 for the crops with the highest losses among those that are asked, as many as their share says; 0 for the others.
fn hardest(losses: &[f32], drawn: &[Sample], share: f64) -> Vec<f32> {
    let mut asked: Vec<usize> = (0..drawn.len()).filter(|&i| drawn[i].face.is_some()).collect();
    asked.sort_by(|&a, &b| losses[b].total_cmp(&losses[a]));
    asked.truncate((asked.len() as f64 * share).ceil() as usize);
    let mut kept = vec![0.0; drawn.len()];
    asked.into_iter().for_each(|i| kept[i] = 1.0);
    kept
}

/// Box targets and weights `[crops, 4]`, and how many crops have one.
fn box_regression_wanted(drawn: &[Sample]) -> (Vec<f32>, Vec<f32>, f64) {
    let (mut targets, mut weights, mut asked) = (Vec::new(), Vec::new(), 0.0);
    for sample in drawn {
        let known = sample.box_regression.is_some();
        targets.extend(sample.box_regression.unwrap_or_default());
        weights.extend([f32::from(known); 4]);
        asked += f64::from(u8::from(known));
    }
    (targets, weights, asked)
}

/// Landmark targets and weights `[crops, 12]` (six x, six y in the order of the tensor), and how many crops have one.
fn points_wanted(drawn: &[Sample]) -> (Vec<f32>, Vec<f32>, f64) {
    // The network's ten are five x and five y; the mouth's centre follows.
    const ORDER: [(usize, usize); 12] =
        [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 0), (5, 1)];
    let (mut targets, mut weights, mut asked) = (Vec::new(), Vec::new(), 0.0);
    for sample in drawn {
        for (point, axis) in ORDER {
            targets.push(sample.points[point].map_or(0.0, |point| point[axis]));
            weights.push(f32::from(sample.points[point].is_some()));
        }
        asked += f64::from(u8::from(sample.points.iter().any(Option::is_some)));
    }
    (targets, weights, asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(face: Option<bool>) -> Sample {
        Sample { pixels: Vec::new(), face, box_regression: None, points: [None; 6] }
    }

    #[test]
    fn the_hardest_of_those_that_are_asked() {
        let drawn = [Some(true), None, Some(false), Some(false), Some(true)].map(sample);
        assert_eq!(hardest(&[0.1, 9.0, 0.5, 0.3, 0.2], &drawn, 0.5), [0.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(hardest(&[0.1, 9.0, 0.5, 0.3, 0.2], &drawn, 1.0), [1.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn only_what_is_known_has_weight() {
        let mut known = sample(Some(true));
        known.box_regression = Some([0.1, 0.2, 0.3, 0.4]);
        known.points[0] = Some([0.3, 0.6]);
        known.points[5] = Some([0.5, 0.8]);
        let drawn = [sample(Some(false)), known];
        let (targets, weights, asked) = box_regression_wanted(&drawn);
        assert_eq!(
            (&targets[4..], &weights[..], asked),
            (&[0.1, 0.2, 0.3, 0.4][..], &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0][..], 1.0)
        );
        let (targets, weights, asked) = points_wanted(&drawn);
        let with_weight: Vec<(usize, f32)> =
            (0..24).filter(|&i| weights[i] == 1.0).map(|i| (i, targets[i])).collect();
        // x of the left eye, its y, and the mouth's centre behind the network's ten.
        assert_eq!((with_weight, asked), (vec![(12, 0.3), (17, 0.6), (22, 0.5), (23, 0.8)], 1.0));
    }
}
