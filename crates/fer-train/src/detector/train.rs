//! Trains the three networks one after the other: each learns from what the ones before let pass.

use std::path::Path;

use anyhow::{Context, Result};
use fer_detect::mtcnn::{MtcnnConfig, Stage};
use fer_engine::Engine;
use fer_model::file::write_atomically;

use super::annotations;
use super::config::DetectorTraining;
use super::corpus::Corpus;
use super::evaluate::{Report, measure};
use super::nets::Nets;
use super::run_folder::RunFolder;
use super::stage_training::StageRun;
use crate::training::device::Compute;

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
) -> Result<(Nets, Report)> {
    let engine = Engine::tract();
    annotations::write(&folder.path().join("validation.csv"), &corpus.validation)?;
    let mut nets = Nets::default();
    let mut last = None;
    for stage in Stage::ALL {
        let graph = finished(folder, stage)?.map_or_else(
            || {
                let graph = StageRun { config, corpus, compute, folder, stage }.train(&engine, &nets)?;
                let file = folder.network(stage);
                write_atomically(&file, &graph)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                Ok(graph)
            },
            anyhow::Ok,
        )?;
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
        last = Some(report);
    }
    Ok((nets, last.context("there is no stage to train")?))
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
