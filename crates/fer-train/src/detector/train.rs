//! Trains the three networks one after the other: each learns from what the ones before let pass.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fer_detect::mtcnn::{MtcnnConfig, MtcnnModel, Stage};
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::Engine;
use fer_model::file::write_atomically;
use serde::Serialize;

use super::annotations;
use super::config::DetectorTraining;
use super::corpus::Corpus;
use super::evaluate::{self, FLOOR, Measure, Report};
use super::nets::Nets;
use super::run_folder::RunFolder;
use super::stage_training::StageRun;
use super::stages::{self, StageReport};
use crate::training::device::Compute;
use crate::training::stop::Stop;

/// Width in pixels of the smallest face that counts on the validation photos.
const MIN_SIZE: f32 = 20.0;

/// What the finished cascade reaches on the validation photos.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CascadeReport {
    /// The detector as a whole.
    #[serde(flatten)]
    pub report: Report,
    /// Results after each network.
    pub stages: Vec<StageReport>,
}

/// Trains the networks that the run has not finished yet. Returns all three, and what they reach on the validation photos.
///
/// # Errors
/// Returns an error if a stage cannot be trained or measured, or a file cannot be read or written.
pub fn train(
    config: &DetectorTraining,
    corpus: &Corpus,
    images: &Path,
    compute: &Compute,
    folder: &RunFolder,
    stop: &Stop,
) -> Result<(Nets, CascadeReport)> {
    let engine = Engine::tract();
    annotations::write(&folder.path().join("validation.csv"), &corpus.validation)?;
    let mut nets = Nets::default();
    let settings = MtcnnConfig::default();
    let mut stages = Vec::new();
    for stage in Stage::ALL {
        let graph = finished(folder, stage)?.map_or_else(
            || {
                let run = StageRun {
                    stage,
                    training: config.stage(stage),
                    views: &config.views,
                    seed: config.seed,
                    scenes: &corpus.scenes,
                    compute,
                    folder: folder.checkpoint(stage),
                    settings: config,
                    stop,
                };
                let threshold = run.training.mining_threshold as f32;
                let search = || nets.search(&engine, threshold);
                let graph = run.train((!nets.0.is_empty()).then_some(&search))?;
                let file = folder.network(stage);
                write_atomically(&file, &graph)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                Ok(graph)
            },
            anyhow::Ok,
        )?;
        nets.0.push(graph);
        stages = stages::measure(&engine, &nets, &settings, &corpus.validation, images)?;
        if let Some(report) = stages.last() {
            eprintln!(
                "after {}: average precision {:.3}, recall {:.3}, {:.2} false positives a photo ({} validation photos)",
                report.net,
                report.average_precision,
                report.recall,
                report.false_positives_a_photo,
                corpus.validation.len()
            );
        }
    }
    let [proposal, refinement, output] = nets.0.as_slice() else { bail!("a detector has three networks") };
    let model = MtcnnModel::new(settings, [proposal, refinement, output]);
    let report = measure(&engine, &DetectorModel::Mtcnn(model), corpus, images)?;
    Ok((nets, CascadeReport { report, stages }))
}

/// Measures the finished detector on the validation photos.
fn measure(engine: &Engine, model: &DetectorModel, corpus: &Corpus, images: &Path) -> Result<Report> {
    let options = DetectorOptions { min_score: Some(FLOOR), ..DetectorOptions::default() };
    let found = evaluate::detect(|| model.detector(engine, &options), &corpus.validation, images)?;
    let measure = Measure { min_size: MIN_SIZE, tag: None, threshold: model.min_score() };
    Ok(evaluate::report(&corpus.validation, &found, &measure))
}

/// Reads a network that an earlier start of the run has finished.
fn finished(folder: &RunFolder, stage: Stage) -> Result<Option<Vec<u8>>> {
    let file = folder.network(stage);
    if !file.exists() {
        return Ok(None);
    }
    eprintln!("{}: {} is there already", stage.net(), file.display());
    std::fs::read(&file).map(Some).with_context(|| format!("cannot read {}", file.display()))
}
